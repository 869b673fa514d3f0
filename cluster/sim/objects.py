"""The simulated region's object store: an S3 of the simulated network, that can be cut off and lose its power.

It is a node like any other, with a disk of its own; what it acknowledged is durable. A request travels to it and the
answer back, each on its own link; where one is cut, or the store is down, the caller hears nothing and gives up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cluster.node.world import ObjectFailed
from cluster.sim.network import Endpoint

if TYPE_CHECKING:
    from cluster.sim.simulation import SimNode, Simulation
    from cluster.sim.world import SimWorld

ANSWER_TIMEOUT_S: Final = 2.0
BYTES_PER_S: Final = 200e6
"""What moving an object costs beside the way."""

ROLE: Final = "archive"


class SimObjects:
    """Implements :class:`cluster.node.world.ObjectStore` for one node of a simulation."""

    def __init__(self, simulation: Simulation, world: SimWorld, store: str = ROLE) -> None:
        self._simulation = simulation
        self._world = world
        self._store = store

    async def put(self, name: str, data: bytes) -> None:
        node = await self._arrive("put", name, len(data))
        log = node.disk.memory.log
        await self._world.loop.after(node.disk.charge(1))
        if node.state != "running":
            await self._silence("put", name, ANSWER_TIMEOUT_S)
        log.write_small(name, data)
        await self._return("put", name, 0)

    async def get(self, name: str) -> bytes | None:
        node = await self._arrive("get", name, 0)
        data = node.disk.memory.log.read_small(name)
        await self._return("get", name, len(data or b""))
        return data

    async def list(self, prefix: str) -> list[str]:
        node = await self._arrive("list", prefix, 0)
        below = prefix.rstrip("/") + "/"
        names = [name for name in node.disk.memory.log.list() if name.startswith(below)]
        await self._return("list", prefix, 64 * len(names))
        return names

    async def _arrive(self, what: str, name: str, size: int) -> SimNode:
        world = self._world
        world.check_alive()
        node = self._simulation.nodes[self._store]
        delay = self._simulation.network.delay(world.name, self._store)
        if delay is None:
            await self._silence(what, name, ANSWER_TIMEOUT_S)
        else:
            await world.loop.after(delay + size / BYTES_PER_S)
        if node.state != "running":
            await self._silence(what, name, ANSWER_TIMEOUT_S)
        return node

    async def _return(self, what: str, name: str, size: int) -> None:
        delay = self._simulation.network.delay(self._store, self._world.name)
        if delay is None:
            await self._silence(what, name, ANSWER_TIMEOUT_S)
        else:
            await self._world.loop.after(delay + size / BYTES_PER_S)
        self._world.check_alive()

    async def _silence(self, what: str, name: str, seconds: float) -> None:
        await self._world.loop.after(seconds)
        raise ObjectFailed(f"{what} {name}: no answer from {self._store} within {seconds:g} s")


async def serve(world: SimWorld, simulation: Simulation) -> None:
    """The store's own node: it is there, and its disk is what the others reach."""
    simulation.network.attach(Endpoint(world.name, world.life, lambda sender, payload: None))
    world.event("ready", role=ROLE)
