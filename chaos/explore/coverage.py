"""What exploring has met and what it never did: faults, events of nodes, changes of role, answers, functions.

A number of green seeds says little without this. What there *is* to meet is read from the source (every event a node
can record, every function of core, node and store), so that what was never met has a name.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

import cluster
from chaos.explore.features import FEATURES
from chaos.explore.scenario import FAULTS

ROOT: Final = Path(cluster.__file__).resolve().parent
PARTS: Final = ("core", "node", "store")
EVERY: Final = 16
"""Of so many seeds one records the functions that were entered; it takes several times as long."""

NOT_HERE: Final = (
    "node/realworld.py", "node/netpeer.py", "node/__main__.py", "node/launch.py", "node/edge.py", "node/router.py",
    "node/throttle.py", "node/credentials.py", "node/identity.py", "node/gac.py", "store/files.py", "core/expressions",
    "core/numbers.py", "core/admission.py",
)  # fmt: skip
"""Parts that no explored cluster runs: sockets, HTTP and its roles. Simulated game days run most of them."""


class Calls:
    """Records which functions of the cluster are entered, between start and stop."""

    def __init__(self) -> None:
        self._codes: set[CodeType] = set()

    def start(self) -> None:
        add = self._codes.add

        def entered(frame: FrameType, event: str, argument: Any) -> None:
            if event == "call":
                add(frame.f_code)

        sys.setprofile(entered)

    def stop(self) -> None:
        sys.setprofile(None)

    def names(self) -> list[str]:
        """``core/group.py:Group.step`` and so on."""
        prefix = f"{ROOT}/"
        found = {
            f"{code.co_filename[len(prefix) :]}:{code.co_qualname.replace('.<locals>', '')}"
            for code in self._codes
            if code.co_filename.startswith(prefix) and "<" not in code.co_name
        }
        return sorted(found)


def _sources() -> Iterator[tuple[str, ast.Module]]:
    for part in PARTS:
        for path in sorted((ROOT / part).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if not name.startswith(NOT_HERE):
                yield name, ast.parse(path.read_text())


@cache
def known_events() -> tuple[str, ...]:
    """Every event that a node of an explored cluster can record."""
    found: dict[str, None] = {}
    for _, tree in _sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "event":
                first = node.args[0] if node.args else None
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    found[first.value] = None
    return tuple(sorted(found))


@cache
def known_functions() -> tuple[str, ...]:
    """Every function of the parts that an explored cluster runs, as :meth:`Calls.names` names them; protocols aside."""
    found: list[str] = []
    for name, tree in _sources():
        _functions(tree, "", f"{name}:", found)
    return tuple(sorted(found))


def _functions(tree: ast.AST, path: str, prefix: str, found: list[str]) -> None:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            if not any(isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases):
                _functions(node, f"{path}{node.name}.", prefix, found)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.append(f"{prefix}{path}{node.name}")
            _functions(node, f"{path}{node.name}.", prefix, found)


class Coverage:
    """Sums over many outcomes."""

    def __init__(self) -> None:
        self.seen: dict[str, Counter[str]] = {}
        self.calls: set[str] = set()

    def add(self, seen: dict[str, dict[str, int]], calls: Iterable[str] | None) -> None:
        """Take what one run met."""
        for section, counts in seen.items():
            self.seen.setdefault(section, Counter()).update(counts)
        self.calls.update(calls or ())

    def count(self, section: str, name: str) -> int:
        return self.seen.get(section, Counter())[name]

    def never(self) -> dict[str, list[str]]:
        """What there is and was never met. Functions only if any were recorded."""
        missing = {
            "faults": [kind for kind in FAULTS if not self.count("faults", kind)],
            "features": [name for name in FEATURES if not self.count("features", name)],
            "events": [event for event in known_events() if not self.count("events", event)],
        }
        if self.calls:
            missing["functions"] = [name for name in known_functions() if name not in self.calls]
        return missing

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        met = {section: dict(sorted(counts.items())) for section, counts in sorted(self.seen.items())}
        known = known_functions()
        functions = {"known": len(known), "entered": len(self.calls & set(known))} if self.calls else None
        return {"met": met, "never": self.never(), "functions": functions}
