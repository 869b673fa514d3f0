"""What a run writes about itself: the plan as the report reads it, the playbook as resolved, the rendered report."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from chaos.faults.bitrot import KIND as BIT_ROT

if TYPE_CHECKING:
    from chaos.engine.game import Options
    from chaos.prepare import Prepared
    from reports.judge import Evidence
    from reports.rundir import Plan, RunDir, Verdict

ROOT = Path(__file__).resolve().parents[2]
SHARED = (
    "All zones ran on one machine: they shared its kernel, its power, its clocks, its disk and its processor.",
    "Every node had a network namespace and, where it keeps state, a file system of its own.",
)
KINDS = {
    "power-off": "power-off that loses unsynced data",
    "partition": "partitions",
    "bit-rot": "disks that rot",
    "restart": "restarts as for maintenance",
}
NEVER = (
    "disks that lie about syncing, are slow or fill up",
    "clocks that drift or jump",
    "slow networks and lossy links",
)


def plan_record(prepared: Prepared, run: RunDir, runtime: str, cluster: str, options: Options) -> Plan:
    """``plan.json``: everything that was decided before anything was touched."""
    from reports.rundir import LoadPlan, NodeInfo, Plan, PlannedFault

    playbook, plan = prepared.playbook, prepared.plan
    load = playbook.load
    faults = [
        PlannedFault(
            name=action.name,
            kind=action.kind,
            targets=list(action.targets) or [f"{action.target_set} (decided at injection)"],
            at_s=action.start_s,
            for_s=action.end_s - action.start_s,
            options=action.options,
            undo=action.undo,
        )
        for action in plan.actions
        if action.kind != "human"
    ]
    return Plan(
        playbook=prepared.name,
        title=playbook.title,
        description=playbook.description,
        tags=list(playbook.tags),
        runtime=runtime,
        seed=prepared.seed,
        commit=commit(),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        start_boot_s=run.start_boot_s,
        cluster=cluster,
        region=prepared.topology.region,
        topology=prepared.topology.name,
        nodes=[NodeInfo(name=n.name, role=n.role, az=n.az, rack=n.rack) for n in plan.nodes if n.role != "client"],
        load=LoadPlan(
            profile=load.profile,
            rate=load.rate,
            users=load.users,
            floor=load.floor,
            keys=load.keys,
            item_bytes=load.item_bytes,
        ),
        faults=faults,
        expect=playbook.expect.model_dump(exclude_none=True),
        checks=required_checks(prepared, options),
        shared=list(SHARED),
        not_tested=not_tested({fault.kind for fault in faults}),
        plant=options.plant,
        extra={"partitions": load.partitions, "before_s": plan.before_s, "after_s": plan.after_s},
    )


def required_checks(prepared: Prepared, options: Options) -> list[str]:
    """The checks that this run must pass: all of them, but for what the playbook or --keep leaves out."""
    from reports.rundir import CHECKS

    verify = prepared.playbook.verify
    without = set()
    if verify.logical == "none":
        without |= {"durability", "linearizability", "eventual_reads", "transactions"}
    if verify.scrub == "none":
        without.add("replicas_agree")
    if not prepared.playbook.canaries.enabled:
        without |= {"canaries", "alarms"}
    if options.keep:
        without.add("leftovers")
    if not any(action.kind == BIT_ROT for action in prepared.plan.actions):
        without.add("corruption")
    return [check for check in CHECKS if check not in without]


def not_tested(kinds: set[str]) -> list[str]:
    """What this run says nothing about, in sentences."""
    missing = [text for kind, text in KINDS.items() if kind not in kinds]
    return [f"This run did not try {text}." for text in (*missing, *NEVER)]


def resolved_playbook(prepared: Prepared) -> str:
    """The playbook with every default and the seed written out; it can be played as it stands."""
    from chaos.playbook.units import format_duration
    from chaos.prepare import topology_path

    value = prepared.playbook.model_dump(by_alias=True, mode="json")
    value["seed"] = prepared.seed
    topology = topology_path(prepared.playbook.topology, prepared.path)
    if isinstance(topology, Path):  # it stands beside the playbook, and not beside this
        value["topology"] = str(topology.resolve())

    def written(item: Any, key: str = "") -> Any:
        if isinstance(item, dict):
            return {k: written(v, k) for k, v in item.items() if v is not None}
        if isinstance(item, list):
            return [written(v, key) for v in item]
        return format_duration(item) if key in DURATIONS and isinstance(item, int | float) else item

    head = f"# {prepared.path.name} as resolved: blackstart run on this file plays the same schedule again.\n"
    return head + str(yaml.safe_dump(written(value), sort_keys=False, allow_unicode=True))


DURATIONS = {
    "max-duration", "lease", "at", "for", "timeout", "writes", "redundancy", "before", "after", "boot-stagger",
    "interval", "window", "within", "clears-within", "patience", "every", "down", "shortest", "longest",
}  # fmt: skip


def commit() -> str:
    """The commit that this code is of, with a mark where it was changed; empty where that is not known."""
    argv = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(argv, capture_output=True, text=True, timeout=5.0, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def render(evidence: Evidence, verdict: Verdict) -> None:
    """``report.html`` and ``junit.xml``."""
    from reports.render.junit import junit
    from reports.render.page import render as page

    evidence.run.report.write_text(page(evidence, verdict), encoding="utf-8")
    evidence.run.junit.write_bytes(junit(verdict))
