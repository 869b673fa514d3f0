"""What the files of a run have said so far, in bounded memory however long it lasts. Pure: lines in, state out.

Nothing is assumed of a line but that it is JSON: fields that are missing or of the wrong type leave the state as it was
and are counted, because a page that dies of one odd line is of no use at 3 a.m.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from reports.rundir import Plan, Probe, Verdict

HISTORY_S: Final = 900
"""Seconds of availability and load that are kept."""
RECENT_MAX: Final = 2_000
"""Probes of each canary that are kept for the figures of the last window, at most."""
CANARIES_MAX: Final = 100
LOG_MAX: Final = 40
DARK: Final = "power-off"
CONDITIONAL: Final = ("cput", "update")
"""Operations that may rightly fail by their condition: a line of load statistics cannot tell that from a refusal."""
OVER: Final = ("healed", "refused", "failed")


@dataclass(slots=True)
class Fault:
    """One fault as its events told it."""

    name: str
    kind: str
    targets: list[str] = field(default_factory=list)
    state: str = "planned"
    effect: str = ""
    """``confirmed``, ``not-confirmed`` or ``mismatch``, once somebody looked."""
    detail: str = ""
    injected_s: float | None = None
    healed_s: float | None = None

    @property
    def active(self) -> bool:
        return self.injected_s is not None and self.state not in OVER


@dataclass(slots=True)
class AlarmState:
    """One alarm: whether it is on, and since when."""

    name: str
    az: str | None
    on: bool = False
    since_s: float | None = None
    shares: tuple[float | None, ...] = ()


@dataclass(slots=True)
class Moment:
    """One second of the run: probes by (canary, endpoint's zone), and the load of all zones."""

    probes: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    sent: int = 0
    good: int = 0
    failed: int = 0
    unknown: int = 0
    skipped: int = 0
    p50_ms: float | None = None
    p99_ms: float | None = None
    zones: dict[str, list[int]] = field(default_factory=dict)
    """Zone of the clients: [answered or not, answered as it should be]."""
    probe_ms: list[float] = field(default_factory=list)
    """How long the canaries waited for right answers."""


class State:
    """Everything the page shows. ``t`` are seconds since the run began."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.plan: Plan | None = None
        self.verdict: Verdict | None = None
        self.cluster = ""
        self.t = 0.0
        """The newest moment that anything speaks of."""
        self.phase = ""
        self.phases_done: list[str] = []
        self.ended = ""
        self.reason = ""
        self.faults: dict[str, Fault] = {}
        self.alarms: dict[str, AlarmState] = {}
        self.alarm_log: deque[tuple[float, str, str]] = deque(maxlen=LOG_MAX)
        self.up: dict[str, bool] = {}
        """Nodes that are asked for their status: whether they answered the last time."""
        self.died: dict[str, str] = {}
        """Nodes that ended although nobody ended them, and their last words."""
        self.leaders: dict[str, str | None] = {}
        self.redundancy: list[tuple[float, int, int]] = []
        """When it changed: time, groups, groups below."""
        self.elections: deque[float] = deque(maxlen=400)
        self.seconds: dict[int, Moment] = {}
        self.recent: dict[str, deque[tuple[float, Probe]]] = {}
        """The last probes of each zone's canary."""
        self.log: deque[tuple[float, str, str]] = deque(maxlen=LOG_MAX)
        self.probes = 0
        self.unreadable = 0

    # What comes in.

    def take_event(self, event: Mapping[str, Any]) -> None:
        """One line of ``events.jsonl``."""
        try:
            t = float(event["t"])
            handler = _HANDLERS.get(str(event["event"]))
            if handler is not None:
                handler(self, t, event)
            self.t = max(self.t, t)
        except (KeyError, TypeError, ValueError):
            self.unreadable += 1

    def take_probe(self, probe: Probe, start_boot_s: float) -> None:
        """One line of ``canaries/<az>.jsonl``."""
        t = probe.boot - start_boot_s
        second = self._second(t)
        count = second.probes.setdefault((probe.az, probe.endpoint_az), [0, 0])
        count[0] += 1
        count[1] += probe.good
        if probe.good:
            second.probe_ms.append(probe.ms)
        self.probes += 1
        if probe.az in self.recent or len(self.recent) < CANARIES_MAX:
            self.recent.setdefault(probe.az, deque(maxlen=RECENT_MAX)).append((t, probe))
        self.t = max(self.t, t + probe.ms / 1000)

    def take_load(self, az: str, line: Mapping[str, Any], start_boot_s: float) -> None:
        """One line of ``load/<az>.jsonl``; lines that are no second are passed over."""
        if "second" not in line:
            return
        try:
            t = float(line["boot"]) - start_boot_s
            good, failed = _answered(line.get("by_op", {}))
            unknown, skipped, sent = (int(line.get(name, 0)) for name in ("unknown", "skipped", "sent"))
            slow = [line.get(name) for name in ("p50_ms", "p99_ms")]
        except (KeyError, TypeError, ValueError, AttributeError):
            self.unreadable += 1
            return
        second = self._second(t)
        second.sent += sent
        second.good += good
        second.failed += failed
        second.unknown += unknown
        second.skipped += skipped
        # Percentiles of zones cannot be joined; the worst zone is what a person wants to know of.
        second.p50_ms = max((v for v in (second.p50_ms, slow[0]) if v is not None), default=None)
        second.p99_ms = max((v for v in (second.p99_ms, slow[1]) if v is not None), default=None)
        zone = second.zones.setdefault(az, [0, 0])
        zone[0] += good + failed + unknown
        zone[1] += good
        self.t = max(self.t, t + 1)

    def _second(self, t: float) -> Moment:
        number = int(t)
        found = self.seconds.get(number)
        if found is None:
            found = self.seconds[number] = Moment()
            if len(self.seconds) > HISTORY_S + 60:
                newest = max(self.seconds)
                for old in [key for key in self.seconds if key < newest - HISTORY_S]:
                    del self.seconds[old]
        return found

    # The handlers of events.

    def _run(self, t: float, event: Mapping[str, Any]) -> None:
        if event["state"] == "begin":
            self.cluster = str(event.get("cluster") or "")
            # The same directory may go on with canaries that were started again.
            self.ended = self.reason = ""
            self._say(t, "run", "begun" if t < 1 else "begun again")
        else:
            self.ended, self.reason = str(event.get("ended", "completed")), str(event.get("reason") or "")
            self._say(t, "run", f"{self.ended}{': ' + self.reason if self.reason else ''}")

    def _phase(self, t: float, event: Mapping[str, Any]) -> None:
        name = str(event["phase"])
        if event["state"] == "end":
            self.phases_done.append(name)
            self.phases_done = self.phases_done[-30:]
            if self.phase == name:
                self.phase = ""
        else:
            self.phase = name
            self._say(t, "phase", name.replace("-", " "))

    def _fault(self, t: float, event: Mapping[str, Any]) -> None:
        name, state = str(event["name"]), str(event["state"])
        fault = self.faults.setdefault(name, Fault(name, str(event.get("fault_kind", "fault"))))
        if len(self.faults) > 200:
            del self.faults[next(iter(self.faults))]
        if event.get("targets"):
            fault.targets = [str(target) for target in event["targets"]]
        detail = str(event.get("detail") or "")
        fault.detail = detail or fault.detail
        if state == "injecting":
            fault.injected_s, fault.healed_s = t, None
        elif fault.injected_s is None and state == "injected":
            fault.injected_s = t
        if state in ("confirmed", "not-confirmed", "mismatch"):
            fault.effect = state
            # What only the heal could show comes after it, and does not bring the fault back.
            state = fault.state if fault.state in OVER else state
        if state in OVER and fault.healed_s is None:
            fault.healed_s = t
        fault.state = state
        self._say(t, "fault", f"{name}: {event['state']}{' (' + detail + ')' if detail else ''}")

    def _redundancy(self, t: float, event: Mapping[str, Any]) -> None:
        self.redundancy.append((t, int(event["groups"]), int(event["below"])))
        del self.redundancy[:-400]

    def _leader(self, t: float, event: Mapping[str, Any]) -> None:
        node = event.get("node")
        self.leaders[str(event["group"])] = None if node is None else str(node)
        if node is not None:
            self.elections.append(t)

    def _node(self, t: float, event: Mapping[str, Any]) -> None:
        name, state = str(event["node"]), str(event["state"])
        if state == "ended":
            self.died[name] = str(event.get("detail") or "it ended by itself")
            self._say(t, "node", f"{name}: {self.died[name]}")
            return
        self.up[name] = state != "down"
        if state == "up":
            self.died.pop(name, None)
        if state == "down":
            # A node that lies leads nothing, whatever it last said.
            for group, leader in self.leaders.items():
                if leader == name:
                    self.leaders[group] = None

    def _alarm(self, t: float, event: Mapping[str, Any]) -> None:
        name, state = str(event["name"]), str(event["state"])
        az = event.get("az")
        alarm = self.alarms.setdefault(name, AlarmState(name, None if az is None else str(az)))
        shares = event.get("shares") or []
        alarm.on, alarm.since_s = state == "fired", t
        alarm.shares = tuple(None if share is None else float(share) for share in shares)
        self.alarm_log.append((t, name, state))
        self._say(t, "alarm", f"{name} {state}")

    def _probe(self, t: float, event: Mapping[str, Any]) -> None:
        holds = "holds" if event.get("ok") else "FAILS"
        self._say(t, "steady state", f"{event.get('query')} {event.get('value')} {holds}")

    def _note(self, t: float, event: Mapping[str, Any]) -> None:
        self._say(t, "note", str(event["text"]))

    def _say(self, t: float, kind: str, text: str) -> None:
        self.log.append((t, kind, text[:300]))

    # What is asked of it.

    def active_faults(self) -> list[Fault]:
        """Faults that are in, the oldest first."""
        return [fault for fault in self.faults.values() if fault.active]

    def firing(self) -> list[AlarmState]:
        """Alarms that are on: the regional one first."""
        return sorted((a for a in self.alarms.values() if a.on), key=lambda alarm: (alarm.az is not None, alarm.name))

    def leads(self) -> dict[str, int]:
        """How many groups each node leads."""
        counts: dict[str, int] = {}
        for node in self.leaders.values():
            if node is not None:
                counts[node] = counts.get(node, 0) + 1
        return counts


_HANDLERS = {
    "run": State._run,
    "phase": State._phase,
    "fault": State._fault,
    "redundancy": State._redundancy,
    "leader": State._leader,
    "node": State._node,
    "alarm": State._alarm,
    "probe": State._probe,
    "note": State._note,
}


def _answered(by_op: Mapping[str, Mapping[str, int]]) -> tuple[int, int]:
    """Operations answered as they should be, and those refused."""
    good = failed = 0
    for op, outcomes in by_op.items():
        good += outcomes.get("ok", 0)
        if op in CONDITIONAL:
            good += outcomes.get("fail", 0)
        else:
            failed += outcomes.get("fail", 0)
    return good, failed
