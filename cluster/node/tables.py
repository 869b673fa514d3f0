"""Tables: what the control plane answers about them, and the work of making and unmaking them.

A table is a row; its groups are rows. Making it means bringing nodes to hold the replicas that the rows name, and
electing leaders; until then it is CREATING. Unmaking is the same backwards. Each step repeats safely.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from cluster.api import create_table, list_tables
from cluster.api.tables import indexes_busy, table_busy, table_exists, table_not_found, table_protected
from cluster.core.config import Configuration, Member
from cluster.core.errors import ApiError
from cluster.core.keys import partition_bounds
from cluster.core.placement import Candidate, CannotPlace, place_all
from cluster.core.shape import is_index_table
from cluster.core.transactions import ENSURE_LEDGER, LEDGER
from cluster.node.catalog import Catalog, GroupRecord, Placed, TableRecord
from cluster.node.counts import described
from cluster.node.indexwork import activated, entries, first_shape
from cluster.node.reports import SILENT_AFTER_S
from cluster.node.rpc import RpcError
from cluster.node.shapework import next_version
from cluster.node.tablechanges import TableChanges

if TYPE_CHECKING:
    from cluster.node.autoadmin import AutoAdmin

CREATE_TIMEOUT_S = 2.0
CAMPAIGN_TIMEOUT_S = 3.0
TABLES_MAX = 2_500
LEDGER_PARTITIONS = 3
"""The transaction ledger's load is spread over so many leaders."""


def ledger_request() -> dict[str, Any]:
    """What makes the transaction ledger: a table under a name that no caller's table can have."""
    request = create_table.check_request(
        {
            "TableName": "ledger",
            "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
            "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
            "BillingMode": "PAY_PER_REQUEST",
        }
    )
    description = {**request["description"], "TableName": LEDGER}
    return {**request, "name": LEDGER, "description": description, "partitions": LEDGER_PARTITIONS}


