"""Bringing the items that were there before a global index into it.

Each group's leader goes through its items in key order and, for each, puts the change that a write of the item *as it
is at that moment in proposed state* would have made into the outbox. From there it goes the way of all changes, in the
group's own order: a write that comes later is sent later, so that a back-fill cannot overwrite it, and a deletion that
came before leaves nothing to bring in. How far it has come is a row of the group, written behind the changes it stands
for, so that whoever leads next goes on from there, doing at worst a little twice.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from cluster.core.keys import local_number
from cluster.core.shape import BACKFILL
from cluster.core.side import END
from cluster.node.outbox import HELD_BYTES_MAX, Outbox
from cluster.node.rangereads import read_rows
from cluster.node.rpc import Responder

if TYPE_CHECKING:
    from cluster.node.host import Host
    from cluster.node.replica import Replica

RETRY_S = 0.1
SETTLE_S = 1.0
ROWS_PER_STEP = 64
HELD_BYTES = HELD_BYTES_MAX // 4
"""While more than this waits to be sent, writes go before back-fills."""

GOING, DONE = b"\x00", b"\x01"
"""A progress row's first byte; behind the first, the last key that was brought in."""


class _Work(NamedTuple):
    """One back-fill of one group, in one life of its leader's outbox."""

    replica: Replica
    outbox: Outbox
    life: int
    target: str

    @property
    def wanted(self) -> bool:
        lane = self.outbox.lanes.get(self.target)
        return self.outbox.life == self.life and lane is not None and lane.index.backfill

    @property
    def row(self) -> bytes:
        return BACKFILL + self.target.encode()


class Backfills:
    """A node's back-fills, and the rpc ``backfilled`` by which the control plane asks whether one is done."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._world = host.world
        self._running: dict[tuple[str, str], _Work] = {}
        self._done: dict[tuple[str, str], _Work] = {}
        host.on_change.append(self.look)
        host.rpc.register("backfilled", self._backfilled, tuple[str, str])

    def look(self, replica: Replica) -> None:
        """A replica's leadership or shape changed."""
        outbox = replica.machine.outbox
        if outbox is None or not replica.leading:
            return
        for target in [target for target, lane in outbox.lanes.items() if lane.index.backfill]:
            key, work = (replica.spec.group, target), _Work(replica, outbox, outbox.life, target)
            if self._running.get(key) != work and self._done.get(key) != work:
                self._running[key] = work
                self._world.spawn(self._run(key, work), "backfill")

    def _backfilled(self, sender: str, params: tuple[str, str], responder: Responder) -> None:
        work = self._done.get(params)
        replica = self._host.replicas.get(params[0])
        if replica is None or not replica.serving:
            responder.refuse("not-leader", "")
        else:
            responder.reply(work is not None and work.outbox is replica.machine.outbox and work.wanted)

    async def _run(self, key: tuple[str, str], work: _Work) -> None:
        cursor = await self._progress(work)
        # What was proposed before this leader's decisions knew of the index is in no list of rows until it is applied:
        # this write comes behind all of it.
        while work.wanted and cursor is not None and await work.replica.write([(work.row, GOING + cursor)]):
            await self._world.sleep(RETRY_S)
        while work.wanted and cursor is not None:
            if work.outbox.held_bytes > HELD_BYTES or work.outbox.full:
                await self._world.sleep(RETRY_S)
                continue
            cursor = await self._step(work, cursor)
        position = work.replica.machine.clock
        while work.wanted and not work.outbox.caught_up(work.target, position):
            await self._world.sleep(RETRY_S)
        while work.wanted and await work.replica.write([(work.row, DONE)]):
            await self._world.sleep(RETRY_S)
        if work.wanted:
            self._done[key] = work
            self._world.event("backfill-done", group=key[0], index=key[1])
        while work.wanted:  # until the control plane has heard it from every group
            await self._world.sleep(SETTLE_S)
        lane = work.outbox.lanes.get(work.target)
        if work.outbox.life == work.life and lane is not None:
            await work.replica.write([(work.row, None)])
        if self._running.get(key) is work:
            del self._running[key]

    async def _progress(self, work: _Work) -> bytes | None:
        """The last key that is in; empty at the beginning, None where all are."""
        row: bytes | None = None
        while work.wanted:
            page = await read_rows(self._host, work.replica, work.row, work.row + b"\0")
            if page is not None:
                row = page[0][0][1] if page[0] else None
                break
            await self._world.sleep(RETRY_S)
        if row is None:
            return b""
        return None if row[:1] == DONE else row[1:]

    async def _step(self, work: _Work, cursor: bytes) -> bytes | None:
        """Bring in some items behind ``cursor``; how far that went, None at the end."""
        replica = work.replica
        start = max(cursor + b"\0" if cursor else b"", END, replica.spec.start)
        page = await read_rows(self._host, replica, start, replica.spec.end)
        if page is None:
            await self._world.sleep(RETRY_S)
            return cursor
        rows, rest = page
        if len(rows) > ROWS_PER_STEP:
            rows, rest = rows[:ROWS_PER_STEP], rows[ROWS_PER_STEP][0]
        for key, _ in rows:
            if local_number(key) < 0 and not await self.bring(work, key):
                return cursor  # not the leader any more
        last = rows[-1][0] if rows else cursor
        if await replica.write([(work.row, GOING + last)]):
            await self._world.sleep(RETRY_S)
            return cursor
        return last if rest is not None else None

    async def bring(self, work: _Work, key: bytes) -> bool:
        """Put one item, as it is now, into the outbox. False where that is not wanted any more."""
        machine = work.replica.machine
        images: list[bytes | None] | None = None
        while images is None:
            arrived = asyncio.Event()
            images = machine.gather([key], arrived.set)
            if images is None:
                await arrived.wait()
        # Nothing is awaited from here on: the image and the change's place in the order belong together.
        if not work.wanted or not work.replica.serving:
            return False
        changes = work.outbox.indexes.backfill(work.target, key, images[0]) if images[0] is not None else []
        if changes:
            machine.send_to_indexes(key, changes)
            self._host.touch(work.replica)
        return True
