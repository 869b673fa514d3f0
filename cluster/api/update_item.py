"""UpdateItem: change attributes of an item in place; one that does not exist is made from its key, unless the update
only takes away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cluster.api.answers import answer, fail_if_refused, packed_collection
from cluster.api.clauses import read_clauses
from cluster.api.fields import (
    CONDITION,
    EXPRESSION_NAMES,
    EXPRESSION_VALUES,
    KEY,
    ON_CONDITION_FAILURE,
    RETURN_CAPACITY,
    RETURN_METRICS,
    RETURN_VALUES,
    TABLE_NAME,
    Field,
    Table,
)
from cluster.api.legacy import (
    ATTRIBUTE_UPDATES,
    CONDITIONAL_OPERATOR,
    EXPECTED,
    check_mixture,
    read_expected,
    read_updates,
)
from cluster.api.operation import DataOperation, DataRequest
from cluster.api.paths import check_paths
from cluster.api.tables import TableSchema
from cluster.api.writes import checker
from cluster.core.commands import ITEM_TOO_LARGE, Command, Outcome
from cluster.core.errors import invalid
from cluster.core.expressions.charge import charge
from cluster.core.expressions.parser import parse_update
from cluster.core.expressions.scope import resolve
from cluster.core.expressions.static import types_given
from cluster.core.indexes import check_index_types
from cluster.core.items import ITEM_BYTES_MAX, normalise_item
from cluster.core.keys import KeySchema, check_lookup_key, encode_key
from cluster.wire.json import encode

FIELDS = Table(
    TABLE_NAME,
    KEY,
    RETURN_VALUES._replace(alone=True),
    Field("UpdateExpression", "str"),
    CONDITION,
    EXPRESSION_NAMES,
    EXPRESSION_VALUES,
    ON_CONDITION_FAILURE,
    RETURN_CAPACITY,
    RETURN_METRICS,
    CONDITIONAL_OPERATOR,
    EXPECTED,
    ATTRIBUTE_UPDATES,
)


_FIRST = (RETURN_CAPACITY, CONDITIONAL_OPERATOR, TABLE_NAME._replace(alone=False), RETURN_VALUES, KEY)
_KEYLESS = Table(
    *_FIRST,
    *(field for field in FIELDS.fields if field.name not in {first.name for first in _FIRST}),
)
"""The same for a request without a key: then nothing is told alone, and members come in another order."""


def _check_content(body: dict[str, Any]) -> DataRequest:
    check_mixture(
        body, ("UpdateExpression", "ConditionExpression"), ("AttributeUpdates", "Expected", "ConditionalOperator")
    )
    key = normalise_item(body["Key"])
    updates = read_updates(body)
    expected = read_expected(body)
    return DataRequest(body["TableName"], key, read_clauses(body, update=True, condition=True), body, expected, updates)


def check_request(body: dict[str, Any]) -> DataRequest:
    """Everything that needs no table."""
    return (_check_keyless if body.get("Key") is None else _check_keyed)(body)


_check_keyed = checker(FIELDS, _check_content)
_check_keyless = checker(_KEYLESS, _check_content)


def prepare(request: DataRequest, schema: TableSchema) -> Command:
    """The command; refuses a key that is not the table's, an update of key attributes, and what is of a type that an
    index cannot hold, whatever the item is."""
    indexed = bool(schema.locals or schema.globals)
    check_lookup_key(schema.key, request.content)
    if request.clauses.condition is not None:
        check_paths(schema, condition=request.clauses.condition)
    update = request.clauses.update
    if update is not None:
        parsed = parse_update(update.text)
        _refuse_key_update(schema.key, [str(resolve(action.path, update.names)[0]) for action in parsed.actions])
        if indexed:
            check_index_types(schema.indexes_by_name, types_given(parsed, update.names or {}, update.values or {}))
        check_paths(schema, update=update)
    elif request.updates:
        _refuse_key_update(schema.key, [one.name for one in request.updates])
        if indexed:
            given = {one.name: next(iter(one.value)) for one in request.updates if one.value is not None}
            check_index_types(schema.indexes_by_name, given)
    body = request.body
    return Command(
        "update",
        schema.name,
        encode_key(schema.key, request.content),
        key_image=encode(request.content),
        condition=request.clauses.condition,
        update=update,
        returns=body.get("ReturnValues") or "NONE",
        on_failure=body.get("ReturnValuesOnConditionCheckFailure") or "NONE",
        capacity=body.get("ReturnConsumedCapacity") or "NONE",
        expected=request.expected,
        collection=packed_collection(schema, request.content, body),
        attribute_updates=request.updates,
    )


def prepare_alone(request: DataRequest, schema: TableSchema) -> Command:
    """The command of an UpdateItem, whose expression is measured, too, as one in a transaction is not."""
    command = prepare(request, schema)
    if command.update is not None and charge(command.update) > ITEM_BYTES_MAX:
        raise invalid(ITEM_TOO_LARGE)
    return command


def _refuse_key_update(key: KeySchema, names: Sequence[str]) -> None:
    for name in names:
        if name in key.names:
            raise invalid(
                f"One or more parameter values were invalid: Cannot update attribute {name}. "
                "This attribute is part of the key"
            )


def respond(command: Command, outcome: Outcome) -> bytes:
    """The attributes that ``ReturnValues`` asked for."""
    fail_if_refused(outcome)
    return answer("Attributes", command, outcome, outcome.attributes)


OPERATION = DataOperation("UpdateItem", True, check_request, prepare_alone, respond)
