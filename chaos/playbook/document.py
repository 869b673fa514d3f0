"""YAML with the line of every value, so that an error can say where.

Plain values only: no tags that construct objects. Duplicate keys are errors (YAML silently keeps the last one), and
there is a limit on everything, because aliases let a small file grow without end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from chaos.errors import Problem

BYTES_MAX = 1 << 20
VALUES_MAX = 50_000
DEPTH_MAX = 32

Path = tuple[str | int, ...]


@dataclass(slots=True)
class Document:
    """A parsed file: its plain value, and the 1-based line of every path in it."""

    name: str
    value: Any
    lines: dict[Path, int] = field(default_factory=dict)

    def line_of(self, path: Path) -> int:
        """The line of the deepest part of ``path`` that exists.

        Parts that are not in the file are skipped: a validator's path also names the variant it tried.
        """
        known: Path = ()
        for part in path:
            if (*known, part) in self.lines:
                known = (*known, part)
        return self.lines.get(known, 1)


class _Reader:
    def __init__(self, document: Document, problems: list[str]) -> None:
        self.document = document
        self.problems = problems
        self.seen = 0
        self.scalars = yaml.SafeLoader("")

    def read(self, node: yaml.Node, path: Path) -> Any:
        self.seen += 1
        if self.seen > VALUES_MAX:
            raise Problem(self.document.name, [f"more than {VALUES_MAX} values (do aliases repeat one another?)"])
        if len(path) > DEPTH_MAX:
            raise Problem(self.document.name, [f"line {line(node)}: nested deeper than {DEPTH_MAX} levels"])
        self.document.lines.setdefault(path, line(node))
        if isinstance(node, yaml.MappingNode):
            return dict(self.pairs(node, path))
        if isinstance(node, yaml.SequenceNode):
            return [self.read(child, (*path, index)) for index, child in enumerate(node.value)]
        try:
            return self.scalars.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            why = getattr(error, "problem", None) or str(error)
            self.problems.append(f"line {line(node)}: {dotted(path)}: {why}")
            return None

    def pairs(self, node: yaml.MappingNode, path: Path) -> Iterator[tuple[str, Any]]:
        first: dict[str, int] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.append(f"line {line(key_node)}: a key must be a plain word")
                continue
            key = str(key_node.value)
            if key in first:
                self.problems.append(f"line {line(key_node)}: '{key}' is given twice (first on line {first[key]})")
                continue
            first[key] = line(key_node)
            self.document.lines[(*path, key)] = line(key_node)
            yield key, self.read(value_node, (*path, key))


def line(node: yaml.Node) -> int:
    """The 1-based line on which a node starts."""
    return int(node.start_mark.line) + 1


def dotted(path: Path) -> str:
    """``('method', 0, 'at')`` as a person writes it: ``method[0].at``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "the file"


def read_document(text: str, name: str, problems: list[str]) -> Document:
    """Parse ``text``. Mistakes that leave something to read go to ``problems``; others raise :class:`Problem`."""
    if len(text) > BYTES_MAX:
        raise Problem(name, [f"larger than {BYTES_MAX} bytes"])
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        why = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise Problem(name, [f"line {mark.line + 1 if mark else 1}: not valid YAML: {why}"]) from None
    except RecursionError:
        raise Problem(name, [f"nested deeper than {DEPTH_MAX} levels"]) from None
    document = Document(name, None)
    if node is None:
        raise Problem(name, ["the file is empty"])
    document.value = _Reader(document, problems).read(node, ())
    return document