class TableWork:
    """The control plane's hands for tables."""

    def __init__(self, admin: AutoAdmin) -> None:
        self._admin = admin
        self._attempts: dict[str, int] = {}  # how often a group's first election was asked for
        self._creating = asyncio.Lock()
        self._lost_votes: set[str] = set()
        """Groups of which a node lost a replica again before their table was ACTIVE."""
        self._changes = TableChanges(admin)

    # --- requests ---

    async def serve(self, name: str, request: dict[str, Any]) -> dict[str, Any]:
        """Answer a control operation. Raises :class:`ApiError` or NotActing."""
        if name == "CreateTable":
            return await self._create(request)
        if name == "DeleteTable":
            return await self._delete(request["name"])
        if name == "DescribeTable":
            return {"description": self._describe(self._find(request["name"]))}
        if name == "ListTables":
            names = [name for name in self._admin.acting().tables if name != LEDGER and not is_index_table(name)]
            return list_tables.page(sorted(names), request)
        if name == ENSURE_LEDGER:
            return await self._ensure_ledger()
        if self._changes.serves(name):
            return await self._changes.serve(name, request)
        raise ApiError("UnknownOperationException")

    def _find(self, name: str) -> TableRecord:
        record = self._admin.acting().tables.get(name)
        if record is None:
            raise table_not_found(name)
        return record

    def _describe(self, record: TableRecord) -> dict[str, Any]:
        return described(record, self._admin)

    async def _create(self, request: dict[str, Any]) -> dict[str, Any]:
        async with self._creating:
            await self._admin.until_settled()
            catalog, world = self._admin.acting(), self._admin.world
            name = request["name"]
            if name in catalog.tables:
                raise table_exists(name)
            if len(catalog.tables) >= TABLES_MAX:
                raise ApiError(
                    "LimitExceededException", f"Subscriber limit exceeded: There is a limit of {TABLES_MAX} tables"
                )
            bits = f"{world.rng.getrandbits(128):032x}"
            table_id = "-".join((bits[:8], bits[8:12], bits[12:16], bits[16:20], bits[20:]))
            region = self._admin.config.region
            description = create_table.describe(request, table_id=table_id, region=region, now=world.wall())
            bounds = partition_bounds(request["partitions"])
            try:
                placed = place_all(self._admin.candidates(), catalog.load(), len(bounds))
            except CannotPlace as error:
                world.event("cannot-place", table=name, why=str(error))
                raise ApiError("ServiceUnavailableException", f"The table cannot be placed: {error}") from error
            groups = []
            for number, ((start, end), chosen) in enumerate(zip(bounds, placed, strict=True)):
                members = tuple(Placed(n, c.node, c.az, c.rack, c.disk) for n, c in enumerate(chosen, start=1))
                groups.append(GroupRecord(f"{table_id[:8]}-{number:03d}", name, start, end, members, len(members) + 1))
            made = tuple(g.group for g in groups)
            shape = first_shape(name, description, next_version(catalog))
            record = TableRecord(name, table_id, "CREATING", description, made, tags=request["tags"], shape=shape)
            await self._admin.commit(tables=(record,), groups=tuple(groups))
        world.event("table-creating", table=name, partitions=len(groups))
        return {"description": self._describe(record)}

    async def _ensure_ledger(self) -> dict[str, Any]:
        """Make the table in which coordinators keep their transactions, at the first one; repeats safely."""
        if LEDGER not in self._admin.acting().tables:
            try:
                await self._create(ledger_request())
            except ApiError as error:
                if error.kind != "ResourceInUseException":
                    raise
        return {}

    async def _delete(self, name: str) -> dict[str, Any]:
        record = self._find(name)
        if record.status != "ACTIVE":
            raise table_busy(name, record.status)
        if record.description.get("DeletionProtectionEnabled"):
            raise table_protected()
        if any(entry["IndexStatus"] != "ACTIVE" for entry in entries(record.description)):
            raise indexes_busy()
        gone = msgspec.structs.replace(record, status="DELETING")
        indexes = (msgspec.structs.replace(one, status="DELETING") for one in self._admin.indexes.tables_of(record))
        await self._admin.commit(tables=(gone, *indexes))
        await self._admin.push_map()
        self._admin.world.event("table-deleting", table=name)
        return {"description": self._describe(gone)}

    # --- work ---

    async def step(self) -> None:
        """Take every table in transition one step further."""
        for record in list(self._admin.acting().tables.values()):
            if record.status == "CREATING":
                await self._make(record)
            elif record.status == "DELETING":
                await self._unmake(record)
        await self._changes.step()

    async def _make(self, record: TableRecord) -> None:
        catalog = self._admin.acting()
        groups = [catalog.groups[name] for name in record.groups]
        if any(self._has_lost_its_place(group) for group in groups):
            await self._place_again(record.name)
            return
        made = await asyncio.gather(*(self._make_replica(g, m) for g in groups for m in g.members))
        if not all(made):
            return
        led = await asyncio.gather(*(self._elect(group) for group in groups))
        if not all(led):
            return
        if not self._admin.indexes.ready(self._admin.acting().tables[record.name]):
            return
        # Routers and MemDS learn of the table before anybody is told that it is ACTIVE.
        await self._admin.alter(record.name, activated)
        await self._admin.push_map()
        for group in groups:
            self._attempts.pop(group.group, None)
        self._admin.world.event("table-active", table=record.name, groups=len(groups))

    def _has_lost_its_place(self, group: GroupRecord) -> bool:
        """Whether a member's node went away before the group was whole, or has it no more and may not make it again: a
        table cannot wait until it comes back."""
        fleet = self._admin.fleet
        return group.group in self._lost_votes or any(
            fleet.silent_s(m.node) > SILENT_AFTER_S and not fleet.replica(m.node, group.group) for m in group.members
        )

    async def _place_again(self, name: str) -> None:
        """Groups of a table that is being made begin anew elsewhere, under new names: there is nothing in them yet, and
        what exists of the old ones is cleared away like every replica that the catalog does not know."""

        def change(catalog: Catalog) -> dict[str, Any]:
            record = catalog.tables.get(name)
            if record is None or record.status != "CREATING":
                return {}
            old = [catalog.groups[g] for g in record.groups if self._has_lost_its_place(catalog.groups[g])]
            placed = place_all(self._admin.candidates(), catalog.load(), len(old))
            fresh = {g.group: _begun_anew(g, chosen) for g, chosen in zip(old, placed, strict=True)}
            groups = tuple(fresh[g].group if g in fresh else g for g in record.groups)
            return {
                "tables": (msgspec.structs.replace(record, groups=groups),),
                "groups": tuple(fresh.values()),
                "drop_groups": tuple(fresh),
            }

        try:
            await self._admin.revise(change)
        except CannotPlace as error:
            self._admin.world.event("cannot-place", table=name, why=str(error))
        else:
            self._admin.world.event("table-placed-again", table=name)

    async def _make_replica(self, group: GroupRecord, placed: Placed) -> bool:
        report = self._admin.fleet.replica(placed.node, group.group)
        if report is not None and report.replica == placed.replica:
            return True
        initial = Configuration(tuple(Member(m.replica, m.node, m.az, m.rack) for m in group.members))
        version = self._admin.acting().version
        plan = (version, placed.disk, group.group, group.table, group.start, group.end, placed.replica, initial)
        try:
            await self._admin.rpc.call(placed.node, "create-replica", plan, CREATE_TIMEOUT_S)
        except RpcError as error:
            if error.code == "lost-votes":
                self._lost_votes.add(group.group)
            if error.code != "timeout":
                self._admin.world.event("create-refused", group=group.group, node=placed.node, why=str(error))
            return False
        return True

    async def _elect(self, group: GroupRecord) -> bool:
        """Have the group's first member lead, so that leaders are spread over zones as they were placed."""
        if self._admin.fleet.leader_of(group.group):
            return True
        attempt = self._attempts.get(group.group, 0)
        self._attempts[group.group] = attempt + 1
        first = group.members[attempt % len(group.members)]
        try:
            await self._admin.rpc.call(first.node, "campaign", group.group, CAMPAIGN_TIMEOUT_S)
        except RpcError:
            return False
        return True

    async def _unmake(self, record: TableRecord) -> None:
        catalog = self._admin.acting()
        groups = [catalog.groups[name] for name in record.groups if name in catalog.groups]
        removed = await asyncio.gather(*(self._unmake_group(group) for group in groups))
        if all(removed):
            await self._admin.commit(drop_tables=(record.name,), drop_groups=tuple(g.group for g in groups))
            await self._admin.push_map()
            self._admin.world.event("table-deleted", table=record.name)

    async def _unmake_group(self, group: GroupRecord) -> bool:
        members = [*group.members, *([group.swap.add] if group.swap is not None else [])]
        return all(await asyncio.gather(*(self._unmake_replica(group, placed) for placed in members)))

    async def _unmake_replica(self, group: GroupRecord, placed: Placed) -> bool:
        report = self._admin.fleet.report(placed.node)
        if report is None or report.disk != placed.disk:
            return True  # what a node that is away still holds is cleared away when it reports again
        plan = (self._admin.acting().version, group.group, placed.replica)
        try:
            await self._admin.rpc.call(placed.node, "destroy-replica", plan, CREATE_TIMEOUT_S)
        except RpcError:
            return False
        return True


def _begun_anew(group: GroupRecord, chosen: Sequence[Candidate]) -> GroupRecord:
    """A group for the same keys on other nodes. Its name says how often: ``1a2b3c4d-003``, ``1a2b3c4d-003.1``, ..."""
    stem, _, times = group.group.partition(".")
    members = tuple(Placed(n, c.node, c.az, c.rack, c.disk) for n, c in enumerate(chosen, start=1))
    name = f"{stem}.{int(times or 0) + 1}"
    return msgspec.structs.replace(group, group=name, members=members, next_replica=len(members) + 1)
