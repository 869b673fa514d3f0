"""PutItem: store a whole item, replacing any other with its key."""

from __future__ import annotations

from cluster.api.answers import answer, fail_if_refused, packed_collection
from cluster.api.fields import TABLE_NAME, Field, Table
from cluster.api.operation import DataOperation, DataRequest
from cluster.api.paths import check_paths
from cluster.api.tables import TableSchema
from cluster.api.writes import CONDITIONAL, checker, whole_item
from cluster.core.commands import Command, Outcome
from cluster.core.indexes import check_index_keys
from cluster.core.items import NAME_BYTES_MAX, check_names, checked_size, pack_image
from cluster.core.keys import check_item_key, encode_key
from cluster.wire.json import encode

FIELDS = Table(TABLE_NAME, Field("Item", "item", required=True), *CONDITIONAL)

check_request = checker(FIELDS, whole_item("Item"))


def prepare(request: DataRequest, schema: TableSchema) -> Command:
    """The command; refuses an item without the table's key or over 400 KB."""
    item, body = request.content, request.body
    size = checked_size(item)
    if size > NAME_BYTES_MAX:
        check_names(item)
    check_item_key(schema.key, item)
    if request.clauses.condition is not None:
        check_paths(schema, condition=request.clauses.condition)
    if schema.locals or schema.globals:
        check_index_keys(schema.indexes_by_name, item)
    return Command(
        "put",
        schema.name,
        encode_key(schema.key, item),
        image=pack_image(size, encode(item)),
        condition=request.clauses.condition,
        returns=body.get("ReturnValues") or "NONE",
        on_failure=body.get("ReturnValuesOnConditionCheckFailure") or "NONE",
        capacity=body.get("ReturnConsumedCapacity") or "NONE",
        expected=request.expected,
        collection=packed_collection(schema, item, body),
    )


def respond(command: Command, outcome: Outcome) -> bytes:
    """The old item where it was asked for."""
    fail_if_refused(outcome)
    return answer("Attributes", command, outcome, outcome.attributes)


OPERATION = DataOperation("PutItem", True, check_request, prepare, respond)
