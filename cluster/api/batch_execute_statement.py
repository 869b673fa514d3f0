"""BatchExecuteStatement: up to 25 PartiQL statements, all reads or all writes, each by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from cluster.api.fields import ON_CONDITION_FAILURE, RETURN_CAPACITY, Field, Table
from cluster.api.operation import CompositeOperation, Services
from cluster.api.partiql import PARAMETERS, STATEMENT, Options, Result, read_statement, refuse_several, run
from cluster.core.errors import ApiError, invalid
from cluster.core.partiql import clauses
from cluster.core.partiql.nodes import Exists, Select, Statement
from cluster.wire.json import encode

STATEMENTS_MAX = 25

FIELDS = Table(
    Field(
        "Statements",
        "list",
        required=True,
        length=(1, STATEMENTS_MAX),
        element=Field(
            "member",
            "struct",
            shape="BatchStatementRequest",
            members=(STATEMENT, PARAMETERS, Field("ConsistentRead", "bool"), ON_CONDITION_FAILURE),
        ),
    ),
    RETURN_CAPACITY,
)

_CODES = {
    "ValidationException": "ValidationError",
    "InternalServerError": "InternalServerError",
    "ThrottlingException": "ThrottlingError",
    "ServiceUnavailableException": "InternalServerError",
}
"""Codes of single statements that are not simply the exception's name without its end."""


_BEFORE = ("ValidationException", "ResourceNotFoundException")
"""Refusals of a statement that did not run: its table is not named beside them."""


class Member(NamedTuple):
    """One statement, or why it cannot be one."""

    statement: Statement | None
    options: Options
    refused: ApiError | None


def check_request(body: dict[str, Any]) -> list[Member]:
    """Everything that needs no table. A statement that cannot be read fails alone."""
    FIELDS.check(body)
    members = [_member(entry, body.get("ReturnConsumedCapacity") or "NONE") for entry in body["Statements"]]
    reads = {isinstance(member.statement, Select) for member in members if member.statement is not None}
    if len(reads) > 1:
        raise invalid("Batch requests must contain either only read or only write statements")
    return members


def _member(entry: Mapping[str, Any], capacity: str) -> Member:
    on_failure = entry.get("ReturnValuesOnConditionCheckFailure") or "NONE"
    options = Options(bool(entry.get("ConsistentRead")), capacity=capacity, on_failure=on_failure)
    try:
        return Member(read_statement(entry), options, None)
    except ApiError as error:
        if error.kind != "ValidationException":
            raise
        return Member(None, options, error)


async def plan(members: list[Member], services: Services) -> bytes:
    results = await services.each([_run(member, services) for member in members])
    responses = [_response(member, result) for member, result in zip(members, results, strict=True)]
    answer: dict[str, Any] = {"Responses": responses}
    spent = [r.capacity for r in results if isinstance(r, Result) and r.capacity is not None]
    if spent:
        answer["ConsumedCapacity"] = _by_table(spent)
    return encode(answer)


async def _run(member: Member, services: Services) -> Result:
    statement = member.statement
    if statement is None:
        assert member.refused is not None
        raise member.refused
    if isinstance(statement, Select):
        table = await services.table(statement.table)
        if statement.index_name is not None:
            refuse_several(table.schema.index_named(statement.index_name))
        if statement.index_name is not None or not clauses.names_a_key(statement.where, table.schema.key.names):
            raise invalid(
                "Select statements within BatchExecuteStatement must specify the primary key in the where clause."
            )
    return await run(statement, member.options, services)


def _response(member: Member, result: Result | ApiError) -> dict[str, Any]:
    if isinstance(result, Result):
        return {"TableName": result.table, **({"Item": result.items[0]} if result.items else {})}
    code = _CODES.get(result.kind, result.kind.removesuffix("Exception"))
    error: dict[str, Any] = {"Code": code, "Message": result.message, **(result.extra or {})}
    statement = member.statement
    if statement is None or result.kind in _BEFORE:
        return {"Error": error}
    table = statement.select.table if isinstance(statement, Exists) else statement.table
    return {"Error": error, "TableName": table}


def _by_table(spent: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    totals: dict[str, dict[str, Any]] = {}
    for one in spent:
        total = totals.setdefault(one["TableName"], {"TableName": one["TableName"], "CapacityUnits": 0.0})
        total["CapacityUnits"] += one["CapacityUnits"]
        if "Table" in one:
            table = total.setdefault("Table", {"CapacityUnits": 0.0})
            table["CapacityUnits"] += one["Table"]["CapacityUnits"]
    return list(totals.values())


OPERATION = CompositeOperation("BatchExecuteStatement", check_request, plan)
