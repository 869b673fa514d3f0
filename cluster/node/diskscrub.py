"""Reading everything this node has on its disk, past every cache, and mending what is not what was written.

Rot is latent: rows are served from memory, and the log is read at the next start only. So every page of every B-tree
and every batch of the log is read again now and then. A B-tree with a bad page is given up and rebuilt. A bad segment
of the log is no lost vote while this process lives, for it holds in memory all that the log must hold: it begins a new
segment, states everything there, and lets go of the old ones.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from cluster.node.world import DiskFailed
from cluster.store.pagevfs import PAGE_BYTES

if TYPE_CHECKING:
    from cluster.node.host import Host
    from cluster.node.replica import Replica

PAGES_PER_PIECE = 64
"""Read in one piece of disk work, between which others have their turn."""
NO_LIMIT = float("inf")
REST_MAX_S = 1.0
"""How soon one who rests notices that somebody is in a hurry."""


class DiskScrub:
    """One round at a time; :meth:`once` is for who scrubs in the background, the rpc for who wants to know now."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._turn = asyncio.Lock()
        self._hurried = 0
        """Who waits for a round without a limit: one that goes slowly is then brought to its end."""
        host.rpc.register_async("scrub-disk", self._on_scrub, dict[str, Any])

    async def _on_scrub(self, sender: str, params: dict[str, Any]) -> dict[str, Any]:
        return await self.once(float(params.get("bytes_per_s") or NO_LIMIT))

    async def once(self, bytes_per_s: float = NO_LIMIT) -> dict[str, Any]:
        """Read it all, at most so many bytes a second: bytes read, seconds, and how many places were found bad.

        One round at a time: who comes while one is under way waits for its end, and with no limit it is hurried on.
        """
        urgent = bytes_per_s == NO_LIMIT
        self._hurried += urgent
        try:
            async with self._turn:
                return await self._round(bytes_per_s)
        finally:
            self._hurried -= urgent

    async def _round(self, bytes_per_s: float) -> dict[str, Any]:
        world = self._host.world
        began = world.now()
        read = bad = 0
        for name, replica in sorted(self._host.replicas.items()):
            if self._host.replicas.get(name) is replica:
                size, wrong = await self._tree(replica, bytes_per_s)
                read, bad = read + size, bad + wrong
        size, wrong = await self._log(bytes_per_s)
        return {"bytes": read + size, "seconds": world.now() - began, "bad": bad + wrong}

    async def _tree(self, replica: Replica, bytes_per_s: float) -> tuple[int, int]:
        at: int | None = 0
        read = 0
        while at is not None and not replica.damaged:
            began = at
            found = await self._host.upkeep.scrub_some(replica, at, PAGES_PER_PIECE)
            if found is None:
                return read, 1  # it was found out by the attempt itself
            corrupt, at = found
            size = ((at - began) if at is not None else PAGES_PER_PIECE) * PAGE_BYTES
            read += size
            if corrupt:
                return read, len(corrupt)  # the image is being rebuilt by now
            await self._rest(size, bytes_per_s)
        return read, 0

    async def _log(self, bytes_per_s: float) -> tuple[int, int]:
        host = self._host
        read = bad = 0
        try:
            for segment in host.wal.segments():
                wrong = await host.wal.examine(segment)
                for offset, why in wrong:
                    host.world.event(
                        "log-damage", what="damaged at rest", file=segment.name, offset=offset, detail=why, by="scrub"
                    )
                read, bad = read + segment.bytes, bad + len(wrong)
                await self._rest(segment.bytes, bytes_per_s)
            if bad:
                gone = await host.wal.renew()
                host.world.event("log-renewed", segments_removed=gone)
        except DiskFailed as error:
            host.world.exit(f"the log's disk failed: {error}")
        return read, bad

    async def _rest(self, size: int, bytes_per_s: float) -> None:
        """Let so much time pass as the bytes should have taken, unless somebody is in a hurry."""
        world = self._host.world
        until = world.now() + size / bytes_per_s
        while not self._hurried and (left := until - world.now()) > 0:
            await world.sleep(min(left, REST_MAX_S))
