"""Two runs side by side: what got better, what got worse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from reports.rundir import Verdict
from reports.wording import percent

NOISE = 0.05
"""Relative differences below this are not called better or worse: two runs of the same thing differ by as much."""


class Row(NamedTuple):
    """One figure of both runs; ``trend`` is better, worse, same, or empty where there is nothing to compare."""

    name: str
    a: str
    b: str
    trend: str


def compare(a: Verdict, b: Verdict) -> list[Row]:
    """Rows in the order of the report. What a run did not measure shows as a dash."""
    rows = [Row("verdict", a.verdict, b.verdict, _ranked(a.verdict == "passed", b.verdict == "passed"))]
    rows += _checks(a, b)
    rows.append(_row("availability", a.availability.overall, b.availability.overall, percent, higher=True, noise=0.001))
    for name in sorted(a.availability.by_az.keys() | b.availability.by_az.keys()):
        rows.append(
            _row(
                f"availability, zone {name}",
                a.availability.by_az.get(name),
                b.availability.by_az.get(name),
                percent,
                higher=True,
                noise=0.001,
            )
        )
    for attribute, name in (
        ("detected_s", "noticed"),
        ("writes_stopped_s", "longest without writes"),
        ("redundancy_s", "redundancy back"),
        ("redundancy_after_heal_s", "redundancy after heal"),
    ):
        rows.append(_row(name, _worst(a, attribute), _worst(b, attribute), lambda v: f"{v:.1f} s", higher=False))
    rows += _canaries(a, b)
    load_rows: list[tuple[str, str, Callable[[float], str], bool]] = [
        ("good operations per second", "per_second", lambda v: f"{v:,.0f}", True),
        ("offered per second", "offered_per_second", lambda v: f"{v:,.0f}", True),
        ("median latency", "p50_ms", lambda v: f"{v:.1f} ms", False),
        ("99th percentile latency", "p99_ms", lambda v: f"{v:.1f} ms", False),
        ("no clear answer", "unknown", lambda v: f"{v:,.0f}", False),
        ("arrivals not sent", "skipped", lambda v: f"{v:,.0f}", False),
    ]
    rows += [
        _row(name, getattr(a.load, attribute), getattr(b.load, attribute), text, higher=higher)
        for name, attribute, text, higher in load_rows
    ]
    return rows


def _canaries(a: Verdict, b: Verdict) -> list[Row]:
    """What the canaries saw, and how long each alarm was on."""
    one, two = a.canaries, b.canaries
    if one is None and two is None:
        return []
    left, right = ({} if seen is None else seen.availability.by_endpoint for seen in (one, two))
    rows = [
        _row(
            "canaries: right answers",
            None if one is None else one.availability.overall,
            None if two is None else two.availability.overall,
            percent,
            higher=True,
            noise=0.01,
        )
    ]
    rows += [
        _row(f"canaries: router of {zone}", left.get(zone), right.get(zone), percent, higher=True, noise=0.01)
        for zone in sorted(left.keys() | right.keys())
    ]
    one_ms, two_ms = (None if seen is None else seen.p99_ms for seen in (one, two))
    rows.append(_row("canaries: 99th percentile", one_ms, two_ms, lambda v: f"{v:.1f} ms", higher=False))
    names = sorted({alarm.name for alarm in (*a.alarms, *b.alarms)})
    rows += [_row(f"alarm {n} on", _on(a, n), _on(b, n), lambda v: f"{v:.1f} s", higher=False) for n in names]
    return rows


def _on(verdict: Verdict, name: str) -> float:
    """Seconds that an alarm was on; one that did not clear was on until the run ended."""
    return sum(
        (verdict.seconds if alarm.cleared_s is None else alarm.cleared_s) - alarm.fired_s
        for alarm in verdict.alarms
        if alarm.name == name
    )


def differences(a: Verdict, b: Verdict) -> list[str]:
    """Why the two may not be comparable: another playbook, runtime, seed or commit."""
    named = [
        ("playbook", a.playbook, b.playbook),
        ("runtime", a.runtime, b.runtime),
        ("seed", a.seed, b.seed),
        ("commit", a.commit, b.commit),
        ("plant", a.plant, b.plant),
    ]
    return [f"{name}: {left} / {right}" for name, left, right in named if left != right]


def _checks(a: Verdict, b: Verdict) -> list[Row]:
    left, right = ({check.name: check for check in verdict.checks} for verdict in (a, b))
    rows = []
    for name in dict.fromkeys([*left, *right]):
        one, two = left.get(name), right.get(name)
        rows.append(
            Row(
                f"check {name}",
                one.result if one else "–",
                two.result if two else "–",
                _ranked(one.result == "ok", two.result == "ok") if one and two else "",
            )
        )
    return rows


def _ranked(a: bool, b: bool) -> str:
    return "same" if a == b else "better" if b else "worse"


def _worst(verdict: Verdict, attribute: str) -> float | None:
    return max((v for r in verdict.recovery if (v := getattr(r, attribute)) is not None), default=None)


def _row(
    name: str, a: float | None, b: float | None, text: Callable[[Any], str], *, higher: bool, noise: float = NOISE
) -> Row:
    left, right = ("–" if value is None else text(value) for value in (a, b))
    if a is None or b is None:
        return Row(name, left, right, "")
    if abs(a - b) <= noise * max(abs(a), abs(b)):
        return Row(name, left, right, "same")
    return Row(name, left, right, "better" if (b > a) == higher else "worse")
