"""TransactWriteItems: up to 100 puts, updates, deletes and checks of distinct items, all of them or none."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from cluster.api import delete_item, put_item, update_item
from cluster.api.answers import write_units
from cluster.api.clauses import read_clauses
from cluster.api.fields import (
    CONDITION,
    EXPRESSION_NAMES,
    EXPRESSION_VALUES,
    KEY,
    ON_CONDITION_FAILURE,
    RETURN_CAPACITY,
    RETURN_METRICS,
    TABLE_NAME,
    Field,
    Table,
)
from cluster.api.operation import CompositeOperation, DataRequest, ServedTable, Services
from cluster.api.tables import TableSchema
from cluster.api.transact_items import (
    FACTOR,
    FINE,
    Refusal,
    Spent,
    cancelled,
    consumed,
    first_of,
    over_budget,
    refusal_of,
    refusals,
    refuse_doubles,
    refuse_empty_keys,
)
from cluster.core.commands import Command
from cluster.core.errors import ApiError, invalid
from cluster.core.items import check_top_names, checked_size, image_size, normalise_item
from cluster.core.transactions import ACTIONS_MAX, REQUEST_BYTES_MAX, Written
from cluster.wire.json import encode

_EXPRESSIONS = (CONDITION, EXPRESSION_NAMES, EXPRESSION_VALUES, ON_CONDITION_FAILURE)
_TABLE = TABLE_NAME._replace(alone=False)
ACTIONS = Field(
    "TransactItems",
    "list",
    required=True,
    length=(1, ACTIONS_MAX),
    element=Field(
        "item",
        "struct",
        members=(
            Field(
                "ConditionCheck",
                "struct",
                members=(_TABLE, KEY, CONDITION._replace(required=True), *_EXPRESSIONS[1:]),
            ),
            Field("Put", "struct", members=(_TABLE, Field("Item", "item", required=True), *_EXPRESSIONS)),
            Field("Delete", "struct", members=(_TABLE, KEY, *_EXPRESSIONS)),
            Field(
                "Update",
                "struct",
                members=(_TABLE, KEY, Field("UpdateExpression", "str", required=True), *_EXPRESSIONS),
            ),
        ),
        shape="TransactWriteItem",
    ),
)

FIELDS = Table(
    ACTIONS,
    Field("ClientRequestToken", "str", length=(1, 36)),
    RETURN_CAPACITY,
    RETURN_METRICS,
)

KINDS = ("ConditionCheck", "Put", "Delete", "Update")

_digest_encoder = msgspec.json.Encoder(order="deterministic")


class Action(NamedTuple):
    """One checked action."""

    kind: str
    request: DataRequest


class WriteRequest(NamedTuple):
    actions: list[Action]
    token: str
    digest: str
    """Of the actions, whatever the order of their members."""
    capacity: str


def check_request(body: dict[str, Any]) -> WriteRequest:
    """Everything that needs no table."""
    FIELDS.check(body)
    actions = [_check_action(entry) for entry in body["TransactItems"]]
    digest = hashlib.sha256(_digest_encoder.encode(body["TransactItems"])).hexdigest()
    return WriteRequest(
        actions, body.get("ClientRequestToken") or "", digest, body.get("ReturnConsumedCapacity") or "NONE"
    )


def _check_action(entry: Mapping[str, Any] | None) -> Action:
    given = [kind for kind in KINDS if entry is not None and entry.get(kind) is not None]
    if not given:
        raise invalid("Invalid Request: TransactWriteRequest should contain Delete or Put or Update request")
    if len(given) > 1:
        raise invalid("TransactItems can only contain one of Check, Put, Update or Delete")
    assert entry is not None
    kind = given[0]
    action = entry[kind]
    item = action["Item" if kind == "Put" else "Key"]
    check_top_names(item)
    clauses = read_clauses(action, update=kind == "Update", condition=True)
    content = normalise_item(item)
    if kind == "Put":
        checked_size(content)  # which the request alone tells: it is refused, and no transaction is cancelled
    return Action(kind, DataRequest(action["TableName"], content, clauses, action))


def command_of(action: Action, schema: TableSchema) -> Command:
    """The action's command. Refuses what its table cannot hold."""
    if action.kind == "Put":
        return put_item.prepare(action.request, schema)
    if action.kind == "Update":
        return update_item.prepare(action.request, schema)
    command = delete_item.prepare(action.request, schema)
    return command if action.kind == "Delete" else command._replace(kind="check")


async def plan(request: WriteRequest, services: Services) -> bytes:
    tables = [await services.table(action.request.table) for action in request.actions]
    steps: list[tuple[ServedTable, Command]] = []
    reasons: list[Refusal] = []
    for action, table in zip(request.actions, tables, strict=True):
        try:
            steps.append((table, command_of(action, table.schema)))
            reasons.append(FINE)
        except ApiError as error:
            reasons.append(refusal_of(error))
    refuse_doubles((command.table, command.key) for _, command in steps)
    if sum(image_size(command.image) for _, command in steps if command.image is not None) > REQUEST_BYTES_MAX:
        raise invalid("Transaction request size cannot exceed 4 MB")
    if any(reason.code for reason in reasons):
        raise cancelled(first_of(reasons))
    admitted = [services.take(table, writes=FACTOR) for table, _ in steps]
    if not all(admitted):
        raise cancelled([FINE if taken else over_budget() for taken in admitted])
    written = await services.transact_write(steps, request.token, request.digest)
    units = _charge(steps, written, services)
    if any(vote.code for vote in written.votes):
        refuse_empty_keys(written.votes)
        raise cancelled(refusals(written.votes))
    return respond(request, written, units)


def _charge(steps: list[tuple[ServedTable, Command]], written: Written, services: Services) -> list[Spent]:
    """Spend what the answer showed to be needed beyond what was taken, by action. Local indexes share in the table's
    budget (global ones slow the table down by themselves); where any action was refused none was written."""
    refused = any(vote.code for vote in written.votes)
    units: list[Spent] = []
    for (table, command), vote in zip(steps, written.votes, strict=True):
        own = FACTOR * write_units(vote.size_before, vote.size_after)
        rest = own - FACTOR + (sum(vote.local_units.values()) if vote.local_units and not refused else 0.0)
        if rest:
            services.charge(table, writes=rest)
        units.append(Spent(command.table, own, vote.local_units, vote.global_units))
    return units


def respond(request: WriteRequest, written: Written, units: list[Spent]) -> bytes:
    """Nothing but the consumed capacity, where it was asked for; of a repeated request that is a read's [DG]."""
    if request.capacity == "NONE":
        return b"{}"
    if written.repeated:
        return encode({"ConsumedCapacity": consumed((Spent(*one) for one in written.units), "Read", request.capacity)})
    return encode({"ConsumedCapacity": consumed(units, "Write", request.capacity)})


OPERATION = CompositeOperation("TransactWriteItems", check_request, plan)
