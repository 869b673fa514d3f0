"""``blackstart run --runtime simulated``: the same playbooks, the same run directory, and the same bits every time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PLAYBOOK = """
version: 1
title: Short
topology: small
load: {profile: mixed, rate: 24, users: 12, floor: 5, keys: 30}
canaries: {interval: 0.5s, window: 2s}
steady-state-hypothesis:
  probes: [{name: redundant, query: redundancy, tolerance: ">= 1", mode: edge}]
targets:
  zone_b: {select: az=b}
  leader: {select: role=storage, mode: leader-of(load)}
safety: {max-duration: 4m, budget: {az: 2, quorum-loss: any}}
method:
  - {name: zone b goes dark, action: power-off, targets: zone_b, at: 0.5s, for: 3s}
  - {name: a leader alone, action: partition, targets: leader, at: 6s, for: 3s, with: {from: role=storage}}
report: {before: 2s, after: 2s}
"""

PERTURBED = """
import gc, random, sys
salt = int(sys.argv[1])
gc.set_threshold(salt)
rng = random.Random(salt)
waste = [bytearray(rng.randrange(600)) for _ in range(200_000)]
rng.shuffle(waste)
del waste[: salt * 100]  # holes of all sizes, in an order of their own
ranks = [object() for _ in range(64)]
print("order in memory", sorted(range(64), key=lambda at: id(ranks[at])), file=sys.stderr)
"""
"""Other thresholds of the collector, and objects elsewhere in memory, in another order."""

PROGRAM = (
    PERTURBED
    + """
from chaos.cli import run
options = ["--runtime", "simulated", "--seed", "9", "--out", sys.argv[3], "--json", *sys.argv[4:]]
sys.exit(run(["run", sys.argv[2], *options]))
"""
)

SEEDS = (
    PERTURBED
    + """
from chaos.explore.swarm import explore_one
print([explore_one(seed).fingerprint for seed in (3, 5, 9)])
"""
)


def run_python(program: str, salt: str, hash_seed: str, allocator: str, *more: str) -> tuple[str, str, int]:
    """(stdout, how objects lie in memory, exit code) of a process of its own."""
    environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONMALLOC": allocator, "PYTHONPATH": os.getcwd()}
    command = [sys.executable, "-c", program, salt, *more]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    return done.stdout, done.stderr.partition("order in memory ")[2].partition("\n")[0], done.returncode


def played(
    tmp_path: Path, name: str, *more: str, salt: str = "700", hash_seed: str = "0", allocator: str = "pymalloc"
) -> tuple[Path, dict[str, object], int, str]:
    playbook = tmp_path / "short.yaml"
    playbook.write_text(PLAYBOOK)
    out = tmp_path / name
    stdout, order, code = run_python(PROGRAM, salt, hash_seed, allocator, str(playbook), str(out), *more)
    (run,) = out.iterdir()
    return run, json.loads(stdout), code, order


def test_the_same_bits_whatever_the_hash_seed_the_addresses_and_the_collector(tmp_path: Path) -> None:
    first, verdict, code, order = played(tmp_path, "first")
    second, _, _, other = played(tmp_path, "second", salt="23", hash_seed="4242", allocator="malloc")
    assert order != other, "nothing was perturbed"
    assert code == 0, verdict
    assert verdict["verdict"] == "passed"
    assert verdict["runtime"] == "simulated"
    assert [fault["effect"] for fault in verdict["faults"]] == ["confirmed", "confirmed"]  # type: ignore[attr-defined]
    assert {"report.html", "junit.xml", "plan.json", "playbook.yaml", "scrub.json"} <= {p.name for p in first.iterdir()}
    compared = [path.relative_to(first) for path in sorted(first.rglob("*")) if path.suffix in (".jsonl", ".log")]
    assert len(compared) >= 8
    for path in compared:
        assert (first / path).read_bytes() == (second / path).read_bytes(), path


def test_explored_seeds_are_the_same_to_the_bit_in_every_process() -> None:
    first, order, _ = run_python(SEEDS, "700", "0", "pymalloc")
    second, other, _ = run_python(SEEDS, "23", "777", "malloc")
    assert order != other, "nothing was perturbed"
    assert first == second


@pytest.mark.parametrize("plant", ["apply-on-two"])
def test_a_planted_bug_fails_it(tmp_path: Path, plant: str) -> None:
    _, verdict, code, _ = played(tmp_path, "planted", "--plant", plant)
    assert (code, verdict["verdict"]) == (1, "failed")
    failed = [check["name"] for check in verdict["checks"] if check["result"] == "failed"]  # type: ignore[attr-defined]
    assert {"replicas_agree", "invariants"} <= set(failed)
