"""ExecuteTransaction: PartiQL statements that all happen, or all read, at one moment; over the transactions of
TransactWriteItems and TransactGetItems."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from cluster.api import transact_get_items, transact_write_items
from cluster.api.clauses import Clauses
from cluster.api.fields import RETURN_CAPACITY, Field, Table
from cluster.api.operation import CompositeOperation, DataRequest, Services
from cluster.api.partiql import (
    DUPLICATE,
    PARAMETERS,
    STATEMENT,
    Options,
    filtered,
    read_parameters,
    read_statement,
    write_request,
)
from cluster.core.errors import ApiError, invalid
from cluster.core.partiql import clauses
from cluster.core.partiql.nodes import Delete, Exists, Insert, Select, Statement, Update
from cluster.wire.json import decode, encode

STATEMENTS_MAX = 100

FIELDS = Table(
    Field(
        "TransactStatements",
        "list",
        required=True,
        length=(1, STATEMENTS_MAX),
        element=Field("member", "struct", shape="ParameterizedStatement", members=(STATEMENT, PARAMETERS)),
    ),
    Field("ClientRequestToken", "str", length=(1, 36)),
    RETURN_CAPACITY,
)


class Request(NamedTuple):
    statements: list[Statement]
    token: str
    digest: str
    capacity: str


def check_request(body: dict[str, Any]) -> Request:
    """Everything that needs no table."""
    FIELDS.check(body)
    entries = body["TransactStatements"]
    for entry in entries:
        read_parameters(entry)  # which are refused by themselves, whatever their statements are
    statements = []
    for at, entry in enumerate(entries):
        try:
            statements.append(_check(read_statement(entry)))
        except ApiError as error:
            if error.kind != "ValidationException":
                raise
            raise invalid(f"Validation failed in TransactStatements[{at}]: {error.message}") from None
    if len({isinstance(statement, Select) for statement in statements}) > 1:
        raise invalid("The entire transaction must consist of either read statements or write statements")
    digest = hashlib.sha256(encode(entries)).hexdigest()
    return Request(
        statements, body.get("ClientRequestToken") or "", digest, body.get("ReturnConsumedCapacity") or "NONE"
    )


def _check(statement: Statement) -> Statement:
    if isinstance(statement, (Update, Delete)) and statement.returning:
        raise invalid("RETURNING clause is not supported in ExecuteTransaction.")
    select = statement.select if isinstance(statement, Exists) else statement
    if isinstance(select, Select) and select.index_name is not None:
        raise invalid("Reads on indices are not supported within transactions.")
    return statement


async def plan(request: Request, services: Services) -> bytes:
    selects = [statement for statement in request.statements if isinstance(statement, Select)]
    if selects:
        return await _read(selects, request, services)
    actions: list[transact_write_items.Action] = []
    for at, statement in enumerate(request.statements):
        assert not isinstance(statement, Select)
        name = statement.select.table if isinstance(statement, Exists) else statement.table
        table = await services.table(name)
        if isinstance(statement, Exists):
            _check_exists(at, statement, table.schema.key.names)
        _, made = write_request(statement, table.schema.key, Options())
        actions.append(transact_write_items.Action(_kind(statement), made))
    wanted = transact_write_items.WriteRequest(actions, request.token, request.digest, request.capacity)
    try:
        answer = decode(await transact_write_items.plan(wanted, services))
    except ApiError as error:
        raise _told_as_duplicates(error, request.statements) from None
    return encode({"Responses": [], **answer})


def _check_exists(at: int, statement: Exists, names: Sequence[str]) -> None:
    split = clauses.split_key(statement.select.where, names)
    if split is None or not split[1]:
        raise invalid(
            f"Validation failed in TransactStatements[{at}]: EXISTS() must contain a single item read with additional "
            "condition"
        )


def _kind(statement: Insert | Update | Delete | Exists) -> str:
    if isinstance(statement, Insert):
        return "Put"
    if isinstance(statement, Exists):
        return "ConditionCheck"
    return "Update" if isinstance(statement, Update) else "Delete"


def _told_as_duplicates(error: ApiError, statements: Sequence[Statement]) -> ApiError:
    """An INSERT whose item is there already is told as what it is."""
    if error.kind != "TransactionCanceledException" or error.extra is None:
        return error
    reasons = [dict(reason) for reason in error.extra["CancellationReasons"]]
    for statement, reason in zip(statements, reasons, strict=True):
        if isinstance(statement, Insert) and reason["Code"] == "ConditionalCheckFailed":
            reason.update(Code="DuplicateItem", Message=DUPLICATE)
    codes = ", ".join(reason["Code"] for reason in reasons)
    return ApiError(
        error.kind,
        f"Transaction cancelled, please refer cancellation reasons for specific reasons [{codes}]",
        {"CancellationReasons": reasons},
    )


async def _read(selects: list[Select], request: Request, services: Services) -> bytes:
    gets: list[DataRequest] = []
    rest = []
    for at, select in enumerate(selects):
        table = await services.table(select.table)
        split = clauses.split_key(select.where, table.schema.key.names)
        if split is None or not clauses.names_a_key(select.where, table.schema.key.names):
            raise invalid(
                f"Validation failed in TransactStatements[{at}]: Select statements within ExecuteTransaction must "
                "specify the primary key in the where clause."
            )
        gets.append(DataRequest(select.table, split[0], Clauses(), {}))
        rest.append(split[1])
    body = await transact_get_items.plan(transact_get_items.ReadRequest(gets, request.capacity), services)
    answer = decode(body)
    responses = []
    for select, others, found in zip(selects, rest, answer["Responses"], strict=True):
        shown = filtered(select, found.get("Item"), others)
        responses.append({"Item": shown} if shown is not None else {})
    return encode({**answer, "Responses": responses})


OPERATION = CompositeOperation("ExecuteTransaction", check_request, plan)
