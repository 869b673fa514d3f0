"""Index changes on their way from a table's groups to the groups of its global indexes.

On every node, for every group it leads that has global indexes: the lanes of the group's outbox are emptied in order, a
*window* of changes at a time, each change to the group of the index that holds its row. A window is sent again until
all of it is acknowledged, and only then the next one: with the marks that the receivers keep
(:mod:`cluster.core.marks`) each change takes effect exactly once and in order, whatever the network and the leaders on
either side do.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from cluster.core.routing import Route
from cluster.core.shape import IndexShape, index_table
from cluster.core.side import OUTBOX, bounds
from cluster.node.outbox import Outbox, Sent
from cluster.node.rangereads import read_rows
from cluster.node.routes import CachedTable, MapUnavailable, Routes
from cluster.node.rpc import RpcError

if TYPE_CHECKING:
    from cluster.node.host import Host
    from cluster.node.replica import Replica

WINDOW_ROWS = 256
WINDOW_BYTES = 256 * 1024
SEND_TIMEOUT_S = 1.0
RETRY_S = 0.1
DELETE_AFTER_S = 0.03
"""Rows that are done with are deleted together after this time: one log entry serves many."""

DELETE_ROWS_MAX = 512
BURST_S = 300.0
"""Unused units that an index keeps [P22 §4.1]."""


class Propagator:
    """A node's sender."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._world = host.world
        self._routes = Routes(host.world, host.config, host.rpc)
        self._leading: dict[str, Sender] = {}
        self.make = Sender
        host.on_change.append(self.look)

    def look(self, replica: Replica) -> None:
        """A replica's leadership or shape changed: begin or end its sending."""
        group, outbox = replica.spec.group, replica.machine.outbox
        if outbox is None:
            return
        known = self._leading.get(group)
        if not replica.leading:
            self._leading.pop(group, None)
        elif known is None or known.outbox is not outbox or not known.alive():
            sender = self._leading[group] = self.make(self._host, self._routes, replica, outbox)
            self._world.spawn(sender.run(), "propagate")


