"""From a run directory to a verdict.

Everything is read from the directory, so ``blackstart run`` and ``blackstart recheck`` judge alike. The rules, in
order:

1. any check or promise that failed: ``failed``, even if the run was aborted or interrupted;
2. a required check or promise that is unknown: ``invalid``;
3. the run was aborted by a stop condition, or interrupted by a person: ``aborted``, ``interrupted``;
4. the run proved nothing (offered load below its floor, a fault not confirmed, an unhealthy start): ``invalid``;
5. ``passed``.

An aborted or interrupted run that never came to its verify phase has nothing to check replicas or leftovers by: those
checks are then skipped, not unknown. So are promises, and the checks of those who watch, which the run did not come to:
that it was cut short is the verdict.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from reports import canaries, metrics, wording
from reports.checkers import History, run_checks
from reports.rundir import (
    CheckResult,
    DamageEntry,
    Event,
    Expectation,
    FaultRecord,
    LoadSummary,
    Operation,
    Plan,
    Probe,
    Recovery,
    RunDir,
    Verdict,
    read_events,
    read_ledger,
    read_probes,
)
from reports.rundir.verdict import Judgement

SKIPPED_SHARE_MAX = 0.5
"""If more of the arrivals than this were never sent, the load generator did not offer what it claims."""

WATCHING = ("canaries", "alarms")
"""Checks that are about the whole length of a run, not its end: one that was cut short may have too little for them."""


@dataclass(slots=True)
class Evidence:
    """A run directory read into memory; the report draws from it, too."""

    run: RunDir
    plan: Plan
    events: list[Event]
    event_problems: list[str]
    history: History
    load: list[Operation]
    skipped: dict[int, int]
    probes: list[Probe] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Length of the run: the time of its last event or operation."""
        last = max((e["t"] for e in self.events if isinstance(e.get("t"), int | float)), default=0.0)
        if self.history.operations:
            last = max(last, (self.history.operations[-1].invoked_ns - self.history.start_ns) / 1e9)
        return round(float(last), 3)

    @property
    def start_ns(self) -> int:
        """Boot-clock nanoseconds at which the run began."""
        return self.history.start_ns


def gather(run: RunDir) -> Evidence:
    """Read everything a run wrote. Raises :class:`reports.rundir.RunDirError` if its plan cannot be read."""
    plan = run.read_plan()
    events, problems = read_events(run.events)
    events = [event for event in events if isinstance(event.get("t"), int | float)]
    history = History.read(run.history, round(run.start_boot_s * 1e9)) if run.history.is_dir() else History([])
    probes, unreadable = read_probes(run.canaries)
    return Evidence(
        run,
        plan,
        events,
        problems + unreadable,
        history,
        metrics.load_operations(history.operations),
        metrics.read_skipped(run.load, run.start_boot_s),
        probes,
    )


def judge(
    evidence: Evidence, *, ended: str | None = None, reason: str | None = None, also: Sequence[CheckResult] = ()
) -> Verdict:
    """The verdict over a run. ``ended`` and ``reason`` default to what its last ``run`` event says; ``also`` are the
    results of checks that nobody can repeat from the directory, such as what a simulator saw from inside."""
    plan, events = evidence.plan, evidence.events
    ended, reason = _ending(events, ended, reason)
    checks = [*run_checks(evidence.run, evidence.history, plan.checks), *also]
    if ended != "completed":
        verified = _came_to(events, "verify")
        checks = [check if verified and check.name not in WATCHING else _not_reached(check, ended) for check in checks]
    load = metrics.summarise(evidence.load, sum(evidence.skipped.values()))
    faults = _with_planned(metrics.fault_records(events), plan)
    recovery = metrics.recoveries(
        faults, events, evidence.load, evidence.start_ns, int(plan.extra.get("partitions") or metrics.SLICES)
    )
    alarms = canaries.alarm_records(events)
    expect = expectations(plan, checks, recovery, events, ended)
    expect += canaries.grade(plan.expect, alarms, faults, evidence.probes, ended)
    if ended != "completed":
        expect = [_cut_short(promise, ended) for promise in expect]
    verdict, reasons = decide(plan, checks, expect, faults, load, ended, reason)
    draft = Verdict(
        verdict=verdict,
        playbook=plan.playbook,
        runtime=plan.runtime,
        seed=plan.seed,
        commit=plan.commit,
        seconds=evidence.seconds,
        load=load,
        faults=faults,
        checks=checks,
        availability=metrics.availability(evidence.load),
        recovery=recovery,
        expect=expect,
        plant=plan.plant,
        title=plan.title,
        started=plan.started,
        ended=ended,
        canaries=canaries.summarise(evidence.probes),
        alarms=alarms,
        damage=_ledger(evidence.run),
    )
    why = [wording.headline(draft, plan, reasons), *reasons, *wording.details(draft)]
    return msgspec.structs.replace(draft, why=why)


