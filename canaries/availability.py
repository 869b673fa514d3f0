"""Availability in windows: DynamoDB's five minutes, scaled to the length of a game day. Pure.

A probe belongs to the window in which it was sent. A window with no probe has no availability, which is not zero.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

Place = tuple[str, str]
"""Whose canary, through which zone's endpoint."""
Cell = tuple[str, str, str]
"""The same, and which operation."""


class Sample(NamedTuple):
    """One probe, counted: when it was sent (boot-clock seconds), by which zone's canary, through which zone's
    endpoint, whether it got a right answer, and how long it took."""

    at_s: float
    canary: str
    zone: str
    op: str
    good: bool
    ms: float = 0.0


@dataclass(slots=True)
class Count:
    """Probes sent and answered rightly."""

    sent: int = 0
    good: int = 0

    @property
    def share(self) -> float | None:
        """The availability; None where nothing was sent."""
        return self.good / self.sent if self.sent else None


@dataclass(slots=True)
class Timed(Count):
    """Probes of one operation, and how long the right answers took."""

    times_ms: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Window:
    """One stretch of time, from ``begin_s`` up to ``end_s``: counts by (canary, endpoint's zone), and by operation."""

    begin_s: float
    end_s: float
    counts: dict[Place, Count] = field(default_factory=dict)
    cells: dict[Cell, Timed] = field(default_factory=dict)

    def add(self, sample: Sample) -> None:
        """Count one probe."""
        cell = self.cells.setdefault((sample.canary, sample.zone, sample.op), Timed())
        for count in (self.counts.setdefault((sample.canary, sample.zone), Count()), cell):
            count.sent += 1
            count.good += sample.good
        if sample.good:
            cell.times_ms.append(sample.ms)

    def put(self, cell: Cell, sent: int, good: int) -> None:
        """Count probes that were counted before, elsewhere."""
        canary, zone, _ = cell
        for count in (self.counts.setdefault((canary, zone), Count()), self.cells.setdefault(cell, Timed())):
            count.sent += sent
            count.good += good

    @property
    def sent(self) -> int:
        """Probes of all canaries."""
        return sum(count.sent for count in self.counts.values())

    def overall(self) -> float | None:
        """The region's availability: every canary through every endpoint."""
        return _share(self.counts.values())

    def through(self, canary: str, zone: str) -> float | None:
        """What one canary sees of one zone's endpoint."""
        count = self.counts.get((canary, zone))
        return count.share if count else None

    def of_canary(self, canary: str) -> float | None:
        """What one canary sees through all endpoints."""
        return _share(count for (who, _), count in self.counts.items() if who == canary)

    def of_zone(self, zone: str) -> float | None:
        """A zone's availability: through its endpoint, as the middle one of the canaries sees it.

        The middle one, because a zone that is cut off must raise its own alarm and not those of the zones that its
        canary can no longer reach. Of two canaries the worse one counts.
        """
        seen = [count.share for (_, where), count in sorted(self.counts.items()) if where == zone and count.sent]
        return statistics.median_low([share for share in seen if share is not None]) if seen else None


def _share(counts: Iterable[Count]) -> float | None:
    total = Count()
    for count in counts:
        total.sent += count.sent
        total.good += count.good
    return total.share


class Windows:
    """Windows of ``length_s`` seconds one after another from ``begin_s``; probes sent before that are not counted."""

    def __init__(self, begin_s: float, length_s: float) -> None:
        if length_s <= 0:
            raise ValueError("a window lasts longer than 0 s")
        self.begin_s = begin_s
        self.length_s = length_s
        self.closed = 0
        self.late = 0
        """Probes that came after their window had been judged: counted, never hidden."""
        self._open: dict[int, Window] = {}

    def add(self, sample: Sample) -> None:
        """Count a probe in its window."""
        number = math.floor((sample.at_s - self.begin_s) / self.length_s)
        if number < 0:
            return
        if number < self.closed:
            self.late += 1
            return
        self._window(number).add(sample)

    def close(self, now_s: float, grace_s: float) -> list[Window]:
        """The windows that ended at least ``grace_s`` ago, empty ones too, in order; each is returned once."""
        ended: list[Window] = []
        while self.begin_s + (self.closed + 1) * self.length_s + grace_s <= now_s:
            ended.append(self._window(self.closed))
            del self._open[self.closed]
            self.closed += 1
        return ended

    def _window(self, number: int) -> Window:
        begin = self.begin_s + number * self.length_s
        return self._open.setdefault(number, Window(begin, begin + self.length_s))
