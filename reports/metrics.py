"""Figures from a run's history and events: rates, latency, availability, and how the cluster took each fault.

An operation is *good* when it succeeded or its condition rightly failed; availability is the share of good ones among
all that were sent. The closing sweep (``final``) is part of no figure. Latency counts from the intended send time, so
that a client that had to wait for a stuck one does not hide the wait (coordinated omission).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from cluster.core.keys import encode_hash
from reports.rundir import (
    Availability,
    Event,
    FaultRecord,
    LoadSummary,
    Operation,
    Recovery,
)
from reports.rundir.history import CHANGES, NEVER_NS

SLICES = 4
"""Slices of the key space in which "time without writes" is measured; a new table has this many partitions, of equal
shares of the hash space, so one stuck partition shows even while the others serve."""


@dataclass(slots=True)
class Second:
    """One second of the timeline, by the second in which operations were meant to be sent."""

    sent: int = 0
    good: int = 0
    failed: int = 0
    unknown: int = 0
    skipped: int = 0
    latencies_ms: list[float] = field(default_factory=list)
    by_az: dict[str, list[int]] = field(default_factory=dict)
    """Zone: [sent, good]."""

    def percentile(self, share: float) -> float | None:
        """Latency in ms below which ``share`` of the answered operations lie; None if there were none."""
        return percentile(self.latencies_ms, share)


def percentile(values: Sequence[float], share: float) -> float | None:
    """The nearest-rank percentile; sorts a copy. None of nothing is None."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


SWEEP = "sweep"
"""How the names of the closing sweep's writers begin."""


def load_operations(operations: Iterable[Operation]) -> list[Operation]:
    """What the load sent: everything but the closing sweep."""
    return [
        operation
        for operation in operations
        if operation.op != "final" and not (operation.op == "tread" and operation.writer.startswith(SWEEP))
    ]


def is_good(operation: Operation) -> bool:
    """Whether the database answered as it should."""
    return operation.outcome == "ok" or operation.condition_failed or operation.cancelled


