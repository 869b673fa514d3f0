"""What the leader of a group must know of its table: more than the keys that commands carry, and changing over time.

The control plane keeps a table's :class:`Shape` with its record and sends it to each of its groups (``set-shape``);
there it is a row of the group (:data:`SHAPE`), so that whoever leads next has it, as of the same log position as
everything else. An entry that changes it is applied like any other: writes decided before it was applied follow the
shape before. Versions only rise, and a group refuses an older one, so that a plan that was overtaken changes nothing. A
table that needs none of this has no shape, and costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cluster.core.keys import KeyAttribute, KeySchema
from cluster.core.side import META

SHAPE = META + b"shape"
"""The row that holds a group's shape, as msgpack of the struct below."""

BACKFILL = META + b"backfill/"
"""And the id of an index: how far the group has brought its items into it (:mod:`cluster.node.backfill`)."""

INDEX_SEPARATOR = "/"
"""Between a table's name and an index's in the name under which the index's own partitions are known; no table's name
can hold it."""


class IndexShape(NamedTuple):
    """One secondary index that writes must maintain."""

    name: str
    id: str
    """A global index: distinguishes it from earlier ones of its name. Empty for a local one."""
    number: int
    """A local index: its byte in storage keys, from 0. Local indexes live and die with their table."""
    hash: tuple[KeyAttribute, ...]
    sort: tuple[KeyAttribute, ...]
    projection: str = "ALL"
    """``ALL``, ``KEYS_ONLY`` or ``INCLUDE``."""
    include: tuple[str, ...] = ()
    write_rate: float = 0.0
    """A global index: units a second that each of the table's partitions may spend on writing it; 0: no limit."""
    backfill: bool = False
    """A global index that is not complete: items that were there before it are still to be brought in."""

    @property
    def keys(self) -> tuple[KeyAttribute, ...]:
        """All its key attributes; an item that lacks one is not in the index."""
        return self.hash + self.sort


class Shape(NamedTuple):
    """What a group's leader knows of its table. Fields are added at the end, with defaults."""

    version: int
    table: str
    key: KeySchema
    locals: tuple[IndexShape, ...] = ()
    globals: tuple[IndexShape, ...] = ()
    ttl: str = ""
    """The attribute that says when an item expires; empty: none does."""
    stream: str = ""
    """What the table's stream shows of a change (its StreamViewType); empty: there is no stream."""

    @property
    def indexed(self) -> bool:
        """Whether a write must look at indexes."""
        return bool(self.locals or self.globals)


def index_table(table: str, index: str) -> str:
    """The name under which routers find a global index's partitions."""
    return f"{table}{INDEX_SEPARATOR}{index}"


def is_index_table(name: str) -> bool:
    """Whether a catalog name is a global index's; such tables are never shown to callers."""
    return INDEX_SEPARATOR in name


def key_of(schema: Sequence[Mapping[str, str]], types: Mapping[str, str]) -> KeySchema:
    """A table's primary key, from its description's ``KeySchema``."""
    first, *more = read_keys(schema, types, "HASH") + read_keys(schema, types, "RANGE")
    return KeySchema(first, more[0] if more else None)


def read_keys(schema: Sequence[Mapping[str, str]], types: Mapping[str, str], role: str) -> tuple[KeyAttribute, ...]:
    """The key attributes of one role (``HASH`` or ``RANGE``), in order."""
    names = [entry["AttributeName"] for entry in schema if entry["KeyType"] == role]
    return tuple(KeyAttribute(name, types[name]) for name in names)


def types_of(description: Mapping[str, Any]) -> dict[str, str]:
    """Attribute names to types, from DescribeTable's ``Table`` object."""
    return {entry["AttributeName"]: entry["AttributeType"] for entry in description["AttributeDefinitions"]}


def local_indexes(description: Mapping[str, Any]) -> tuple[IndexShape, ...]:
    """A description's local indexes; their numbers are their places in it."""
    types = types_of(description)
    entries = description.get("LocalSecondaryIndexes") or ()
    return tuple(_index(entry, types, "", number) for number, entry in enumerate(entries))


def global_indexes(description: Mapping[str, Any], ids: Mapping[str, str] | None = None) -> tuple[IndexShape, ...]:
    """A description's global indexes; ``ids`` by name, where they are known."""
    types = types_of(description)
    entries = description.get("GlobalSecondaryIndexes") or ()
    return tuple(_index(entry, types, (ids or {}).get(entry["IndexName"], ""), 0) for entry in entries)


def _index(entry: Mapping[str, Any], types: Mapping[str, str], index_id: str, number: int) -> IndexShape:
    projection = entry.get("Projection") or {}
    return IndexShape(
        entry["IndexName"],
        index_id,
        number,
        read_keys(entry["KeySchema"], types, "HASH"),
        read_keys(entry["KeySchema"], types, "RANGE"),
        projection.get("ProjectionType") or "ALL",
        tuple(projection.get("NonKeyAttributes") or ()),
        backfill=entry.get("IndexStatus") == "CREATING",
    )
