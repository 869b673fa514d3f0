"""Bit rot, restarts and series of faults in simulated game days: what finds damage, and that all of it is mended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from chaos.simulated.clock import START_BOOT_S
from reports.checkers.evidence import History
from reports.metrics import is_good
from reports.rundir import read_probes

HEAD = """
version: 1
title: Short
topology: {topology}
seed: 4
load: {{profile: {profile}, rate: 40, users: 20, floor: 5, keys: 60}}
canaries: {{{canaries}}}
targets: {{{targets}}}
safety: {{max-duration: 6m, budget: {{az: {zones}, quorum-loss: {quorum}}}}}
method:
{method}
report: {{before: 3s, after: 3s}}
"""
PLANTS = Path(__file__).resolve().parents[2] / "playbooks" / "plants"


def played(
    tmp_path: Path,
    method: str,
    targets: str,
    *more: str,
    zones: int = 1,
    quorum: str = "none",
    topology: str = "",
    canaries: str = "enabled: false",
    profile: str = "mixed",
) -> tuple[dict[str, Any], int, Path]:
    text = HEAD.format(
        method=method, targets=targets, zones=zones, quorum=quorum,
        topology=topology or PLANTS / "unscrubbed.yaml", canaries=canaries,
        profile=profile,
    )  # fmt: skip
    playbook, out = tmp_path / "short.yaml", tmp_path / "runs"
    playbook.write_text(text)
    argv = [sys.executable, "-m", "chaos.cli", "run", str(playbook), "--runtime", "simulated", "--json"]
    done = subprocess.run(
        [*argv, "--out", str(out), *more], env=os.environ | {"PYTHONPATH": os.getcwd()},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout, done.stderr[-3000:]
    (run,) = out.iterdir()
    return json.loads(done.stdout), done.returncode, run


def by_id(verdict: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {entry["id"]: entry for entry in verdict["damage"]}


def test_damage_in_trees_and_logs_is_found_by_scrub_and_recovery_and_mended(tmp_path: Path) -> None:
    verdict, code, run = played(
        tmp_path,
        """
  - {name: tree, action: bit-rot, targets: a1, at: 1s, with: {place: btree, mode: chunk-copy, of: load}}
  - {name: log, action: bit-rot, targets: c2, at: 6s, with: {place: log, mode: bit-flip}}
  - {name: dark, action: power-off, targets: c2, at: 6.1s, for: 1s}
""",
        "a1: {select: node=storage-a1}, c2: {select: node=storage-c2}",
        topology="scrubbed",
    )
    assert (code, verdict["verdict"]) == (0, "passed"), verdict["why"]
    found = by_id(verdict)
    assert found["f0.0"]["found_by"] == "scrub"
    assert found["f1.0"]["found_by"] == "recovery"
    assert all(entry["repaired_s"] > entry["found_s"] > entry["injected_s"] for entry in found.values())
    states = [
        event["state"] for line in (run / "events.jsonl").read_text().splitlines()
        if (event := json.loads(line))["event"] == "corruption" and event["id"] == "f1.0"
    ]  # fmt: skip
    assert states == ["injected", "found", "repaired"]
    nodes = (run / "nodes" / "simulation.jsonl").read_text()
    assert '"event":"replica-quarantined"' in nodes, "a damaged log is lost votes: the replica never votes again"
    assert '"event":"replacement-done"' in nodes, "and a successor under another id takes its place"


def test_a_helix_is_mended_from_the_logs_although_every_copy_is_damaged(tmp_path: Path) -> None:
    verdict, code, _ = played(
        tmp_path,
        "  - {action: bit-rot, targets: all, at: 3s, with: {mode: helix, of: load}}",
        "all: {select: role=storage}",
    )
    assert (code, verdict["verdict"]) == (0, "passed"), verdict["why"]
    assert len(verdict["damage"]) == 3
    assert len({entry["node"] for entry in verdict["damage"]}) == 3
    assert len({tuple(entry["groups"]) for entry in verdict["damage"]}) == 1


def test_a_second_damaged_replica_of_a_group_is_refused(tmp_path: Path) -> None:
    verdict, code, _ = played(
        tmp_path,
        """
  - {name: one, action: bit-rot, targets: a1, at: 1s, with: {place: log}}
  - {name: other, action: bit-rot, targets: b1, at: 2s, with: {place: log}}
