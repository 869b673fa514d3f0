"""A run's state in words and figures, as the templates take it. Pure: the clock comes with the call."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from canaries.availability import Count, Window
from canaries.dashboard.state import DARK, AlarmState, Fault, State
from canaries.series import Stretch
from reports import wording
from reports.metrics import percentile
from reports.render import charts
from reports.render.charts import Axis, Bin
from reports.rundir import NodeInfo, Verdict

WINDOW_S: Final = 10.0
"""Over which the page's figures are taken."""
SHOWN_S: Final = 600
"""What the drawing shows, at most."""
SHOWN_MIN_S: Final = 120
COLUMNS: Final = 150
STALE_S: Final = 15.0
HOUR_S: Final = 3600.0
WEEK_HOURS: Final = 7 * 24
LOG_ROWS: Final = 9
OPERATIONS: Final = {
    "put": "put",
    "get": "strong get",
    "eget": "eventual get",
    "update": "update",
    "delete": "delete",
}
STRUCK: Final = {"power-off": "dark", "partition": "cut off", "pause": "frozen", "hang": "frozen", "bit-rot": "damaged"}
SUFFERS: Final = {
    "power-off": "has no power",
    "partition": "is cut off",
    "pause": "is frozen",
    "bit-rot": "has a damaged disk",
}
VERDICTS: Final = {"passed": "good", "failed": "bad"}
PHASES: Final = (
    "resolve", "preflight", "deploy", "warm-up", "steady-before", "method", "steady-after",
    "rollback", "quiesce", "verify", "tear-down", "leftovers", "report",
)  # fmt: skip


class Banner(NamedTuple):
    """What is read from across the room. ``tone``: bad, warn, good, plain."""

    tone: str
    word: str
    sentence: str
    more: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """How a run's files look besides what they say."""

    now_s: float
    age_s: float | None
    alive: bool
    unreadable: int


def page(state: State, seen: Seen) -> dict[str, Any]:
    """Everything the page shows."""
    # Of a run that is over the figures are those of its canaries' last seconds.
    moment = last_probe_s(state) if over(state) else seen.now_s
    window = recent_window(state, moment)
    zones = zones_of(state)
    return {
        "title": title_of(state),
        "kind": kind_of(state),
        "facts": facts_of(state),
        "clock": span(seen.now_s),
        "banner": banner(state, seen, window),
        "phases": phases(state),
        "zones": [zone(state, az, window, seen.now_s) for az in zones],
        "loaded": any(second.sent or second.skipped for second in state.seconds.values()),
        "regional": [node_row(state, n, state.leads()) for n in (state.plan.nodes if state.plan else ()) if not n.az],
        "alarms": alarms(state, seen.now_s),
        "faults": [fault_row(state, fault, seen.now_s) for fault in reversed(list(state.faults.values())[-4:])],
        "matrix": matrix(window, zones),
        "operations": operations(state, moment),
        "load": None if over(state) else load(state, seen.now_s),
        "over": over(state),
        "redundancy": redundancy(state, seen.now_s),
        "log": [(span(t), kind, text) for t, kind, text in list(state.log)[: -LOG_ROWS - 1 : -1]],
        "checks": [] if state.verdict is None else checks(state.verdict),
        "unreadable": seen.unreadable,
    }


# Words.


def span(seconds: float | None) -> str:
    """A stretch of time as one reads it at a glance."""
    if seconds is None:
        return "–"
    whole = max(0, int(seconds))
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {whole % 60:02} s" if minutes else f"{whole} s"


def shown(share: float | None) -> str:
    """A share in percent, with the digits that matter; no data is not zero."""
    if share is None:
        return "no data"
    if share < 0.99:
        return f"{math.floor(share * 100)}\u00a0%"
    return wording.percent(share).replace(" ", "\u00a0")


def tone_of(share: float | None) -> str:
    """How a share looks."""
    return "none" if share is None else "good" if share >= 0.999 else "warn" if share >= 0.9 else "bad"