class Sender:
    """The sending of one group's changes for as long as its replica here leads."""

    def __init__(self, host: Host, routes: Routes, replica: Replica, outbox: Outbox) -> None:
        self._host = host
        self._world = host.world
        self._routes = routes
        self._replica = replica
        self.outbox = outbox
        self._life = outbox.begin()
        self._bound = replica.machine.clock  # what its predecessors have numbered
        self._signals: dict[str, asyncio.Event] = {"": asyncio.Event()}  # by lane; "": for the deletion of rows
        outbox.wake = self._wake

    def alive(self) -> bool:
        """Whether what the outbox holds in memory is still what this sender began with."""
        return self.outbox.life == self._life

    async def run(self) -> None:
        """Take up what predecessors left, then keep every lane going."""
        if not await self.recover():
            return
        self._world.spawn(self._delete_forever(), "propagate-delete")
        self._wake()

    async def recover(self) -> bool:
        """Bring the rows that earlier leaders left in the outbox into the lanes. False where this life ended."""
        at: bytes | None
        at, end = bounds(OUTBOX)
        found: list[tuple[bytes, bytes]] = []
        while at is not None:
            page = await read_rows(self._host, self._replica, at, end)
            if not self.alive():
                return False
            if page is None:
                await self._world.sleep(RETRY_S)
                continue
            found += page[0]
            at = page[1]
        if found:
            self._world.event("outbox-recovered", group=self._replica.spec.group, rows=len(found))
        self.outbox.recovered(found, self._bound)
        return True

    def _wake(self) -> None:
        for target in self.outbox.lanes if self.alive() else ():
            if target not in self._signals:
                self._signals[target] = asyncio.Event()
                self._world.spawn(self._send_forever(target), "propagate-lane")
        for signal in self._signals.values():
            signal.set()

    async def _send_forever(self, target: str) -> None:
        signal, outbox = self._signals[target], self.outbox
        tokens, counted_at = 0.0, self._world.now()
        while self.alive() and target in outbox.lanes:
            signal.clear()
            window = outbox.window(target, WINDOW_ROWS, WINDOW_BYTES)
            if not window:
                await signal.wait()
                continue
            rate, now = outbox.lanes[target].index.write_rate, self._world.now()
            tokens, counted_at = min(tokens + (now - counted_at) * rate, rate * BURST_S), now
            if rate and tokens <= 0:
                await self._world.sleep(min(1.0, (1 - tokens) / rate))
                continue
            tokens -= sum(sent.units for sent in window) if rate else 0
            if await self._deliver(target, window):
                outbox.acknowledged(target, len(window))
                self._signals[""].set()
        self._signals.pop(target, None)

    async def _deliver(self, target: str, window: list[Sent]) -> bool:
        """Send a window until all of it is acknowledged. False where that is not wanted any more."""
        left = window
        fresh = False
        while left:
            lane = self.outbox.lanes.get(target)
            if not self.alive() or lane is None:
                return False
            table = await self._table(lane.index)
            if table is not None:
                left = await self._send(table, left, fresh)
            if left:
                fresh = True
                await self._world.sleep(RETRY_S)
        # Led anew meanwhile, the lane begins with changes of which this window says nothing.
        return self.alive()

    async def _table(self, index: IndexShape) -> CachedTable | None:
        """The index's partitions; None while they are not known, or those known are of an index that had its name."""
        name = index_table(self.outbox.shape.table, index.name)
        table = self._routes.table(name)
        if table is None or table.stale or table.table.id != index.id:
            try:
                table = await self._routes.fetch_table(name)
            except MapUnavailable:
                table = self._routes.table(name)
        return table if table is not None and table.table.id == index.id else None

    async def _send(self, table: CachedTable, window: list[Sent], fresh: bool) -> list[Sent]:
        """Send changes to the groups that hold their rows, all at once; what was not acknowledged.

        Where nobody knows who holds a row, nothing of its write and of later ones is sent: the group might be one that
        takes these, and its mark would then say that it has had the earlier one.
        """
        routes = await self._routes_of(table, window, fresh)
        parts: dict[str, tuple[Route, list[Sent]]] = {}
        for sent, route in zip(window, routes, strict=False):
            if len(routes) == len(window) or sent.position < window[len(routes)].position:
                parts.setdefault(route.group, (route, []))[1].append(sent)
        taken = await asyncio.gather(*(self._ask(route, part) for route, part in parts.values()))
        done = {id(sent) for (_, part), took in zip(parts.values(), taken, strict=True) if took for sent in part}
        return [sent for sent in window if id(sent) not in done]

    async def _routes_of(self, table: CachedTable, window: list[Sent], fresh: bool) -> list[Route]:
        """Where the first changes of a window go, up to one of which nobody knows. ``fresh``: each group is asked for
        anew."""
        routes: list[Route] = []
        known: set[str] = set()
        for sent in window:
            route = table.route(sent.key)
            if route is None or (fresh and route.group not in known):
                route = await self._route(table, sent.key)
            if route is None:
                break
            known.add(route.group)
            routes.append(route)
        return routes

    async def _route(self, table: CachedTable, key: bytes) -> Route | None:
        try:
            return await self._routes.fetch_route(table, key)
        except MapUnavailable:
            return table.route(key)

    async def _ask(self, route: Route, part: list[Sent]) -> bool:
        """Hand a part of a window to whoever leads the group: who is said to, else who is named, else each in turn. The
        map may be old, or nobody may be there to ask for a newer one; being handed it twice does a group no harm."""
        spec = self._replica.spec
        nodes = dict.fromkeys([route.leader, *route.nodes] if route.leader else route.nodes)
        waiting, asked = list(nodes), set[str]()
        while waiting and self.alive():
            node = waiting.pop(0)
            asked.add(node)
            try:
                params = (route.group, spec.start, spec.end, part)
                await self._host.rpc.start(node, "index-apply", params, SEND_TIMEOUT_S)
                return True
            except RpcError as error:
                named = error.detail if error.code == "not-leader" and isinstance(error.detail, str) else ""
                if named:
                    waiting = [n for n in dict.fromkeys([named, *waiting]) if n not in asked]
        return False

    async def _delete_forever(self) -> None:
        """Delete rows that every lane is done with."""
        signal, outbox = self._signals[""], self.outbox
        while self.alive():
            if not outbox.finished:
                signal.clear()
                await signal.wait()
                continue
            await self._world.sleep(DELETE_AFTER_S)
            if not self.alive():
                return
            rows, outbox.finished = outbox.finished[:DELETE_ROWS_MAX], outbox.finished[DELETE_ROWS_MAX:]
            code = await self._replica.write([(row, None) for row in rows])
            if code and self.alive():
                outbox.finished += rows  # refused with nothing proposed, or about to learn that it lost
                await self._world.sleep(RETRY_S)
