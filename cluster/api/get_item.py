"""GetItem: one item by its key, strongly or eventually consistent."""

from __future__ import annotations

from typing import Any

from cluster.api.answers import answer, fail_if_refused
from cluster.api.clauses import Clauses, read_clauses
from cluster.api.fields import EXPRESSION_NAMES, KEY, RETURN_CAPACITY, TABLE_NAME, Field, Table
from cluster.api.legacy import ATTRIBUTES_TO_GET, check_mixture, read_attributes_to_get
from cluster.api.operation import DataOperation, DataRequest
from cluster.api.paths import check_paths
from cluster.api.tables import TableSchema
from cluster.core.commands import Command, Outcome
from cluster.core.expressions.projections import project
from cluster.core.items import normalise_item
from cluster.core.keys import check_lookup_key, encode_key
from cluster.wire.json import decode, encode

FIELDS = Table(
    TABLE_NAME,
    KEY,
    Field("ConsistentRead", "bool"),
    Field("ProjectionExpression", "str"),
    EXPRESSION_NAMES,
    RETURN_CAPACITY,
    ATTRIBUTES_TO_GET,
)


def check_request(body: dict[str, Any]) -> DataRequest:
    """Everything that needs no table."""
    FIELDS.check(body)
    check_mixture(body, ("ProjectionExpression",), ("AttributesToGet",))
    key = normalise_item(body["Key"])
    clauses = read_clauses(body, projection=True)
    if clauses.projection is None:
        clauses = Clauses(projection=read_attributes_to_get(body))
    return DataRequest(body["TableName"], key, clauses, body)


def prepare(request: DataRequest, schema: TableSchema) -> Command:
    """The command; refuses a key that is not the table's."""
    check_lookup_key(schema.key, request.content)
    if request.clauses.projection is not None:
        check_paths(schema, projection=request.clauses.projection)
    body = request.body
    return Command(
        "get",
        schema.name,
        encode_key(schema.key, request.content),
        projection=request.clauses.projection,
        consistent=bool(body.get("ConsistentRead")),
        capacity=body.get("ReturnConsumedCapacity") or "NONE",
    )


def respond(command: Command, outcome: Outcome) -> bytes:
    """The item as stored, or the part of it a projection names; no ``Item`` where there is none."""
    fail_if_refused(outcome)
    item = outcome.attributes
    if item is not None and command.projection is not None:
        item = encode(project(command.projection, decode(item)))
    return answer("Item", command, outcome, item)


OPERATION = DataOperation("GetItem", False, check_request, prepare, respond)