def title_of(state: State) -> str:
    if state.plan is not None:
        return state.plan.title or state.plan.playbook
    return state.name


def kind_of(state: State) -> str:
    return "canaries" if state.plan is not None and "canaries" in state.plan.tags else "game day"


def over(state: State) -> bool:
    """Whether nothing more is to come."""
    return state.verdict is not None or bool(state.ended)


def facts_of(state: State) -> list[str]:
    """What run this is, in a few words each."""
    plan = state.plan
    if plan is None:
        return [state.name]
    facts = [state.name, f"on {plan.runtime}" if plan.runtime else ""]
    if kind_of(state) == "game day":
        facts.append(f"seed {plan.seed}")
    if plan.plant:
        facts.append(f"planted bug: {plan.plant}")
    return [*filter(None, facts), *([f"cluster {state.cluster}"] if state.cluster else [])]


def banner(state: State, seen: Seen, window: Window) -> Banner:
    """The one thing that matters most right now."""
    if state.verdict is not None:
        verdict = state.verdict
        tone = VERDICTS.get(verdict.verdict, "warn")
        return Banner(tone, verdict.verdict.capitalize(), (verdict.why or [""])[0])
    firing, faults = state.firing(), state.active_faults()
    causes = "; ".join(struck(state, fault) for fault in faults[:3])
    if state.ended:
        why = f": {state.reason}" if state.reason else ""
        return Banner("plain", "Ended", f"The run was {state.ended}{why}.", "There is no verdict yet.")
    if seen.age_s is not None and seen.age_s > STALE_S:
        return Banner("warn", "No news", "Nothing is being recorded any more: is what records it still alive?", causes)
    if firing:
        return Banner("bad", "Alarm", alarm_sentence(firing), f"{causes}." if causes else "")
    if faults:
        return Banner("warn", "Fault in", f"{causes}.", "No alarm is on.")
    if window.sent:
        low = window.overall()
        if low is not None and low < 0.999:
            return Banner("warn", "Degraded", f"Canaries get {shown(low)} right answers. No alarm is on.")
        return Banner("good", "All quiet", "Every zone answers its canaries.")
    if state.phase:
        return Banner("plain", state.phase.replace("-", " ").capitalize(), DOING.get(state.phase, ""))
    return Banner("plain", "Waiting", "Nothing has been recorded yet.")


DOING: Final = {
    "resolve": "What the playbook means here is being worked out.",
    "preflight": "The host is looked at before anything is touched.",
    "deploy": "The cluster is being started.",
    "warm-up": "Tables, canaries and load are being made ready.",
    "rollback": "Whatever is still broken is being healed.",
    "quiesce": "The load has ended; the cluster has time to become whole.",
    "verify": "Every key is read back, and the replicas are compared.",
    "tear-down": "The cluster is being taken down.",
    "leftovers": "The host is compared with how it was before.",
    "report": "The evidence is being judged.",
}


def alarm_sentence(firing: Sequence[AlarmState]) -> str:
    """Which alarms are on, for a person."""
    zones = [alarm.az for alarm in firing if alarm.az is not None]
    parts = []
    if zones:
        verb = "is" if len(zones) == 1 else "are"
        parts.append(f"Zone{'s' if len(zones) > 1 else ''} {' and '.join(zones)} {verb} not answering as promised")
    if any(alarm.az is None for alarm in firing):
        parts.append("the region is below its threshold" if parts else "The region is below its threshold")
    return ", and ".join(parts) + "."


def struck(state: State, fault: Fault) -> str:
    """A fault as a sentence's beginning: who suffers what."""
    where = place(state, fault)
    plural = where.startswith(("all ", "zones", "racks")) or ", " in where
    said = SUFFERS.get(fault.kind, f"suffers {fault.kind}")
    if plural:
        said = said.replace("has ", "have ", 1).replace("is ", "are ", 1).replace("suffers", "suffer", 1)
    return f"{where[:1].upper()}{where[1:]} {said}"


def place(state: State, fault: Fault) -> str:
    return wording.place(fault.targets, state.plan.nodes if state.plan else ())


