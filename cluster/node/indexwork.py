"""The control plane's hands for global indexes: their partitions, their place in the table's shape, their states.

An index is a table of its own in the catalog, under a name that no caller can use, with groups of its own. The index's
entry in its table's description says how far it is:

===========================  ==============================================================================
entry                        the next step
===========================  ==============================================================================
CREATING, with the table     make its partitions; tell the table's groups of it; ACTIVE together with the table
CREATING, Backfilling false  make its partitions; then tell the table's groups of it and have them fill it in
CREATING, Backfilling true   once every group has filled it in: ACTIVE
UPDATING                     its new throughput, kept in the record's ``index_changes``, becomes true
DELETING                     once no group maintains it: its partitions go, then the entry
===========================  ==============================================================================

Each step is one commit of what the catalog then holds, so that a successor goes on where this node stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from cluster.api import create_table
from cluster.core.keys import partition_bounds
from cluster.core.placement import CannotPlace, place_all
from cluster.core.shape import (
    IndexShape,
    Shape,
    global_indexes,
    index_table,
    is_index_table,
    key_of,
    local_indexes,
    types_of,
)
from cluster.node.catalog import Catalog, GroupRecord, Placed, TableRecord
from cluster.node.rpc import RpcError
from cluster.node.shapework import next_version

if TYPE_CHECKING:
    from cluster.node.autoadmin import AutoAdmin

ASK_TIMEOUT_S = 1.0

Entry = dict[str, Any]


def entries(description: dict[str, Any]) -> list[Entry]:
    """A description's global indexes."""
    return list(description.get("GlobalSecondaryIndexes") or ())


def with_entries(description: dict[str, Any], changed: list[Entry]) -> dict[str, Any]:
    """A description with these global indexes; its attribute definitions are those that some key still uses."""
    shown = {**description, "GlobalSecondaryIndexes": changed}
    if not changed:
        del shown["GlobalSecondaryIndexes"]
    schemas = [shown["KeySchema"]]
    schemas += [entry["KeySchema"] for entry in [*changed, *(shown.get("LocalSecondaryIndexes") or ())]]
    used = {part["AttributeName"]: None for schema in schemas for part in schema}
    shown["AttributeDefinitions"] = [d for d in shown["AttributeDefinitions"] if d["AttributeName"] in used]
    return shown


def change_entry(description: dict[str, Any], name: str, change: Callable[[Entry], Entry | None]) -> dict[str, Any]:
    """A description with one index's entry changed, or taken out."""
    found = [change(entry) if entry["IndexName"] == name else entry for entry in entries(description)]
    return with_entries(description, [entry for entry in found if entry is not None])


def first_shape(name: str, description: dict[str, Any], version: int) -> Shape | None:
    """The shape of a table that begins to exist: its local indexes; global ones follow with their partitions."""
    if "LocalSecondaryIndexes" not in description and "GlobalSecondaryIndexes" not in description:
        return None
    key = key_of(description["KeySchema"], types_of(description))
    return Shape(version, name, key, local_indexes(description))


def activated(record: TableRecord | None) -> TableRecord:
    """A table whose partitions are there, with the indexes it was made with."""
    assert record is not None, "tables go only in the loop that this is part of"
    description = record.description
    if entries(description):
        description = with_entries(description, [{**e, "IndexStatus": "ACTIVE"} for e in entries(description)])
    return msgspec.structs.replace(record, status="ACTIVE", description=description)


