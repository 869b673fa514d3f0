"""Reading a file that is still being written: whole lines as they come, in bounded memory.

The writer may be in the middle of a line, may move the file aside and begin a new one (rotation), or may not have begun
yet. Used by whoever watches a run while it goes on; judging reads files whole instead.
"""

from __future__ import annotations

import os
from pathlib import Path

CHUNK = 1 << 20
LINE_MAX = 1 << 20
"""A line that is longer than this is no line of ours: it is dropped and counted."""


class Tail:
    """The lines of ``path`` from its beginning, or from the last ``last_bytes`` of what is there at the first look."""

    def __init__(self, path: str | os.PathLike[str], last_bytes: int | None = None) -> None:
        self.path = Path(path)
        self.skipped = 0
        """Lines that were dropped for their length."""
        self._last_bytes = last_bytes
        self._fd = -1
        self._rest = b""
        self._dropping = False

    def lines(self, limit_bytes: int = 8 * CHUNK) -> list[bytes]:
        """Whole lines that came since the last call; at most about ``limit_bytes``, the rest comes with the next."""
        found: list[bytes] = []
        while limit_bytes > 0:
            if self._fd < 0 and not self._open():
                break
            data = os.read(self._fd, CHUNK)
            if data:
                limit_bytes -= len(data)
                self._take(data, found)
            elif self._replaced():
                self.close()
            else:
                break
        return found

    def close(self) -> None:
        """Close the file; the next call of :meth:`lines` begins with whatever is there then."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._rest, self._dropping = -1, b"", False

    def _open(self) -> bool:
        try:
            self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        size = os.fstat(self._fd).st_size
        if self._last_bytes is not None and size > self._last_bytes:
            # One byte earlier: where a line begins exactly here, it is its predecessor's end that is dropped.
            os.lseek(self._fd, size - self._last_bytes - 1, os.SEEK_SET)
            self._dropping = True
        self._last_bytes = None
        return True

    def _take(self, data: bytes, found: list[bytes]) -> None:
        *whole, self._rest = (self._rest + data).split(b"\n")
        for line in whole:
            if self._dropping:
                self._dropping = False
            elif line.strip():
                found.append(line)
        if len(self._rest) > LINE_MAX:
            self.skipped += not self._dropping
            self._rest, self._dropping = b"", True

    def _replaced(self) -> bool:
        """Whether another file lies there now, or this one was cut short."""
        mine = os.fstat(self._fd)
        if mine.st_size < os.lseek(self._fd, 0, os.SEEK_CUR):
            return True
        try:
            there = os.stat(self.path)
        except OSError:
            return False
        return (there.st_dev, there.st_ino) != (mine.st_dev, mine.st_ino)
