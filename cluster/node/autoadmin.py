"""The control plane: tables, placement and health, on three nodes that share one replicated system group [P22 §2, §3].

Whoever leads the system group acts; the others wait. Acting means comparing what the catalog says with what nodes
report, and taking the one step that brings them closer; every step may be repeated by a successor, because each is
idempotent and carries the catalog's version, of which nodes refuse an older one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from cluster.api import OPERATIONS
from cluster.core.errors import ApiError
from cluster.core.placement import Candidate
from cluster.core.transactions import ENSURE_LEDGER
from cluster.node.bootstrap import Bootstrap
from cluster.node.catalog import SYSTEM_GROUP, Catalog, GroupRecord, TableRecord
from cluster.node.config import NodeConfig
from cluster.node.host import Host
from cluster.node.indexwork import IndexWork
from cluster.node.pace import next_turn
from cluster.node.repair import GIVEN_UP_AFTER_S, Repair
from cluster.node.reports import Fleet, Report
from cluster.node.rpc import Responder, Rpc, RpcError
from cluster.node.shapework import ShapeWork
from cluster.node.tables import TableWork
from cluster.node.world import World

LOOP_S = 0.5
SETTLE_POLL_S = 0.1
MAP_REFRESH_S = 5.0
PUSH_TIMEOUT_S = 0.5


class NotActing(Exception):
    """This node does not lead the system group (any more)."""


class AutoAdmin:
    """The role ``autoadmin``."""

    def __init__(self, world: World, config: NodeConfig, rpc: Rpc, host: Host) -> None:
        self.world = world
        self.config = config
        self.rpc = rpc
        self.host = host
        self.fleet = Fleet(world)
        self._storage = [peer.name for peer in config.of_role("storage")]
        self.catalog: Catalog | None = None
        """The state, while this node leads the system group; None otherwise."""
        self._change = asyncio.Lock()
        self._kick = asyncio.Event()
        self._bootstrap = Bootstrap(world, config, rpc, host)
        self.shapes = ShapeWork(self)
        self.indexes = IndexWork(self)
        self._tables = TableWork(self)
        self._repair = Repair(self)
        self._pushed_at = 0.0
        self._acting_since = 0.0
        host.on_change.append(lambda replica: self._kick.set())
        rpc.register("report", self._report, Report)
        rpc.register("export", self._export)
        rpc.register_async("control", self._control, tuple[str, Any])
        rpc.register("map", self._map)

    async def start(self) -> None:
        self.world.spawn(self._bootstrap.run(), "autoadmin-bootstrap")
        self.world.spawn(self._act_forever(), "autoadmin-act")

    def status(self) -> dict[str, Any]:
        acting = self.catalog is not None
        return {
            "acting": acting,
            "version": self.catalog.version if self.catalog else None,
            "heard": self.fleet.names(),
        }

    # --- state ---

    def candidates(self, role: str = "storage") -> list[Candidate]:
        """Healthy nodes of a role, by name."""
        return [Candidate(r.node, r.az, r.rack, r.disk) for r in self.fleet.alive() if r.role == role]

    def settled(self) -> bool:
        """Whether :meth:`candidates` are all that there are: groups placed before would crowd the nodes that were quick
        to start."""
        return self.fleet.settled(self._storage)

    async def until_settled(self) -> None:
        """Wait for that: no longer than until the fleet takes whoever has not reported for away."""
        while not self.settled():
            await self.world.sleep(SETTLE_POLL_S)

    async def commit(self, **change: Any) -> None:
        """Make a change of the catalog durable and then true here. Raises :class:`NotActing`; then it may have
        happened."""
        async with self._change:
            await self._commit(change)
        self._kick.set()

    async def alter(self, name: str, change: Callable[[TableRecord | None], TableRecord]) -> TableRecord:
        """Commit ``change(record)`` of a table as it then is, so that of two changes at once neither is lost; the
        record it became. What ``change`` raises is raised, and nothing has changed."""
        async with self._change:
            record = change(self.acting().tables.get(name))
            await self._commit({"tables": (record,)})
        self._kick.set()
        return record

    async def revise(self, change: Callable[[Catalog], dict[str, Any]]) -> None:
        """Commit what ``change`` makes of the catalog as it then is (the arguments of :meth:`Catalog.writes`; none:
        there is nothing to do any more)."""
        async with self._change:
            made = change(self.acting())
            if made:
                await self._commit(made)
        self._kick.set()

    async def _commit(self, change: dict[str, Any]) -> None:
        catalog = self.acting()
        rows = catalog.writes(**change)
        code = await self.host.replicas[SYSTEM_GROUP].write(rows)
        if code:
            self.catalog = None
            raise NotActing(code)
        catalog.take(rows)

    def acting(self) -> Catalog:
        """The catalog; raises :class:`NotActing` where this node does not lead, or its lease is over."""
        replica = self.host.replicas.get(SYSTEM_GROUP)
        if self.catalog is None or replica is None or not replica.serving:
            raise NotActing("not the acting control plane")
        return self.catalog

    def kick(self) -> None:
        """Have the loop look again soon."""
        self._kick.set()

    # --- the loop ---

    async def _act_forever(self) -> None:
        while True:
            await self._until_due()
            try:
                await self._act()
            except NotActing as stop:
                self.world.event("control-plane-stopped", why=str(stop))

    async def _until_due(self) -> None:
        """Wait for a kick, or the next turn; whoever does not lead the system group is kicked when that changes, and
        has nothing to do before."""
        replica = self.host.replicas.get(SYSTEM_GROUP)
        idle = self.catalog is None and (replica is None or not replica.leading)
        timer = None if idle else self.world.call_at(next_turn(self.world.now(), LOOP_S), self._kick.set)
        await self._kick.wait()
        if timer is not None:
            timer.cancel()
        self._kick.clear()

    async def _act(self) -> None:
        replica = self.host.replicas.get(SYSTEM_GROUP)
        if replica is None or not replica.serving:
            if self.catalog is not None:
                self.catalog = None
                self.world.event("control-plane-stopped", why="lost the system group's lease")
            return
        if self.catalog is None:
            rows = await replica.rows_all()
            if replica.damaged:
                return  # the lease is given up, and another one acts
            self.catalog = Catalog(rows)
            self._pushed_at = 0.0
            self._acting_since = self.world.now()
            self.world.event("control-plane-acting", version=self.catalog.version)
        if SYSTEM_GROUP not in self.catalog.groups:
            await self._record_system_group()
        await self.shapes.step()
        await self.indexes.step()
        await self._tables.step()
        await self._repair.step()
        await self._push_if_due()

    async def _record_system_group(self) -> None:
        """The system group's own members, once every one of them has said which disk it is on."""
        members = self.host.replicas[SYSTEM_GROUP].group.config.voters
        placed = [self.fleet.placed(SYSTEM_GROUP, member) for member in members]
        # A report may be older than the replica: only one that stays away is taken for lost.
        patient = self.world.now() - self._acting_since < GIVEN_UP_AFTER_S
        if patient and any(p is not None and not p.disk for p in placed):
            return
        if all(p is not None for p in placed):
            next_replica = max(m.replica for m in members) + 1
            known = tuple(p for p in placed if p is not None)
            record = GroupRecord(SYSTEM_GROUP, "", b"", b"", known, next_replica)
            await self.commit(groups=(record,))

    async def push_map(self) -> None:
        """Hand the map to every MemDS node; those that miss it pull it within seconds."""
        catalog = self.acting()
        self._pushed_at = self.world.now()
        body = (catalog.version, catalog.export())
        nodes = [peer.name for peer in self.config.of_role("memds")]
        await asyncio.gather(*(self._push(node, body) for node in nodes))

    async def _push(self, node: str, body: Any) -> None:
        try:
            await self.rpc.call(node, "install", body, PUSH_TIMEOUT_S)
        except RpcError:
            return  # it pulls when it is back

    async def _push_if_due(self) -> None:
        if self.world.now() - self._pushed_at >= MAP_REFRESH_S:
            await self.push_map()

    # --- what others ask ---

    def _report(self, sender: str, report: Report, responder: Responder) -> None:
        if report.node == sender and self.fleet.heard(report):
            self._kick.set()

    def _export(self, sender: str, known: Any, responder: Responder) -> None:
        if self.catalog is None:
            responder.refuse("not-leader", self._hint())
        elif isinstance(known, int) and known >= self.catalog.version:
            responder.reply((self.catalog.version, None))
        else:
            responder.reply((self.catalog.version, self.catalog.export()))

    def _map(self, sender: str, params: Any, responder: Responder) -> None:
        """The placement as the acting node knows it, for the controller and its tools."""
        if self.catalog is None:
            responder.refuse("not-leader", self._hint())
            return
        tables = []
        for table in self.catalog.export():
            partitions = [
                {"group": p.group, "start": p.start, "end": p.end, "leader": self.fleet.leader_of(p.group),
                 "members": [m._asdict() for m in p.planned]}
                for p in table.partitions
            ]  # fmt: skip
            tables.append({"name": table.name, "id": table.id, "status": table.status, "partitions": partitions})
        responder.reply({"version": self.catalog.version, "tables": tables})

    async def _control(self, sender: str, params: tuple[str, Any]) -> Any:
        name, request = params
        if name != ENSURE_LEDGER and name not in OPERATIONS:
            raise RpcError("api-error", ("UnknownOperationException", ""))
        if self.catalog is None:
            raise RpcError("not-leader", self._hint())
        try:
            return await self._tables.serve(name, request)
        except NotActing as stop:
            raise RpcError("not-leader", self._hint()) from stop
        except ApiError as error:
            raise RpcError("api-error", (error.kind, error.message)) from error

    def _hint(self) -> str:
        replica = self.host.replicas.get(SYSTEM_GROUP)
        leader = replica.group.leader if replica is not None else None
        return leader.node if leader is not None else ""