def phases(state: State) -> list[tuple[str, str]]:
    """The phases of a game day, each done, now or to come; none for canaries."""
    if kind_of(state) == "canaries":
        return []
    done = set(state.phases_done)
    return [
        (name.replace("-", " "), "now" if name == state.phase else "done" if name in done else "next")
        for name in PHASES
    ]


# Figures.


def last_probe_s(state: State) -> float:
    """When the canaries were last heard of."""
    return max((second + 1.0 for second, moment in state.seconds.items() if moment.probes), default=state.t)


def recent_window(state: State, now_s: float) -> Window:
    """What the canaries saw lately. Answers that are still awaited are missing, so the last second says little."""
    window = Window(now_s - WINDOW_S, now_s)
    for number in range(max(0, math.floor(now_s - WINDOW_S)), math.ceil(now_s) + 1):
        second = state.seconds.get(number)
        for pair, (sent, good) in () if second is None else second.probes.items():
            count = window.counts.setdefault(pair, Count())
            count.sent += sent
            count.good += good
    return window


def zones_of(state: State) -> list[str]:
    """All zones that the plan or a probe names."""
    zones = {node.az for node in state.plan.nodes} if state.plan else set()
    zones.update(probe.endpoint_az for own in state.recent.values() for _, probe in list(own)[-20:])
    return sorted(filter(None, zones))


def zone(state: State, az: str, window: Window, now_s: float) -> dict[str, Any]:
    """One zone: its availability, its alarm, its racks and their nodes."""
    share = window.of_zone(az)
    alarm = next((alarm for alarm in state.firing() if alarm.az == az), None)
    nodes = [node for node in (state.plan.nodes if state.plan else ()) if node.az == az and node.role != "client"]
    leads = state.leads()
    racks: dict[str, list[dict[str, Any]]] = {}
    for node in nodes:
        racks.setdefault(node.rack or "no rack", []).append(node_row(state, node, leads))
    hit = [fault for fault in state.active_faults() if any(node.name in fault.targets for node in nodes)]
    return {
        "az": az,
        "share": shown(share),
        "tone": "bad" if alarm else tone_of(share),
        "alarm": alarm is not None,
        "says": [f"{fault.name}, {span(now_s - (fault.injected_s or now_s))}" for fault in hit[:2]]
        or ([f"alarm for {span(now_s - alarm.since_s)}"] if alarm and alarm.since_s is not None else []),
        "canary": shown(window.of_canary(az)),
        "racks": [{"name": name, "nodes": rack} for name, rack in sorted(racks.items())],
    }


def node_row(state: State, node: NodeInfo, leads: dict[str, int]) -> dict[str, Any]:
    """One node: what is known of it, in a word and a mark that does not need colour."""
    word, mark = "", "on"
    fault = next((fault for fault in state.active_faults() if node.name in fault.targets), None)
    if fault is not None:
        word, mark = STRUCK.get(fault.kind, fault.kind), "dark" if fault.kind == DARK else "cut"
    elif node.name in state.died:
        word, mark = "ended", "dark"
    elif state.up.get(node.name) is False:
        word, mark = "silent", "cut"
    return {"name": node.name, "role": node.role, "word": word, "mark": mark, "leads": leads.get(node.name, 0)}


def alarms(state: State, now_s: float) -> list[dict[str, Any]]:
    """Every alarm there is, those that are on first."""
    names = {f"cfa-zone-{az}": az for az in zones_of(state)} | {"cfa-availability": None}
    rows = []
    for name in sorted(names.keys() | state.alarms.keys()):
        alarm = state.alarms.get(name)
        since = "" if alarm is None or alarm.since_s is None else span(now_s - alarm.since_s)
        rows.append(
            {
                "name": name,
                "on": alarm is not None and alarm.on,
                "where": "the region" if names.get(name) is None else f"zone {names[name]}",
                "since": "never fired"
                if alarm is None
                else f"{'for' if alarm.on else 'cleared'} {since}" + ("" if alarm.on else " ago"),
                "shares": " ".join(shown(share) for share in alarm.shares) if alarm and alarm.on else "",
            }
        )
    return sorted(rows, key=lambda row: (not row["on"], row["name"]))


