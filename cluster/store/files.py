"""Real files beneath the storage engine: the ``LogDirectory`` and ``PageFiles`` of :mod:`cluster.node.world` on a disk.

Two rules hold for every class here. What the interface calls durable has been through ``fdatasync`` (and through the
directory's ``fsync`` where a name came or went). And a file whose write or sync failed once is dead for ever: after a
failed ``fdatasync`` Linux may mark the lost pages clean, so that a second call would succeed and prove nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from cluster.node.world import DiskFailed, LogFile, PageFile

Offload = Callable[..., Awaitable[Any]]
"""``await offload(function, *args)`` runs a blocking function off the event loop (:meth:`World.offload`)."""

BeginSync = Callable[[int, Callable[[OSError | None], None]], bool]
"""``begin(fd, done)`` begins an ``fdatasync`` and calls ``done`` on the event loop when it has ended; False where it
cannot, and nothing was begun."""

READ_BLOCK_BYTES = 4096
ASIDE_SUFFIX = ".new"
"""Small files are written beside their final name first; such names are never listed."""


@runtime_checkable
class Uncached(Protocol):
    """A file that sits behind a cache of the operating system's."""

    def drop_cache(self, offset: int = 0, length: int = 0) -> None:
        """Make the next reads of a range (0: to the end) come from the disk. Best effort: pages still dirty stay."""
        ...


def sync_directory(path: Path) -> None:
    """Make names created in or removed from ``path`` durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


class _RealFile:
    """An open file that is dead for ever once a write or a sync of it failed."""

    def __init__(self, path: Path, fd: int) -> None:
        self._path = path
        self._fd = fd
        self._failure: str | None = None

    def drop_cache(self, offset: int = 0, length: int = 0) -> None:
        with contextlib.suppress(OSError):
            os.posix_fadvise(self._fd, offset, length, os.POSIX_FADV_DONTNEED)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._failure = self._failure or "the file is closed"

    def _check(self) -> None:
        if self._failure is not None:
            raise DiskFailed(f"{self._path}: {self._failure}; nothing more is written to this file")

    def _fail(self, what: str, error: OSError) -> DiskFailed:
        self._failure = f"{what} failed: {error.strerror or error}"
        return DiskFailed(f"{self._path}: {self._failure}")


class RealLogFile(_RealFile):
    """An append-only file. Its ``fdatasync`` is begun by ``begin_sync`` where that is given, else run in a thread."""

    def __init__(self, path: Path, fd: int, size: int, offload: Offload, begin_sync: BeginSync | None = None) -> None:
        super().__init__(path, fd)
        self.name = path.name
        self._size = size
        self._offload = offload
        self._begin_sync = begin_sync

    @property
    def size(self) -> int:
        return self._size

    def append(self, data: bytes, zeros: int = 0) -> None:
        self._check()
        try:
            written = os.writev(self._fd, (data, bytes(zeros)))
            if written < len(data) + zeros:
                write_all(self._fd, (data + bytes(zeros))[written:])
        except OSError as error:
            raise self._fail("write", error) from error
        self._size += len(data) + zeros

    async def sync(self) -> None:
        self._check()
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(error: OSError | None) -> None:
            if error is not None:
                self._fail("fdatasync", error)  # remembered even where the caller was cancelled
            if not ended.done():
                ended.set_result(None)

        if self._begin_sync is not None and self._begin_sync(self._fd, done):
            await ended
            self._check()
        else:
            await self._offload(self._sync)

    def _sync(self) -> None:
        # The failure is remembered here, in the thread, so that it is not lost with a caller that was cancelled.
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            raise self._fail("fdatasync", error) from error
        self._check()

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the file; blocks the disk refuses to read come back as zeros, which no checksum of ours accepts."""
        try:
            return _read_range(self._fd, offset, length)
        except OSError:
            end = min(offset + length, os.fstat(self._fd).st_size)
            return b"".join(
                _read_or_zeros(self._fd, at, min(READ_BLOCK_BYTES, end - at))
                for at in range(offset, end, READ_BLOCK_BYTES)
            )

    def read_all(self) -> bytes:
        return self.read(0, os.fstat(self._fd).st_size)

    def truncate(self, size: int) -> None:
        self._check()
        try:
            os.ftruncate(self._fd, size)
            os.fsync(self._fd)
        except OSError as error:
            raise self._fail("truncate", error) from error
        self._size = size


def _read_range(fd: int, offset: int, length: int) -> bytes:
    parts = []
    while length > 0:
        part = os.pread(fd, length, offset)
        if not part:
            break
        parts.append(part)
        offset += len(part)
        length -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _read_or_zeros(fd: int, offset: int, length: int) -> bytes:
    try:
        return _read_range(fd, offset, length).ljust(length, b"\0")
    except OSError:
        return bytes(length)


