"""What the canaries saw, window by window, for as long as they are left running: SQLite, bounded.

Windows are kept as they were judged for :data:`FINE_S`, and added up over :data:`COARSE_S` each for :data:`KEPT_S`
(percentiles cannot be added: the worst window's stands for all); what is older goes. Write-ahead mode: whoever shows
the series reads while the canaries write. One process writes.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from canaries.availability import Timed, Window
from reports.metrics import percentile

FINE_S: Final = 12 * 3600.0
COARSE_S: Final = 300.0
"""DynamoDB's own five minutes."""
KEPT_S: Final = 35 * 86400.0
PRUNE_EVERY: Final = 30
"""Windows between two looks at what is too old."""

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS {name} (
  end REAL NOT NULL, canary TEXT NOT NULL, zone TEXT NOT NULL, op TEXT NOT NULL,
  sent INTEGER NOT NULL, good INTEGER NOT NULL, p50_ms REAL, p99_ms REAL,
  PRIMARY KEY (end, canary, zone, op)) WITHOUT ROWID
"""
ADD: Final = """
INSERT INTO {name} VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
  sent = sent + excluded.sent, good = good + excluded.good,
  p50_ms = max(coalesce(p50_ms, 0), coalesce(excluded.p50_ms, 0)),
  p99_ms = max(coalesce(p99_ms, 0), coalesce(excluded.p99_ms, 0))
"""


class Stretch(NamedTuple):
    """One zone's endpoint over a stretch of time that ended at ``end`` (Unix seconds)."""

    end: float
    zone: str
    sent: int
    good: int


class Series:
    """The writer. ``wall`` gives Unix seconds."""

    def __init__(self, path: Path, wall: Callable[[], float] = time.time) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The thread that looks is not the one that opened; there is only ever one at a time.
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute("PRAGMA journal_size_limit=4194304")
        self._db.execute("PRAGMA auto_vacuum=INCREMENTAL")
        for name in ("fine", "coarse"):
            self._db.execute(SCHEMA.format(name=name))
        self._wall = wall
        self._since_prune = PRUNE_EVERY

    def add(self, window: Window, end_wall: float) -> None:
        """Store a window that was judged. ``end_wall`` is when it ended, in Unix seconds."""
        block = (end_wall // COARSE_S + 1) * COARSE_S
        with self._transaction():
            for (canary, zone, op), cell in sorted(window.cells.items()):
                row = (canary, zone, op, cell.sent, cell.good, percentile(cell.times_ms, 0.5), slow(cell))
                self._db.execute(ADD.format(name="fine"), (round(end_wall, 3), *row))
                self._db.execute(ADD.format(name="coarse"), (block, *row))
            self._since_prune += 1
            if self._since_prune >= PRUNE_EVERY:
                self._since_prune = 0
                self._db.execute("DELETE FROM fine WHERE end < ?", (self._wall() - FINE_S,))
                self._db.execute("DELETE FROM coarse WHERE end < ?", (self._wall() - KEPT_S,))

    def last(self, count: int, length_s: float) -> list[Window]:
        """The newest ``count`` windows, the newest last, on Unix seconds; those without data are not among them."""
        ends = [end for (end,) in self._db.execute("SELECT DISTINCT end FROM fine ORDER BY end DESC LIMIT ?", (count,))]
        windows = []
        for end in reversed(ends):
            window = Window(end - length_s, end)
            cells = self._db.execute("SELECT canary, zone, op, sent, good FROM fine WHERE end = ?", (end,))
            for canary, zone, op, sent, good in cells:
                window.put((canary, zone, op), sent, good)
            windows.append(window)
        return windows

    def close(self) -> None:
        """Close the file; idempotent."""
        self._db.close()

    def _transaction(self) -> sqlite3.Connection:
        self._db.execute("BEGIN")
        return self._db


def slow(cell: Timed) -> float | None:
    """The 99th percentile of a cell's right answers."""
    return percentile(cell.times_ms, 0.99)


def read_days(path: Path, since_wall: float) -> list[Stretch]:
    """Every zone's endpoint in stretches of :data:`COARSE_S`, by time; empty where there is no series to be read."""
    if not path.exists():
        return []
    try:
        db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=0.2)
    except sqlite3.Error:
        return []
    try:
        rows = db.execute(
            "SELECT end, zone, sum(sent), sum(good) FROM coarse WHERE end > ? GROUP BY end, zone ORDER BY end, zone",
            (since_wall,),
        ).fetchall()
    except sqlite3.Error:
        return []
    finally:
        db.close()
    return [Stretch(*row) for row in rows]