def fault_row(state: State, fault: Fault, now_s: float) -> dict[str, Any]:
    if fault.active:
        when = f"in for {span(now_s - (fault.injected_s or now_s))}"
    elif fault.injected_s is None:
        when = fault.state
    else:
        when = f"{fault.state} after {span((fault.healed_s or now_s) - fault.injected_s)}"
    return {
        "name": fault.name,
        "what": f"{fault.kind} on {place(state, fault)}",
        "when": when,
        "active": fault.active,
        "effect": fault.effect.replace("-", " "),
        "tone": {"confirmed": "ok", "mismatch": "failed"}.get(fault.effect, "unknown"),
    }


def matrix(window: Window, zones: Sequence[str]) -> list[dict[str, Any]]:
    """Whose canary gets how much through whose router."""
    seen = {who: [window.through(who, az) for az in zones] for who in zones}
    return [
        {"canary": who, "cells": [(shown(share), tone_of(share)) for share in shares]} for who, shares in seen.items()
    ]


def operations(state: State, now_s: float) -> list[dict[str, Any]]:
    """Availability and latency by operation, as the canaries of all zones saw it lately."""
    since = now_s - WINDOW_S
    recent = [probe for own in state.recent.values() for t, probe in own if t >= since]
    rows = []
    for op, name in OPERATIONS.items():
        own = [probe for probe in recent if probe.op == op]
        times = [probe.ms for probe in own if probe.good]
        share = sum(probe.good for probe in own) / len(own) if own else None
        rows.append(
            {
                "name": name,
                "share": shown(share),
                "tone": tone_of(share),
                "p50": milliseconds(percentile(times, 0.5)),
                "p99": milliseconds(percentile(times, 0.99)),
            }
        )
    return rows


def milliseconds(ms: float | None) -> str:
    if ms is None:
        return "–"
    return f"{ms / 1000:.1f} s" if ms >= 1000 else f"{ms:.0f} ms"


def load(state: State, now_s: float) -> dict[str, str] | None:
    """The load over the last few whole seconds; None where none is driven."""
    seconds = [second for number in range(int(now_s) - 6, int(now_s) - 1) if (second := state.seconds.get(number))]
    seconds = [second for second in seconds if second.sent or second.skipped]
    if not seconds:
        return None
    count = len(seconds)
    slow = [second.p99_ms for second in seconds if second.p99_ms is not None]
    return {
        "good": f"{sum(s.good for s in seconds) / count:,.0f}",
        "offered": f"{sum(s.sent + s.skipped for s in seconds) / count:,.0f}",
        "bad": f"{sum(s.failed + s.unknown for s in seconds) / count:,.0f}",
        "skipped": f"{sum(s.skipped for s in seconds) / count:,.0f}",
        "p99": milliseconds(max(slow, default=None)),
    }


def redundancy(state: State, now_s: float) -> dict[str, Any] | None:
    """How many groups have all their voters."""
    if not state.redundancy:
        return None
    since, groups, below = state.redundancy[-1]
    return {
        "full": f"{groups - below} of {groups}",
        "whole": below == 0,
        "since": span(now_s - since),
    }


def checks(verdict: Verdict) -> list[dict[str, str]]:
    """What the checkers said."""
    return [
        {"name": check.name.replace("_", " "), "result": check.result, "why": check.why} for check in verdict.checks
    ]


# The drawings.


