"""The scrub of a simulated cluster: on its own time, and with an archive that is looked into without disturbing it."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from cluster.sim.objects import ROLE
from cluster.sim.simulation import Simulation

SCRUB_S: Final = 300.0
"""Virtual seconds that one group may take."""


class SimCalls:
    """Implements :class:`cluster.node.scrubbing.Calls` for a coroutine of the harness."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim

    async def call(self, node: str, method: str, params: Any, timeout_s: float) -> Any:
        return await self._sim.call_async(node, method, params, timeout_s)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def now(self) -> float:
        return self._sim.now


class SimReader:
    """Implements :class:`chaos.engine.scrub.ArchiveReader`: the store's disk, whatever befell its network."""

    def __init__(self, sim: Simulation) -> None:
        self._disk = sim.nodes[ROLE].disk

    def get_now(self, name: str) -> bytes | None:
        return self._disk.memory.log.read_small(name)

    def list_now(self, prefix: str) -> list[str]:
        return [name for name in self._disk.memory.log.list() if name.startswith(prefix + "/")]
