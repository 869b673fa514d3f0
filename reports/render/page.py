"""``report.html``: one self-contained file that opens offline, for a meeting and for 3 a.m."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from reports import canaries, metrics, wording
from reports.checkers.evidence import WORDS
from reports.judge import Evidence
from reports.render import charts, ledger
from reports.render.charts import Axis, Window
from reports.render.scrubbed import scrubbed
from reports.rundir import CheckResult, Event, FaultRecord, Finding, NodeInfo, Plan, Verdict

EVENTS_MAX = 400
"""Rows of the event log in the page; the file beside it has all."""

TEMPLATES = Path(__file__).parent / "templates"

CHECK_TITLES = {
    "durability": (
        "Nothing acknowledged was lost",
        "Every acknowledged write is present at the end, or another write reported that it replaced it.",
    ),
    "linearizability": (
        "Strong answers fit one order",
        "For each item there is an order of all strong operations, "
        "consistent with real time, that explains every answer.",
    ),
    "eventual_reads": (
        "Eventual reads invent nothing",
        "An eventual read may be stale, but what it returns was written to that item before.",
    ),
    "transactions": (
        "Transactions are as if one at a time",
        "What transactional reads saw fits one order of all transactions, which is also the order in real time.",
    ),
    "replicas_agree": (
        "Replicas are identical",
        "At a barrier in each partition's log all replicas hold the same items, compared by digest.",
    ),
    "archive_agrees": (
        "The archived log gives the same",
        "A copy of each partition, built from its archived log alone, holds what its replicas hold at one barrier.",
    ),
    "corruption": (
        "Every damage was found",
        "What was changed on the disks in bytes that live was found by the database itself, and mended.",
    ),
    "canaries": (
        "Canaries tell what they met",
        "What they recorded is held against the faults (a router without power answers nobody), against their own "
        "turns (no endpoint is left out) and against the load.",
    ),
    "alarms": (
        "Alarms say what the probes say",
        "Every window is counted again from the probes: each alarm fired and cleared when it had to, "
        "and at no other time.",
    ),
    "leftovers": (
        "The host is as before",
        "Firewall rules, mounts, loop devices, namespaces, containers and processes are compared before and after.",
    ),
}

VERDICT_WORDS = {
    "passed": "Passed",
    "failed": "Failed",
    "aborted": "Aborted",
    "interrupted": "Interrupted",
    "invalid": "Invalid: proves nothing",
}


@dataclass(frozen=True, slots=True)
class Tile:
    """One big number: its label, the figure, what it is compared with, and a tone (good, bad, plain)."""

    label: str
    figure: str
    note: str = ""
    tone: str = "plain"


def render(evidence: Evidence, verdict: Verdict) -> str:
    """The page as text."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["seconds"] = _seconds
    environment.filters["percent"] = wording.percent
    environment.filters["wrappable"] = _wrappable
    plan = evidence.plan
    drawing, columns = _drawing(evidence, verdict)
    return environment.get_template("report.html.j2").render(
        plan=plan,
        verdict=verdict,
        word=VERDICT_WORDS[verdict.verdict],
        headline=(verdict.why or [""])[0],
        reasons=verdict.why[1:],
        tiles=_tiles(verdict),
        drawing=Markup(drawing),
        columns=columns,
        ledger=ledger.rows(verdict.damage),
        ledger_figure=Markup(ledger.figure(verdict.damage, evidence.seconds)),
        checks=[_check(check) for check in verdict.checks if check.result != "skipped"],
        skipped=[check for check in verdict.checks if check.result == "skipped"],
        through=_through(evidence, verdict),
        words=WORDS,
        scrub=scrubbed(evidence.run),
        places=_places(plan, verdict.faults),
        fault_place={fault.name: wording.place(fault.targets, plan.nodes) for fault in verdict.faults},
        shared=plan.shared or _shared(plan),
        not_tested=plan.not_tested or _not_tested(plan),
        events=_event_rows(evidence.events),
        events_total=len(evidence.events),
        problems=[str(p) for p in evidence.history.problems] + evidence.event_problems,
        style=style("report.css"),
        script=Markup((TEMPLATES / "report.js").read_text()),
    )


def style(*files: str) -> Markup:
    """What all pages share, and style sheets of one page's own."""
    return Markup("".join((TEMPLATES / name).read_text() for name in ("base.css", *files)))


def _through(evidence: Evidence, verdict: Verdict) -> list[tuple[str, float]]:
    """The share of good operations by endpoint, in the order of zones where a canary knows whose endpoint it is."""
    zone_of = {probe.endpoint: f"the router of zone {probe.endpoint_az}" for probe in evidence.probes}
    return sorted((zone_of.get(url, url), share) for url, share in verdict.availability.by_endpoint.items())


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} s"


