"""Parameters from before expressions, as they are still accepted: their fields, their rules, and what becomes of them.

``Expected`` and the filters become :class:`Expected`, ``AttributeUpdates`` become :class:`AttributeUpdate`,
``AttributesToGet`` a projection. They cannot be mixed with expressions, but for ``KeyConditions``, which go with any
but ``KeyConditionExpression``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cluster.api.fields import Field
from cluster.core.commands import Clause
from cluster.core.errors import ApiError, invalid
from cluster.core.expressions import values
from cluster.core.expressions.legacy import AttributeUpdate, Comparison, Expected
from cluster.core.items import Value, check_names, normalise_value

WRONG = "One or more parameter values were invalid: "

OPERATORS = (
    "IN",
    "NULL",
    "BETWEEN",
    "LT",
    "NOT_CONTAINS",
    "EQ",
    "GT",
    "NOT_NULL",
    "NE",
    "LE",
    "BEGINS_WITH",
    "GE",
    "CONTAINS",
)
"""In the order in which the service lists them."""

_COUNTS = {"NULL": (0, 0), "NOT_NULL": (0, 0), "BETWEEN": (2, 2), "IN": (1, 1 << 30)}
_ONE = (1, 1)
"""How many arguments an operator takes: from, to."""

_SCALARS = ("S", "N", "B")
_TYPES = {
    "LT": _SCALARS,
    "LE": _SCALARS,
    "GT": _SCALARS,
    "GE": _SCALARS,
    "IN": _SCALARS,
    "BETWEEN": _SCALARS,
    "CONTAINS": (*_SCALARS, "BOOL", "NULL"),
    "NOT_CONTAINS": (*_SCALARS, "BOOL", "NULL"),
    "BEGINS_WITH": ("S", "B"),
}
"""Types of arguments an operator takes, where not all."""

_ADDABLE = ("L", "SS", "NS", "BS", "N")

_OPERATOR = Field("ComparisonOperator", "str", required=True, enum=OPERATORS)
_ARGUMENTS = Field("AttributeValueList", "list", element=Field("value", "value"))
_CONDITION = Field("condition", "struct", members=(_ARGUMENTS, _OPERATOR), shape="Condition")
KEY_CONDITIONS = Field("KeyConditions", "map", element=_CONDITION)
QUERY_FILTER = Field("QueryFilter", "map", element=_CONDITION)
SCAN_FILTER = Field("ScanFilter", "map", element=_CONDITION)
EXPECTED = Field(
    "Expected",
    "map",
    element=Field(
        "expected",
        "struct",
        members=(
            _ARGUMENTS,
            _OPERATOR._replace(required=False),
            Field("Exists", "bool"),
            Field("Value", "value"),
        ),
        shape="ExpectedAttributeValue",
    ),
)
ATTRIBUTE_UPDATES = Field(
    "AttributeUpdates",
    "map",
    element=Field(
        "update",
        "struct",
        members=(Field("Action", "str", enum=("ADD", "DELETE", "PUT")), Field("Value", "value")),
        shape="AttributeValueUpdate",
    ),
)
ATTRIBUTES_TO_GET = Field("AttributesToGet", "list", length=(1, 255), element=Field("name", "str"))
CONDITIONAL_OPERATOR = Field("ConditionalOperator", "str", enum=("OR", "AND"))


_SUSPECTS = frozenset(
    (
        "AttributesToGet",
        "AttributeUpdates",
        "ConditionalOperator",
        "Expected",
        "ExpressionAttributeNames",
        "ExpressionAttributeValues",
        "KeyConditions",
        "QueryFilter",
        "ScanFilter",
    )
)
"""A request without any of these breaks no rule of :func:`check_mixture`."""


def check_mixture(body: Mapping[str, Any], expressions: Sequence[str], legacy: Sequence[str]) -> None:
    """Refuse expressions beside parameters that they replace, placeholders without expressions, and a
    ``ConditionalOperator`` with nothing to join. Both lists are in the order in which the service names them."""
    if _SUSPECTS.isdisjoint(body):
        return
    used = [name for name in expressions if body.get(name) is not None]
    if used:
        old = [name for name in legacy if body.get(name) is not None]
        if "KeyConditions" in old and "KeyConditionExpression" not in used:
            old.remove("KeyConditions")
        if old:
            raise invalid(
                "Can not use both expression and non-expression parameters in the same request: Non-expression "
                f"parameters: {{{', '.join(old)}}} Expression parameters: {{{', '.join(used)}}}"
            )
    if body.get("ExpressionAttributeNames") is not None and not used:
        raise invalid("ExpressionAttributeNames can only be specified when using expressions")
    with_values = [name for name in expressions if name != "ProjectionExpression"]
    if body.get("ExpressionAttributeValues") is not None and not any(name in used for name in with_values):
        refusal = "ExpressionAttributeValues can only be specified when using expressions"
        if "FilterExpression" in with_values:  # reads name what is missing
            refusal += f": {' and '.join(with_values)} {'are' if len(with_values) > 1 else 'is'} null"
        raise invalid(refusal)
    if body.get("ConditionalOperator") is not None:
        _check_operator(body, legacy)


def _check_operator(body: Mapping[str, Any], legacy: Sequence[str]) -> None:
    joined = next((body.get(name) for name in ("Expected", "QueryFilter", "ScanFilter") if name in legacy), None)
    if not joined:
        raise invalid("ConditionalOperator cannot be used without Filter or Expected")
    if len(joined) < 2:
        raise invalid("ConditionalOperator can only be used when Filter or Expected has two or more elements")


def read_attributes_to_get(body: Mapping[str, Any]) -> Clause | None:
    """``AttributesToGet`` as a projection: whole attributes, by name."""
    names = body.get("AttributesToGet")
    if names is None:
        return None
    check_names(names)
    for at, name in enumerate(names):
        if name in names[:at]:
            raise invalid(f"{WRONG}Duplicate value in attribute name: {name}")
    placeholders = [f"#{at}" for at in range(len(names))]
    return Clause(",".join(placeholders), dict(zip(placeholders, names, strict=True)), None)


def read_conditions(conditions: Mapping[str, Any] | None) -> tuple[Comparison, ...]:
    """``KeyConditions`` or a filter."""
    found = []
    for name, condition in (conditions or {}).items():
        arguments = _arguments(condition.get("AttributeValueList"))
        _check_arguments(condition["ComparisonOperator"], arguments)
        found.append(Comparison(name, condition["ComparisonOperator"], arguments))
    return tuple(found)


def read_filter(body: Mapping[str, Any], name: str) -> Expected | None:
    """``QueryFilter`` or ``ScanFilter``."""
    tests = read_conditions(body.get(name))
    return Expected(tests, body.get("ConditionalOperator") == "OR") if tests else None


def read_expected(body: Mapping[str, Any]) -> Expected | None:
    """``Expected``."""
    if "Expected" not in body:
        return None
    tests = tuple(_expectation(name, entry) for name, entry in (body.get("Expected") or {}).items())
    return Expected(tests, body.get("ConditionalOperator") == "OR") if tests else None


def _expectation(name: str, entry: Mapping[str, Any]) -> Comparison:
    listed, value = entry.get("AttributeValueList"), entry.get("Value")
    operator, exists = entry.get("ComparisonOperator"), entry.get("Exists")
    if listed is not None and value is not None:
        raise _refused(name, "Value and AttributeValueList cannot be used together")
    if operator is not None:
        if exists is not None:
            raise _refused(name, "Exists and ComparisonOperator cannot be used together")
        if operator not in ("NULL", "NOT_NULL") and listed is None and value is None:
            raise _refused(name, f"Value or AttributeValueList must be used with ComparisonOperator: {operator}")
        arguments = _arguments(listed if listed is not None else [value] if value is not None else [])
        _check_arguments(operator, arguments)
        return Comparison(name, operator, arguments)
    if listed is not None:
        raise _refused(name, "AttributeValueList can only be used with a ComparisonOperator")
    if exists is False:
        if value is not None:
            raise _refused(name, "Value cannot be used when Exists is false")
        return Comparison(name, "NULL")
    if value is None:
        raise _refused(name, f"Value must be provided when Exists is {'null' if exists is None else 'true'}")
    return Comparison(name, "EQ", _arguments([value]))


def _refused(name: str, why: str) -> ApiError:
    return invalid(f"{WRONG}{why} for Attribute: {name}")


def _arguments(listed: Sequence[Any] | None) -> tuple[Value, ...]:
    return tuple(normalise_value(value) for value in listed or ())


def _check_arguments(operator: str, arguments: tuple[Value, ...]) -> None:
    least, most = _COUNTS.get(operator, _ONE)
    if not least <= len(arguments) <= most:
        raise invalid(f"{WRONG}Invalid number of argument(s) for the {operator} ComparisonOperator")
    kinds = [values.kind_of(argument) for argument in arguments]
    if any(kind != kinds[0] for kind in kinds):
        raise invalid(f"{WRONG}AttributeValues inside AttributeValueList must be of same type")
    accepted = _TYPES.get(operator)
    if accepted is not None and kinds[0] not in accepted:
        raise invalid(f"{WRONG}ComparisonOperator {operator} is not valid for {kinds[0]} AttributeValue type")
    if operator == "BETWEEN" and values.compare(">", arguments[0], arguments[1]):
        raise invalid(
            "The BETWEEN condition was provided a range where the lower bound is greater than the upper bound"
        )


def read_updates(body: Mapping[str, Any]) -> tuple[AttributeUpdate, ...]:
    """``AttributeUpdates``."""
    if "AttributeUpdates" not in body:
        return ()
    entries = body.get("AttributeUpdates") or {}
    check_names(entries)
    return tuple(_update(name, entry) for name, entry in entries.items())


def _update(name: str, entry: Mapping[str, Any]) -> AttributeUpdate:
    action = entry.get("Action") or "PUT"
    if entry.get("Value") is None:
        if action != "DELETE":
            raise invalid(f"{WRONG}Only DELETE action is allowed when no attribute value is specified")
        return AttributeUpdate(name, action)
    value = normalise_value(entry["Value"])
    kind = values.kind_of(value)
    if action == "DELETE" and kind not in values.SETS:
        raise invalid(f"{WRONG}DELETE action with value is not supported for the type {kind}")
    if action == "ADD" and kind not in _ADDABLE:
        raise invalid(f"{WRONG}ADD action is not supported for the type {kind}")
    return AttributeUpdate(name, action, value)