def timeline(operations: Sequence[Operation], skipped: Mapping[int, int], start_ns: int) -> list[Second]:
    """Seconds from 0 to the last in which anything was sent, without gaps; ``operations`` as of the load."""
    seconds: list[Second] = []
    for operation in operations:
        second = _at(seconds, max(0, (operation.intended_ns - start_ns) // 1_000_000_000))
        zone = second.by_az.setdefault(operation.az, [0, 0])
        second.sent += 1
        zone[0] += 1
        if is_good(operation):
            second.good += 1
            zone[1] += 1
        elif operation.outcome == "unknown":
            second.unknown += 1
        else:
            second.failed += 1
        if operation.answered_ns != NEVER_NS:
            second.latencies_ms.append((operation.answered_ns - operation.intended_ns) / 1e6)
    for number, count in skipped.items():
        if number >= 0:
            _at(seconds, number).skipped += count
    return seconds


def _at(seconds: list[Second], number: int) -> Second:
    while len(seconds) <= number:
        seconds.append(Second())
    return seconds[number]


def read_skipped(directory: Path, start_boot_s: float) -> dict[int, int]:
    """Arrivals that were never sent, by second of the run, from ``load/*.jsonl``.

    A line's ``boot`` places it; ``second`` counts from the beginning of the load. Lines without ``second`` are no
    windows (the totals at the end, which would count everything twice).
    """
    skipped: dict[int, int] = {}
    for file in sorted(directory.glob("*.jsonl")) if directory.is_dir() else []:
        for line in file.read_bytes().splitlines():
            try:
                entry = msgspec.json.decode(line, type=_LoadLine)
            except msgspec.DecodeError:
                continue  # totals, or a torn last line
            if entry.skipped:
                second = int(entry.boot - start_boot_s)
                skipped[second] = skipped.get(second, 0) + entry.skipped
    return skipped


class _LoadLine(msgspec.Struct):
    second: float
    boot: float
    skipped: int = 0


def summarise(operations: Sequence[Operation], skipped: int) -> LoadSummary:
    """Totals of the load; rates are over the time from the first to the last intended arrival."""
    if not operations:
        return LoadSummary(skipped=skipped)
    intended = [operation.intended_ns for operation in operations]
    duration_s = max((max(intended) - min(intended)) / 1e9, 1.0)
    good = sum(1 for operation in operations if is_good(operation))
    latencies = [(o.answered_ns - o.intended_ns) / 1e6 for o in operations if o.answered_ns != NEVER_NS]
    unknown = sum(1 for operation in operations if operation.outcome == "unknown")
    return LoadSummary(
        operations=len(operations),
        acknowledged_writes=sum(1 for o in operations if o.outcome == "ok" and o.op in CHANGES),
        failed=len(operations) - good - unknown,
        unknown=unknown,
        skipped=skipped,
        offered_per_second=round((len(operations) + skipped) / duration_s, 1),
        per_second=round(good / duration_s, 1),
        p50_ms=_rounded(percentile(latencies, 0.5)),
        p99_ms=_rounded(percentile(latencies, 0.99)),
        max_ms=_rounded(max(latencies, default=None)),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def availability(operations: Iterable[Operation]) -> Availability:
    """Shares of good operations; a zone, endpoint or kind with no operations has none."""
    counts: dict[tuple[str, str], list[int]] = {}
    for operation in operations:
        good = is_good(operation)
        for key in (("", ""), ("az", operation.az), ("endpoint", operation.endpoint), ("op", operation.op)):
            count = counts.setdefault(key, [0, 0])
            count[0] += 1
            count[1] += good
    shares = {key: round(good / sent, 6) for key, (sent, good) in sorted(counts.items())}

    def by(kind: str) -> dict[str, float]:
        return {name: share for (what, name), share in shares.items() if what == kind and name}

    return Availability(overall=shares.get(("", "")), by_az=by("az"), by_endpoint=by("endpoint"), by_operation=by("op"))


def fault_records(events: Iterable[Event]) -> list[FaultRecord]:
    """Each fault's story from its ``fault`` events, in order of first mention."""
    stories: dict[str, dict[str, object]] = {}
    for event in events:
        if event.get("event") != "fault":
            continue
        name, state = str(event.get("name", "?")), event.get("state")
        story = stories.setdefault(name, {"name": name, "kind": str(event.get("fault_kind", "?")), "targets": []})
        if event.get("targets"):
            story["targets"] = [str(target) for target in event["targets"]]
        if state in ("injecting", "injected"):
            # the effect begins somewhere between the two; what the cluster did counts from the earlier
            story.setdefault("injected_s", event["t"])
            story.setdefault("effect", "not-confirmed")
        elif state == "healed":
            story["healed_s"] = event["t"]
        if state in ("confirmed", "not-confirmed", "mismatch", "skipped"):
            story["effect"] = state
        if event.get("detail"):
            story["detail"] = str(event["detail"])
    return [msgspec.convert(story, FaultRecord) for story in stories.values()]


def recoveries(
    faults: Sequence[FaultRecord],
    events: Sequence[Event],
    operations: Sequence[Operation],
    start_ns: int,
    slices: int = SLICES,
) -> list[Recovery]:
    """How the cluster took each fault that was injected; damage to disks has a ledger of its own."""
    gaps = write_gaps(operations, start_ns, slices)
    struck = [fault for fault in faults if fault.injected_s is not None and fault.kind != "bit-rot"]
    return [_recovery(fault, events, gaps) for fault in struck]


def _recovery(fault: FaultRecord, events: Sequence[Event], gaps: Sequence[tuple[float, float]]) -> Recovery:
    injected = fault.injected_s or 0.0
    healed = fault.healed_s
    until = math.inf if healed is None else healed
    # Trouble that begins after the fault was lifted is another one's.
    detected = next((e["t"] for e in events if injected <= e["t"] <= until and _shows_trouble(e)), None)
    stopped = [end - begin for begin, end in gaps if end > injected and begin < until]
    below = _short_of_replicas(events, injected, until)
    restored = None if below is None else next((e["t"] for e in events if e["t"] >= below and _is_full(e)), None)
    return Recovery(
        fault=fault.name,
        detected_s=_since(detected, injected),
        writes_stopped_s=_rounded(max(stopped, default=None)),
        redundancy_s=_since(restored, injected),
        redundancy_after_heal_s=None if restored is None or healed is None else _rounded(max(0.0, restored - healed)),
        redundancy_lost=below is not None if any(e.get("event") == "redundancy" for e in events) else None,
    )


def _is_full(event: Event) -> bool:
    return event.get("event") == "redundancy" and bool(event.get("full"))


def _short_of_replicas(events: Sequence[Event], injected: float, until: float) -> float | None:
    """When a group was first short of a replica between two moments: it may have been so already, by an earlier
    fault."""
    said = [e for e in events if e.get("event") == "redundancy" and e["t"] <= until]
    before = [e for e in said if e["t"] < injected]
    if before and not _is_full(before[-1]):
        return injected
    return next((e["t"] for e in said if e["t"] >= injected and not _is_full(e)), None)


def _shows_trouble(event: Event) -> bool:
    if event.get("event") == "redundancy":
        return not event.get("full")
    return event.get("event") == "leader" and event.get("node") != event.get("previous")


def _since(moment: float | None, origin: float) -> float | None:
    return None if moment is None else _rounded(moment - origin)


def write_gaps(operations: Sequence[Operation], start_ns: int, slices: int) -> list[tuple[float, float]]:
    """Times without an acknowledged write, as (from, to) in seconds of the run, in each slice of the key space.

    Between two acknowledgements, and from the last one to the end of the load: silence at the end counts, too.
    Only those of 0.1 s or more; shorter ones are the ordinary distance between arrivals.
    """
    ends: dict[tuple[str, int], list[int]] = {}
    slice_of: dict[tuple[str, str], tuple[str, int]] = {}
    last_ns = 0
    for operation in operations:
        if operation.op not in CHANGES:
            continue
        last_ns = max(last_ns, operation.intended_ns)
        if operation.outcome == "ok":
            item = (operation.table, operation.key)
            place = slice_of.get(item)
            if place is None:
                place = slice_of[item] = (operation.table, encode_hash("S", operation.key)[0] * slices >> 8)
            ends.setdefault(place, []).append(operation.ended_ns)
    gaps: list[tuple[float, float]] = []
    for moments in ends.values():
        moments.sort()
        moments.append(max(last_ns, moments[-1]))
        before = moments[0]
        for moment in moments:
            if moment - before >= 100_000_000:
                gaps.append(((before - start_ns) / 1e9, (moment - start_ns) / 1e9))
            before = moment
    return gaps
