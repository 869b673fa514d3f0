"""Disks in memory that behave like the real ones on the day the power goes.

:class:`MemoryDisk` implements the file interfaces of :mod:`cluster.node.world`. It knows at every moment which bytes
were synced. :meth:`MemoryDisk.crash` takes the rest away: all of it, or, given a source of randomness, any subset of
its 512-byte sectors in any order, which is all that a disk promises. Handles from before the crash are dead afterwards.

Tests use it directly; ``cluster/sim`` builds its disks on it, charging virtual time through ``sync_time``.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Awaitable, Callable

from cluster.node.world import DiskFailed, LogFile, PageFile, Rng

SECTOR_BYTES = 512

_ZEROS = memoryview(bytes(4096))

SyncTime = Callable[[], Awaitable[None]]
"""Awaited within each asynchronous sync, before its bytes count as durable."""


class Appended:
    """Bytes that are only ever appended to, in the pieces in which they came: an array of them would be copied whenever
    it outgrows its place. Zeros are all the same ones: of a log with small batches they are most of it."""

    __slots__ = ("_pieces", "_starts", "size")

    def __init__(self) -> None:
        self._pieces: list[bytes | memoryview] = [b""]
        self._starts = [0]
        self.size = 0

    def append(self, data: bytes, zeros: int = 0) -> None:
        self._pieces.append(data)
        self._starts.append(self.size)
        self.size += len(data)
        if zeros:
            self._pieces.append(_ZEROS[:zeros] if zeros <= len(_ZEROS) else bytes(zeros))
            self._starts.append(self.size)
            self.size += zeros

    def read(self, offset: int, length: int) -> bytes:
        first = bisect_right(self._starts, offset) - 1
        after = bisect_left(self._starts, offset + length)
        within = offset - self._starts[first]
        return b"".join(self._pieces[first:after])[within : within + length]

    def read_all(self) -> bytes:
        return b"".join(self._pieces)


class Content:
    """One file: what readers see, what would survive, and the writes in between, oldest first.

    Logs are only ever appended to, and then what would survive is how far what readers see was synced. It becomes bytes
    of its own at the first write that is no appending, or when somebody asks for the bytes, to damage them.
    """

    __slots__ = ("_data", "_durable", "_synced", "pending")

    def __init__(self, data: bytearray | None = None, durable: bytearray | None = None) -> None:
        self._data: Appended | bytearray = Appended() if data is None else data
        self._durable = durable
        self._synced = 0
        """Bytes from the beginning that would survive, while they have no bytes of their own."""
        self.pending: list[tuple[int, bytes | None, int]] = []
        """(offset, bytes, zeros after them) for a write, (size, None, 0) for a truncation."""

    @property
    def data(self) -> bytearray:
        """What readers see; may be changed, which leaves alone what would survive."""
        self._part()
        if isinstance(self._data, Appended):
            self._data = bytearray(self._data.read_all())
        return self._data

    @property
    def durable(self) -> bytearray:
        """What would survive; may be changed, which leaves alone what readers see."""
        return self._part()

    @property
    def size(self) -> int:
        data = self._data
        return data.size if isinstance(data, Appended) else len(data)

    @property
    def durable_size(self) -> int:
        return self._synced if self._durable is None else len(self._durable)

    def _part(self) -> bytearray:
        if self._durable is None:
            self._durable = bytearray(self.read(0, self._synced))
        return self._durable

    def read(self, offset: int, length: int) -> bytes:
        data = self._data
        return data.read(offset, length) if isinstance(data, Appended) else bytes(data[offset : offset + length])

    def read_all(self) -> bytes:
        data = self._data
        return data.read_all() if isinstance(data, Appended) else bytes(data)

    def write(self, offset: int, data: bytes, zeros: int = 0) -> None:
        before = self._data
        if isinstance(before, Appended) and offset == before.size:
            before.append(data, zeros)
        else:
            _put(self.data, offset, data + bytes(zeros))
        self.pending.append((offset, data, zeros))

    def truncate(self, size: int) -> None:
        self._part()
        if size:
            _cut(self.data, size)
        else:
            self._data = Appended()
        self.pending.append((size, None, 0))

    def sync(self, count: int) -> int:
        """Make the oldest ``count`` pending operations durable; returns the bytes that this wrote."""
        durable, written = self._durable, 0
        for offset, data, zeros in self.pending[:count]:
            if data is None:
                _cut(self._part(), offset)
                continue
            size = len(data) + zeros
            if durable is None:
                self._synced = offset + size
            else:
                _put(durable, offset, data + bytes(zeros))
            written += size
        del self.pending[:count]
        return written

    def crash(self, rng: Rng | None) -> None:
        """Forget what was not synced, or, with ``rng``, keep each unsynced sector with probability one half."""
        durable = self._part()
        if rng is not None:
            for offset, data, zeros in self.pending:
                if data is None:
                    if rng.random() < 0.5:
                        _cut(durable, offset)
                else:
                    _keep_some_sectors(durable, offset, data + bytes(zeros), rng)
        self.replace(durable)

    def replace(self, data: bytes | bytearray) -> None:
        """Set the whole file, durably (an atomic rename, or damage done from outside)."""
        self._data = Appended()
        self._data.append(bytes(data))
        self._durable = None
        self._synced = len(data)
        self.pending.clear()


def _put(target: bytearray, offset: int, data: bytes) -> None:
    if offset == len(target):
        target += data  # a slice would copy what is put into it once more
        return
    if offset > len(target):
        target.extend(bytes(offset - len(target)))
    target[offset : offset + len(data)] = data


def _cut(target: bytearray, size: int) -> None:
    if size < len(target):
        del target[size:]
    else:
        target.extend(bytes(size - len(target)))


def _keep_some_sectors(target: bytearray, offset: int, data: bytes, rng: Rng) -> None:
    end = offset + len(data)
    start = offset
    while start < end:
        stop = min(end, (start // SECTOR_BYTES + 1) * SECTOR_BYTES)
        if rng.random() < 0.5:
            _put(target, start, data[start - offset : stop - offset])
        start = stop


class MemoryDisk:
    """The log directory and the page files of one node, with power that can fail.

    ``fail_reads``, ``fail_writes`` and ``fail_syncs`` make the next operations raise :class:`DiskFailed`, ``full``
    those by which a file would grow, until :meth:`works`; ``synced_bytes`` and ``syncs`` count what became durable and
    how often. Creation, removal, renaming and ``write_small`` are durable at once.
    """

    def __init__(self, *, sync_time: SyncTime | None = None) -> None:
        self.sync_time = sync_time
        self.works()
        self.synced_bytes = 0
        self.syncs = 0
        self.life = 0
        """Power cycles so far. A handle belongs to the life it was opened in."""
        self.log = MemoryLogDirectory(self)
        self.pages = MemoryPageFiles(self)

    def crash(self, rng: Rng | None = None) -> None:
        """Cut the power: unsynced bytes are lost (all, or by sector as ``rng`` says), open handles are dead."""
        self.life += 1
        for directory in (self.log.contents, self.pages.contents):
            for name in sorted(directory):
                directory[name].crash(rng)

    def works(self) -> None:
        """No operation fails from now on."""
        self.fail_reads = self.fail_writes = self.fail_syncs = self.full = False

    def check(self, life: int, *, writing: bool, growing: bool = False) -> None:
        """Raise :class:`DiskFailed` for a handle of an earlier life, or where the operation is to fail."""
        if life != self.life:
            raise DiskFailed("the disk lost power since this file was opened")
        if writing and self.fail_writes:
            raise DiskFailed("write failed: injected")
        if self.fail_reads and not writing:
            raise DiskFailed("read failed: injected")
        if self.full and growing:
            raise DiskFailed("no space left on the disk: injected")

    def count_sync(self, written: int) -> None:
        self.syncs += 1
        self.synced_bytes += written


class MemoryLogFile:
    """A log file in memory."""

    def __init__(self, disk: MemoryDisk, name: str, content: Content) -> None:
        self.name = name
        self._disk = disk
        self._content = content
        self._life = disk.life
        self._failed = False

    @property
    def size(self) -> int:
        return self._content.size

    def append(self, data: bytes, zeros: int = 0) -> None:
        self._check(growing=True)
        self._content.write(self._content.size, data, zeros)

    async def sync(self) -> None:
        self._check()
        count = len(self._content.pending)
        if self._disk.sync_time is not None:
            await self._disk.sync_time()
            self._check()
        if self._disk.fail_syncs:
            self._failed = True
            raise DiskFailed("fdatasync failed: injected")
        self._disk.count_sync(self._content.sync(count))

    def read(self, offset: int, length: int) -> bytes:
        self._disk.check(self._life, writing=False)
        return self._content.read(offset, length)

    def read_all(self) -> bytes:
        self._disk.check(self._life, writing=False)
        return self._content.read_all()

    def truncate(self, size: int) -> None:
        self._check()
        self._content.truncate(size)
        self._disk.count_sync(self._content.sync(len(self._content.pending)))

    def close(self) -> None:
        self._failed = True

    def _check(self, *, growing: bool = False) -> None:
        if self._failed:
            raise DiskFailed(f"{self.name}: closed, or failed before; nothing more is written to this file")
        self._disk.check(self._life, writing=True, growing=growing)


class MemoryLogDirectory:
    """A log directory in memory. ``contents`` is open to tests that damage files."""

    def __init__(self, disk: MemoryDisk) -> None:
        self._disk = disk
        self.contents: dict[str, Content] = {}

    def list(self) -> list[str]:
        return sorted(self.contents)

    def create(self, name: str) -> LogFile:
        self._disk.check(self._disk.life, writing=True, growing=True)
        if name in self.contents:
            raise DiskFailed(f"{name}: cannot be created: it exists")
        content = self.contents[name] = Content()
        return MemoryLogFile(self._disk, name, content)

    def open(self, name: str) -> LogFile:
        if name not in self.contents:
            raise FileNotFoundError(name)
        return MemoryLogFile(self._disk, name, self.contents[name])

    def remove(self, name: str) -> None:
        self._disk.check(self._disk.life, writing=True)
        self.contents.pop(name, None)

    def write_small(self, name: str, data: bytes) -> None:
        self._disk.check(self._disk.life, writing=True, growing=True)
        if self._disk.fail_syncs:
            raise DiskFailed("fdatasync failed: injected")
        self.contents.setdefault(name, Content()).replace(data)
        self._disk.count_sync(len(data))

    def read_small(self, name: str) -> bytes | None:
        self._disk.check(self._disk.life, writing=False)
        content = self.contents.get(name)
        return None if content is None else content.read_all()


class MemoryPageFile:
    """A page file in memory."""

    def __init__(self, disk: MemoryDisk, name: str, content: Content) -> None:
        self._disk = disk
        self._name = name
        self._content = content
        self._life = disk.life
        self._failed = False

    def read(self, offset: int, length: int) -> bytes:
        self._disk.check(self._life, writing=False)
        return self._content.read(offset, length)

    def write(self, offset: int, data: bytes) -> None:
        self._check(growing=offset + len(data) > self._content.size)
        self._content.write(offset, bytes(data))

    def truncate(self, size: int) -> None:
        self._check()
        self._content.truncate(size)

    def sync(self) -> None:
        self._check()
        if self._disk.fail_syncs:
            self._failed = True
            raise DiskFailed("fdatasync failed: injected")
        self._disk.count_sync(self._content.sync(len(self._content.pending)))

    def size(self) -> int:
        return self._content.size

    def close(self) -> None:
        self._failed = True

    def _check(self, *, growing: bool = False) -> None:
        if self._failed:
            raise DiskFailed(f"{self._name}: closed, or failed before; nothing more is written to this file")
        self._disk.check(self._life, writing=True, growing=growing)


class MemoryPageFiles:
    """A directory of page files in memory. ``contents`` is open to tests that damage files."""

    def __init__(self, disk: MemoryDisk) -> None:
        self._disk = disk
        self.contents: dict[str, Content] = {}

    def open(self, name: str, *, create: bool) -> PageFile:
        content = self.contents.get(name)
        if content is None:
            if not create:
                raise FileNotFoundError(name)
            self._disk.check(self._disk.life, writing=True, growing=True)
            content = self.contents[name] = Content()
        return MemoryPageFile(self._disk, name, content)

    def exists(self, name: str) -> bool:
        return name in self.contents

    def remove(self, name: str) -> None:
        self._disk.check(self._disk.life, writing=True)
        self.contents.pop(name, None)

    def rename(self, name: str, to: str) -> None:
        self._disk.check(self._disk.life, writing=True)
        if name not in self.contents:
            raise DiskFailed(f"{name}: cannot be renamed to {to}: it does not exist")
        self.contents[to] = self.contents.pop(name)

    def list(self) -> list[str]:
        return sorted(self.contents)
