"""What the canaries saw and what their alarms said: figures for the verdict, grades for the playbook's promises."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from reports.metrics import percentile
from reports.rundir import (
    AlarmRecord,
    Availability,
    CanaryLatency,
    CanarySummary,
    Event,
    Expectation,
    FaultRecord,
    Probe,
)

REGIONAL = "cfa-availability"
ZONAL = "cfa-zone-"


def summarise(probes: Sequence[Probe]) -> CanarySummary | None:
    """The canaries' figures over the whole run; None for a run without probes."""
    if not probes:
        return None
    counts: dict[tuple[str, str], list[int]] = {}
    times: dict[tuple[str, str], list[float]] = {}
    for probe in probes:
        for key in (("az", probe.az), ("endpoint", f"zone {probe.endpoint_az}"), ("op", probe.op)):
            count = counts.setdefault(key, [0, 0])
            count[0] += 1
            count[1] += probe.good
            if probe.good:
                times.setdefault(key, []).append(probe.ms)
    good = sum(probe.good for probe in probes)
    latencies = [probe.ms for probe in probes if probe.good]

    def by(kind: str) -> dict[str, float]:
        return {name: round(ok / sent, 6) for (what, name), (sent, ok) in sorted(counts.items()) if what == kind}

    def took(kind: str) -> dict[str, tuple[float, float]]:
        found = {}
        for (what, name), values in sorted(times.items()):
            p50, p99 = percentile(values, 0.5), percentile(values, 0.99)
            if what == kind and p50 is not None and p99 is not None:
                found[name] = (p50, p99)
        return found

    return CanarySummary(
        probes=len(probes),
        good=good,
        wrong=sum(probe.outcome == "wrong" for probe in probes),
        availability=Availability(
            overall=round(good / len(probes), 6), by_az=by("az"), by_endpoint=by("endpoint"), by_operation=by("op")
        ),
        p50_ms=percentile(latencies, 0.5),
        p99_ms=percentile(latencies, 0.99),
        latency=CanaryLatency(by_az=took("az"), by_endpoint=took("endpoint"), by_operation=took("op")),
    )


def alarm_records(events: Iterable[Event]) -> list[AlarmRecord]:
    """Every firing of every alarm, in order, each with its clearing if that came."""
    records: list[AlarmRecord] = []
    on: dict[str, int] = {}
    for event in events:
        if event.get("event") != "alarm":
            continue
        name, state, t = str(event.get("name")), event.get("state"), float(event["t"])
        az = event.get("az")
        if state == "fired" and name not in on:
            on[name] = len(records)
            records.append(AlarmRecord(name=name, az=None if az is None else str(az), fired_s=t))
        elif state == "cleared" and name in on:
            place = on.pop(name)
            records[place] = AlarmRecord(name=name, az=records[place].az, fired_s=records[place].fired_s, cleared_s=t)
    return records


def strip(
    probes: Iterable[Probe], start_boot_s: float, begin_s: float, width_s: float, count: int
) -> list[dict[str, float | None]]:
    """Availability by the zone of the endpoint in ``count`` columns of ``width_s`` seconds from ``begin_s`` (seconds of
    the run). A column in which nothing was sent there has none."""
    sums: list[dict[str, list[int]]] = [{} for _ in range(count)]
    for probe in probes:
        place = math.floor((probe.boot - start_boot_s - begin_s) / width_s)
        if 0 <= place < count:
            total = sums[place].setdefault(probe.endpoint_az, [0, 0])
            total[0] += 1
            total[1] += probe.good
    return [{zone: good / sent for zone, (sent, good) in column.items()} for column in sums]