""",
        "a1: {select: node=storage-a1}, b1: {select: node=storage-b1}",
    )
    assert (code, verdict["verdict"]) == (3, "aborted"), verdict["why"]
    assert "two replicas of one group would be damaged at once" in " ".join(verdict["why"])


def test_who_serves_pages_that_fail_their_checksum_is_caught(tmp_path: Path) -> None:
    verdict, code, _ = played(
        tmp_path,
        "  - {action: bit-rot, targets: a1, at: 2s, with: {place: btree, of: load}}",
        "a1: {select: node=storage-a1}", "--plant", "serve-bad-pages",
    )  # fmt: skip
    check = next(check for check in verdict["checks"] if check["name"] == "corruption")
    assert (code, check["result"]) == (1, "failed"), verdict["why"]
    assert "was never found" in check["findings"][0]["what"]


def test_rolling_restarts_hand_over_and_random_power_offs_keep_their_budget(tmp_path: Path) -> None:
    verdict, code, run = played(
        tmp_path,
        """
  - {name: roll, action: rolling-restart, targets: two, at: 1s, with: {every: 3s}}
  - {name: job, action: random-power-off, targets: all, at: 10s, for: 20s, with: {every: 3s, shortest: 1s, longest: 3s}}
""",
        "two: {select: ['node=storage-a1', 'node=storage-b1']}, all: {select: role=storage}",
    )
    assert (code, verdict["verdict"]) == (0, "passed"), verdict["why"]
    effects = [(fault["kind"], fault["effect"]) for fault in verdict["faults"]]
    assert effects[:2] == [("restart", "confirmed")] * 2
    assert {kind for kind, _ in effects[2:]} == {"power-off"}
    assert ("power-off", "confirmed") in effects
    assert "job, 1: storage-" in (run / "playbook.yaml").read_text(), "the resolved playbook says every one of them"


def test_a_zone_without_power_or_cut_off_leaves_its_canary_no_path_and_its_load_another_zone(tmp_path: Path) -> None:
    verdict, code, run = played(
        tmp_path,
        """
  - {name: dark, action: power-off, targets: zone_b, at: 1s, for: 5s}
  - {name: half, action: power-off, targets: router_a, at: 8s, for: 4s}
  - {name: cut, action: partition, targets: zone_c, at: 14s, for: 5s}
""",
        "zone_b: {select: az=b}, router_a: {select: node=router-a}, zone_c: {select: az=c}",
        canaries="interval: 500ms, window: 2s",
    )
    assert (code, verdict["verdict"]) == (0, "passed"), verdict["why"]
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    faults = {(e["name"], e["state"]): e for e in events if e["event"] == "fault"}
    assert faults["dark", "injected"]["no_path"] == ["b"]
    assert faults["dark", "confirmed"]["detail"].endswith("; no path for the canaries of zone b")
    assert not any("no_path" in e for (name, _), e in faults.items() if name != "dark")
    probes = read_probes(run / "canaries")[0]

    def shares(fault: str, az: str) -> dict[str, float]:
        """What the canary saw through each zone's router while the fault was in."""
        begin, end = faults[fault, "injected"]["boot"], faults[fault, "healing"]["boot"]
        seen: dict[str, list[bool]] = {}
        for probe in probes:
            if probe.az == az and begin <= probe.boot and probe.boot + probe.ms / 1000 < end:
                seen.setdefault(probe.endpoint_az, []).append(probe.good)
        return {where: sum(good) / len(good) for where, good in sorted(seen.items())}

    assert shares("dark", "b") == {"a": 0, "b": 0, "c": 0}
    assert shares("half", "a")["b"] > 0.5
    assert (shares("cut", "c")["a"], shares("cut", "c")["b"]) == (0, 0)
    healed = faults["dark", "healed"]["boot"]
    assert any(p.good and p.az == "b" and p.endpoint_az == "a" and healed < p.boot < healed + 2 for p in probes)
    assert all(p.error for p in probes if not p.good)
    history = History.read(run / "history", round(START_BOOT_S * 1e9))
    begin, end = (faults["dark", state]["t"] for state in ("injected", "healing"))
    dark = [o for o in history.operations if o.az == "b" and begin < (o.invoked_ns - history.start_ns) / 1e9 < end - 1]
    assert sum(is_good(o) for o in dark) > len(dark) / 2, "the load fails over"


def test_canaries_speak_to_a_table_with_indexes_as_its_load_does(tmp_path: Path) -> None:
    verdict, code, run = played(
        tmp_path, "  - {action: restart, targets: gac_b, at: 1s, for: 1s}", "gac_b: {select: node=gac-b}",
        canaries="interval: 500ms, window: 2s", profile="indexed",
    )  # fmt: skip
    assert (code, verdict["verdict"], verdict["alarms"]) == (0, "passed", []), verdict["why"]
    probes = read_probes(run / "canaries")[0]
    assert sum(probe.good for probe in probes) > 0.9 * len(probes) > 0
