"""TransactGetItems: up to 100 items as they all were at one moment."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from cluster.api import get_item
from cluster.api.answers import read_units
from cluster.api.clauses import read_clauses
from cluster.api.fields import EXPRESSION_NAMES, KEY, RETURN_CAPACITY, TABLE_NAME, Field, Table
from cluster.api.operation import CompositeOperation, DataRequest, ServedTable, Services
from cluster.api.transact_items import (
    FACTOR,
    FINE,
    IN_THE_WAY,
    Refusal,
    Spent,
    cancelled,
    consumed,
    over_budget,
    refusal_of,
    refuse_doubles,
)
from cluster.core.commands import Command
from cluster.core.errors import ApiError, invalid
from cluster.core.expressions.projections import project
from cluster.core.items import image_body, image_size, normalise_item
from cluster.core.transactions import ACTIONS_MAX, REQUEST_BYTES_MAX
from cluster.wire.json import decode, encode

FIELDS = Table(
    Field(
        "TransactItems",
        "list",
        required=True,
        length=(1, ACTIONS_MAX),
        element=Field(
            "item",
            "struct",
            members=(
                Field(
                    "Get",
                    "struct",
                    required=True,
                    members=(
                        KEY,
                        TABLE_NAME._replace(alone=False),
                        Field("ProjectionExpression", "str"),
                        EXPRESSION_NAMES,
                    ),
                ),
            ),
            shape="TransactGetItem",
        ),
    ),
    RETURN_CAPACITY,
)


class ReadRequest(NamedTuple):
    gets: list[DataRequest]
    capacity: str


def check_request(body: dict[str, Any]) -> ReadRequest:
    """Everything that needs no table."""
    FIELDS.check(body)
    gets = []
    for entry in body["TransactItems"]:
        get = entry["Get"]
        gets.append(DataRequest(get["TableName"], normalise_item(get["Key"]), read_clauses(get, projection=True), get))
    return ReadRequest(gets, body.get("ReturnConsumedCapacity") or "NONE")


async def plan(request: ReadRequest, services: Services) -> bytes:
    tables = [await services.table(get.table) for get in request.gets]
    steps: list[tuple[ServedTable, Command]] = []
    reasons: list[Refusal] = []
    for get, table in zip(request.gets, tables, strict=True):
        try:
            steps.append((table, get_item.prepare(get, table.schema)))
            reasons.append(FINE)
        except ApiError as error:
            reasons.append(refusal_of(error))
    refuse_doubles((command.table, command.key) for _, command in steps)
    if any(reason.code for reason in reasons):
        raise cancelled(reasons)
    admitted = [services.take(table, reads=FACTOR) for table, _ in steps]
    if not all(admitted):
        raise cancelled([FINE if taken else over_budget() for taken in admitted])
    seen = await services.transact_read([(table, command.key) for table, command in steps])
    if any(one.ongoing for one in seen):
        raise cancelled([IN_THE_WAY if one.ongoing else FINE for one in seen])
    images = [one.image for one in seen]
    if sum(image_size(image) for image in images if image is not None) > REQUEST_BYTES_MAX:
        raise invalid("Transaction request size cannot exceed 4 MB")
    units = []
    for (table, command), image in zip(steps, images, strict=True):
        spent = FACTOR * read_units(image_size(image) if image is not None else 0, consistent=True)
        if spent > FACTOR:
            services.charge(table, reads=spent - FACTOR)
        units.append(Spent(command.table, spent))
    return respond(request, [command for _, command in steps], images, units)


def respond(request: ReadRequest, commands: list[Command], images: list[bytes | None], units: list[Spent]) -> bytes:
    """``Responses`` in the order of the request; an item that is not there is an empty entry, and so,
    other than with GetItem, is one of which the projection leaves nothing."""
    body: dict[str, Any] = {"Responses": [_shown(c, image) for c, image in zip(commands, images, strict=True)]}
    if request.capacity != "NONE":
        body["ConsumedCapacity"] = consumed(units, "Read", request.capacity)
    return encode(body)


def _shown(command: Command, image: bytes | None) -> dict[str, msgspec.Raw]:
    if image is None:
        return {}
    item = image_body(image)
    if command.projection is not None:
        shown = project(command.projection, decode(item))
        if not shown:
            return {}
        item = encode(shown)
    return {"Item": msgspec.Raw(item)}


OPERATION = CompositeOperation("TransactGetItems", check_request, plan)