def grade(
    promised: Mapping[str, Any],
    alarms: Sequence[AlarmRecord],
    faults: Sequence[FaultRecord],
    probes: Sequence[Probe],
    ended: str,
) -> list[Expectation]:
    """``expect.alarms`` and ``expect.quiet``. Silence proves something only where canaries were watching."""
    injected = [fault.injected_s for fault in faults if fault.injected_s is not None]
    healed = [fault.healed_s for fault in faults if fault.injected_s is not None]
    heal = max((moment for moment in healed if moment is not None), default=None) if None not in healed else None
    results: list[Expectation] = []
    for promise in promised.get("alarms") or []:
        name = str(promise["name"])
        own = [alarm for alarm in alarms if alarm.name == name]
        blind = _blind(name, probes)
        results.append(_fired(name, promise.get("within"), own, min(injected, default=None), ended, blind))
        if promise.get("clears_within") is not None:
            results.append(_cleared(name, promise["clears_within"], own, heal, ended))
    for name in promised.get("quiet") or []:
        results.append(_quiet(str(name), [alarm for alarm in alarms if alarm.name == name], _blind(str(name), probes)))
    return results


def _blind(name: str, probes: Sequence[Probe]) -> str:
    """Why the alarm had nothing to go by; empty where it did."""
    zone = name.removeprefix(ZONAL)
    seen = any(name == REGIONAL or probe.endpoint_az == zone for probe in probes)
    return "" if seen else "no canary probed what this alarm watches"


def _fired(
    name: str, within: float | None, own: Sequence[AlarmRecord], injected: float | None, ended: str, blind: str
) -> Expectation:
    title = f"alarm {name} fires"
    limit = 60.0 if within is None else float(within)
    expected = f"within {limit:g} s of the first fault"
    if injected is None:
        return Expectation(name=title, expected=expected, measured="", result="unknown", why="no fault was injected")
    early = next((alarm for alarm in own if alarm.fired_s < injected), None)
    if early is not None:
        return Expectation(
            name=title,
            expected=expected,
            measured=f"{injected - early.fired_s:.1f} s before it",
            result="failed",
            why="it fired before any fault was there",
        )
    if not own:
        if blind or ended != "completed":
            return Expectation(
                name=title,
                expected=expected,
                measured="never",
                result="unknown",
                why=blind or f"the run was {ended} before it could be known",
            )
        return Expectation(name=title, expected=expected, measured="never", result="failed", why="it never fired")
    after = own[0].fired_s - injected
    kept = after <= limit
    return Expectation(
        name=title,
        expected=expected,
        measured=f"after {after:.1f} s",
        result="ok" if kept else "failed",
        why="" if kept else f"it fired after {after:.1f} s, promised were {limit:g} s",
    )


def _cleared(name: str, within: float, own: Sequence[AlarmRecord], heal: float | None, ended: str) -> Expectation:
    title, expected = f"alarm {name} clears", f"within {within:g} s of the last heal"
    if not own:
        return Expectation(
            name=title,
            expected=expected,
            measured="never fired",
            result="skipped",
            why="an alarm that never fired has nothing to clear",
        )
    if heal is None:
        return Expectation(
            name=title,
            expected=expected,
            measured="",
            result="unknown",
            why="a fault was not healed, or there was none",
        )
    cleared = own[-1].cleared_s
    if cleared is None:
        result = "failed" if ended == "completed" else "unknown"
        return Expectation(
            name=title,
            expected=expected,
            measured="never",
            result=result,  # type: ignore[arg-type]
            why="it was still on when the canaries ended",
        )
    after = max(0.0, cleared - heal)
    kept = after <= within
    return Expectation(
        name=title,
        expected=expected,
        measured=f"after {after:.1f} s",
        result="ok" if kept else "failed",
        why="" if kept else f"it cleared after {after:.1f} s, promised were {within:g} s",
    )


def _quiet(name: str, own: Sequence[AlarmRecord], blind: str) -> Expectation:
    title = f"alarm {name} stays quiet"
    if own:
        times = ", ".join(f"{alarm.fired_s:.1f} s" for alarm in own)
        return Expectation(
            name=title,
            expected="never fires",
            measured=f"fired at {times}",
            result="failed",
            why=f"it fired at {times}",
        )
    if blind:
        return Expectation(
            name=title, expected="never fires", measured="nothing was watching", result="unknown", why=blind
        )
    return Expectation(name=title, expected="never fires", measured="never fired", result="ok")
