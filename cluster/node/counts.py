"""ItemCount, TableSizeBytes and IndexSizeBytes, put together from what the leaders of a table's groups last counted.

A group that nobody has counted yet, or not since its nodes were started, adds nothing: what is shown may be too low,
and is old, as it is with AWS.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cluster.core.census import ITEMS, Counted
from cluster.core.shape import index_table
from cluster.node.catalog import TableRecord

if TYPE_CHECKING:
    from cluster.node.autoadmin import AutoAdmin


def described(record: TableRecord, admin: AutoAdmin) -> dict[str, Any]:
    """A table's description with its status and the counts of the table and its indexes."""
    known = admin.catalog.tables if admin.catalog is not None else {}  # it may have ceased to act since the commit
    tables = {"": record}
    for entry in record.description.get("GlobalSecondaryIndexes") or ():
        index = known.get(index_table(record.name, entry["IndexName"]))
        if index is not None:
            tables[entry["IndexName"]] = index
    counted = admin.fleet.counted({group for table in tables.values() for group in table.groups})
    items, size = _sum(record, ITEMS, counted)
    shown = {**record.description, "TableStatus": record.status, "ItemCount": items, "TableSizeBytes": size}
    if "LocalSecondaryIndexes" in shown:
        shown["LocalSecondaryIndexes"] = [
            _entry(entry, _sum(record, number, counted)) for number, entry in enumerate(shown["LocalSecondaryIndexes"])
        ]
    if "GlobalSecondaryIndexes" in shown:
        shown["GlobalSecondaryIndexes"] = [
            _entry(entry, _sum(tables.get(entry["IndexName"]), ITEMS, counted))
            for entry in shown["GlobalSecondaryIndexes"]
        ]
    return shown


def _sum(table: TableRecord | None, number: int, counted: Mapping[str, Counted]) -> tuple[int, int]:
    parts = [
        part
        for group in (table.groups if table is not None else ())
        if group in counted
        for part in counted[group].parts
        if part.number == number
    ]
    return sum(part.items for part in parts), sum(part.bytes for part in parts)


def _entry(entry: Mapping[str, Any], found: tuple[int, int]) -> dict[str, Any]:
    return {**entry, "ItemCount": found[0], "IndexSizeBytes": found[1]}
