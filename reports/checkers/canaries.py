"""Canaries: did they tell what they met? A canary that swallows errors makes every alarm worthless.

Four things it cannot know give it away:

- *a router without power answers nobody*: a good answer through it, while its zone was confirmed dark, was made up;
- *a zone without power has no path*: so was any good answer of its canary, where the fault says that it cut that off;
- *turns*: a canary goes from endpoint to endpoint; one that it has left out, while it went on with the others, is one
  whose failures it does not record;
- *the load*: where all that the load sent through an endpoint failed, seconds before and seconds after a canary's turn
  there, the canary cannot have had good answers only.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from reports.checkers.evidence import FINDINGS_MAX, History, count
from reports.metrics import is_good, load_operations
from reports.rundir import CheckResult, Event, Finding, Plan, Probe

NAME = "canaries"
MARGIN_S = 0.3
"""Around an injection and a heal: what was on its way then may have been answered."""
TURNS_MISSED_MAX = 3
"""Turns of one endpoint that a starved machine may cost a canary which goes on elsewhere."""
BESIDE_S = 2.5
"""The load's operations that were sent at most so long before or after a canary's turn are held against it."""
APART_S = 1.0
"""On each side, :data:`LOAD_MIN` of them at least so long before it, or after it."""
LOAD_MIN, PROBES_MIN = 5, 4
ROUTER, POWER_OFF = "router", "power-off"


class Dark(NamedTuple):
    """A time in which no router of a zone had power, in seconds of the run; ``cut_off``: nor its canary a path."""

    zone: str
    fault: str
    begin_s: float
    end_s: float
    cut_off: bool = False


def check(
    probes: Sequence[Probe], events: Sequence[Event], plan: Plan, history: History, start_boot_s: float
) -> CheckResult:
    """Hold what the canaries recorded against the faults, their own turns and the load."""
    watching = next((event for event in events if event.get("event") == "canaries"), None)
    if watching is None and not probes:
        return CheckResult(name=NAME, result="skipped", why="this run had no canaries")
    zones = [str(zone) for zone in (watching or {}).get("zones", [])] or sorted({probe.az for probe in probes})
    silent = [zone for zone in zones if not any(probe.az == zone for probe in probes)]
    dark = dark_times(events, plan)
    findings = [
        *made_up(probes, dark, start_boot_s),
        *left_out(probes, zones, start_boot_s),
        *contradicted(probes, history, start_boot_s),
    ]
    if findings:
        result, why = "failed", f"{count(len(findings), 'finding', 'findings')}: canaries do not tell what they met"
    elif silent:
        result, why = "unknown", f"the canary of zone {', '.join(silent)} recorded nothing"
    else:
        result = "ok"
        why = f"{count(len(probes), 'probe', 'probes')} of {count(len(zones), 'canary', 'canaries')} agree with " + (
            f"{count(len(dark), 'dark router', 'dark routers')}, their turns and the load"
            if dark
            else "their turns and the load; no router was dark"
        )
    return CheckResult(
        name=NAME,
        result=result,  # type: ignore[arg-type]
        looked_at=len(probes),
        findings=findings[:FINDINGS_MAX],
        found=len(findings),
        why=why,
    )


def dark_times(events: Iterable[Event], plan: Plan) -> list[Dark]:
    """When which zones had no router with power: from the injection, where it was confirmed, until the heal began."""
    routers: dict[str, set[str]] = {}
    for node in plan.nodes:
        if node.role == ROUTER:
            routers.setdefault(node.az, set()).add(node.name)
    began: dict[str, tuple[float, list[str], list[str]]] = {}
    confirmed: set[str] = set()
    found: list[Dark] = []
    last = 0.0
    for event in events:
        last = max(last, event["t"])
        if event.get("event") != "fault" or event.get("fault_kind") != POWER_OFF:
            continue
        name, state = str(event.get("name")), event.get("state")
        if state == "injected":
            targets, no_path = ([str(it) for it in event.get(what) or []] for what in ("targets", "no_path"))
            began[name] = (event["t"], targets, no_path)
        elif state == "confirmed" and name in began:
            confirmed.add(name)
        elif state in ("healing", "healed") and name in began:
            found += _dark(name, *began.pop(name), event["t"], routers) if name in confirmed else []
            confirmed.discard(name)
    for name, one in began.items():
        found += _dark(name, *one, last, routers) if name in confirmed else []
    return sorted(found, key=lambda dark: (dark.begin_s, dark.zone))


def _dark(
    name: str, begin: float, targets: Sequence[str], no_path: Sequence[str], end: float, routers: dict[str, set[str]]
) -> list[Dark]:
    return [
        Dark(az, name, begin, end, az in no_path)
        for az, there in sorted(routers.items())
        if there and there <= set(targets)
    ]


def made_up(probes: Iterable[Probe], dark: Sequence[Dark], start_boot_s: float) -> list[Finding]:
    """Good answers from routers that had no power, or to canaries that had no path: the first of each canary, and how
    many there are."""
    first: dict[tuple[str, Dark], tuple[Probe, int]] = {}
    for probe in probes:
        if not probe.good:
            continue
        sent = probe.boot - start_boot_s
        answered = sent + probe.ms / 1000
        for one in dark:
            here = one.zone == probe.endpoint_az or (one.cut_off and one.zone == probe.az)
            if here and one.begin_s + MARGIN_S <= sent and answered <= one.end_s - MARGIN_S:
                earlier = first.get((probe.az, one))
                first[probe.az, one] = (earlier[0], earlier[1] + 1) if earlier else (probe, 1)
    return [
        {
            "what": f"the canary of zone {az} recorded {count(many, 'good answer', 'good answers')} {_where(az, one)} "
            f"from {one.begin_s:.1f} s to {one.end_s:.1f} s",
            "az": az,
            "fault": one.fault,
            **_facts(probe, start_boot_s),
        }
        for (az, one), (probe, many) in first.items()
    ]


def _where(az: str, one: Dark) -> str:
    if one.cut_off and one.zone == az:
        return "while its zone had no power, and it no path to any router,"
    return f"through the router of zone {one.zone}, which had no power"


def left_out(probes: Iterable[Probe], zones: Sequence[str], start_boot_s: float) -> list[Finding]:
    """Endpoints that a canary did not try for several turns although it went on with the others."""
    findings: list[Finding] = []
    rounds: dict[str, list[Probe]] = {}
    for probe in sorted(probes, key=lambda one: one.boot):
        if probe.op == "put":
            rounds.setdefault(probe.az, []).append(probe)
    for az, own in sorted(rounds.items()):
        endpoints = sorted({probe.endpoint_az for probe in own} | set(zones))
        allowed = TURNS_MISSED_MAX * len(endpoints)
        for where in endpoints:
            places = [-1, *(n for n, probe in enumerate(own) if probe.endpoint_az == where), len(own)]
            # Rounds that were in flight when the canary ended are not on record: they may look like turns left out.
            gap, before = max((b - a - 1, a) for a, b in pairwise(places))
            if gap > allowed + (len(endpoints) if before == places[-2] else 0):
                begin = own[max(before, 0)].boot - start_boot_s
                findings.append(
                    {
                        "what": f"the canary of zone {az} did not record a single round through the router of zone "
                        f"{where} after {begin:.1f} s, while it recorded {gap} through the others",
                        "az": az,
                        "endpoint_az": where,
                        "invoked_s": round(begin, 3),
                    }
                )
    return findings


def contradicted(probes: Iterable[Probe], history: History, start_boot_s: float) -> list[Finding]:
    """Turns of a canary that all succeeded through an endpoint through which all of its zone's load failed, before,
    beside and after them."""
    tried: dict[tuple[str, str], list[tuple[float, bool]]] = {}
    for operation in load_operations(history.operations):
        invoked_s = (operation.invoked_ns - history.start_ns) / 1e9
        tried.setdefault((operation.az, operation.endpoint), []).append((invoked_s, is_good(operation)))
    for sent in tried.values():
        sent.sort()
    findings: list[Finding] = []
    for turn in turns(probes):
        first, last = turn[0].boot - start_boot_s, turn[-1].boot - start_boot_s
        sent = tried.get((turn[0].az, turn[0].endpoint), [])
        beside = sent[bisect_left(sent, (first - BESIDE_S, False)) : bisect_left(sent, (last + BESIDE_S, False))]
        # What failed at one side of the turn only may have met a fault that was over, or not yet in, when the canary
        # came. One or two are no side: the load leaves an endpoint that fails, and tries it when others have trouble.
        before = bisect_left(beside, (first - APART_S, False))
        after = len(beside) - bisect_left(beside, (last + APART_S, False))
        if min(before, after) < LOAD_MIN or any(good for _, good in beside):
            continue
        if len(turn) >= PROBES_MIN and all(probe.good for probe in turn):
            findings.append(
                {
                    "what": f"at {first:.1f} s all {len(turn)} probes of zone {turn[0].az}'s canary through the router "
                    f"of zone {turn[0].endpoint_az} are recorded as good, while all {len(beside)} operations of the "
                    f"load beside it failed, from {beside[0][0]:.1f} s to {beside[-1][0]:.1f} s",
                    "az": turn[0].az,
                    "endpoint_az": turn[0].endpoint_az,
                    "invoked_s": round(first, 3),
                }
            )
    return findings


def turns(probes: Iterable[Probe]) -> list[list[Probe]]:
    """The probes of each canary through one endpoint after the other, as it made them."""
    found: list[list[Probe]] = []
    own: dict[str, list[Probe]] = {}
    for probe in sorted(probes, key=lambda one: one.boot):
        turn = own.get(probe.az)
        if turn is None or turn[0].endpoint != probe.endpoint:
            turn = own[probe.az] = []
            found.append(turn)
        turn.append(probe)
    return found


def _facts(probe: Probe, start_boot_s: float) -> Finding:
    return {
        "op": probe.op,
        "key": probe.key,
        "outcome": probe.outcome,
        "endpoint_az": probe.endpoint_az,
        "invoked_s": round(probe.boot - start_boot_s, 3),
        "ended_s": round(probe.boot - start_boot_s + probe.ms / 1000, 3),
    }
