"""The sweep that deletes expired items: each leader walks its own groups' rows, slowly and for ever.

Only the leader of a group sweeps it, over applied rows; what it finds expired it deletes by a command of its own, which
looks at the item again in proposed state and is replicated like any delete, indexes and all. So it does not matter how
old the sweep's picture was, or if another leader sweeps at the same time. Nothing is charged: no router is involved.
"""

from __future__ import annotations

import asyncio
from typing import Any

from cluster.core.commands import Outcome
from cluster.core.expiry import expiry_of, removal
from cluster.core.items import image_body
from cluster.core.keys import encode_key
from cluster.core.ranges import RangeRead
from cluster.core.shape import Shape
from cluster.core.side import END
from cluster.node.host import Host
from cluster.node.pace import until_next_turn
from cluster.node.rangereads import read_range
from cluster.node.replica import Replica
from cluster.node.rpc import RpcError
from cluster.wire.json import CODEC, encode

ROWS_PER_S = 2_000
"""Rows a node looks at: some 10 ms of CPU a second, and a million rows in ten minutes; AWS promises two days [DG]."""

PAGE_ROWS = 200
PAGE_BYTES = 256 * 1024
IDLE_S = 1.0
"""The least time between two sweeps of a group."""


class Expirer:
    """Sweeps the groups that this node leads and whose table has a TTL attribute."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.expired = 0
        """Items deleted in this life."""
        self._leads = asyncio.Event()
        """Set while a group is led here whose items expire."""
        host.on_change.append(self._changed)

    def _changed(self, replica: Replica) -> None:
        if self._sweeps(replica):
            self._leads.set()

    def _sweeps(self, replica: Replica) -> bool:
        return replica.leading and replica.shape is not None and bool(replica.shape.ttl)

    def start(self) -> None:
        self._host.world.spawn(self._sweep_forever(), "ttl-sweep")

    async def _sweep_forever(self) -> None:
        while True:
            await self._leads.wait()
            await until_next_turn(self._host.world, IDLE_S)
            for group in list(self._host.replicas):
                replica = self._host.replicas.get(group)
                if replica is not None and self._sweeps(replica):
                    await self._sweep(replica)
            if not any(self._sweeps(replica) for replica in self._host.replicas.values()):
                self._leads.clear()

    async def _sweep(self, replica: Replica) -> None:
        """Once over a group's rows, or until it is led elsewhere or expires nothing any more."""
        before = self.expired
        start = END
        while True:
            shape = replica.shape
            if not replica.serving or shape is None or not shape.ttl:
                break
            read = RangeRead(start, limit=PAGE_ROWS, bytes_max=PAGE_BYTES, raw=True)
            try:
                page = await read_range(self._host, replica, read)
            except RpcError:
                break
            await self._expire(replica, shape, page.rows)
            await self._host.world.sleep(max(len(page.rows), 1) / ROWS_PER_S)
            if not page.full:
                break
            start = page.rows[-1][0] + b"\0"
        if self.expired > before:
            self._host.world.event("ttl-expired", group=replica.spec.group, items=self.expired - before)

    async def _expire(self, replica: Replica, shape: Shape, rows: tuple[tuple[bytes, bytes], ...]) -> None:
        """Delete those of the rows that have expired, and wait until it is decided."""
        now = self._host.world.wall()
        name = encode(shape.ttl)
        waiting: list[asyncio.Future[None]] = []
        for key, image in rows:
            if name not in image:
                continue
            item = CODEC.decode(image_body(image))
            expiry = expiry_of(item, shape.ttl, now)
            if expiry is None or encode_key(shape.key, item) != key:  # an index's row goes with its item
                continue
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            waiting.append(future)
            replica.execute(removal(replica.spec.table, key, shape.ttl, expiry), _noting(self, future))
        for future in waiting:
            await future


def _noting(expirer: Expirer, future: asyncio.Future[None]) -> Any:
    def done(code: str, outcome: Outcome | None) -> None:
        if not code and outcome is not None and outcome.error is None:
            expirer.expired += 1
        if not future.done():
            future.set_result(None)

    return done
