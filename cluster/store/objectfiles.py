"""Objects as files: what the region's own object store keeps on its disk (:class:`cluster.node.world.ObjectFiles`).

A put is written aside, synced, and given its name by one rename, which is synced too. So whatever befalls the disk's
power, the caller or another put of the same key, a key holds the whole of one put that was made of it, and an
acknowledged one is never gone. What a put that was cut short left aside is swept away at the next start.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
from pathlib import Path

from cluster.node.world import DiskFailed, StoredObject
from cluster.store.files import sync_directory, write_all


class DiskObjects:
    """Implements :class:`cluster.node.world.ObjectFiles` below ``data``: keys as paths in ``objects``, puts under way
    in ``incoming``."""

    def __init__(self, data: Path) -> None:
        self._root = data / "objects"
        self._aside = data / "incoming"
        shutil.rmtree(self._aside, ignore_errors=True)
        for directory in (self._root, self._aside):
            directory.mkdir(parents=True, exist_ok=True)
        sync_directory(data)
        self._numbers = itertools.count()
        self._durable = {self._root}
        """Directories whose own names are known to be on the disk."""

    def _path(self, key: str) -> Path:
        if not key or not _stays(key):
            raise ValueError(f"{key!r} is no path of plain names")
        return self._root / key

    def put(self, key: str, data: bytes) -> None:
        path, aside = self._path(key), self._aside / str(next(self._numbers))
        try:
            descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            try:
                write_all(descriptor, data)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            self._make_directory(path.parent)
            aside.rename(path)
            sync_directory(path.parent)
        except (NotADirectoryError, IsADirectoryError, FileExistsError) as error:
            raise ValueError(f"{key!r}: another key's path stands in its way") from error
        except OSError as error:
            raise DiskFailed(f"{key}: cannot be stored: {error.strerror or error}") from error
        finally:
            with contextlib.suppress(OSError):
                aside.unlink()

    def _make_directory(self, directory: Path) -> None:
        """Make it and its parents, each durably; another thread's mkdir alone is not enough for ours."""
        if directory in self._durable:
            return
        self._make_directory(directory.parent)
        directory.mkdir(exist_ok=True)
        sync_directory(directory.parent)
        self._durable.add(directory)

    def get(self, key: str) -> tuple[bytes, float] | None:
        try:
            with self._path(key).open("rb") as file:
                return file.read(), os.fstat(file.fileno()).st_mtime
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError as error:
            raise DiskFailed(f"{key}: cannot be read: {error.strerror or error}") from error

    def remove(self, key: str) -> None:
        path = self._path(key)
        try:
            path.unlink()
            sync_directory(path.parent)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return
        except OSError as error:
            raise DiskFailed(f"{key}: cannot be removed: {error.strerror or error}") from error

    def list(self, prefix: str) -> list[StoredObject]:
        root = os.fspath(self._root)
        found: list[StoredObject] = []
        pending = [prefix.rpartition("/")[0]]
        if not _stays(pending[0]):
            return []
        try:
            while pending:
                below = pending.pop()
                with (
                    contextlib.suppress(FileNotFoundError, NotADirectoryError),
                    os.scandir(f"{root}/{below}") as entries,
                ):
                    for entry in entries:
                        key = f"{below}/{entry.name}" if below else entry.name
                        if entry.is_dir(follow_symlinks=False):
                            pending += [key] if f"{key}/".startswith(prefix) or prefix.startswith(f"{key}/") else []
                        elif key.startswith(prefix):
                            about = entry.stat(follow_symlinks=False)
                            found.append(StoredObject(key, about.st_size, about.st_mtime))
        except OSError as error:
            raise DiskFailed(f"{prefix}: cannot be listed: {error.strerror or error}") from error
        return sorted(found, key=lambda one: one.key.encode())


def _stays(path: str) -> bool:
    """Whether a path stays where it belongs, and is the only one of its file. An empty one is the root."""
    return not path or not any(name in ("", ".", "..") or "\0" in name for name in path.split("/"))