def _wrappable(text: str) -> Markup:
    """Long identifiers may break after their punctuation."""
    return Markup("").join(
        Markup.escape(part) + Markup("<wbr>") if part in "-_/#.:" else part
        for part in re.split(r"([-_/#.:])", text)
        if part
    )


def _drawing(evidence: Evidence, verdict: Verdict) -> tuple[str, list[dict[str, Any]]]:
    seconds = metrics.timeline(evidence.load, evidence.skipped, evidence.start_ns)
    zones = sorted({node.az for node in evidence.plan.nodes if node.az} | {o.az for o in evidence.load})
    first = next((n for n, second in enumerate(seconds) if second.sent or second.skipped), 0)
    begin, end = max(0, first - 2), max(len(seconds) + 2, first + 10)
    if not seconds and not evidence.probes:
        end = max(end, math.ceil(evidence.seconds))  # a run that came to nothing: its phases are what there is to see
    injected = [fault.injected_s for fault in verdict.faults if fault.injected_s is not None]
    if injected:
        begin = min(begin, max(0, int(min(injected)) - 2))
    restored = [f.healed_s for f in verdict.faults if f.healed_s is not None]
    end = max([end, *(int(moment) + 3 for moment in restored)])
    axis = Axis(begin, end)
    columns = charts.bins(seconds, begin, end, zones)
    width = columns[1].begin_s - columns[0].begin_s if len(columns) > 1 else end - begin
    seen = canaries.strip(evidence.probes, evidence.run.start_boot_s, begin, width, len(columns))
    for column, shares in zip(columns, seen, strict=True):
        column.canaries = shares
    drawing = charts.timeline(
        columns,
        axis,
        _fault_windows(verdict.faults, evidence.plan, evidence.seconds),
        _phases(evidence, axis.end_s),
        _redundancy(evidence.events, evidence.seconds),
        _leader_changes(evidence.events),
        zones,
        _alarms(verdict, evidence.seconds),
    )
    return drawing, [msgspec.to_builtins(column) for column in columns]


def _fault_windows(faults: Sequence[FaultRecord], plan: Plan, end_s: float) -> list[Window]:
    return [
        Window(
            f"{fault.name} ({fault.kind}, {wording.place(fault.targets, plan.nodes)})",
            fault.injected_s,
            end_s if fault.healed_s is None else fault.healed_s,
            fault.kind,
        )
        for fault in faults
        if fault.injected_s is not None
    ]


def _alarms(verdict: Verdict, end_s: float) -> list[Window]:
    return [
        Window(alarm.name, alarm.fired_s, end_s if alarm.cleared_s is None else alarm.cleared_s, "alarm")
        for alarm in verdict.alarms
    ]


def _phases(evidence: Evidence, end_s: float) -> list[Window]:
    began: dict[str, float] = {}
    windows = []
    for event in evidence.events:
        if event.get("event") == "phase":
            name = str(event.get("phase"))
            if event.get("state") == "begin":
                began[name] = event["t"]
            elif name in began:
                windows.append(Window(name, began.pop(name), event["t"]))
    windows.extend(Window(name, since, end_s) for name, since in began.items())
    return sorted(windows, key=lambda w: w.begin_s)


def _redundancy(events: Sequence[Event], end_s: float) -> list[Window]:
    states = [e for e in events if e.get("event") == "redundancy"]
    ends = [*(e["t"] for e in states[1:]), end_s][: len(states)]
    return [
        Window(
            "all partitions have three replicas"
            if e.get("full")
            else f"{e.get('below', '?')} of {e.get('groups', '?')} partitions have fewer than three replicas",
            e["t"],
            until,
            "s-full" if e.get("full") else "s-below",
        )
        for e, until in zip(states, ends, strict=True)
    ]


def _leader_changes(events: Sequence[Event]) -> list[float]:
    return [e["t"] for e in events if e.get("event") == "leader" and e.get("node")]


def _tiles(verdict: Verdict) -> list[Tile]:
    load = verdict.load
    durability = next((c for c in verdict.checks if c.name == "durability"), None)
    tiles = []
    if durability is not None:
        known = durability.result in ("ok", "failed")
        tone = {"ok": "good", "failed": "bad"}.get(durability.result, "plain")
        tiles.append(
            Tile(
                "Acknowledged writes lost",
                f"{durability.found:,}" if known else "?",
                f"of {durability.looked_at:,}" if known else "not known",
                tone,
            )
        )
    if verdict.availability.overall is not None:
        tiles.append(
            Tile(
                "Operations that succeeded",
                wording.percent(verdict.availability.overall),
                f"{load.failed:,} refused, {load.unknown:,} without a clear answer",
            )
        )
    tiles.append(
        _worst(
            "Longest time without writes",
            "in any part of the key space",
            [r.writes_stopped_s for r in verdict.recovery],
        )
    )
    tiles.append(_worst("Redundancy back after", "from injection", [r.redundancy_s for r in verdict.recovery]))
    if load.per_second is not None:
        tiles.append(
            Tile(
                "Good operations per second",
                f"{load.per_second:,.0f}",
                f"{load.offered_per_second or 0:,.0f} offered, {load.skipped:,} not sent",
            )
        )
    if load.p99_ms is not None:
        tiles.append(
            Tile("99th percentile latency", _milliseconds(load.p99_ms), f"median {_milliseconds(load.p50_ms or 0)}")
        )
    return tiles


