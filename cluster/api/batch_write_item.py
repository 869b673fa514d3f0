"""BatchWriteItem: up to 25 puts and deletes, into any tables, each carried out by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cluster.api.answers import add_collection, collection_of, consumed, throttled, units_of
from cluster.api.batches import check_some, settle, table_of
from cluster.api.fields import RETURN_CAPACITY, RETURN_METRICS, TABLES_CONSTRAINT, Field, Table, is_table
from cluster.api.operation import CompositeOperation, ServedTable, Services
from cluster.api.tables import TableSchema
from cluster.core.commands import Command, Outcome
from cluster.core.errors import ApiError, in_older_words, invalid
from cluster.core.indexes import check_index_keys
from cluster.core.items import Item, checked_size, item_size, normalise_item, pack_image
from cluster.core.keys import check_item_key, check_lookup_key, encode_key
from cluster.wire.json import encode

WRITES_MAX = 25
LEAST_UNITS = 1.0

_SCHEMA_MISMATCH = "The provided key element does not match the schema"

FIELDS = Table(
    RETURN_CAPACITY,
    RETURN_METRICS,
    Field(
        "RequestItems",
        "map",
        required=True,
        element=Field(
            "requests",
            "list",
            element=Field(
                "request",
                "struct",
                members=(
                    Field("DeleteRequest", "struct", members=(Field("Key", "item", required=True),)),
                    Field("PutRequest", "struct", members=(Field("Item", "item", required=True),)),
                ),
                shape="WriteRequest",
            ),
        ),
    ),
)


class Write(NamedTuple):
    """One put or delete."""

    table: str
    """As the request calls it."""
    entry: dict[str, Any]
    put: bool
    content: Item
    size: int


class Batch(NamedTuple):
    """A checked request."""

    body: dict[str, Any]
    writes: list[Write]


def check_request(body: dict[str, Any]) -> Batch:
    """Everything that needs no table."""
    FIELDS.check(body)
    check_some(body)
    requests = body["RequestItems"]
    if not all(map(is_table, requests)):
        raise _refused(requests, TABLES_CONSTRAINT)
    if any(not 1 <= len(entries) <= WRITES_MAX for entries in requests.values()):
        raise _refused(
            requests,
            f"Map value must satisfy constraint: [Member must have length less than or equal to {WRITES_MAX}, Member "
            "must have length greater than or equal to 1]",
        )
    if sum(map(len, requests.values())) > WRITES_MAX:
        raise invalid("Too many items requested for the BatchWriteItem call")
    return Batch(body, [_read(name, entry or {}) for name, entries in requests.items() for entry in entries])


def _refused(requests: Mapping[str, Sequence[Any]], constraint: str) -> ApiError:
    shown = ", ".join(f"{name}=[{', '.join(map(_shown, entries))}]" for name, entries in requests.items())
    return invalid(
        f"1 validation error detected: Value '{{{shown}}}' at 'requestItems' failed to satisfy constraint: {constraint}"
    )


def _shown(entry: Mapping[str, Any] | None) -> str:
    """A request as the service prints it, without values."""
    parts = []
    for member, content in (("PutRequest", "Item"), ("DeleteRequest", "Key")):
        given = (entry or {}).get(member)
        if given is not None:
            names = ", ".join(f"{name}=AttributeValue()" for name in given.get(content) or ())
            parts.append(f"{_lower(member)}={member}({_lower(content)}={{{names}}})")
    return f"WriteRequest({', '.join(parts)})"


def _lower(name: str) -> str:
    return name[0].lower() + name[1:]


def _read(table: str, entry: dict[str, Any]) -> Write:
    put, delete = entry.get("PutRequest"), entry.get("DeleteRequest")
    if (put is None) == (delete is None):
        raise invalid(
            "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported "
            "datatypes"
        )
    try:
        content = normalise_item(put["Item"] if put is not None else entry["DeleteRequest"]["Key"])
    except ApiError as error:
        raise in_older_words(error) from None
    size = checked_size(content) if put is not None else item_size(content)
    return Write(table, entry, put is not None, content, size)


async def plan(batch: Batch, services: Services) -> bytes:
    """Carry out every write that the tables' budgets allow, beside each other."""
    tables = {name: await services.table(table_of(name)) for name in batch.body["RequestItems"]}
    commands = [
        (tables[write.table], _command(write, tables[write.table].schema, batch.body)) for write in batch.writes
    ]
    if len({(table.schema.name, command.key) for table, command in commands}) < len(commands):
        raise invalid("Provided list of item keys contains duplicates")
    admitted = [services.take(table, writes=LEAST_UNITS) for table, _ in commands]
    if not any(admitted):
        raise throttled()
    steps = [services.run(*one) for one, allowed in zip(commands, admitted, strict=True) if allowed]
    answers = iter(await services.each(steps))
    results: list[Outcome | ApiError | None] = [next(answers) if allowed else None for allowed in admitted]
    return _answer(batch, services, commands, settle(results))


def _command(write: Write, schema: TableSchema, body: dict[str, Any]) -> Command:
    detail = body.get("ReturnConsumedCapacity") or "NONE"
    if not write.put:
        check_lookup_key(schema.key, write.content)
        key = encode_key(schema.key, write.content)
        return Command("delete", schema.name, key, capacity=detail)
    _check_item(write.content, schema)
    key = encode_key(schema.key, write.content)
    return Command("put", schema.name, key, image=pack_image(write.size, encode(write.content)), capacity=detail)


def _check_item(item: Item, schema: TableSchema) -> None:
    try:
        check_item_key(schema.key, item)
    except ApiError as error:
        if "Missing the key" in error.message or "Type mismatch for key" in error.message:
            raise invalid(_SCHEMA_MISMATCH) from None
        raise
    check_index_keys(sorted(schema.locals + schema.globals, key=lambda index: index.name), item)


def _answer(
    batch: Batch, services: Services, commands: list[tuple[ServedTable, Command]], outcomes: list[Outcome | None]
) -> bytes:
    unprocessed: dict[str, list[Any]] = {}
    done: dict[str, list[tuple[Command, Outcome]]] = {name: [] for name in batch.body["RequestItems"]}
    metrics: dict[str, list[Any]] = {}
    for write, (table, command), outcome in zip(batch.writes, commands, outcomes, strict=True):
        if outcome is None:
            unprocessed.setdefault(write.table, []).append(write.entry)
            continue
        services.charge(table, writes=units_of(command, outcome) - LEAST_UNITS)
        done[write.table].append((command, outcome))
        collection = collection_of(table.schema, write.content, batch.body)
        if collection is not None:
            add_collection(metrics.setdefault(write.table, []), collection)
    answer: dict[str, Any] = {"UnprocessedItems": unprocessed}
    if metrics:
        answer["ItemCollectionMetrics"] = metrics
    detail = batch.body.get("ReturnConsumedCapacity") or "NONE"
    if detail != "NONE":
        answer["ConsumedCapacity"] = [consumed(name, detail, writes) for name, writes in done.items()]
    return encode(answer)


OPERATION = CompositeOperation("BatchWriteItem", check_request, plan)
