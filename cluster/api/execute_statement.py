"""ExecuteStatement: one PartiQL statement."""

from __future__ import annotations

from typing import Any, NamedTuple

from cluster.api.fields import LIMIT, ON_CONDITION_FAILURE, RETURN_CAPACITY, Field, Table
from cluster.api.operation import CompositeOperation, Services
from cluster.api.partiql import PARAMETERS, STATEMENT, Options, read_statement, run
from cluster.core.partiql.nodes import Statement
from cluster.wire.json import encode

FIELDS = Table(
    STATEMENT,
    PARAMETERS,
    Field("ConsistentRead", "bool"),
    Field("NextToken", "str", length=(1, 32_768)),
    RETURN_CAPACITY,
    LIMIT,
    ON_CONDITION_FAILURE,
)


class Request(NamedTuple):
    statement: Statement
    options: Options


def check_request(body: dict[str, Any]) -> Request:
    """Everything that needs no table."""
    FIELDS.check(body)
    options = Options(
        bool(body.get("ConsistentRead")),
        body.get("Limit") or 0,
        body.get("NextToken"),
        body.get("ReturnConsumedCapacity") or "NONE",
        body.get("ReturnValuesOnConditionCheckFailure") or "NONE",
    )
    return Request(read_statement(body), options)


async def plan(request: Request, services: Services) -> bytes:
    result = await run(request.statement, request.options, services)
    answer: dict[str, Any] = {"Items": result.items}
    if result.token is not None:
        answer["NextToken"] = result.token
    if result.last is not None:
        answer["LastEvaluatedKey"] = result.last
    if result.capacity is not None:
        answer["ConsumedCapacity"] = result.capacity
    return encode(answer)


OPERATION = CompositeOperation("ExecuteStatement", check_request, plan)
