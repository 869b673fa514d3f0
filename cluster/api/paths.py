"""The attributes and paths that expressions name, and the one rule about them that needs the table."""

from __future__ import annotations

from collections.abc import Sequence

from cluster.api.tables import TableSchema
from cluster.core.commands import Clause
from cluster.core.errors import invalid
from cluster.core.expressions.nodes import All, Arithmetic, Call, Condition, Not, Operand, Path, Value
from cluster.core.expressions.nodes import Any as AnyOf
from cluster.core.expressions.parser import parse_condition, parse_projection, parse_update
from cluster.core.expressions.scope import Parts, resolve
from cluster.core.expressions.static import operands_of


def check_paths(
    schema: TableSchema,
    *,
    condition: Clause | None = None,
    projection: Clause | None = None,
    update: Clause | None = None,
) -> None:
    """:func:`check_nested` for a request on one item; texts without nested paths are not looked at."""
    if projection is not None and _nests(projection.text):
        check_nested(schema, paths_of_projection(projection))
    if condition is not None and _nests(condition.text):
        check_nested(schema, paths_of_condition(condition))
    if update is not None and _nests(update.text):
        check_nested(schema, paths_of_update(update))


def _nests(text: str) -> bool:
    return "." in text or "[" in text


def check_nested(schema: TableSchema, paths: Sequence[Parts]) -> None:
    """Key attributes, an index's too, are scalars: no path leads into one."""
    nested = {parts[0] for parts in paths if len(parts) > 1}
    keys = schema.key.names
    others = [attribute.name for index in schema.globals + schema.locals for attribute in index.keys]
    for kind, names in (("Key", keys), ("IndexKey", others)):
        for name in names:
            if name in nested:
                raise invalid(
                    "Key attributes must be scalars; list random access '[]' and map lookup '.' are not allowed: "
                    f"{kind}: {name}"
                )


def paths_of_projection(clause: Clause | None) -> list[Parts]:
    """The resolved paths a projection names."""
    if clause is None:
        return []
    return [resolve(path, clause.names) for path in parse_projection(clause.text).paths]


def heads_of_projection(clause: Clause | None) -> list[str]:
    """The attributes a projection is about."""
    return list(dict.fromkeys(str(parts[0]) for parts in paths_of_projection(clause)))


def paths_of_update(clause: Clause) -> list[Parts]:
    """The resolved paths an update changes and reads."""
    found: list[Path] = []
    for action in parse_update(clause.text).actions:
        found.append(action.path)
        waiting = [] if action.value is None else [action.value]
        while waiting:
            node = waiting.pop(0)
            if isinstance(node, Path):
                found.append(node)
            elif isinstance(node, Arithmetic):
                waiting += (node.left, node.right)
            elif isinstance(node, Call):
                waiting += node.arguments
    return [resolve(path, clause.names) for path in found]


def paths_of_condition(clause: Clause | None) -> list[Parts]:
    """The resolved paths a condition names, in order."""
    if clause is None:
        return []
    root = parse_condition(clause.text).condition
    assert root is not None
    found: list[Parts] = []
    waiting: list[Condition | Operand] = [root]
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, Path):
            found.append(resolve(node, clause.names))
        elif isinstance(node, (All, AnyOf)):
            waiting = [*node.conditions, *waiting]
        elif isinstance(node, Not):
            waiting.insert(0, node.condition)
        elif not isinstance(node, (Value, Arithmetic)):
            waiting = [*operands_of(node), *waiting]
    return found