def _ledger(run: RunDir) -> list[DamageEntry]:
    """The corruption ledger; one that cannot be read leaves its check unknown, and nothing here."""
    try:
        return read_ledger(run.ledger)
    except msgspec.DecodeError:
        return []


def _ending(events: Sequence[Event], ended: str | None, reason: str | None) -> tuple[str, str]:
    last = next((e for e in reversed(events) if e.get("event") == "run" and e.get("state") == "end"), None)
    if ended is None:
        # without an end event the controller died in the middle: nothing vouches for what came after
        ended = str(last.get("ended", "completed")) if last else "error"
        reason = reason or (None if last else "the controller died before the run ended")
    return ended, reason or (str(last.get("reason") or "") if last else "")


def _came_to(events: Sequence[Event], phase: str) -> bool:
    return any(e.get("event") == "phase" and e.get("phase") == phase for e in events)


def _not_reached(check: CheckResult, ended: str) -> CheckResult:
    if check.result != "unknown":
        return check
    why = f"the run was {_ENDED.get(ended, ended)} before it could be verified ({check.why})"
    return msgspec.structs.replace(check, result="skipped", why=why)


def _cut_short(promise: Expectation, ended: str) -> Expectation:
    if promise.result != "unknown":
        return promise
    why = f"the run was {_ENDED.get(ended, ended)} before it was known ({promise.why})"
    return msgspec.structs.replace(promise, result="skipped", why=why)


_ENDED = {"error": "broken off"}
"""How a run ended, where the word for it is another."""


def _with_planned(faults: list[FaultRecord], plan: Plan) -> list[FaultRecord]:
    seen = {fault.name for fault in faults}
    return faults + [
        FaultRecord(name=p.name, kind=p.kind, targets=p.targets) for p in plan.faults if p.name not in seen
    ]


def decide(
    plan: Plan,
    checks: Sequence[CheckResult],
    expect: Sequence[Expectation],
    faults: Sequence[FaultRecord],
    load: LoadSummary,
    ended: str,
    reason: str,
) -> tuple[Judgement, list[str]]:
    """The verdict by the rules at the top, and a sentence for each thing that stands against ``passed``."""
    failed = [f"{check.name}: {check.why}" for check in checks if check.result == "failed"]
    failed += [f"{promise.name}: {promise.why}" for promise in expect if promise.result == "failed"]
    doubts = [f"{check.name}: {check.why}" for check in checks if check.result == "unknown"]
    doubts += [f"{promise.name}: {promise.why}" for promise in expect if promise.result == "unknown"]
    idle = proved_nothing(plan, faults, load)
    # Before all doubts: they are what follows from it.
    trouble = [f"the platform failed: {reason}"] if ended == "error" else []
    stopped = [f"the run was {ended}: {reason or 'no reason was given'}"] if ended in ("aborted", "interrupted") else []
    if failed:
        return "failed", failed + trouble + doubts + stopped
    if doubts or trouble:
        return "invalid", trouble + doubts + stopped + idle
    if ended == "aborted" or ended == "interrupted":
        return ("aborted" if ended == "aborted" else "interrupted"), stopped
    return ("invalid", idle) if idle else ("passed", [])


def proved_nothing(plan: Plan, faults: Sequence[FaultRecord], load: LoadSummary) -> list[str]:
    """Why a run without failures proves nothing all the same; empty if it does prove something."""
    reasons: list[str] = []
    offered = load.offered_per_second or 0.0
    if offered < plan.load.floor:
        reasons.append(f"the load offered {offered:g} operations/s, below its floor of {plan.load.floor:g}")
    arrivals = load.operations + load.skipped
    if arrivals and load.skipped / arrivals > SKIPPED_SHARE_MAX:
        reasons.append(f"{load.skipped} of {arrivals} arrivals were never sent: give the load more users")
    if faults and all(fault.effect == "skipped" for fault in faults):
        reasons.append("every fault was left out, as beyond the budget")
    for fault in faults:
        if fault.effect == "planned":
            reasons.append(f"the fault '{fault.name}' was never injected")
        elif fault.effect not in ("confirmed", "skipped"):
            effect = fault.effect.replace("-", " ")
            reasons.append(f"the effect of the fault '{fault.name}' is {effect}: {fault.detail or 'no detail'}")
    return reasons


