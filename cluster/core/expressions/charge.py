"""What a whole UpdateItem is measured at beside the item that it makes: what its expression says, clause by clause.

The limit is the item's, and it is the request that is measured, whatever the item is: neither its key nor what the
expression leaves alone. (Found on the service by others, to the byte; nowhere documented.) Updates of transactions, of
PartiQL and of ``AttributeUpdates`` are measured by the item alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cluster.core.expressions.nodes import Arithmetic, Operand, Path, Value
from cluster.core.expressions.parser import parse_update
from cluster.core.expressions.scope import ClauseLike, resolve
from cluster.core.items import value_size

_UPDATE = 3
_WRITING = 19
"""A SET or an ADD."""
_REMOVING = 1
"""A REMOVE or a DELETE, whose values cost nothing."""
_FUNCTIONS = {"if_not_exists": 39, "list_append": 37}
_ARITHMETIC = {"+": 34, "-": 37}
_PATH = 1
_READ_PART = 14
_WRITTEN_PART = 4
"""Beside the bytes of a name or the digits of an index; the first name of what is written has only its own."""


def charge(clause: ClauseLike) -> int:
    """Bytes that the update is measured at."""
    values: Mapping[str, Any] = clause.values or {}
    total = _UPDATE
    for action in parse_update(clause.text).actions:
        first, *rest = resolve(action.path, clause.names)
        total += _part(first) + sum(_WRITTEN_PART + _part(part) for part in rest)
        if action.section in ("SET", "ADD") and action.value is not None:
            total += _WRITING + _operand(action.value, clause.names, values)
        else:
            total += _REMOVING
    return total


def _part(part: str | int) -> int:
    return len(str(part).encode())


def _operand(node: Operand, names: Mapping[str, str] | None, values: Mapping[str, Any]) -> int:
    if isinstance(node, Value):
        return value_size(values[node.name])
    if isinstance(node, Path):
        return _PATH + sum(_READ_PART + _part(part) for part in resolve(node, names))
    if isinstance(node, Arithmetic):
        return _ARITHMETIC[node.operator] + sum(_operand(one, names, values) for one in (node.left, node.right))
    return _FUNCTIONS[node.name] + sum(_operand(one, names, values) for one in node.arguments)
