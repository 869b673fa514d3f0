"""When operations arrive: an open model, in which arrivals do not wait for answers.

Users of a real service do not slow down because it does; a closed loop would, and would hide the very outage that a
game day measures (coordinated omission). So arrival times are fixed in advance by a seed and a :class:`Shape`, latency
counts from the intended time, and an arrival that could not be sent in time is counted as skipped.

Pure: all times are seconds since the load began.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import sqrt
from random import Random

RATE_MAX = 1_000_000.0


@dataclass(frozen=True, slots=True)
class Shape:
    """Offered load over time: straight lines between ``(seconds, operations per second)`` points, flat after the last.

    Two points at one time make a step. The first point must be at 0.
    """

    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        if not self.points or self.points[0][0] != 0:
            raise ValueError("a shape starts with a point at 0 seconds")
        if any(later[0] < earlier[0] for earlier, later in zip(self.points, self.points[1:], strict=False)):
            raise ValueError("the points of a shape must be in the order of time")
        if any(not 0 <= rate <= RATE_MAX for _, rate in self.points):
            raise ValueError(f"rates lie between 0 and {RATE_MAX:.0f} operations per second")

    @classmethod
    def constant(cls, rate: float) -> Shape:
        return cls(((0.0, rate),))

    @classmethod
    def ramp(cls, start: float, end: float, seconds: float) -> Shape:
        """From ``start`` to ``end`` operations per second over ``seconds``, then flat."""
        return cls(((0.0, start), (seconds, end)))

    @classmethod
    def spike(cls, base: float, peak: float, at: float, seconds: float) -> Shape:
        """``base``, but ``peak`` during ``[at, at + seconds)``."""
        return cls(((0.0, base), (at, base), (at, peak), (at + seconds, peak), (at + seconds, base)))

    def scaled(self, factor: float) -> Shape:
        """The same shape for one of several generators that share the load."""
        return Shape(tuple((at, rate * factor) for at, rate in self.points))

    def rate_at(self, t: float) -> float:
        """Operations per second offered at ``t`` (at a step, what comes after it)."""
        index = bisect_right([at for at, _ in self.points], t) - 1
        at, rate = self.points[index]
        if index + 1 == len(self.points):
            return rate
        next_at, next_rate = self.points[index + 1]
        return rate + (next_rate - rate) * (t - at) / (next_at - at)


class _Inverse:
    """Maps a cumulative count of arrivals to the time at which it is reached, for counts that never decrease."""

    def __init__(self, shape: Shape) -> None:
        self._points: Sequence[tuple[float, float]] = shape.points
        self._index = 0
        self._reached = 0.0  # the count at the beginning of the current segment

    def time_of(self, count: float) -> float | None:
        """Seconds at which ``count`` arrivals are due, or None where the shape never gets there (its end rate is 0)."""
        while self._index + 1 < len(self._points):
            (at, rate), (next_at, next_rate) = self._points[self._index], self._points[self._index + 1]
            area = (next_at - at) * (rate + next_rate) / 2
            if count <= self._reached + area and area > 0:
                return at + _solve(count - self._reached, rate, (next_rate - rate) / (next_at - at))
            self._reached += area
            self._index += 1
        at, rate = self._points[-1]
        return at + (count - self._reached) / rate if rate > 0 else None


def _solve(area: float, rate: float, slope: float) -> float:
    """Smallest ``x >= 0`` with ``rate * x + slope * x**2 / 2 == area``."""
    if abs(slope) < 1e-12:
        return area / rate
    return 2 * area / (rate + sqrt(max(0.0, rate * rate + 2 * slope * area)))


def arrival_times(shape: Shape, seed: str, *, poisson: bool = True) -> Iterator[float]:
    """The times at which operations are due, in order, without end (or until the shape's final rate is zero).

    With ``poisson`` the gaps are those of independent users (exponential); without, arrivals are evenly spaced.
    """
    rng = Random(seed)
    inverse = _Inverse(shape)
    count = 0.0
    while True:
        count += rng.expovariate(1.0) if poisson else 1.0
        due = inverse.time_of(count)
        if due is None:
            return
        yield due


class Arrivals:
    """The queue between the schedule and a bounded number of users.

    A user takes the next arrival (:meth:`take`) and waits until it is due. While all users are busy arrivals grow old;
    one older than ``patience_s`` is given up and counted (:meth:`expire`), never sent late and never hidden.
    """

    __slots__ = ("_next", "_times", "patience_s", "skipped", "taken")

    def __init__(self, times: Iterator[float], patience_s: float) -> None:
        self._times = times
        self._next = next(times, None)
        self.patience_s = patience_s
        self.taken = 0
        self.skipped = 0

    def take(self, now: float) -> float | None:
        """The due time of the next arrival that is still worth sending; None when the schedule has ended."""
        self.expire(now)
        due = self._next
        if due is not None:
            self.taken += 1
            self._next = next(self._times, None)
        return due

    def expire(self, now: float) -> int:
        """Give up every arrival that waited longer than the patience; returns how many."""
        limit = now - self.patience_s
        before = self.skipped
        while self._next is not None and self._next < limit:
            self.skipped += 1
            self._next = next(self._times, None)
        return self.skipped - before


class Offered:
    """Counts how many arrivals fell due, from a second copy of the schedule: what was offered, whoever was free."""

    __slots__ = ("_next", "_times")

    def __init__(self, times: Iterator[float]) -> None:
        self._times = times
        self._next = next(times, None)

    def until(self, t: float) -> int:
        """Arrivals due before ``t`` that no earlier call counted."""
        count = 0
        while self._next is not None and self._next < t:
            count += 1
            self._next = next(self._times, None)
        return count
