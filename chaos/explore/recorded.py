"""A scenario played as a game day is: with a run directory, a verdict and a report, so that ``blackstart run`` plays
what ``--shrink`` saved, and ``blackstart recheck`` judges it again.

What an explored scenario is judged by besides (invariants, progress, recovery) is the check ``explored``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from chaos.engine import records
from chaos.errors import InputError
from chaos.explore import features
from chaos.explore.faults import Faults
from chaos.explore.ground import ITEM_BYTES
from chaos.explore.picture import draw
from chaos.explore.play import PROPERTIES, Finding, play
from chaos.explore.scenario import Scenario, from_yaml, to_yaml
from chaos.explore.stage import Planted, Stage
from chaos.simulated.clock import START_BOOT_S
from chaos.simulated.day import SHARED
from cluster.sim.invariants import PROPERTIES as INVARIANTS
from reports.judge import gather, judge
from reports.rundir import CheckResult, HistoryWriter, LoadPlan, NodeInfo, Plan, PlannedFault, RunDir, Verdict

CHECKS: Final = ("durability", "linearizability", "eventual_reads")
"""Of every scenario; features have checks of their own."""
EXPLORED: Final = "explored"
NOT_TESTED: Final = (
    "HTTP, signatures and admission: clients reach the groups as routers do, by the routers' own code",
)
_encode = msgspec.json.Encoder(enc_hook=str).encode


def scenario_in(path: Path) -> Scenario | None:
    """The scenario that a file holds; None where it is no explored scenario but, perhaps, a playbook."""
    try:
        text = path.read_text(encoding="utf-8")
        head = yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError):
        return None  # whoever reads playbooks says what is wrong with it
    return from_yaml(text, str(path)) if isinstance(head, dict) and "explore" in head else None


def with_options(scenario: Scenario, seed: int | None, plant: str | None) -> Scenario:
    """The scenario with what the command line says instead. Raises :class:`InputError`."""
    if plant is not None and scenario.plant not in (None, plant):
        raise InputError(f"the scenario was made for the plant {scenario.plant}, not for {plant}")
    changes: dict[str, Any] = {} if seed is None else {"seed": seed}
    return msgspec.structs.replace(scenario, plant=plant or scenario.plant, **changes)


def play_recorded(scenario: Scenario, planted: Planted | None, name: str, out: Path) -> tuple[RunDir, Verdict]:
    """Play it, judge it, and leave a run directory behind."""
    created = RunDir.create(out, name, scenario.seed)
    run = RunDir(created.path, START_BOOT_S)
    run.playbook.write_text(to_yaml(scenario))
    run.write_plan(_plan(scenario, name, planted))
    outcome = play(scenario, planted, on_stage=lambda stage, faults: _record(run, stage, faults))
    evidence = gather(run)
    verdict = with_finding(judge(evidence), outcome.finding)
    run.write_verdict(verdict)
    records.render(evidence, verdict)
    if outcome.finding is not None:
        (run.path / "messages.svg").write_text(draw(scenario, planted))
    return run, verdict


def with_finding(verdict: Verdict, finding: Finding | None) -> Verdict:
    """The verdict, with what exploring looks at besides."""
    looked = len(INVARIANTS) + len(PROPERTIES)
    if finding is None:
        check = CheckResult(name=EXPLORED, result="ok", looked_at=looked, why=f"{looked} properties held")
        return msgspec.structs.replace(verdict, checks=[*verdict.checks, check])
    why = f"{finding.prop} at {finding.at_s:.3f} s: {finding.text}"
    check = CheckResult(name=EXPLORED, result="failed", looked_at=looked, why=why)
    return msgspec.structs.replace(
        verdict, verdict="failed", why=[f"{EXPLORED}: {why}", *verdict.why], checks=[*verdict.checks, check]
    )


def _plan(scenario: Scenario, name: str, planted: Planted | None) -> Plan:
    return Plan(
        playbook=name,
        title=scenario.title or f"Explored: seed {scenario.seed}",
        description="A scenario of blackstart explore.",
        runtime="simulated",
        seed=scenario.seed,
        commit=records.commit(),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        start_boot_s=START_BOOT_S,
        cluster=f"bs{scenario.seed & 0xFFFFFF:06x}",
        region="simulated-1",
        topology=f"{scenario.storage} storage nodes",
        nodes=[NodeInfo(name=node, role=role, az=az, rack=rack) for node, role, az, rack in _nodes(scenario)],
        load=LoadPlan(profile="explored", rate=scenario.rate, keys=scenario.keys, item_bytes=ITEM_BYTES),
        faults=[
            PlannedFault(name=title, kind=kind, targets=targets, at_s=at, for_s=for_, options=options)
            for title, kind, targets, at, for_, options in _faults(scenario)
        ],
        checks=[*CHECKS, *(features.CHECKS[name] for name in features.of(scenario) if name in features.CHECKS)],
        shared=list(SHARED),
        not_tested=list(NOT_TESTED),
        plant=planted.name if planted is not None else None,
        extra={"partitions": scenario.partitions},
    )


def _nodes(scenario: Scenario) -> list[tuple[str, str, str, str]]:
    return scenario.nodes() + [node for node in scenario.client_nodes() if node[1] == "router"]


def _faults(scenario: Scenario) -> list[tuple[str, str, list[str], float, float, dict[str, Any]]]:
    return [
        (f"{number} {a.action}", a.action, a.targets, a.at, a.for_, a.with_)
        for number, a in enumerate(scenario.method, 1)
    ]


def _record(run: RunDir, stage: Stage, faults: Faults) -> None:
    """Write down what happened, before the stage is cleared."""
    (run.nodes / "simulation.jsonl").write_bytes(stage.sim.log_lines())
    if stage.index_rows is not None:
        run.write_index_rows(stage.index_rows)
    if stage.scrub is not None:
        run.write_scrub(stage.scrub)
    start_ns = int(START_BOOT_S * 1e9)
    for writer in sorted({op.writer for op in stage.history}):
        with HistoryWriter(run.history / f"{writer}.log", writer) as history:
            for op in [op for op in stage.history if op.writer == writer]:
                sent = start_ns + op.invoked_ns
                identity = history.invoke(op.op, op.table, op.key, op.value, op.expect, az=op.az, t_ns=sent)
                if op.outcome != "unknown":
                    history.complete(
                        identity, op.outcome, status=op.status, error=op.error, value=op.observed,
                        t_ns=start_ns + op.answered_ns,
                    )  # fmt: skip
    with run.events.open("xb") as file:
        for t, fields in sorted(_timeline(stage, faults), key=lambda entry: entry[0]):
            file.write(_encode({"t": round(t, 6), "boot": round(START_BOOT_S + t, 6)} | fields) + b"\n")


def _timeline(stage: Stage, faults: Faults) -> list[tuple[float, dict[str, Any]]]:
    began, end = faults.began_s, stage.sim.now
    found: list[tuple[float, dict[str, Any]]] = [
        (0.0, {"event": "run", "state": "begin", "seed": stage.scenario.seed}),
        (began, {"event": "phase", "phase": "method", "state": "begin"}),
        (end, {"event": "phase", "phase": "method", "state": "end"}),
        (end, {"event": "run", "state": "end", "ended": "completed", "reason": ""}),
    ]
    done = {number: (at, until, targets) for number, at, until, targets in faults.done}
    for number, (title, kind, targets, at, _, _) in enumerate(_faults(stage.scenario), 1):
        told = {"event": "fault", "name": title, "fault_kind": kind, "targets": targets}
        if number not in done:
            late = began + at > end
            detail = "the run ended before it" if late else "it made no sense at its moment"
            found.append((min(began + at, end), told | {"state": "skipped", "detail": detail}))
            continue
        since, until, met = done[number]
        told = told | {"targets": met}
        found += [(since, told | {"state": "injected"}), (since, told | {"state": "confirmed"})]
        found.append((min(until, end), told | {"state": "healed"}))
    return found
