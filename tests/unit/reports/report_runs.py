"""Whole run directories, made up but lifelike: a zone of three loses power under load.

Arrivals on an open schedule, four partitions with a leader each, log-normal latencies; when the zone goes dark its
partitions' leaders are gone until the lease has run out, requests to them time out, and the zone's own clients fail
over after a refused connection or two.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import msgspec
from report_synth import operation, write_history

from cluster.core.keys import encode_hash
from reports.rundir import (
    CONDITION_FAILED,
    NO_ITEM,
    DamageEntry,
    Leftovers,
    LoadPlan,
    NodeInfo,
    Operation,
    Plan,
    PlannedFault,
    Probe,
    ProbeLog,
    RunDir,
    Scrub,
    ScrubGroup,
    ScrubReference,
    ScrubReplica,
    append_damage,
)

S = 1_000_000_000
LOAD_BEGIN, FAULT, HEAL, LOAD_END = 14.0, 30.0, 52.0, 74.0


@dataclass
class Shape:
    """What to make up. ``lose``: acknowledged writes that vanish at the power cut. ``stale``: strong reads that lie."""

    seed: int = 1
    rate: int = 240
    stall_s: float = 1.7
    lose: int = 0
    stale: int = 0
    confirmed: bool = True
    plant: str | None = None
    ended: str = "completed"
    replica_differs: bool = False
    leftover: bool = False
    rot: str | None = None
    """What became of a flipped bit: found, or missed by everybody; None where nothing was damaged."""
    keys: int = 600
    blind_canary: bool = False
    """Canary a takes errors for answers."""
    mute_alarm: bool = False
    """The alarm of zone b never fires."""


def nodes() -> list[NodeInfo]:
    """The small topology."""
    found = []
    for number, az in enumerate("abc"):
        base = 16 + 64 * number
        for rack, roles in ((1, ("storage", "router", "memds", "identity")), (2, ("storage", "autoadmin", "gac"))):
            for place, role in enumerate(roles):
                name = f"storage-{az}{rack}" if role == "storage" else f"{role}-{az}"
                address = f"198.18.7.{base + 16 * (rack - 1) + place}"
                found.append(NodeInfo(name=name, role=role, az=az, rack=f"{az}{rack}", address=address))
        found.append(NodeInfo(name=f"client-{az}", role="client", az=az, address=f"198.18.7.{base + 48}"))
    return [*found, NodeInfo(name="archive", role="archive", az="", address="198.18.7.240")]


def ledger(fate: str) -> DamageEntry:
    """One flipped bit and what became of it."""
    entry = DamageEntry(
        id="f0.0", node="storage-b1", file="pages/g0.db", mode="bit-flip", offset=12288, length=512, old="aa", new="ab",
        injected_s=FAULT + 1.0, live=True, fault="a bit flips", place="btree", what="page 4: leaf of a table, 9 cells",
        groups=["g0"], extent=[12288, 4096],
    )  # fmt: skip
    found = {"found_by": "scrub", "found_s": FAULT + 7.5, "repaired_s": FAULT + 9.0, "found_how": "by name"}
    return entry if fate == "missed" else msgspec.structs.replace(entry, **found)


def make_run(out: Path, shape: Shape | None = None) -> RunDir:
    """A run directory as the engine leaves it, before anyone judged it."""
    shape = shape or Shape()
    run = RunDir.create(out, "az-power-off", shape.seed)
    targets = [node.name for node in nodes() if node.az == "b" and node.role != "client"]
    fault = PlannedFault(
        name="zone b goes dark", kind="power-off", targets=targets, at_s=2.0, for_s=22.0, undo="boot the nodes again"
    )
    run.write_plan(
        Plan(
            playbook="az-power-off",
            title="A zone loses power under load",
            runtime="docker",
            seed=shape.seed,
            commit="1f148c7d2a90",
            started="2026-11-21T23:05:11Z",
            cluster="bs3fa2c1",
            region="local-1",
            topology="small",
            nodes=nodes(),
            load=LoadPlan(profile="mixed", rate=shape.rate, users=90, floor=shape.rate * 0.6),
            description="Every machine of zone b goes dark at the same moment, and all it had not yet fsynced is gone. "
            "The other two zones must go on serving within seconds.",
            faults=[fault],
            expect={
                "recovery": {"writes": 10.0, "redundancy": 60.0},
                "data": {"lost": 0},
                "alarms": [{"name": "cfa-availability", "within": 30.0, "clears_within": 60.0}],
                "quiet": ["cfa-zone-a"],
            },
            plant=shape.plant,
        )
    )
    operations = make_operations(shape, round(run.start_boot_s * S))
    write_history(run.history, operations)
    _write_load(run, shape)
    _write_events(run, shape, targets)
    _write_canaries(run, shape)
    _write_scrub(run, shape)
    things = {"nft": ["table ip filter"], "mounts": ["/ ext4"], "processes": []}
    after = {**things, "processes": ["4711 blackstart reaper"]} if shape.leftover else things
    run.write_leftovers(Leftovers(before=things, after=after))
    if shape.rot is not None:
        append_damage(run.ledger, ledger(shape.rot))
    return run


def _partition(key: str) -> int:
    return encode_hash("S", key)[0] >> 6


def make_operations(shape: Shape, start_ns: int) -> list[Operation]:
    """The load's operations and the closing sweep."""
    rng = random.Random(shape.seed)
    state: dict[str, str | None] = {}
    history: dict[str, list[str | None]] = {}
    operations: list[Operation] = []
    counters = dict.fromkeys("abc", 0)
    weights = list(accumulate(1 / (n + 1) ** 0.99 for n in range(shape.keys)))
    lost: list[tuple[str, str | None]] = []
    t, dropped = LOAD_BEGIN, False
    while t < LOAD_END:
        t += rng.expovariate(shape.rate)
        az = rng.choice("abc")
        counters[az] += 1
        key = f"key-{rng.choices(range(shape.keys), cum_weights=weights)[0]:05d}"
        if t > FAULT and not dropped:
            dropped = True
            for gone, before in lost[-shape.lose :] if shape.lose else []:
                state[gone] = before
        one = _one(rng, shape, state, history, t, az, key, counters[az], start_ns)
        if one.outcome == "ok" and one.op in ("put", "update") and FAULT - 0.5 < t < FAULT and one.observed:
            if key not in [k for k, _ in lost]:
                lost.append((key, one.observed))
        elif one.is_write or t >= FAULT:
            lost = [entry for entry in lost if entry[0] != key] if not dropped else lost
        operations.append(one)
    end = start_ns + round(80 * S)
    for n, key in enumerate(sorted(history)):
        operations.append(
            operation(
                "final",
                n + 1,
                end + n * 100_000,
                end + n * 100_000 + 900_000,
                key=key,
                writer="sweep",
                observed=state.get(key),
            )
        )
    return operations


