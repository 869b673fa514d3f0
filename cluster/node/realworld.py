"""The World of a node that runs as a process: TCP, the kernel's clocks, files on a volume of its own.

Everything that can end a node early ends it the same way: an event with the reason, then the process is gone without
cleaning up. What has to survive that is on the disk already, or was never promised to anyone.
"""

from __future__ import annotations

import asyncio
import math
import os
import random
import sys
import time
import traceback
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import msgspec

from cluster.node.config import NodeConfig
from cluster.node.kernelsync import KernelSync
from cluster.node.netpeer import PeerCounters, PeerNetwork, PeerOptions
from cluster.node.offload import OffloadThreads
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
from cluster.store.files import RealLogDirectory, RealPageFiles
from cluster.wire.frames import Identity

T = TypeVar("T")

PEER_PORT: Final = 7000
OBJECT_STORE: Final = "archive"
"""The role of the node that is the object store, instead of having one."""
OFFLOAD_THREADS: Final = 4
STRAY_ERRORS_MAX: Final = 100
"""Recorded in one life; the first tell the story, and a record must not fill a disk."""
EXIT_STATUS: Final = 70
"""Of a process that ended itself (EX_SOFTWARE): a bug, a failed disk, a refusal to go on."""

_clock_gettime, _CLOCK_BOOTTIME = time.clock_gettime, time.CLOCK_BOOTTIME
_to_json = msgspec.json.Encoder(enc_hook=str).encode


class EventFile:
    """One JSON object a line, appended with a single write each, so that lines of a killed node are whole or absent."""

    def __init__(self, path: str, node: str) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._node = node

    def append(self, boot_s: float, wall_s: float, event: str, fields: dict[str, Any]) -> None:
        line = _to_json({"boot": boot_s, "wall": wall_s, "node": self._node, "event": event} | fields)
        try:
            os.write(self._descriptor, line + b"\n")
        except OSError as error:
            # The record lies outside the data volume: without it the node still serves, and says so where it can.
            print(f"event {event!r} could not be recorded: {error}", file=sys.stderr, flush=True)


class RealHandle:
    """A call to come. The loop's clock stops while the machine sleeps and ours may be skewed, so it looks again."""

    __slots__ = ("_callback", "_timer", "_when", "_world")

    def __init__(self, world: RealWorld, when: float, callback: Callable[[], None]) -> None:
        self._world = world
        self._when = when
        self._callback: Callable[[], None] | None = callback
        self._timer = self._arm()

    def _arm(self) -> asyncio.TimerHandle:
        world = self._world
        delay = max(0.0, self._when - world.now()) / world.clock_rate
        # Loops count whole milliseconds from the last time they looked, which may be one ago: a call that comes early
        # has to be made again.
        return world.loop.call_later((math.ceil(delay * 1000) + 1) / 1000 if delay else 0.0, self._fire)

    def _fire(self) -> None:
        callback = self._callback
        if callback is None:
            return
        if self._world.now() < self._when:
            self._timer = self._arm()
            return
        self._callback = None
        self._world.guarded(callback)

    def cancel(self) -> None:
        self._callback = None
        self._timer.cancel()


