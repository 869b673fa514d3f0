"""A request's expressions: parsed, checked against their placeholders, and cut to the placeholders each uses."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from cluster.core.commands import Clause
from cluster.core.errors import ApiError, RefusedValue, in_older_words, invalid
from cluster.core.expressions import static
from cluster.core.expressions.nodes import Parsed
from cluster.core.expressions.parser import parse_condition, parse_projection, parse_update
from cluster.core.expressions.tokens import ExpressionError
from cluster.core.items import check_names, normalise_value, value_size

PLACEHOLDER_BYTES_MAX = 255
VALUES_BYTES_MAX = 2 * 1024 * 1024
"""Bytes that all values of one request may have together [DG]."""

_NAME = re.compile(r"#[0-9a-zA-Z_]+\Z")
_VALUE = re.compile(r":[0-9a-zA-Z_]+\Z")
_NOTHING: Mapping[str, Any] = {}


class Clauses(NamedTuple):
    """The checked expressions of one request; those it does not have are None."""

    update: Clause | None = None
    condition: Clause | None = None
    projection: Clause | None = None
    filter: Clause | None = None
    key_condition: Clause | None = None


_NO_CLAUSES = Clauses()


def read_clauses(
    body: Mapping[str, Any],
    *,
    update: bool = False,
    condition: bool = False,
    projection: bool = False,
    filtered: bool = False,
    key_condition: bool = False,
    older: bool = False,
) -> Clauses:
    """The expressions an operation allows, from its request, whose parameters go together
    (:func:`cluster.api.legacy.check_mixture`). Raises ``ValidationException`` as AWS words it; ``older``: as the older
    of its two layers words refusals of values."""
    update_text = body.get("UpdateExpression") if update else None
    condition_text = body.get("ConditionExpression") if condition else None
    projection_text = body.get("ProjectionExpression") if projection else None
    filter_text = body.get("FilterExpression") if filtered else None
    key_text = body.get("KeyConditionExpression") if key_condition else None
    if (
        update_text is None
        and condition_text is None
        and projection_text is None
        and filter_text is None
        and key_text is None
    ):
        return _NO_CLAUSES
    names = _read_names(body.get("ExpressionAttributeNames"))
    values = _read_values(body.get("ExpressionAttributeValues"), older)
    used: list[Parsed] = []
    made_of = (names, values, used)
    update_clause = _clause("Update", update_text, parse_update, _check_update, *made_of)
    condition_clause = _clause("Condition", condition_text, parse_condition, _check_condition, *made_of)
    key_clause = _clause("KeyCondition", key_text, parse_condition, _check_key_condition, *made_of)
    filter_clause = _clause("Filter", filter_text, parse_condition, _check_condition, *made_of)
    projection_clause = _clause("Projection", projection_text, parse_projection, _check_projection, *made_of)
    _refuse_unused(used, names, values)
    return Clauses(update_clause, condition_clause, projection_clause, filter_clause, key_clause)


def _read_names(names: Any) -> Mapping[str, str]:
    if names is None:
        return _NOTHING
    if not names:
        raise invalid("ExpressionAttributeNames must not be empty")
    for key, name in names.items():
        if not _NAME.match(key) or len(key) > PLACEHOLDER_BYTES_MAX:
            raise invalid(f'ExpressionAttributeNames contains invalid key: Syntax error; key: "{key}"')
        if not name:
            raise invalid(f"ExpressionAttributeNames contains invalid value: Value must not be empty for key {key}")
    check_names(names.values())
    checked: Mapping[str, str] = names
    return checked


def _read_values(values: Any, older: bool) -> Mapping[str, Any]:
    if values is None:
        return _NOTHING
    if not values:
        raise invalid("ExpressionAttributeValues must not be empty")
    checked: dict[str, Any] = {}
    size = 0
    for key, value in values.items():
        if not _VALUE.match(key) or len(key) > PLACEHOLDER_BYTES_MAX:
            raise invalid(f'ExpressionAttributeValues contains invalid key: Syntax error; key: "{key}"')
        try:
            checked[key] = normalise_value(value)
        except ApiError as error:
            if error.kind != "ValidationException" or (isinstance(error, RefusedValue) and not older):
                raise
            why = in_older_words(error).message
            raise invalid(f"ExpressionAttributeValues contains invalid value: {why} for key {key}") from None
        size += value_size(checked[key])
    if size > VALUES_BYTES_MAX:
        raise invalid("ExpressionAttributeValues exceeds max size")
    return checked


def _check_update(parsed: Parsed, names: Mapping[str, str], values: Mapping[str, Any]) -> None:
    static.check_update(parsed, names, values)


def _check_condition(parsed: Parsed, names: Mapping[str, str], values: Mapping[str, Any]) -> None:
    static.check_condition(parsed, names, values)


def _check_key_condition(parsed: Parsed, names: Mapping[str, str], values: Mapping[str, Any]) -> None:
    static.check_condition(parsed, names, values, of_key=True)


def _check_projection(parsed: Parsed, names: Mapping[str, str], values: Mapping[str, Any]) -> None:
    static.check_projection(parsed, names)


def _clause(
    what: str,
    text: str | None,
    parse: Callable[[str], Parsed],
    check: Callable[[Parsed, Mapping[str, str], Mapping[str, Any]], None],
    names: Mapping[str, str],
    values: Mapping[str, Any],
    used: list[Parsed],
) -> Clause | None:
    if text is None:
        return None
    try:
        parsed = parse(text)
        check(parsed, names, values)
    except ExpressionError as error:
        raise invalid(f"Invalid {what}Expression: {error.message}") from None
    used.append(parsed)
    return Clause(
        text,
        {name: names[name] for name in parsed.names} or None,
        {value: values[value] for value in parsed.values} or None,
    )


def _refuse_unused(used: list[Parsed], names: Mapping[str, str], values: Mapping[str, Any]) -> None:
    idle_names = [name for name in names if all(name not in parsed.names for parsed in used)]
    if idle_names:
        raise invalid(
            "Value provided in ExpressionAttributeNames unused in expressions: keys: {" + ", ".join(idle_names) + "}"
        )
    idle_values = [value for value in values if all(value not in parsed.values for parsed in used)]
    if idle_values:
        raise invalid(
            "Value provided in ExpressionAttributeValues unused in expressions: keys: {" + ", ".join(idle_values) + "}"
        )
