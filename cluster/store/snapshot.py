"""Reading all items of a replica as of one position while writes go on.

An exclusive SQLite connection has no second reader, so the snapshot is logical: before a write overwrites a key that
the reader has not passed, the replica hands the old value to the snapshot (copy on write), and reading merges the two.
What that costs is bounded: a reader too slow for the writes expires and is begun again.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

PRESERVED_BYTES_MAX = 64 * 1024 * 1024
ROWS_PER_READ = 512
ENTRY_OVERHEAD_BYTES = 200


class SnapshotExpired(Exception):
    """The replica was written faster than the snapshot was read; take a new one."""


class Snapshot:
    """A reader in key order, at one position. Made by ``Replica.snapshot``; a context manager."""

    def __init__(
        self,
        position: int,
        fetch: Callable[[Snapshot, int], list[tuple[bytes, bytes]]],
        closed: Callable[[Snapshot], None],
    ) -> None:
        self.position = position
        self.cursor: bytes | None = None
        """The last key passed; None before the first."""
        self._fetch = fetch
        self._closed = closed
        self._preserved: dict[bytes, bytes | None] = {}
        self._preserved_bytes = 0
        self._expired = False
        self._finished = False

    def read(self, limit: int = ROWS_PER_READ) -> list[tuple[bytes, bytes]]:
        """The next items, at most about ``limit``; an empty list at the end. Blocks: call it in ``offload``.

        Raises :class:`SnapshotExpired`, and what reading the replica raises.
        """
        while not self._finished:
            rows = self._fetch(self, limit)
            if rows:
                return rows
        return []

    def close(self) -> None:
        """End it: writers need not preserve anything for it any more. May be called twice."""
        self._finished = True
        self._preserved.clear()
        self._closed(self)

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # --- for the replica, under its lock ---

    def wants(self, key: bytes) -> bool:
        """True where the value of ``key`` before the coming write is still to be read and not yet preserved."""
        if self._finished or self._expired:
            return False
        return (self.cursor is None or key > self.cursor) and key not in self._preserved

    def preserve(self, key: bytes, old: bytes | None) -> None:
        """Keep the value (None: absent) that ``key`` had at the snapshot's position."""
        self._preserved[key] = old
        self._preserved_bytes += len(key) + len(old or b"") + ENTRY_OVERHEAD_BYTES
        if self._preserved_bytes > PRESERVED_BYTES_MAX:
            self._expired = True
            self._preserved.clear()

    def advance(self, rows: list[tuple[bytes, bytes]], limit: int) -> list[tuple[bytes, bytes]]:
        """Merge what the table has after the cursor (``rows``, at most ``limit``) with what was preserved."""
        if self._expired:
            raise SnapshotExpired(f"over {PRESERVED_BYTES_MAX} bytes were overwritten meanwhile: take a new snapshot")
        high = rows[-1][0] if len(rows) == limit else None
        passed = [key for key in self._preserved if high is None or key <= high]
        if passed:
            merged: dict[bytes, bytes | None] = dict(rows)
            for key in passed:
                old = self._preserved.pop(key)
                merged[key] = old
                self._preserved_bytes -= len(key) + len(old or b"") + ENTRY_OVERHEAD_BYTES
            rows = [(key, value) for key, value in sorted(merged.items()) if value is not None]
        self.cursor = high
        self._finished = high is None
        return rows