class RealLogDirectory:
    """A directory of log files. Creating and removing block for an ``fsync`` each: they are rare."""

    def __init__(self, path: Path | str, offload: Offload, begin_sync: BeginSync | None = None) -> None:
        self._path = Path(path)
        self._offload = offload
        self._begin_sync = begin_sync
        self._path.mkdir(parents=True, exist_ok=True)
        for leftover in self._path.glob("*" + ASIDE_SUFFIX):
            leftover.unlink()
        sync_directory(self._path.parent)
        sync_directory(self._path)

    def list(self) -> list[str]:
        return sorted(entry.name for entry in self._path.iterdir() if not entry.name.endswith(ASIDE_SUFFIX))

    def create(self, name: str) -> LogFile:
        path = self._path / name
        try:
            fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            sync_directory(self._path)
        except OSError as error:
            raise DiskFailed(f"{path}: cannot be created: {error.strerror or error}") from error
        return RealLogFile(path, fd, 0, self._offload, self._begin_sync)

    def open(self, name: str) -> LogFile:
        path = self._path / name
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        return RealLogFile(path, fd, os.fstat(fd).st_size, self._offload, self._begin_sync)

    def remove(self, name: str) -> None:
        path = self._path / name
        try:
            path.unlink(missing_ok=True)
            sync_directory(self._path)
        except OSError as error:
            raise DiskFailed(f"{path}: cannot be removed: {error.strerror or error}") from error

    def write_small(self, name: str, data: bytes) -> None:
        path = self._path / name
        aside = self._path / (name + ASIDE_SUFFIX)
        try:
            fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                write_all(fd, data)
                os.fdatasync(fd)
            finally:
                os.close(fd)
            aside.rename(path)
            sync_directory(self._path)
        except OSError as error:
            raise DiskFailed(f"{path}: cannot be written: {error.strerror or error}") from error

    def read_small(self, name: str) -> bytes | None:
        try:
            return (self._path / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError:
            # Present but unreadable: the caller's checksum refuses it, as it must.
            return b""


class RealPageFile(_RealFile):
    """A random-access file. Every method blocks."""

    def read(self, offset: int, length: int) -> bytes:
        """Raises :class:`DiskFailed` where the disk cannot read; that does not kill the file."""
        try:
            return _read_range(self._fd, offset, length)
        except OSError as error:
            raise DiskFailed(f"{self._path}: read at {offset} failed: {error.strerror or error}") from error

    def write(self, offset: int, data: bytes) -> None:
        self._check()
        try:
            done = os.pwrite(self._fd, data, offset)
            while done < len(data):
                done += os.pwrite(self._fd, data[done:], offset + done)
        except OSError as error:
            raise self._fail("write", error) from error

    def truncate(self, size: int) -> None:
        self._check()
        try:
            os.ftruncate(self._fd, size)
        except OSError as error:
            raise self._fail("truncate", error) from error

    def sync(self) -> None:
        self._check()
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            raise self._fail("fdatasync", error) from error

    def size(self) -> int:
        return os.fstat(self._fd).st_size


class RealPageFiles:
    """A directory of page files. Creation, removal and renaming are durable on return."""

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        self._path.mkdir(parents=True, exist_ok=True)
        sync_directory(self._path.parent)

    def open(self, name: str, *, create: bool) -> PageFile:
        """Open a file; raises FileNotFoundError where it is absent and ``create`` is False."""
        path = self._path / name
        try:
            return RealPageFile(path, os.open(path, os.O_RDWR | os.O_CLOEXEC))
        except FileNotFoundError:
            if not create:
                raise
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            sync_directory(self._path)
        except OSError as error:
            raise DiskFailed(f"{path}: cannot be created: {error.strerror or error}") from error
        return RealPageFile(path, fd)

    def exists(self, name: str) -> bool:
        return (self._path / name).exists()

    def remove(self, name: str) -> None:
        path = self._path / name
        try:
            path.unlink(missing_ok=True)
            sync_directory(self._path)
        except OSError as error:
            raise DiskFailed(f"{path}: cannot be removed: {error.strerror or error}") from error

    def rename(self, name: str, to: str) -> None:
        path = self._path / name
        try:
            path.rename(self._path / to)
            sync_directory(self._path)
        except OSError as error:
            raise DiskFailed(f"{path}: cannot be renamed to {to}: {error.strerror or error}") from error

    def list(self) -> list[str]:
        return sorted(entry.name for entry in self._path.iterdir())
