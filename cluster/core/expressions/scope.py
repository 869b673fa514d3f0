"""Looking things up: a path in an item, a placeholder in a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from cluster.core.expressions.nodes import Path
from cluster.core.items import Item, Value


class ClauseLike(Protocol):
    """An expression's text with its request's placeholders (:class:`cluster.core.commands.Clause`)."""

    @property
    def text(self) -> str: ...

    @property
    def names(self) -> dict[str, str] | None: ...

    @property
    def values(self) -> dict[str, Any] | None: ...


Parts = tuple["str | int", ...]


def resolve(path: Path, names: Mapping[str, str] | None) -> Parts:
    """A path's parts with every ``#name`` replaced; all of them are defined (checked by ``static``)."""
    if names is None:
        return path.parts
    return tuple(names[part] if isinstance(part, str) and part[0] == "#" else part for part in path.parts)


def lookup(parts: Parts, item: Item) -> Value | None:
    """The value at a resolved path, or None where any part of it is missing or of another type."""
    value: Value | None = item.get(str(parts[0]))  # a path begins with a name
    for part in parts[1:]:
        if value is None:
            return None
        if isinstance(part, int):
            elements = value.get("L")
            value = elements[part] if elements is not None and part < len(elements) else None
        else:
            members = value.get("M")
            value = members.get(part) if members is not None else None
    return value


def show(parts: Parts) -> str:
    """A path as AWS's messages print it: ``[a, b, [0]]``."""
    return "[" + ", ".join(f"[{part}]" if isinstance(part, int) else part for part in parts) + "]"
