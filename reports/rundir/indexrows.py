"""``indexes.json``: what tables with secondary indexes and these indexes held once all was quiet, row by row.

Read from the storage nodes (a partition's leader, all of its rows as they are stored), not through the API, whose word
is what is being judged.
"""

from __future__ import annotations

from typing import Any

import msgspec


class IndexDump(msgspec.Struct, frozen=True, kw_only=True):
    """One index. ``items`` are the items of its rows as JSON; ``error`` says why they are not all there."""

    name: str
    local: bool
    hash: list[str]
    sort: list[str] = []
    projection: str = "ALL"
    include: list[str] = []
    status: str = "ACTIVE"
    items: list[dict[str, Any]] = []
    error: str | None = None


class TableDump(msgspec.Struct, frozen=True, kw_only=True):
    """One table that has indexes. ``types`` are its key attributes' types; ``waiting`` index changes that its
    partitions still held back when it was read."""

    name: str
    key: list[str]
    types: dict[str, str]
    items: list[dict[str, Any]] = []
    indexes: list[IndexDump] = []
    waiting: int = 0
    error: str | None = None


class IndexRows(msgspec.Struct, frozen=True, kw_only=True):
    """The file. ``tables`` are those with indexes; ``looked_at`` counts all tables."""

    schema: int = 1
    looked_at: int = 0
    tables: list[TableDump] = []
    error: str | None = None
