"""Conditions and updates from before there were expressions: ``Expected``, the filters, and ``AttributeUpdates``.

They speak of whole top-level attributes only. A router checks them (:mod:`cluster.api.legacy`), so that nothing here
fails but for what an update meets in the item. Unlike an expression they have no limit of their own on length.
"""

from __future__ import annotations

from typing import NamedTuple

from cluster.core import numbers
from cluster.core.errors import invalid
from cluster.core.expressions import values
from cluster.core.items import Item, Value

TYPE_MISMATCH = "Type mismatch for attribute to update"

COMPARATORS = {"EQ": "=", "NE": "<>", "LT": "<", "LE": "<=", "GT": ">", "GE": ">="}
"""Operators that expressions have too."""


class Comparison(NamedTuple):
    """One attribute's condition."""

    name: str
    operator: str
    arguments: tuple[Value, ...] = ()


class Expected(NamedTuple):
    """Conditions joined by AND, or with ``any`` by OR."""

    tests: tuple[Comparison, ...]
    any: bool = False


class AttributeUpdate(NamedTuple):
    """What happens to one attribute: ``PUT``, ``ADD`` or ``DELETE``."""

    name: str
    action: str
    value: Value | None = None


def holds(expected: Expected, item: Item | None) -> bool:
    """Whether the conditions are true of an item (None: there is no item)."""
    results = (_true(test, (item or {}).get(test.name)) for test in expected.tests)
    return any(results) if expected.any else all(results)


def _true(test: Comparison, value: Value | None) -> bool:
    operator, arguments = test.operator, test.arguments
    if operator == "NULL":
        return value is None
    if operator == "NOT_NULL":
        return value is not None
    comparator = COMPARATORS.get(operator)
    if comparator is not None:
        return values.compare(comparator, value, arguments[0])
    if value is None:  # a missing attribute neither contains anything nor does not contain it
        return False
    if operator == "IN":
        return any(values.equal(value, argument) for argument in arguments)
    if operator == "BETWEEN":
        return values.compare(">=", value, arguments[0]) and values.compare("<=", value, arguments[1])
    if operator == "BEGINS_WITH":
        return values.begins_with(value, arguments[0])
    return values.contains(value, arguments[0]) == (operator == "CONTAINS")


def apply(updates: tuple[AttributeUpdate, ...], item: Item) -> Item:
    """The item after the updates; the one given is left alone. Raises ``ValidationException``."""
    after = dict(item)
    for update in updates:
        current, value = after.get(update.name), update.value
        if value is None:
            after.pop(update.name, None)
        elif update.action == "PUT":
            after[update.name] = value
        elif update.action == "ADD":
            after[update.name] = _added(current, value)
        elif current is not None:
            rest = _without(current, value)
            if rest is None:
                del after[update.name]
            else:
                after[update.name] = rest
    return after


def _added(current: Value | None, value: Value) -> Value:
    kind = values.kind_of(value)
    if current is None:
        return value
    if values.kind_of(current) != kind:
        raise invalid(TYPE_MISMATCH)
    if kind == "N":
        return {"N": numbers.add(current["N"], value["N"])}
    if kind == "L":
        return {"L": current["L"] + value["L"]}
    present = frozenset(current[kind])
    return {kind: current[kind] + [element for element in value[kind] if element not in present]}


def _without(current: Value, value: Value) -> Value | None:
    kind = values.kind_of(value)
    if values.kind_of(current) != kind:
        raise invalid(TYPE_MISMATCH)
    gone = frozenset(value[kind])
    rest = [element for element in current[kind] if element not in gone]
    return {kind: rest} if rest else None
