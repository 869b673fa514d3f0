"""DeleteItem: remove an item; removing what is not there is no error."""

from __future__ import annotations

from cluster.api.answers import answer, fail_if_refused, packed_collection
from cluster.api.fields import KEY, TABLE_NAME, Table
from cluster.api.operation import DataOperation, DataRequest
from cluster.api.paths import check_paths
from cluster.api.tables import TableSchema
from cluster.api.writes import CONDITIONAL, checker, whole_item
from cluster.core.commands import Command, Outcome
from cluster.core.keys import check_lookup_key, encode_key

FIELDS = Table(TABLE_NAME, KEY, *CONDITIONAL)

check_request = checker(FIELDS, whole_item("Key"))


def prepare(request: DataRequest, schema: TableSchema) -> Command:
    """The command; refuses a key that is not the table's."""
    check_lookup_key(schema.key, request.content)
    if request.clauses.condition is not None:
        check_paths(schema, condition=request.clauses.condition)
    body = request.body
    return Command(
        "delete",
        schema.name,
        encode_key(schema.key, request.content),
        condition=request.clauses.condition,
        returns=body.get("ReturnValues") or "NONE",
        on_failure=body.get("ReturnValuesOnConditionCheckFailure") or "NONE",
        capacity=body.get("ReturnConsumedCapacity") or "NONE",
        expected=request.expected,
        collection=packed_collection(schema, request.content, body),
    )


def respond(command: Command, outcome: Outcome) -> bytes:
    """The old item where it was asked for."""
    fail_if_refused(outcome)
    return answer("Attributes", command, outcome, outcome.attributes)


OPERATION = DataOperation("DeleteItem", True, check_request, prepare, respond)
