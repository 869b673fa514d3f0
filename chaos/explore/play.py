"""A scenario from deployment to judgement.

*Safety phase*: load and faults; the invariants look on at every step. *Liveness phase*: all faults end at once (but one
zone may go dark for it: a quorum is enough), and the cluster must acknowledge writes and lead every group within
:data:`PROGRESS_S`; then everything is back, and within :data:`SETTLE_S` every group must have all its voters.
*Judgement*: every key is read, the history goes to the checkers that judge real runs, and the replicas' digests are
compared.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from chaos.engine.indexdump import Dumper
from chaos.explore import features
from chaos.explore.coverage import Calls
from chaos.explore.faults import Faults
from chaos.explore.quiet import scrubbed, unfinished
from chaos.explore.scenario import Scenario
from chaos.explore.stage import Planted, Stage, limits
from cluster.core.failures import ProtocolBroken
from cluster.node.rpc import RpcError
from cluster.sim.invariants import Violation
from cluster.sim.loop import Livelock, Stalled
from cluster.sim.simulation import ConditionNotMet, NodeBug
from reports.checkers import archive_agrees, durability, eventual_reads, indexes, linearizability, transactions
from reports.checkers.evidence import History
from reports.rundir import CheckResult
from reports.rundir.history import WRITES

PROGRESS_S: Final = 15.0
SETTLE_S: Final = 40.0
ANSWER_S: Final = 3.0
"""The longest that a client waits for an answer, with room to spare."""

LOOK_S: Final = 0.25
"""Between looks at what is not finished yet."""

PROGRESS, RECOVERY, QUIET, BUG, ASSERTION, LIVELOCK, AGREE, UNDECIDED = (
    "progress", "recovery", "quiet", "node-bug", "protocol-assertion", "livelock", "replicas-agree", "undecided"
)  # fmt: skip

PROPERTIES: Final[dict[str, str]] = {
    PROGRESS: f"a healed quorum leads every group and acknowledges writes, transactions too, within {PROGRESS_S:g} s",
    RECOVERY: f"a healed cluster has all voters of every group within {SETTLE_S:g} s",
    QUIET: f"a healed cluster has finished its transactions and brought its indexes up to date within {SETTLE_S:g} s",
    BUG: "no exception escapes a node's code",
    ASSERTION: "the protocol's own assertions hold",
    LIVELOCK: "virtual time passes",
    AGREE: "all replicas of a group have the same digest at the same position",
    "durability": "every acknowledged write is there, or was rightly superseded",
    "linearizability": "writes and strong reads of a key have an order in which each sees the one before",
    "eventual_reads": "an eventual read sees something that was written",
    "transactions": "transactions are as if one at a time, in the order that people saw",
    "indexes": "every index is exactly the projection of its table's items",
    "archive_agrees": "what the archived log gives is what the replicas hold",
    UNDECIDED: "the checkers come to an answer",
}
"""What is judged besides the invariants, in words."""


class Finding(msgspec.Struct, frozen=True):
    """A property that a run broke, and when (seconds of virtual time since the beginning)."""

    prop: str
    text: str
    at_s: float
    group: str = ""
    done_s: float | None = None
    """For what checkers found in the history at the end: when the last of the operations that contradict had ended."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one scenario. ``seen`` counts by section (faults, skipped, events, roles) what was met."""

    seed: int
    finding: Finding | None
    virtual_s: float
    cpu_s: float
    operations: int
    acknowledged: int
    fingerprint: int
    seen: dict[str, dict[str, int]]
    calls: list[str] | None = None
    """Functions of the cluster that were entered, where that was recorded."""


def play(
    scenario: Scenario,
    planted: Planted | None = None,
    *,
    calls: Calls | None = None,
    on_begin: Callable[[Stage], None] | None = None,
    on_stage: Callable[[Stage, Faults], None] | None = None,
) -> Outcome:
    """Play a scenario. ``on_begin`` and ``on_stage`` may look at the stage before anything runs, and when all is over
    before it is cleared."""
    began = time.process_time()
    with limits(scenario.small_limits), Stage(scenario, planted) as stage:
        faults = Faults(stage, 0.0)
        if on_begin is not None:
            on_begin(stage)
        if calls is not None:
            calls.start()
        try:
            finding = _judged(stage, faults)
        finally:
            if calls is not None:
                calls.stop()
        if on_stage is not None:
            on_stage(stage, faults)
        return Outcome(
            seed=scenario.seed,
            finding=finding,
            virtual_s=stage.sim.now,
            cpu_s=time.process_time() - began,
            operations=len(stage.history),
            acknowledged=stage.acknowledged(),
            fingerprint=stage.sim.fingerprint,
            seen=_seen(stage, faults),
            calls=calls.names() if calls is not None else None,
        )


def _judged(stage: Stage, faults: Faults) -> Finding | None:
    sim = stage.sim
    try:
        return _play(stage, faults)
    except Violation as broken:
        return Finding(broken.prop, broken.text, broken.at_s, broken.group)
    except NodeBug as bug:
        # What a node asserts after the watch has already seen the reason is the later of two findings.
        if (first := stage.watch.violation) is not None:
            return Finding(first.prop, first.text, first.at_s, first.group)
        assertion = isinstance(bug.__cause__, ProtocolBroken)
        return Finding(ASSERTION if assertion else BUG, str(bug).partition(" (seed ")[0], sim.now)
    except (Livelock, Stalled) as error:
        return Finding(LIVELOCK, str(error), sim.now)


