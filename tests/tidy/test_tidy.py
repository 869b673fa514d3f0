"""Our own rules, enforced: a pure core, what drivers may not use, sizes, dead modules, plants outside the wheel."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("cluster", "chaos", "loadgen", "canaries", "reports")
IMPURE = {"time", "random", "asyncio", "socket", "os", "threading", "subprocess", "datetime", "secrets", "uuid"}
SET_ORDER = {"wait", "as_completed", "TaskGroup"}
MODULE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70
ENTRY_POINTS = {
    "cluster.node.__main__",
    "cluster.runtime.hostops",
    "cluster.runtime.forwarder",
    "loadgen.driver",
    "canaries.driver",
    "chaos.cli",
}
"""Run as programs, so that nobody has to import them."""


def sources(*packages: str) -> Iterator[Path]:
    for package in packages:
        yield from sorted((ROOT / package).rglob("*.py"))


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def impure_imports(text: str) -> list[str]:
    """Imports that the core may not have: clocks, chance, I/O, all that is neither the standard library nor core."""
    found = []
    for name in imports(ast.parse(text)):
        top = name.partition(".")[0]
        if top in IMPURE or (top not in sys.stdlib_module_names and not name.startswith("cluster.core")):
            found.append(name)
    return [name for name in found if name not in ("cluster", "cluster.core")]


def order_dependent(text: str) -> list[str]:
    """Uses of what runs in the order of addresses in memory: some of asyncio, and loops over sets made on the spot."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and node.attr in SET_ORDER and ast.unparse(node.value) == "asyncio":
            found.append(f"line {node.lineno}: asyncio.{node.attr}")
        iterated = [node.iter] if isinstance(node, ast.For | ast.comprehension) else []
        for value in iterated:
            call = isinstance(value, ast.Call) and ast.unparse(value.func) in ("set", "frozenset")
            if call or isinstance(value, ast.Set | ast.SetComp):
                found.append(f"line {value.lineno}: a loop over a set")
    return found


def test_the_core_is_pure() -> None:
    assert {str(path): bad for path in sources("cluster/core") if (bad := impure_imports(path.read_text()))} == {}


def test_drivers_do_not_depend_on_addresses_in_memory() -> None:
    found = {str(p): bad for p in sources("cluster/core", "cluster/node") if (bad := order_dependent(p.read_text()))}
    assert found == {}


def test_drivers_reach_outside_only_through_their_world() -> None:
    """Only the real World, its network and threads, and the program that starts it all touch the machine."""
    allowed = {"realworld.py", "netpeer.py", "offload.py", "kernelsync.py", "launch.py"}
    banned = {"time", "random", "socket", "os", "threading", "subprocess", "pathlib"}
    found = {}
    for path in sources("cluster/node"):
        if path.name not in allowed:
            bad = sorted({name for name in imports(ast.parse(path.read_text())) if name.partition(".")[0] in banned})
            if bad:
                found[path.name] = bad
    assert found == {}


@pytest.mark.parametrize(
    ("text", "check"),
    [
        ("import time", impure_imports),
        ("from os import path", impure_imports),
        ("import msgspec", impure_imports),
        ("from cluster.node import host", impure_imports),
        ("import asyncio\nasyncio.wait([])", order_dependent),
        ("for x in {1, 2}: pass", order_dependent),
        ("y = [x for x in set(z)]", order_dependent),
    ],
)
def test_these_checks_can_fail(text: str, check: object) -> None:
    assert callable(check)
    assert check(text) != []


def test_modules_and_functions_stay_readable() -> None:
    found = []
    for path in sources(*PACKAGES):
        text = path.read_text()
        lines = text.count("\n")
        if lines > MODULE_LINES_MAX:
            found.append(f"{path.relative_to(ROOT)}: {lines} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > FUNCTION_LINES_MAX:
                    found.append(f"{path.relative_to(ROOT)}: {node.name} has {length} lines")
    assert found == []


def alive(name: str, imported: set[str]) -> bool:
    return name in imported or any(other.startswith(f"{name}.") for other in imported)


def test_no_module_is_dead() -> None:
    """Every module is imported by another one, by a test, or is a program."""
    imported: set[str] = set()
    for path in [*sources(*PACKAGES, "tests", "benchmarks")]:
        imported.update(imports(ast.parse(path.read_text())))
    text = "".join(path.read_text() for path in sources(*PACKAGES))
    dead = []
    for path in sources(*PACKAGES):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if (
            not alive(name, imported)
            and name not in ENTRY_POINTS
            and not name.endswith("__main__")
            and f'"{name}' not in text
        ):
            dead.append(name)
    assert [name for name in dead if name not in PACKAGES] == []


def test_the_wheel_has_no_planted_bug() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert "tests" not in packages
    assert packages
    for package in ("cluster", "chaos"):
        assert not [path for path in sources(package) if "plants" in path.parent.name]
