"""Counters and latencies per second: what a live display and the report's timeline read.

Latencies go into power-of-two buckets with :data:`SUB` linear steps each (at most 12 % wide): a record costs 0.3 µs,
and histograms of several workers add up. Pure; times in nanoseconds, results in milliseconds.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

SUB_BITS = 3
SUB = 1 << SUB_BITS
OutcomeName = Literal["ok", "fail", "unknown"]


def bucket_of(ns: int) -> int:
    """The bucket of a latency; monotonic in ``ns``."""
    us = ns // 1000
    if us < SUB:
        return us if us > 0 else 0
    shift = us.bit_length() - SUB_BITS - 1
    return (shift << SUB_BITS) + (us >> shift)


def bucket_ms(bucket: int) -> float:
    """The upper edge of a bucket, in milliseconds: percentiles never look better than they were."""
    if bucket < SUB:
        return (bucket + 1) / 1000
    shift = (bucket >> SUB_BITS) - 1
    return ((SUB + (bucket & (SUB - 1)) + 1) << shift) / 1000


def percentile_ms(histogram: dict[int, int], share: float) -> float | None:
    """The latency below which ``share`` of the operations lie; None for an empty histogram."""
    total = sum(histogram.values())
    if not total:
        return None
    wanted = share * total
    seen = 0
    bucket = 0
    for bucket in sorted(histogram):
        seen += histogram[bucket]
        if seen >= wanted:
            break
    return bucket_ms(bucket)


@dataclass(slots=True)
class Window:
    """What happened in one second (or, summed, in a run). Every number counts events within the window, so an operation
    sent in one second and answered in the next adds to ``sent`` here and to ``ok`` there."""

    offered: int = 0
    sent: int = 0
    skipped: int = 0
    unmet: int = 0
    """Of the outcomes ``fail``, right answers: a condition that did not hold, a transaction in the way."""
    outcomes: Counter[str] = field(default_factory=Counter)
    by_op: dict[str, Counter[str]] = field(default_factory=dict)
    latency: Counter[int] = field(default_factory=Counter)

    def complete(self, op: str, outcome: OutcomeName, latency_ns: int, *, unmet: bool = False) -> None:
        # With get, since what a Counter does not hold yet costs it a call of Python code, and each second begins anew.
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        self.unmet += unmet
        counts = self.by_op.get(op)
        if counts is None:
            counts = self.by_op[op] = Counter()
        counts[outcome] = counts.get(outcome, 0) + 1
        bucket = bucket_of(latency_ns)
        self.latency[bucket] = self.latency.get(bucket, 0) + 1

    def add(self, other: Window) -> None:
        self.offered += other.offered
        self.sent += other.sent
        self.skipped += other.skipped
        self.unmet += other.unmet
        self.outcomes.update(other.outcomes)
        self.latency.update(other.latency)
        for op, counts in other.by_op.items():
            self.by_op.setdefault(op, Counter()).update(counts)

    def line(self) -> dict[str, Any]:
        """The fields of a line of ``load/<az>.jsonl``. ``failed`` includes ``unmet``."""
        p50, p99 = percentile_ms(self.latency, 0.5), percentile_ms(self.latency, 0.99)
        return {
            "offered": self.offered,
            "sent": self.sent,
            "skipped": self.skipped,
            "ok": self.outcomes["ok"],
            "failed": self.outcomes["fail"],
            "unmet": self.unmet,
            "unknown": self.outcomes["unknown"],
            "p50_ms": p50,
            "p99_ms": p99,
            "by_op": {op: dict(counts) for op, counts in sorted(self.by_op.items())},
        }

    def pack(self) -> dict[str, Any]:
        """For a worker's message to its master; :meth:`unpack` restores it."""
        return {
            "offered": self.offered,
            "sent": self.sent,
            "skipped": self.skipped,
            "unmet": self.unmet,
            "outcomes": dict(self.outcomes),
            "by_op": {op: dict(counts) for op, counts in self.by_op.items()},
            "latency": list(self.latency.items()),
        }

    @classmethod
    def unpack(cls, packed: dict[str, Any]) -> Window:
        return cls(
            offered=packed["offered"],
            sent=packed["sent"],
            skipped=packed["skipped"],
            unmet=packed["unmet"],
            outcomes=Counter(packed["outcomes"]),
            by_op={op: Counter(counts) for op, counts in packed["by_op"].items()},
            latency=Counter(dict(map(tuple, packed["latency"]))),
        )
