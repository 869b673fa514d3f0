"""Global admission control, one node a zone; a table is served by the node its name hashes to [P22 §4.3].

All state is ephemeral and rebuilt from the next reports, so that any of them can be killed at any time.
"""

from __future__ import annotations

from typing import Any
from zlib import crc32

from cluster.core.admission import GlobalBucket
from cluster.node.config import NodeConfig
from cluster.node.rpc import Responder, Rpc
from cluster.node.world import World

MAX_TABLES = 10_000


def home(table_id: str, nodes: list[str], attempt: int = 0) -> str:
    """The node that vends for a table; the next one round the ring for each attempt that failed."""
    return nodes[(crc32(table_id.encode()) + attempt) % len(nodes)]


class GlobalAdmissionControl:
    """The role ``gac``."""

    def __init__(self, world: World, config: NodeConfig, rpc: Rpc) -> None:
        self._world = world
        self._tables: dict[str, tuple[GlobalBucket, GlobalBucket]] = {}
        self._vended = 0
        rpc.register("vend", self._vend, list[tuple[str, float, float, float, float]])

    async def start(self) -> None:
        """Nothing to do: it serves from memory."""

    async def stop(self) -> None:
        """Nothing is kept that would have to be saved."""

    def status(self) -> dict[str, Any]:
        return {"tables": len(self._tables), "vended": self._vended}

    def _vend(self, sender: str, reports: list[tuple[str, float, float, float, float]], responder: Responder) -> None:
        """``[(table id, reads wanted, writes wanted, read rate, write rate)]`` -> ``[(read tokens, write tokens)]``."""
        now = self._world.now()
        if len(self._tables) > MAX_TABLES:
            self._tables.clear()
        grants = []
        for table_id, reads, writes, read_rate, write_rate in reports:
            buckets = self._tables.get(table_id)
            if buckets is None:
                buckets = self._tables[table_id] = (GlobalBucket(), GlobalBucket())
            grants.append(
                (buckets[0].vend(sender, reads, read_rate, now), buckets[1].vend(sender, writes, write_rate, now))
            )
            self._vended += 1
        responder.reply(grants)
