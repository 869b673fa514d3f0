"""The World of a simulated node, for one of its lives."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from cluster.node.world import (
    DiskFailed,
    LogDirectory,
    MessageHandler,
    ObjectFiles,
    ObjectStore,
    PageFiles,
    Rng,
    Server,
)
from cluster.sim.clock import SimClock
from cluster.sim.disk import SimDisk
from cluster.sim.loop import Life, NodeEnded, SimHandle, SimLoop, finish
from cluster.sim.network import Endpoint, SimNetwork
from cluster.sim.objects import ROLE, SimObjects
from cluster.sim.streams import StreamHub

if TYPE_CHECKING:
    from cluster.sim.simulation import Simulation

T = TypeVar("T")


class SimWorld:
    """Implements :class:`cluster.node.world.World`. Once its life is over every method raises :class:`NodeEnded`."""

    def __init__(
        self, simulation: Simulation, name: str, life: Life, clock: SimClock, disk: SimDisk, seed: str
    ) -> None:
        self._simulation = simulation
        self.name = name
        self.life = life
        self.clock = clock
        self.now: Callable[[], float] = clock.boot
        self.wall: Callable[[], float] = clock.wall
        self.loop: SimLoop = simulation.loop
        self._network: SimNetwork = simulation.network
        self._streams: StreamHub = simulation.streams
        self._disk = disk
        self._memory = disk.memory
        self.rng: Rng = Random(seed)
        self.log: LogDirectory = disk.memory.log
        self.pages: PageFiles = disk.memory.pages
        self.objects: ObjectStore | None = SimObjects(simulation, self) if ROLE in simulation.nodes else None
        self.object_files: ObjectFiles | None = None  # the simulated store is no process: see cluster/sim/objects.py
        self._offload_rng = Random(seed + "/offload")

    def check_alive(self) -> None:
        if self.life.over:
            raise NodeEnded(f"{self.name} is not running any more")

    def call_at(self, when: float, callback: Callable[[], None]) -> SimHandle:
        life = self.life
        if life.over:
            self.check_alive()
        loop = self.loop
        true = self.clock.true_time_of(when)
        handle = loop.post(true if true > loop.now_s else loop.now_s, (), life.context)
        handle.call = (self._due, handle, when, callback)
        return handle

    def _due(self, handle: SimHandle, when: float, callback: Callable[[], None]) -> None:
        """It is time for a call, unless the clock was changed meanwhile."""
        if self.clock.boot() < when:
            # The clock was slowed down, or rounding is against us: never early, and always a step further.
            true = max(self.clock.true_time_of(when), math.nextafter(self.loop.now_s, math.inf))
            self.loop.post_again(true, handle)
            return
        handle.call = ()  # or the handle would be held by itself, until the garbage collector comes by
        callback()

    def soon(self, callback: Callable[[], None]) -> None:
        life = self.life
        if life.over:
            self.check_alive()
        self.loop.soon((callback,), life)

    async def sleep(self, seconds: float) -> None:
        self.check_alive()
        future: asyncio.Future[None] = self.loop.create_future()
        handle = self.call_at(self.now() + max(0.0, seconds), partial(finish, future))
        try:
            await future
        finally:
            handle.cancel()

    def spawn(self, coroutine: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        if self.life.over:
            coroutine.close()
            raise NodeEnded(f"{self.name} is not running any more")
        # A task must not share the life's own context: it would be entered twice.
        task = self.loop.create_task(coroutine, name=name, context=self.life.context.copy())
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, DiskFailed) and not self.life.over:
            self.exit(f"the disk failed in {task.get_name()}: {error}")
        if isinstance(error, Exception):
            self._simulation.on_escape(self.life, error)

    def send(self, peer: str, payload: bytes) -> None:
        if self.life.over:
            self.check_alive()
        self._network.send(self.name, peer, payload)

    def on_message(self, handler: MessageHandler) -> None:
        self.check_alive()
        self._network.attach(Endpoint(self.name, self.life, handler))

    async def listen(self, port: int, factory: Callable[[], asyncio.Protocol]) -> Server:
        self.check_alive()
        return self._streams.listen(self.name, self.life, port, factory)

    async def offload(self, function: Callable[..., T], *args: Any) -> T:
        """The function runs at one instant somewhere within the time it takes: a crash can fall before or after it."""
        self.check_alive()
        disk = self._disk
        # On true time: what hardware does knows nothing of a node's clocks.
        await self.loop.after(self._offload_rng.random() * disk.profile.call_s)
        before = self._memory.syncs
        result = function(*args)
        await self.loop.after(disk.charge(self._memory.syncs - before))
        return result

    def event(self, event: str, **fields: Any) -> None:
        self.check_alive()
        self._simulation.record(self.name, self.now(), self.wall(), event, fields)

    def exit(self, reason: str) -> NoReturn:
        self.check_alive()
        self.event("exit", reason=reason)
        self._simulation.node_exited(self.name, self.life, reason)
        raise NodeEnded(reason)
