"""The only way out of a node.

A driver in ``cluster/node`` never imports ``time``, ``random``, ``socket`` or ``os``: it is handed a :class:`World`.
In containers that is :mod:`cluster.node.realworld`; in the simulator it is ``cluster.sim.world``, where time is
virtual, the network loses and reorders, and disks forget what was not synced. A driver that keeps to this module runs
unchanged in both, which is what makes the simulator honest.

asyncio itself may be used by drivers (futures, events, locks, tasks through :meth:`World.spawn`): the simulator runs
an event loop of its own on virtual time. ``asyncio.wait``, ``as_completed`` and ``TaskGroup`` are banned (they
iterate over sets), and so is ``loop.time()``: deadlines go through the World, whose clocks can be skewed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, Protocol, TypeVar

T = TypeVar("T")

MessageHandler = Callable[[str, bytes], None]
"""``handler(sender_node_name, payload)``; called on the event loop; must not raise for any payload."""


class DiskFailed(Exception):
    """A write or an fsync failed. What it was meant to make durable must be taken as lost; it is never retried."""


class LogFile(Protocol):
    """An append-only file with an explicit durability point. All offsets and sizes in bytes."""

    name: str

    @property
    def size(self) -> int:
        """Bytes written so far, durable or not."""
        ...

    def append(self, data: bytes, zeros: int = 0) -> None:
        """Hand bytes, and so many zeros after them, to the operating system. Not durable before :meth:`sync`. Raises
        :class:`DiskFailed`."""
        ...

    async def sync(self) -> None:
        """Return once everything appended before the call is durable. Raises :class:`DiskFailed`; never retried."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Bytes as they are on the disk, fewer where the file ends."""
        ...

    def read_all(self) -> bytes:
        """The whole file as it is on the disk; used in recovery, and where damage was found."""
        ...

    def truncate(self, size: int) -> None:
        """Cut to ``size`` bytes, durably; used in recovery only, to discard a torn tail."""
        ...

    def close(self) -> None: ...


class LogDirectory(Protocol):
    """A flat directory of log files; creation and removal are durable on return (the directory is synced)."""

    def list(self) -> list[str]:
        """File names, sorted."""
        ...

    def create(self, name: str) -> LogFile: ...

    def open(self, name: str) -> LogFile: ...

    def remove(self, name: str) -> None: ...

    def write_small(self, name: str, data: bytes) -> None:
        """Replace a small file atomically and durably (write aside, sync, rename, sync the directory)."""
        ...

    def read_small(self, name: str) -> bytes | None:
        """The file's bytes, or None where it does not exist."""
        ...


class PageFile(Protocol):
    """A random-access file for the storage engine; synchronous, so used only inside :meth:`World.offload`."""

    def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes; shorter at the end of the file."""
        ...

    def write(self, offset: int, data: bytes) -> None: ...

    def truncate(self, size: int) -> None: ...

    def sync(self) -> None: ...

    def size(self) -> int: ...

    def close(self) -> None: ...


class PageFiles(Protocol):
    """A flat directory of page files. Names come, go and change durably, each in one step."""

    def open(self, name: str, *, create: bool) -> PageFile: ...

    def exists(self, name: str) -> bool: ...

    def remove(self, name: str) -> None: ...

    def rename(self, name: str, to: str) -> None:
        """Give a file another name; whatever had that name is gone with the same step."""
        ...

    def list(self) -> list[str]: ...


class ObjectFailed(Exception):
    """The object store did not answer, or refused. A put may have happened all the same."""


class ObjectStore(Protocol):
    """A flat store of immutable objects, as S3 is. Names are like paths; every call raises :class:`ObjectFailed`."""

    async def put(self, name: str, data: bytes) -> None:
        """Store durably, replacing; returns only once the store has proved that it holds exactly these bytes."""
        ...

    async def get(self, name: str) -> bytes | None:
        """The object's bytes, or None where there is no such object."""
        ...

    async def list(self, prefix: str) -> list[str]:
        """Names of all objects below ``prefix`` (a whole number of path segments), sorted."""
        ...


class StoredObject(NamedTuple):
    """An object as a listing of its store tells it."""

    key: str
    bytes: int
    at_s: float
    """When it was put, in seconds since the epoch."""


class ObjectFiles(Protocol):
    """The objects that the region's object store keeps on its own disk; synchronous, so used only inside
    :meth:`World.offload`, by several threads at once. Every call raises :class:`DiskFailed` where the disk does not do
    what it is asked; what was there before is there still."""

    def put(self, key: str, data: bytes) -> None:
        """Store durably and in one step: at any time, and after any end, a key has all of one put or of another.
        Raises ValueError for a key that is no path of plain names, or that another one forbids (``a`` and ``a/b``)."""
        ...

    def get(self, key: str) -> tuple[bytes, float] | None:
        """The object's bytes and when it was put, or None where there is no such object."""
        ...

    def remove(self, key: str) -> None:
        """Remove durably; a key that is not there is no error."""
        ...

    def list(self, prefix: str) -> list[StoredObject]:
        """Every object whose key begins with ``prefix``, in the order of the keys' UTF-8."""
        ...


class Handle(Protocol):
    """A scheduled call."""

    def cancel(self) -> None: ...


class Rng(Protocol):
    """The part of ``random.Random`` that drivers may use."""

    def random(self) -> float: ...

    def uniform(self, a: float, b: float) -> float: ...

    def getrandbits(self, k: int) -> int: ...

    def randrange(self, start: int, stop: int) -> int: ...


class Server(Protocol):
    """A listening socket."""

    def close(self) -> None: ...


class World(Protocol):
    """Everything a node may touch besides its own memory."""

    rng: Rng
    log: LogDirectory
    pages: PageFiles
    objects: ObjectStore | None
    """The region's object store, where this node was told of one."""
    object_files: ObjectFiles | None
    """What the region's object store keeps itself; None on any other node."""

    def now(self) -> float:
        """Seconds on the boot clock (never steps, counts suspend; may drift). Leases and deadlines use this one."""
        ...

    def wall(self) -> float:
        """Seconds since the epoch; may step. Timestamps that people see use this one."""
        ...

    def call_at(self, when: float, callback: Callable[[], None]) -> Handle:
        """Run ``callback`` when :meth:`now` reaches ``when``."""
        ...

    def soon(self, callback: Callable[[], None]) -> None:
        """Run ``callback`` once what the event loop has in hand is done: after the messages that came together."""
        ...

    async def sleep(self, seconds: float) -> None: ...

    def spawn(self, coroutine: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Start a task owned by this node. An exception that escapes it ends the node: it is a bug, not weather.
        :class:`DiskFailed` is weather; it ends the node all the same, as nothing is tried again on a failed disk."""
        ...

    def send(self, peer: str, payload: bytes) -> None:
        """Send a message to a node by name. No promise of order, uniqueness or delivery; never blocks."""
        ...

    def on_message(self, handler: MessageHandler) -> None:
        """Set the one handler for messages from peers."""
        ...

    async def listen(self, port: int, factory: Callable[[], asyncio.Protocol]) -> Server:
        """Accept byte streams (HTTP) on the node's own address."""
        ...

    async def offload(self, function: Callable[..., T], *args: Any) -> T:
        """Run a synchronous, disk-bound function off the event loop (in the simulator inline, its time charged)."""
        ...

    def event(self, event: str, **fields: Any) -> None:
        """Append to the node's event record (outside its data volume): elections, recoveries, what a report shows."""
        ...

    def exit(self, reason: str) -> None:
        """End the node at once, without cleaning up: what it had not synced is as after a crash."""
        ...