def expectations(
    plan: Plan, checks: Sequence[CheckResult], recovery: Sequence[Recovery], events: Sequence[Event], ended: str
) -> list[Expectation]:
    """The promises of the playbook (``expect``) and its steady state (``probe`` events), each with its result."""
    results: list[Expectation] = []
    promised = {name: value for name, value in plan.expect.items() if name not in ("alarms", "quiet")}
    for what, limit in dict(promised.pop("recovery", None) or {}).items():
        if limit is not None:
            results.extend(_recovery_promise(what, limit, one, ended) for one in recovery)
    data = dict(promised.pop("data", None) or {})
    if data.get("lost") is not None:
        results.append(_loss_promise(int(data["lost"]), checks))
    results.extend(
        Expectation(name=name, expected=str(value), measured="", result="unknown", why="this version cannot grade it")
        for name, value in promised.items()
        if value
    )
    results.extend(_steady_state(events))
    return results


_RECOVERY = {
    "writes": ("writes_stopped_s", "without acknowledged writes"),
    "redundancy": ("redundancy_s", "until every partition had three replicas again"),
    "detect": ("detected_s", "until the cluster noticed"),
}


def _recovery_promise(what: str, limit: Any, recovery: Recovery, ended: str) -> Expectation:
    name = f"recovery.{what}" + (f" ({recovery.fault})" if recovery.fault else "")
    attribute, words = _RECOVERY.get(what, ("", ""))
    expected = f"at most {limit:g} s" if isinstance(limit, int | float) else str(limit)
    if not attribute or not isinstance(limit, int | float):
        return Expectation(
            name=name, expected=expected, measured="", result="unknown", why="this version cannot grade it"
        )
    measured = getattr(recovery, attribute)
    if measured is None:
        if what == "redundancy" and recovery.redundancy_lost is False:
            return Expectation(name=name, expected=expected, measured="never lost", result="ok")
        if what == "writes":
            return Expectation(name=name, expected=expected, measured="never stopped", result="ok")
        result = "failed" if what == "redundancy" and ended == "completed" else "unknown"
        return Expectation(
            name=name,
            expected=expected,
            measured="never",
            result=result,  # type: ignore[arg-type]
            why=f"it was never seen in this run ({words})",
        )
    kept = measured <= limit
    return Expectation(
        name=name,
        expected=expected,
        measured=f"{measured:.1f} s",
        result="ok" if kept else "failed",
        why="" if kept else f"{measured:.1f} s {words}, promised were {limit:g} s",
    )


def _loss_promise(allowed: int, checks: Sequence[CheckResult]) -> Expectation:
    expected = f"at most {allowed} acknowledged writes lost"
    check = next((c for c in checks if c.name == "durability"), None)
    if check is None or check.result in ("unknown", "skipped"):
        result = "skipped" if check is not None and check.result == "skipped" else "unknown"
        return Expectation(
            name="data.lost",
            expected=expected,
            measured="not known",
            result=result,  # type: ignore[arg-type]
            why="the durability check has no answer",
        )
    kept = check.found <= allowed
    return Expectation(
        name="data.lost",
        expected=expected,
        measured=f"{check.found} lost",
        result="ok" if kept else "failed",
        why="" if kept else f"{check.found} acknowledged writes lost",
    )


def _steady_state(events: Sequence[Event]) -> list[Expectation]:
    """The last word of each probe in each part of the run; a bad start proves nothing, so it is unknown."""
    last: dict[tuple[str, str], Event] = {}
    for event in events:
        if event.get("event") == "probe":
            last[(str(event.get("name")), str(event.get("when", "")))] = event
    results = []
    for (name, when), event in last.items():
        ok, value = bool(event.get("ok")), event.get("value")
        measured = f"{value:g}" if isinstance(value, int | float) and math.isfinite(value) else str(value)
        result = "ok" if ok else "unknown" if when == "before" else "failed"
        why = "" if ok else f"{event.get('query', name)} was {measured}, wanted {event.get('tolerance', '?')}"
        results.append(
            Expectation(
                name=f"steady state: {name}" + (f" ({when})" if when else ""),
                expected=str(event.get("tolerance", "")),
                measured=measured,
                result=result,  # type: ignore[arg-type]
                why=why,
            )
        )
    return results
