"""Alarms: did each fire when the probes on record say that it must, and only then?

The windows are counted again from the probes, by code of its own that shares nothing with what raised the alarms
(``canaries/alarms.py``). The rule: below the threshold in two of the last three windows fires, two good ones of three
clear, a window without data argues for nothing. The region is every canary through every endpoint; a zone is its
endpoint as the middle one of the canaries sees it, of two the worse one.

Answers that came after their window was judged may or may not have been counted: a window that they could turn over is
taken for what the alarm makes of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from reports.checkers.evidence import FINDINGS_MAX, count
from reports.rundir import CheckResult, Event, Finding, Probe

NAME = "alarms"
REGIONAL, ZONAL = "cfa-availability", "cfa-zone-"
NEEDED, OF = 2, 3
READ_S = 1.0
"""How long a record may wait to be read by whoever raises the alarms."""


class Rule(NamedTuple):
    """What the alarms were told: times on the boot clock."""

    begin_boot: float
    window_s: float
    grace_s: float
    threshold: float
    zones: tuple[str, ...]


class Change(NamedTuple):
    """An alarm that fired or cleared at the end of a window (its number)."""

    name: str
    state: str
    window: int


def check(probes: Sequence[Probe], events: Sequence[Event], start_boot_s: float) -> CheckResult:
    """Hold the alarms in the timeline against the probes."""
    begin = next((e for e in events if e.get("event") == "canaries" and e.get("state") == "begin"), None)
    if begin is None:
        return CheckResult(name=NAME, result="skipped", why="this run had no alarms")
    if not probes:
        return CheckResult(name=NAME, result="unknown", why="there is no probe on record to judge the alarms by")
    rule = Rule(
        float(begin["begin_boot"]),
        float(begin["window_s"]),
        float(begin["grace_s"]),
        float(begin["threshold"]),
        tuple(str(zone) for zone in begin["zones"]),
    )
    end = next((e for e in events if e.get("event") == "canaries" and e.get("state") == "end"), None)
    last = float(end["boot"]) if end else max((e["boot"] for e in events if e.get("event") == "window"), default=0.0)
    # The last window that was over, with its grace, and looked at before the alarms ended.
    windows = max(0, math.floor((last - READ_S - rule.grace_s - rule.begin_boot) / rule.window_s))
    told = _told(events, rule)
    findings: list[Finding] = []
    for name in (REGIONAL, *(ZONAL + zone for zone in rule.zones)):
        own = [change for change in told if change.name == name]
        findings += _judge(name, rule, probes, own, windows, start_boot_s)
    if findings:
        result, why = "failed", f"{count(len(findings), 'alarm', 'alarms')} said what the probes do not, or did not"
    elif not windows:
        result, why = "unknown", "no window was over before the canaries ended"
    else:
        fired = sum(change.state == "fired" for change in told)
        said = "none fired" if not fired else f"{fired} fired" + f", {len(told) - fired} cleared"
        result, why = (
            "ok",
            f"{1 + len(rule.zones)} alarms over {windows} windows of {rule.window_s:g} s: {said}, rightly",
        )
    return CheckResult(
        name=NAME,
        result=result,  # type: ignore[arg-type]
        looked_at=windows * (1 + len(rule.zones)),
        findings=findings[:FINDINGS_MAX],
        found=len(findings),
        why=why,
    )


def _told(events: Iterable[Event], rule: Rule) -> list[Change]:
    changes = []
    for event in events:
        if event.get("event") == "alarm":
            moment = float(event.get("window_end_boot", event["boot"] - rule.grace_s))
            window = round((moment - rule.begin_boot) / rule.window_s) - 1
            changes.append(Change(str(event["name"]), str(event["state"]), window))
    return changes


def _judge(
    name: str, rule: Rule, probes: Sequence[Probe], told: Sequence[Change], windows: int, start_boot_s: float
) -> list[Finding]:
    """Walk through the windows with the alarm as it was told; each step must be one that the probes allow."""
    views = [_shares(name, rule, probes, windows, late) for late in (False, True)]
    said = {change.window: change.state for change in told}
    on = False
    findings: list[Finding] = []
    for number in range(windows):
        recent = [[view[n] for n in range(max(0, number - OF + 1), number + 1)] for view in views]
        lows = [sum(s is not None and s < rule.threshold for s in shares) >= NEEDED for shares in recent]
        fines = [sum(s is not None and s >= rule.threshold for s in shares) >= NEEDED for shares in recent]
        state = said.get(number)
        if state == "fired":
            wrong = "" if any(lows) and not on else "fired for no reason"
        elif state == "cleared":
            wrong = "" if any(fines) and on else "cleared for no reason"
        elif not on:
            wrong = "did not fire" if all(lows) else ""
        else:
            wrong = "did not clear" if all(fines) else ""
        if wrong:
            findings.append(_finding(name, rule, wrong, number, recent[0], start_boot_s))
            # One finding for each alarm: what follows from the first wrong step is no news.
            return findings
        on = state == "fired" if state else on
    return findings


def _shares(name: str, rule: Rule, probes: Sequence[Probe], windows: int, late: bool) -> list[float | None]:
    """The share that the alarm watches in each window; with or without answers that may have come too late."""
    counts: list[dict[tuple[str, str], list[int]]] = [{} for _ in range(windows)]
    for probe in probes:
        number = math.floor((probe.boot - rule.begin_boot) / rule.window_s)
        if not 0 <= number < windows:
            continue
        judged = rule.begin_boot + (number + 1) * rule.window_s + rule.grace_s
        if not late and probe.boot + probe.ms / 1000 > judged - READ_S:
            continue
        cell = counts[number].setdefault((probe.az, probe.endpoint_az), [0, 0])
        cell[0] += 1
        cell[1] += probe.good
    if name == REGIONAL:
        return [_share(cells.values()) for cells in counts]
    zone = name.removeprefix(ZONAL)
    return [_middle([cell for (_, where), cell in sorted(cells.items()) if where == zone]) for cells in counts]


def _share(cells: Iterable[Sequence[int]]) -> float | None:
    there = list(cells)
    sent = sum(cell[0] for cell in there)
    return sum(cell[1] for cell in there) / sent if sent else None


def _middle(cells: Sequence[Sequence[int]]) -> float | None:
    shares = sorted(good / sent for sent, good in cells if sent)
    return shares[(len(shares) - 1) // 2] if shares else None


def _finding(
    name: str, rule: Rule, wrong: str, number: int, shares: Sequence[float | None], start_boot_s: float
) -> Finding:
    end = rule.begin_boot + (number + 1) * rule.window_s - start_boot_s
    seen = ", ".join("no data" if share is None else f"{share:.1%}" for share in shares)
    return {
        "what": f"{name} {wrong} at {end:.1f} s: its last windows were {seen}, its threshold is {rule.threshold:.0%}",
        "alarm": name,
        "window_ended_s": round(end, 3),
        "shares": [None if share is None else round(share, 4) for share in shares],
    }