def _one(
    rng: random.Random,
    shape: Shape,
    state: dict[str, str | None],
    history: dict[str, list[str | None]],
    t: float,
    az: str,
    key: str,
    n: int,
    start_ns: int,
) -> Operation:
    op = rng.choices(["put", "cput", "update", "delete", "get", "eget"], [18, 10, 10, 2, 40, 20])[0]
    endpoint = f"http://198.18.7.{17 + 64 * 'abc'.index(az)}:8000"
    at = start_ns + round(t * S)
    writer = f"{az}-1"
    latency = rng.lognormvariate(1.9, 0.45) * 1e-3 * (2.2 if FAULT < t < FAULT + 5 or HEAL < t < HEAL + 3 else 1.0)
    led_by_b = _partition(key) == 1
    dark = FAULT <= t < HEAL
    before = state.get(key)
    value = f"{writer}.{n}" if op in ("put", "cput", "update") else None
    expect = None
    if op == "cput":
        expect = (before if rng.random() < 0.8 else "c-1.0") or NO_ITEM
    common = {"value": value, "expect": expect, "key": key, "az": az, "endpoint": endpoint, "writer": writer}
    history.setdefault(key, [None])
    if dark and az == "b" and rng.random() < (1.0 if t < FAULT + 1.2 else 0.03):
        outcome = "unknown" if t < FAULT + 1.0 and rng.random() < 0.4 else "fail"
        ended = at + round((1.0 if outcome == "unknown" else 0.002) * S)
        return operation(op, n, at, ended, outcome=outcome, status=0, error="ConnectionRefused", **common)  # type: ignore
    if dark and t < FAULT + shape.stall_s and led_by_b and op != "eget":
        ended = at + round(min(1.0, FAULT + shape.stall_s - t + rng.random() * 0.3) * S)
        if rng.random() < 0.3 and op in ("put", "update"):
            state[key] = value
            history[key].append(value)
        return operation(op, n, at, ended, outcome="unknown", status=500, error="InternalServerError", **common)  # type: ignore
    ended = at + round(latency * S)
    if op == "eget":
        return operation(op, n, at, ended, observed=rng.choice(history[key][-2:]), **common)  # type: ignore[arg-type]
    observed = before
    if op == "get":
        if shape.stale and len(history[key]) > 3 and t > FAULT + 4 and before != history[key][-3]:
            shape.stale -= 1
            observed = history[key][-3]
        return operation(op, n, at, ended, observed=observed, **common)  # type: ignore[arg-type]
    if expect is not None and (before or NO_ITEM) != expect:
        return operation(
            op, n, at, ended, observed=before, outcome="fail", error=CONDITION_FAILED, status=400, **common
        )  # type: ignore[arg-type]
    state[key] = value
    if value is not None:
        history[key].append(value)
    return operation(op, n, at, ended, observed=before, **common)  # type: ignore[arg-type]


