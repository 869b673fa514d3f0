"""Bodies of data-plane answers, put together from the leader's bytes without decoding them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from cluster.api.tables import TableSchema
from cluster.core.commands import Command, Outcome
from cluster.core.errors import ApiError
from cluster.wire.json import encode

READ_UNIT_BYTES = 4096
WRITE_UNIT_BYTES = 1024


def throttled() -> ApiError:
    """The table's budget is exhausted."""
    return ApiError(
        "ProvisionedThroughputExceededException",
        "The level of configured provisioned throughput for the table was exceeded. Consider increasing your "
        "provisioning level with the UpdateTable API.",
    )


def fail_if_refused(outcome: Outcome) -> None:
    """Raise what the leader refused, with the item where the caller asked to see it."""
    if outcome.error is None:
        return
    extra = {"Item": msgspec.Raw(outcome.attributes)} if outcome.attributes is not None else None
    raise ApiError(outcome.error, outcome.message, extra)


def read_units(size: int, *, consistent: bool) -> float:
    """RCU of reading one item of ``size`` bytes (0: it was missing): per 4 KB begun, half if eventual, at least one."""
    units = -(-size // READ_UNIT_BYTES) or 1
    return float(units) if consistent else units / 2


def write_units(size_before: int, size_after: int) -> float:
    """WCU of writing one item: per KB begun of the larger of before and after, at least one [DG]."""
    return float(-(-(size_after if size_after > size_before else size_before) // WRITE_UNIT_BYTES) or 1)


def table_units(command: Command, outcome: Outcome) -> float:
    """Capacity a command consumed of the table itself, also where its condition failed."""
    if command.kind == "get":
        return read_units(outcome.size_before, consistent=command.consistent)
    return write_units(outcome.size_before, outcome.size_after)


def units_of(command: Command, outcome: Outcome) -> float:
    """What a command is to be charged to the table's budget, in which its local indexes share."""
    if command.kind == "get":
        return read_units(outcome.size_before, consistent=command.consistent)
    units = write_units(outcome.size_before, outcome.size_after)
    return units + sum(outcome.local_units.values()) if outcome.local_units else units


def answer(member: str, command: Command, outcome: Outcome, attributes: bytes | None) -> bytes:
    """``{"Attributes": ...}`` or ``{"Item": ...}`` with the consumed capacity and metrics if they were asked for."""
    if command.capacity == "NONE" and command.collection is None:
        return b"{}" if attributes is None else b'{"%s":%s}' % (member.encode(), attributes)
    parts: list[bytes] = []
    if attributes is not None:
        parts.append(b'"%s":%s' % (member.encode(), attributes))
    if command.capacity != "NONE":
        parts.append(b'"ConsumedCapacity":' + encode(consumed(command.table, command.capacity, [(command, outcome)])))
    if command.collection is not None:
        parts.append(b'"ItemCollectionMetrics":' + command.collection)
    return b"{%s}" % b",".join(parts)


def consumed(table: str, detail: str, done: Iterable[tuple[Command, Outcome]]) -> dict[str, Any]:
    """``ConsumedCapacity`` of commands on one table: in all, and with INDEXES by table and index."""
    own = 0.0
    indexes: dict[str, dict[str, float]] = {"LocalSecondaryIndexes": {}, "GlobalSecondaryIndexes": {}}
    for command, outcome in done:
        own += table_units(command, outcome)
        for kind, units in (
            ("LocalSecondaryIndexes", outcome.local_units),
            ("GlobalSecondaryIndexes", outcome.global_units),
        ):
            for name, spent in (units or {}).items():
                indexes[kind][name] = indexes[kind].get(name, 0.0) + spent
    total = own + sum(sum(units.values()) for units in indexes.values())
    entry: dict[str, Any] = {"TableName": table, "CapacityUnits": total}
    if detail == "INDEXES":
        entry["Table"] = {"CapacityUnits": own}
        for kind, units in indexes.items():
            if units:
                entry[kind] = {name: {"CapacityUnits": spent} for name, spent in units.items()}
    return entry


def collection_of(schema: TableSchema, content: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, Any] | None:
    """``ItemCollectionMetrics`` of an item that was written, where they were asked for and the table has local indexes,
    without which there are none. No group keeps count of its collections: all are estimated to be small."""
    if body.get("ReturnItemCollectionMetrics") != "SIZE" or not schema.locals:
        return None
    name = schema.key.hash.name
    return {"ItemCollectionKey": {name: content[name]}, "SizeEstimateRangeGB": [0.0, 1.0]}


def packed_collection(schema: TableSchema, content: Mapping[str, Any], body: Mapping[str, Any]) -> bytes | None:
    """The same as JSON, for :attr:`Command.collection`."""
    found = collection_of(schema, content, body)
    return encode(found) if found is not None else None


def add_collection(metrics: list[Any], collection: dict[str, Any]) -> None:
    """Each collection is told of once."""
    if collection not in metrics:
        metrics.append(collection)