class IndexWork:
    """One step at a time over all global indexes."""

    def __init__(self, admin: AutoAdmin) -> None:
        self._admin = admin

    def ready(self, record: TableRecord) -> bool:
        """Whether a table that is being made has all its indexes, and its groups know of them."""
        found = [self._table(record, entry) for entry in entries(record.description)]
        told = {index.id for index in record.shape.globals} if record.shape is not None else set()
        there = all(one is not None and one.status == "ACTIVE" and one.id in told for one in found)
        return there and self._admin.shapes.installed(record)

    def tables_of(self, record: TableRecord) -> list[TableRecord]:
        """The index tables of a table."""
        found = (self._table(record, entry) for entry in entries(record.description))
        return [one for one in found if one is not None]

    def _table(self, record: TableRecord, entry: Entry) -> TableRecord | None:
        return self._admin.acting().tables.get(index_table(record.name, entry["IndexName"]))

    async def step(self) -> None:
        """Take every index in transition one step further."""
        for record in list(self._admin.acting().tables.values()):
            if is_index_table(record.name) or record.status == "DELETING":
                continue
            for entry in entries(record.description):
                if entry["IndexStatus"] != "ACTIVE":
                    await self._advance(record, entry)

    async def _advance(self, record: TableRecord, entry: Entry) -> None:
        status, table = entry["IndexStatus"], self._table(record, entry)
        if status == "UPDATING":
            await self._settle_update(record, entry)
        elif status == "DELETING":
            await self._take_down(record, entry, table)
        elif table is None:
            await self._found(record, entry)
        elif table.status == "ACTIVE" and entry.get("Backfilling") is False:
            await self._begin_backfill(record, entry, table)
        elif entry.get("Backfilling") and await self._filled(record, table.id):
            await self._complete(record, entry)

    # --- making ---

    async def _found(self, record: TableRecord, entry: Entry) -> None:
        """Name the groups of an index, and their places. An index made with its table is told to the table's groups in
        the same breath: there is nothing to fill in, and no write yet."""
        admin, world = self._admin, self._admin.world
        if not admin.settled():
            return
        units = entry["ProvisionedThroughput"]
        bounds = partition_bounds(create_table.tagged_partitions(record.tags) or create_table.partitions_of(units))
        bits = f"{world.rng.getrandbits(128):032x}"
        index_id = "-".join((bits[:8], bits[8:12], bits[12:16], bits[16:20], bits[20:]))
        try:
            placed = place_all(admin.candidates(), admin.acting().load(), len(bounds))
        except CannotPlace as error:
            world.event("cannot-place", table=index_table(record.name, entry["IndexName"]), why=str(error))
            return
        name = index_table(record.name, entry["IndexName"])
        groups = []
        for number, ((start, end), chosen) in enumerate(zip(bounds, placed, strict=True)):
            members = tuple(Placed(n, c.node, c.az, c.rack, c.disk) for n, c in enumerate(chosen, start=1))
            groups.append(GroupRecord(f"{index_id[:8]}-{number:03d}", name, start, end, members, len(members) + 1))
        made = TableRecord(name, index_id, "CREATING", _own_description(record, entry, name, index_id),
                           tuple(g.group for g in groups))  # fmt: skip

        def change(catalog: Catalog) -> dict[str, Any]:
            base = catalog.tables.get(record.name)
            if base is None or name in catalog.tables or not _has(base, entry):
                return {}
            tables = (made,) if "Backfilling" in entry else (made, _told(base, entry, index_id, catalog))
            return {"tables": tables, "groups": tuple(groups)}

        await admin.revise(change)
        world.event("index-creating", table=record.name, index=entry["IndexName"], partitions=len(groups))

    async def _begin_backfill(self, record: TableRecord, entry: Entry, table: TableRecord) -> None:
        def change(catalog: Catalog) -> dict[str, Any]:
            base = catalog.tables[record.name]
            told = _told(base, entry, table.id, catalog, backfill=True)
            shown = change_entry(told.description, entry["IndexName"], lambda e: {**e, "Backfilling": True})
            return {"tables": (msgspec.structs.replace(told, description=shown, status="ACTIVE"),)}

        await self._admin.revise(change)
        await self._admin.push_map()
        self._admin.world.event("index-backfilling", table=record.name, index=entry["IndexName"])

    async def _filled(self, record: TableRecord, index_id: str) -> bool:
        """Whether every group has brought its items in."""
        if not self._admin.shapes.installed(record):
            return False
        return all(await asyncio.gather(*(self._ask(group, index_id) for group in record.groups)))

    async def _ask(self, group: str, index_id: str) -> bool:
        leader = self._admin.fleet.leader_of(group)
        if not leader:
            return False
        try:
            return bool(await self._admin.rpc.call(leader, "backfilled", (group, index_id), ASK_TIMEOUT_S))
        except RpcError:
            return False

    async def _complete(self, record: TableRecord, entry: Entry) -> None:
        def active(entry: Entry) -> Entry:
            return {k: v for k, v in entry.items() if k != "Backfilling"} | {"IndexStatus": "ACTIVE"}

        def change(catalog: Catalog) -> dict[str, Any]:
            base = catalog.tables[record.name]
            shown = change_entry(base.description, entry["IndexName"], active)
            shape = base.shape
            if shape is not None:
                full = tuple(g._replace(backfill=False) if g.name == entry["IndexName"] else g for g in shape.globals)
                shape = shape._replace(version=next_version(catalog), globals=full)
            return {"tables": (msgspec.structs.replace(base, description=shown, shape=shape),)}

        await self._admin.revise(change)
        await self._admin.push_map()
        self._admin.world.event("index-active", table=record.name, index=entry["IndexName"])

    # --- changing and unmaking ---

    async def _settle_update(self, record: TableRecord, entry: Entry) -> None:
        name = entry["IndexName"]

        def change(catalog: Catalog) -> dict[str, Any]:
            base = catalog.tables[record.name]
            wanted = base.index_changes.get(name, {})
            shown = change_entry(base.description, name, lambda e: {**e, **wanted, "IndexStatus": "ACTIVE"})
            left = {key: value for key, value in base.index_changes.items() if key != name}
            base = msgspec.structs.replace(base, description=shown, index_changes=left)
            return {"tables": (*_rated(base, catalog),)}

        await self._admin.revise(change)
        await self._admin.push_map()

    async def _take_down(self, record: TableRecord, entry: Entry, table: TableRecord | None) -> None:
        name = entry["IndexName"]
        if record.shape is not None and any(index.name == name for index in record.shape.globals):
            await self._admin.revise(lambda catalog: {"tables": (_untold(catalog.tables[record.name], name, catalog),)})
        elif not self._admin.shapes.installed(record):
            return
        elif table is not None and table.status != "DELETING":
            gone = msgspec.structs.replace(table, status="DELETING")
            await self._admin.revise(lambda catalog: {"tables": (gone,)})
        elif table is None:

            def change(catalog: Catalog) -> dict[str, Any]:
                base = catalog.tables[record.name]
                shown = change_entry(base.description, name, lambda e: None)
                return {"tables": (msgspec.structs.replace(base, description=shown, status="ACTIVE"),)}

            await self._admin.revise(change)
            await self._admin.push_map()
            self._admin.world.event("index-deleted", table=record.name, index=name)