def days(stretches: Sequence[Stretch]) -> str:
    """The week, an hour a column, once there is more than an hour of it. It is ready markup."""
    sums: dict[str, dict[int, list[int]]] = {}
    for stretch in stretches:
        count = sums.setdefault(stretch.zone, {}).setdefault(int((stretch.end - 1) // HOUR_S), [0, 0])
        count[0] += stretch.sent
        count[1] += stretch.good
    hours = [hour for zone in sums.values() for hour in zone]
    if not hours or max(hours) - min(hours) < 2:
        return ""
    last = max(hours) + 1
    first = last - WEEK_HOURS
    rows = [
        (f"zone {az}", [(hour * HOUR_S, share_of([counts.get(hour)])) for hour in range(first, last)])
        for az, counts in sorted(sums.items())
    ]
    return charts.days(rows, Axis(first * HOUR_S, last * HOUR_S))


def drawing(state: State, seen: Seen) -> str:
    """The report's timeline over the last minutes, or over the whole run where that is shorter. It is ready markup."""
    now_s, zones = seen.now_s, zones_of(state)
    if not state.seconds:
        return ""
    first, last = min(state.seconds), max(state.seconds)
    end = last + 2 if over(state) else max(math.ceil(now_s), last + 1)
    begin = max(first - 1, end - SHOWN_S, 0)
    if end - begin < SHOWN_MIN_S and not over(state):
        end = begin + SHOWN_MIN_S
    width = max(1, math.ceil((end - begin) / COLUMNS))
    axis = Axis(begin, end)
    columns = [column_of(state, start, width, zones) for start in range(begin, end, width)]
    return charts.timeline(
        columns,
        axis,
        visible(fault_windows(state, now_s), axis),
        [],
        visible(redundancy_windows(state, now_s), axis),
        list(state.elections),
        zones,
        visible(alarm_windows(state, now_s), axis),
    )


def column_of(state: State, begin: int, width: int, zones: Sequence[str]) -> Bin:
    """Some seconds as one column."""
    found = [second for n in range(begin, begin + width) if (second := state.seconds.get(n)) is not None]
    column = Bin(begin)
    for name in ("sent", "good", "failed", "unknown", "skipped"):
        setattr(column, name, sum(getattr(second, name) for second in found) / width)
    column.p50 = max((s.p50_ms for s in found if s.p50_ms is not None), default=None)
    column.p99 = max((s.p99_ms for s in found if s.p99_ms is not None), default=None)
    if column.p99 is None and not column.sent:
        times = [ms for second in found for ms in second.probe_ms]
        column.p50, column.p99 = percentile(times, 0.5), percentile(times, 0.99)
    for az in zones:
        column.zones[az] = share_of([second.zones.get(az) for second in found])
        through = [count for second in found for (_, where), count in second.probes.items() if where == az]
        if (share := share_of(through)) is not None:
            column.canaries[az] = share
    return column


def share_of(counts: Iterable[Sequence[int] | None]) -> float | None:
    """Good ones of all; None of nothing."""
    there = [count for count in counts if count]
    total = sum(count[0] for count in there)
    return sum(count[1] for count in there) / total if total else None


def visible(windows: Iterable[charts.Window], axis: Axis) -> list[charts.Window]:
    return [window for window in windows if window.end_s > axis.begin_s and window.begin_s < axis.end_s]


def fault_windows(state: State, now_s: float) -> list[charts.Window]:
    return [
        charts.Window(
            f"{fault.name} ({place(state, fault)})",
            fault.injected_s,
            now_s if fault.healed_s is None else fault.healed_s,
            fault.kind,
        )
        for fault in state.faults.values()
        if fault.injected_s is not None
    ]


def alarm_windows(state: State, now_s: float) -> list[charts.Window]:
    on: dict[str, float] = {}
    windows = []
    for t, name, what in state.alarm_log:
        if what == "fired":
            on.setdefault(name, t)
        elif name in on:
            windows.append(charts.Window(name, on.pop(name), t, "alarm"))
    return windows + [charts.Window(name, since, now_s, "alarm") for name, since in on.items()]


def redundancy_windows(state: State, now_s: float) -> list[charts.Window]:
    ends = [*(t for t, _, _ in state.redundancy[1:]), now_s][: len(state.redundancy)]
    return [
        charts.Window(
            f"{groups - below} of {groups} partitions have three replicas", t, end, "s-below" if below else "s-full"
        )
        for (t, groups, below), end in zip(state.redundancy, ends, strict=True)
    ]