class RealWorld:
    """Implements :class:`cluster.node.world.World`. Make it on the running event loop, then ``await start()``.

    ``clock_rate`` is how fast this node's boot clock runs against the kernel's; 1.0 unless a fault says otherwise.
    """

    def __init__(
        self, config: NodeConfig, *, options: PeerOptions | None = None, clock_rate: float = 1.0, port: int = PEER_PORT
    ) -> None:
        self.config = config
        self.loop = asyncio.get_running_loop()
        self.rng: Rng = random.Random(os.urandom(16))
        self.clock_rate = clock_rate
        self._clock_base = time.clock_gettime(time.CLOCK_BOOTTIME)
        self._port = port
        self._tasks: dict[asyncio.Task[Any], None] = {}
        self._stray_errors = 0
        self.loop.set_exception_handler(self._on_stray_error)
        self._events = EventFile(config.events, config.name)
        self._threads = OffloadThreads(self.loop, OFFLOAD_THREADS)
        data = Path(config.data)
        self._kernel_sync = KernelSync.open(self.loop)
        begin_sync = self._kernel_sync.begin if self._kernel_sync is not None else None
        self.log: LogDirectory = RealLogDirectory(data / "log", self.offload, begin_sync)
        self.pages: PageFiles = RealPageFiles(data / "pages")
        self.objects: ObjectStore | None = _objects_of(config)
        self.object_files: ObjectFiles | None = _object_files_of(config)
        # Only to tell a node's lives apart in a record; the incarnation that leases count on is on the disk.
        incarnation = time.time_ns()
        self._network = PeerNetwork(
            Identity(config.cluster, config.name, incarnation),
            bytes.fromhex(config.key),
            {peer.name: (peer.address, port) for peer in config.peers},
            self.rng.random,
            options,
        )

    @property
    def counters(self) -> PeerCounters:
        """Messages sent, received and dropped, connections refused; for status and metrics."""
        return self._network.counters

    async def start(self) -> int:
        """Open the peer port; returns its number. Set the message handler first, so that no message is lost."""
        return await self._network.start(self.config.listen, self._port)

    def stop(self) -> None:
        """Close ports and connections and forget the tasks; for a clean end, and for tests."""
        self._network.stop()
        for task in list(self._tasks):
            task.cancel()
        self._threads.stop()
        if self._kernel_sync is not None:
            self._kernel_sync.close()
            self._kernel_sync = None

    def now(self) -> float:
        boot = _clock_gettime(_CLOCK_BOOTTIME)
        if self.clock_rate == 1.0:
            return boot
        return self._clock_base + (boot - self._clock_base) * self.clock_rate

    def wall(self) -> float:
        return time.time()

    def call_at(self, when: float, callback: Callable[[], None]) -> RealHandle:
        return RealHandle(self, when, callback)

    def soon(self, callback: Callable[[], None]) -> None:
        self.loop.call_soon(self.guarded, callback)

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = self.loop.create_future()
        handle = self.call_at(self.now() + seconds, partial(_wake, future))
        try:
            await future
        finally:
            handle.cancel()

    def spawn(self, coroutine: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        task = self.loop.create_task(coroutine, name=name)
        self._tasks[task] = None
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, DiskFailed):
            self.exit(f"the disk failed in {task.get_name()}: {error}")
        if error is not None:
            self._crash(error, f"task {task.get_name()}")

    def send(self, peer: str, payload: bytes) -> None:
        self._network.send(peer, payload)

    def on_message(self, handler: MessageHandler) -> None:
        def guard(sender: str, payload: bytes) -> None:
            try:
                handler(sender, payload)
            except Exception as error:
                self._crash(error, f"message from {sender}")

        self._network.set_handler(guard)

    async def listen(self, port: int, factory: Callable[[], asyncio.Protocol]) -> Server:
        return await self.loop.create_server(factory, self.config.listen, port, backlog=1024)

    async def offload(self, function: Callable[..., T], *args: Any) -> T:
        result: T = await self._threads.run(function, args)
        return result

    def event(self, event: str, **fields: Any) -> None:
        self._events.append(self.now(), self.wall(), event, fields)

    def guarded(self, callback: Callable[[], None]) -> None:
        """Run a driver's callback; an exception that escapes it is a bug and ends the node."""
        try:
            callback()
        except Exception as error:
            self._crash(error, "timer")

    def _on_stray_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An error in a protocol or a forgotten future. It has cost one connection; it is recorded, not fatal."""
        self._stray_errors += 1
        if self._stray_errors > STRAY_ERRORS_MAX:
            return
        error = context.get("exception")
        trace = "".join(traceback.format_exception(error)) if isinstance(error, BaseException) else ""
        print(f"{context.get('message')}\n{trace}", file=sys.stderr, flush=True)
        self.event("stray-error", message=str(context.get("message")), trace=trace)

    def _crash(self, error: BaseException, where: str) -> NoReturn:
        trace = "".join(traceback.format_exception(error))
        print(trace, file=sys.stderr, flush=True)
        self.event("crash", where=where, error=f"{type(error).__name__}: {error}", trace=trace)
        self._end()

    def exit(self, reason: str) -> NoReturn:
        self.event("exit", reason=reason)
        print(f"exit: {reason}", file=sys.stderr, flush=True)
        self._end()

    def _end(self) -> NoReturn:
        sys.stdout.flush()
        # Threads that are in the middle of a write are of no account: a crash would not have waited for them either.
        os._exit(EXIT_STATUS)


def _objects_of(config: NodeConfig) -> ObjectStore | None:
    if config.archive is None or config.role == OBJECT_STORE:
        return None
    from cluster.store.objects import Objects  # 16 MB of code that most nodes never need

    return Objects(config.archive.url, config.archive.access_key, config.archive.secret_key, config.region)


def _object_files_of(config: NodeConfig) -> ObjectFiles | None:
    if config.role != OBJECT_STORE:
        return None
    from cluster.store.objectfiles import DiskObjects

    return DiskObjects(Path(config.data))


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