def _has(base: TableRecord, entry: Entry) -> bool:
    return any(
        e["IndexName"] == entry["IndexName"] and e["IndexStatus"] == "CREATING" for e in entries(base.description)
    )


def _own_description(base: TableRecord, entry: Entry, name: str, index_id: str) -> dict[str, Any]:
    """What routers and budgets need of an index as a table: a key (the first attribute of each role) and rates."""
    roles = {part["KeyType"]: part for part in reversed(entry["KeySchema"])}
    schema = [roles[role] for role in ("HASH", "RANGE") if role in roles]
    types = types_of(base.description)
    return {
        "TableName": name,
        "TableId": index_id,
        "AttributeDefinitions": [
            {"AttributeName": part["AttributeName"], "AttributeType": types[part["AttributeName"]]} for part in schema
        ],
        "KeySchema": schema,
        **{m: entry[m] for m in ("ProvisionedThroughput", "WarmThroughput", "OnDemandThroughput") if m in entry},
    }


def _told(base: TableRecord, entry: Entry, index_id: str, catalog: Catalog, *, backfill: bool = False) -> TableRecord:
    """The table with an index in its shape."""
    shape = base.shape or Shape(0, base.name, key_of(base.description["KeySchema"], types_of(base.description)))
    (index,) = [one for one in global_indexes(base.description) if one.name == entry["IndexName"]]
    index = index._replace(id=index_id, backfill=backfill, write_rate=_rate(entry, len(base.groups)))
    others = tuple(one for one in shape.globals if one.name != index.name)
    shape = shape._replace(version=next_version(catalog), globals=(*others, index))
    return msgspec.structs.replace(base, shape=shape)


def _untold(base: TableRecord, name: str, catalog: Catalog) -> TableRecord:
    assert base.shape is not None, "only an index in the shape is taken out of it"
    left: tuple[IndexShape, ...] = tuple(index for index in base.shape.globals if index.name != name)
    shape = base.shape._replace(version=next_version(catalog), globals=left)
    return msgspec.structs.replace(base, shape=shape)


def _rated(base: TableRecord, catalog: Catalog) -> list[TableRecord]:
    """The table and its index tables, with rates as the entries have them."""
    found = []
    shape = base.shape
    for entry in entries(base.description):
        name = index_table(base.name, entry["IndexName"])
        own = catalog.tables.get(name)
        if own is not None:
            found.append(msgspec.structs.replace(own, description=_own_description(base, entry, name, own.id)))
        if shape is not None:
            rate = _rate(entry, len(base.groups))
            rated = tuple(g._replace(write_rate=rate) if g.name == entry["IndexName"] else g for g in shape.globals)
            shape = shape._replace(version=next_version(catalog), globals=rated)
    return [msgspec.structs.replace(base, shape=shape), *found]


def _rate(entry: Entry, partitions: int) -> float:
    """Units a second that one of the table's partitions may spend on an index; 0: as many as it takes."""
    units = entry["ProvisionedThroughput"]["WriteCapacityUnits"]
    return units / max(1, partitions) if units else 0.0