def _write_canaries(run: RunDir, shape: Shape) -> None:
    """Three canaries, a round a second each; while zone b is dark nothing comes through its router."""
    logs = {az: ProbeLog(run.canaries / f"{az}.jsonl") for az in "abc"}
    for log in logs.values():
        log.append({"event": "ready", "boot": run.start_boot_s + LOAD_BEGIN})
    for second in range(int(LOAD_BEGIN), int(LOAD_END)):
        for number, az in enumerate("abc"):
            where = "abc"[(second + number) % 3]
            dark = where == "b" and FAULT <= second < HEAL and not (shape.blind_canary and az == "a")
            for step, op in enumerate(("put", "get", "eget", "update", "delete")):
                logs[az].append(
                    Probe(
                        boot=round(run.start_boot_s + second + step / 50, 4),
                        az=az,
                        endpoint=f"http://router-{where}:8000",
                        endpoint_az=where,
                        op=op,  # type: ignore[arg-type]
                        key=f"canary-{az}-{second % 7}",
                        outcome="fail" if dark else "ok",
                        ms=1500.0 if dark else 2.0 + step,
                        error="ConnectTimeout" if dark else None,
                    )
                )
    for log in logs.values():
        log.close()


def _write_load(run: RunDir, shape: Shape) -> None:
    for az in "abc":
        lines = []
        for second in range(int(LOAD_BEGIN), int(LOAD_END)):
            skipped = 12 if second == int(FAULT) + 1 else 0
            boot = round(run.start_boot_s + second, 3)
            lines.append(
                msgspec.json.encode(
                    {"second": second - int(LOAD_BEGIN), "boot": boot, "skipped": skipped, "sent": shape.rate // 3}
                )
            )
        lines.append(msgspec.json.encode({"event": "finished", "boot": run.start_boot_s + LOAD_END, "skipped": 12}))
        (run.load / f"{az}.jsonl").write_bytes(b"\n".join(lines) + b"\n")


def _write_events(run: RunDir, shape: Shape, targets: list[str]) -> None:
    start = run.start_boot_s
    with run.event_log() as log:

        def at(t: float, event: str, **fields: object) -> None:
            log.append(event, boot_s=start + t, **fields)

        at(0, "run", state="begin", playbook="az-power-off", seed=shape.seed)
        watched = {
            "begin_boot": start + 15,
            "window_s": 5.0,
            "grace_s": 2.0,
            "threshold": 0.9,
            "zones": ["a", "b", "c"],
        }
        at(15, "canaries", state="begin", **watched)
        at(74, "canaries", state="end")
        for end, state in ((40, "fired"), (65, "cleared")):
            more = {"state": state, "threshold": 0.9, "window_end_boot": start + end}
            at(end + 2, "alarm", name="cfa-availability", az=None, shares=[1.0, 0.7, 0.7], **more)
            if not shape.mute_alarm:
                at(end + 2, "alarm", name="cfa-zone-b", az="b", shares=[1.0, 0.0, 0.0], **more)
        borders = [
            ("resolve", 0, 0.1),
            ("preflight", 0.1, 1),
            ("deploy", 1, 12),
            ("warm-up", 12, 20),
            ("steady-before", 20, 28),
            ("method", 28, 53),
            ("steady-after", 53, 74),
            ("quiesce", 74, 79.5),
            ("verify", 79.5, 85),
            ("tear-down", 85, 89),
        ]
        for name, begin, end in borders:
            if shape.ended != "completed" and begin > 53:
                break
            at(begin, "phase", phase=name, state="begin")
            at(end, "phase", phase=name, state="end")
        at(13, "redundancy", full=True, groups=5, below=0)
        at(
            27,
            "probe",
            name="available",
            query="availability",
            value=1.0,
            ok=True,
            tolerance=">= 0.99",
            when="before",
            mode="edge",
        )
        common = {"name": "zone b goes dark", "fault_kind": "power-off", "targets": targets}
        at(FAULT, "fault", state="injecting", **common)
        at(FAULT + 0.05, "fault", state="injected", **common)
        if shape.confirmed:
            at(
                FAULT + 0.4,
                "fault",
                state="confirmed",
                detail="7 of 7 nodes silent, 7 file systems shut down; skew between first and last 38 ms",
                **common,
            )
        else:
            at(FAULT + 0.4, "fault", state="not-confirmed", detail="storage-b1 still answers", **common)
        at(FAULT + 0.9, "redundancy", full=False, groups=5, below=5)
        at(FAULT + 1.6, "leader", group="t1-1", node="storage-c1", previous="storage-b1")
        at(FAULT + 1.8, "leader", group="sys", node="autoadmin-a", previous="autoadmin-b")
        at(HEAL, "fault", state="healing", **common)
        at(HEAL + 0.1, "fault", state="healed", **common)
        at(HEAL + 3.4, "redundancy", full=False, groups=5, below=2)
        at(HEAL + 4.9, "redundancy", full=True, groups=5, below=0)
        if shape.ended == "completed":
            at(
                73,
                "probe",
                name="available",
                query="availability",
                value=1.0,
                ok=True,
                tolerance=">= 0.99",
                when="after",
                mode="edge",
            )
        at(89.0, "run", state="end", ended=shape.ended, reason="Ctrl-C" if shape.ended == "interrupted" else "")


def _write_scrub(run: RunDir, shape: Shape) -> None:
    if shape.ended != "completed":
        return
    groups = []
    for n in range(4):
        replicas = [
            ScrubReplica(
                replica=f"r{n}{az}",
                node=f"storage-{az}{1 + n % 2}",
                az=az,
                digest=f"d{n:04d}" * 8,
                items=150,
                bytes=135_000,
                slot=5000 + n,
            )
            for az in "abc"
        ]
        if shape.replica_differs and n == 2:
            replicas[1] = msgspec.structs.replace(replicas[1], digest="beef" * 10, items=149)
        copy = ScrubReference(digest=f"d{n:04d}" * 8, items=150, bytes=135_000, segments=7, archived_bytes=400_000)
        about = {"group": f"t1-{n}", "table": "load", "partition": n, "slot": 5000 + n}
        groups.append(ScrubGroup(**about, replicas=replicas, reference=copy))
    run.write_scrub(Scrub(groups=groups, archived=True))