def _play(stage: Stage, faults: Faults) -> Finding | None:
    scenario, sim = stage.scenario, stage.sim
    try:
        stage.deploy()
    except ConditionNotMet as late:
        return Finding(PROGRESS, f"the cluster was not deployed: {late}", sim.now)
    faults.began_s = sim.now
    stage.rate = scenario.rate / scenario.clients
    faults.play(scenario.method, scenario.safety_s)
    faults.heal(scenario.dark)
    before = Counter(stage.succeeded)
    try:
        sim.run_until(lambda: _serves(stage) and not _missing(stage, before), PROGRESS_S)
    except ConditionNotMet:
        return Finding(PROGRESS, f"{PROGRESS_S:g} s after the healing: {_standstill(stage, before)}", sim.now)
    faults.heal()
    stage.rate = 0.0
    try:
        sim.run_until(stage.whole, SETTLE_S)
    except ConditionNotMet:
        return Finding(RECOVERY, f"{SETTLE_S:g} s after the healing: {_shortfall(stage)}", sim.now)
    sim.run_for(ANSWER_S)
    if left := _left_unfinished(stage):
        return Finding(QUIET, f"{SETTLE_S:g} s after the recovery: {left}", sim.now)
    try:
        stage.sweep(SETTLE_S)
    except ConditionNotMet:
        return Finding(RECOVERY, f"not every key could be read within {SETTLE_S:g} s", sim.now)
    return _judge(stage)


def _serves(stage: Stage) -> bool:
    groups = stage.promised()
    return bool(groups) and all(stage.leader_of(group) for group in groups)


def _missing(stage: Stage, before: Counter[str]) -> list[str]:
    """The kinds of writes that the load has and that nobody was acknowledged yet."""
    missing = []
    for name, kinds in (("write", WRITES), ("transaction", {"twrite"})):
        sent = [op for op in stage.scenario.ops if op in kinds]
        if sent and all(stage.succeeded[op] <= before[op] for op in sent):
            missing.append(name)
    return missing


def _standstill(stage: Stage, before: Counter[str]) -> str:
    groups = stage.promised()
    idle = [group for group in groups if stage.leader_of(group) is None]
    said = [f"{len(idle)} of {len(groups)} groups without a leader"]
    return ", ".join(said + [f"no {kind} acknowledged" for kind in _missing(stage, before)])


def _left_unfinished(stage: Stage) -> str:
    """Wait until all that was begun is finished; what is not, in the end."""
    deadline = stage.sim.now + SETTLE_S
    while True:
        try:
            left = unfinished(stage)
        except RpcError as error:
            left = f"somebody does not answer: {error}"
        if not left or stage.sim.now > deadline:
            return left
        stage.sim.run_for(LOOK_S)


def _shortfall(stage: Stage) -> str:
    said = []
    for host in stage.hosts():
        for name, replica in sorted(host.replicas.items()):
            config = replica.group.config
            voters = ",".join(str(m.replica) for m in config.voters) + ("+joint" if config.joint else "")
            role = "serving" if replica.serving else replica.group.role.value
            said.append(f"{name}/{replica.spec.replica}@{host.name} {role} {replica.applied} [{voters}]")
    return "; ".join(said)[:1500]


def _judge(stage: Stage) -> Finding | None:
    now = stage.sim.now
    history = History(sorted(stage.history, key=lambda op: op.invoked_ns))
    results: list[CheckResult] = []
    if any(op in WRITES for op in stage.scenario.ops):
        results += [check.check(history) for check in (durability, linearizability)]
    # Of the few eventual reads of a small load it may be that none was answered: nothing to judge, and no finding.
    if any(op.op == "eget" and op.outcome == "ok" for op in stage.history):
        results.append(eventual_reads.check(history))
    if stage.scenario.transactions:
        results.append(transactions.check(history, at_least=0))
    if stage.scenario.indexed:
        stage.index_rows = Dumper(stage.sim, stage.roles(), stage.sim.run_for).dump()
        results.append(indexes.check(stage.index_rows))
    if stage.scenario.archive:
        stage.scrub = scrubbed(stage)
        results.append(archive_agrees.check(stage.scrub, expected=True))
    for wanted, prop in (("failed", ""), ("unknown", UNDECIDED)):
        for result in results:
            if result.result == wanted:
                first = msgspec.to_builtins(result.findings[0]) if result.findings else {}
                text = f"{result.why} {first or ''}".strip()
                return Finding(prop or result.name, text, now, done_s=_done_s(results))
    try:
        found = stage.digests()
    except RpcError as error:
        return Finding(RECOVERY, f"a replica of a healed cluster could not be digested: {error}", now)
    for group, digests in found.items():
        if len({digest["digest"] for digest in digests}) > 1:
            items = ", ".join(str(digest["items"]) for digest in digests)
            return Finding(AGREE, f"the replicas of {group} have {items} items and different digests", now, group)
    return None


def _done_s(results: Sequence[CheckResult]) -> float | None:
    """When the first operations that contradict one another had ended; None where only the closing reads tell.

    Durability names what was lost, which was well until something later lost it: the order of operations shows what.
    """
    found = next((r.findings[0] for r in results if r.findings and r.name in ("linearizability", "transactions")), None)
    operations = [] if found is None else [found, *found.get("related", ())]
    ends = [op.get("ended_s") for op in operations if op.get("op") != "final"]
    return max((end for end in ends if end is not None), default=None)


def _seen(stage: Stage, faults: Faults) -> dict[str, dict[str, int]]:
    events = Counter(entry["event"] for entry in stage.sim.events if entry["node"] != "simulation")
    outcomes: Counter[str] = Counter(f"{op.op} {op.outcome}" for op in stage.history)
    counted: dict[str, Any] = {
        "faults": faults.applied, "skipped": faults.skipped, "events": events, "roles": stage.watch.transitions,
        "answers": outcomes, "features": Counter(features.of(stage.scenario)),
    }  # fmt: skip
    return {section: dict(sorted(counts.items())) for section, counts in counted.items()}