def _milliseconds(ms: float) -> str:
    return f"{ms / 1000:.2f} s" if ms >= 1000 else f"{ms:.0f} ms" if ms >= 10 else f"{ms:.1f} ms"


def _worst(label: str, note: str, values: Sequence[float | None]) -> Tile:
    known = [value for value in values if value is not None]
    return Tile(label, f"{max(known):.1f} s" if known else "–", note if known else "not observed")


def _check(check: CheckResult) -> dict[str, Any]:
    title, meaning = CHECK_TITLES.get(check.name, (check.name.replace("_", " ").capitalize(), ""))
    return {"it": check, "title": title, "meaning": meaning, "findings": [_finding(f) for f in check.findings]}


_SHOWN_FIRST = ("operation", "op", "key", "value", "observed", "outcome", "invoked_s", "ended_s")


def _finding(found: Finding) -> dict[str, Any]:
    """A finding as a sentence, its facts, and the facts of related operations."""
    related = found.get("related") or []
    return {"what": found.get("what", ""), "facts": [_facts(found), *(_facts(other) for other in related)]}


def _facts(found: Finding) -> list[tuple[str, str]]:
    names = [name for name in _SHOWN_FIRST if name in found]
    names += [name for name in found if name not in names and name not in ("what", "related", "writer")]
    return [(name.removesuffix("_s").replace("_", " "), _fact(name, found[name])) for name in names]


def _fact(name: str, value: Any) -> str:
    if name.endswith("_s"):
        return "never" if value is None else f"{value:.3f} s"
    if value is None:
        return "no item" if name == "observed" else "–"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _places(plan: Plan, faults: Sequence[FaultRecord]) -> list[dict[str, Any]]:
    """Zones with their racks with their nodes; nodes that a fault hit are marked."""
    hit = {target for fault in faults if fault.injected_s is not None for target in fault.targets}
    zones: dict[str, dict[str, list[NodeInfo]]] = {}
    for node in plan.nodes:
        zones.setdefault(node.az, {}).setdefault(node.rack or "outside", []).append(node)
    return [
        {
            "az": az,
            "racks": [
                {"name": rack, "nodes": [{"it": n, "hit": n.name in hit} for n in nodes]}
                for rack, nodes in sorted(racks.items())
            ],
        }
        for az, racks in sorted(zones.items())
    ]


def _shared(plan: Plan) -> list[str]:
    """What the zones of a run on one machine have in common, whatever they simulate."""
    if plan.runtime not in ("docker", "local"):
        return []
    return [
        "one kernel: a panic or a full page cache would take all zones at once",
        "one physical disk below all file systems: its latency, and its failure, are common",
        "one clock: the zones' clocks cannot disagree unless a fault makes them",
        "one power supply: the power cut is simulated per node, with the loss of what was not synced",
        "the same processors: a zone under load slows the others",
    ]


def _not_tested(plan: Plan) -> list[str]:
    kinds = {fault.kind for fault in plan.faults}
    missing = {
        "power-off": "loss of power",
        "partition": "network partitions",
        "bit-rot": "damaged disks",
        "clock-skew": "disagreeing clocks",
        "latency": "slow or lossy links",
        "slow-disk": "slow or full disks",
    }
    return [f"{text} (no fault of kind {kind})" for kind, text in missing.items() if kind not in kinds]


_QUIET = {"t", "boot", "wall", "event"}


def _event_rows(events: Sequence[Event]) -> list[dict[str, str]]:
    """Rows of the log: load windows and probes left out (the chart shows them), the rest up to a limit."""
    rows = []
    for event in events:
        if event.get("event") in ("load", "status"):
            continue
        fields = {name: value for name, value in event.items() if name not in _QUIET}
        text = "  ".join(f"{name}={_short(value)}" for name, value in fields.items())
        rows.append({"t": f"{event['t']:.2f}", "event": str(event.get("event", "?")), "text": text})
    if len(rows) > EVENTS_MAX:
        rows = rows[: EVENTS_MAX // 2] + rows[-EVENTS_MAX // 2 :]
    return rows


def _short(value: Any) -> str:
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 160 else text[:157] + "..."
