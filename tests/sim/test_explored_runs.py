"""``blackstart run`` plays what ``explore --shrink`` saved, and what a run in containers resolved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chaos.cli import run as cli
from chaos.engine.records import resolved_playbook
from chaos.explore.scenario import LEADER, Action, Scenario, to_yaml
from chaos.playbook import parse
from chaos.prepare import prepare
from reports.judge import gather, judge
from reports.rundir import RunDir

BLINK = Action("blink", 2.0, 0.1, [LEADER], {"cut_s": 4.0})
SAVED = Scenario(seed=1, title="Reduced", clients=2, rate=30.0, safety_s=7.0, lease_s=4.0, method=[BLINK])


def played(tmp_path: Path, capsys: pytest.CaptureFixture[str], playbook: Path, *more: str) -> tuple[Any, RunDir, int]:
    out = tmp_path / "runs"
    code = cli(["run", str(playbook), "--out", str(out), "--json", *more])
    (directory,) = out.iterdir()
    return json.loads(capsys.readouterr().out), RunDir.open(directory), code


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "saved.yaml"
    path.write_text(to_yaml(SAVED, "leases-exclusive: as found"))
    return path


def test_a_saved_scenario_passes_with_a_report(tmp_path: Path, saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verdict, run, code = played(tmp_path, capsys, saved, "--runtime", "simulated")
    assert (code, verdict["verdict"], verdict["runtime"]) == (0, "passed", "simulated")
    assert [(f["kind"], f["effect"]) for f in verdict["faults"]] == [("blink", "confirmed")]
    assert {c["name"]: c["result"] for c in verdict["checks"]}["explored"] == "ok"
    assert verdict["load"]["acknowledged_writes"] > 20
    assert run.report.stat().st_size > 10_000
    assert judge(gather(run)).verdict == "passed"  # what recheck does


def test_with_its_plant_it_fails_the_same_way(tmp_path: Path, saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verdict, run, code = played(tmp_path, capsys, saved, "--plant", "answers-at-once")
    assert (code, verdict["verdict"], verdict["plant"]) == (1, "failed", "answers-at-once")
    assert verdict["why"][0].startswith("explored: leases-exclusive")
    assert "<svg" in (run.path / "messages.svg").read_text()


def test_containers_cannot_play_it(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli(["run", str(saved), "--runtime", "local"]) == 2
    assert "cannot play it" in capsys.readouterr().err


PLAYBOOK = """
version: 1
title: As containers resolved it
topology: small
load: {profile: mixed, rate: 20, users: 12, floor: 5, keys: 20}
canaries: {enabled: false}
targets: {somebody: {select: role=storage, mode: random(1)}}
safety: {max-duration: 4m}
method:
  - {name: one node goes dark, action: power-off, targets: somebody, at: 0.5s, for: 2s}
report: {before: 1s, after: 1s}
"""


def test_what_a_run_resolved_is_played_with_the_same_targets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``RUN/playbook.yaml`` of any runtime is a playbook in which chance has been decided."""
    written = tmp_path / "drawn.yaml"
    written.write_text(PLAYBOOK)
    before = prepare(str(written), seed=77)
    resolved = tmp_path / "playbook.yaml"
    resolved.write_text(resolved_playbook(before))
    verdict, run, code = played(tmp_path, capsys, resolved, "--runtime", "simulated")
    assert (code, verdict["verdict"], verdict["seed"]) == (0, "passed", 77)
    (action,) = before.plan.actions
    assert [f["targets"] for f in verdict["faults"]] == [list(action.targets)]
    assert run.playbook.read_text().splitlines()[1:] == resolved.read_text().splitlines()[1:]


def test_a_topology_beside_the_playbook_is_found_from_the_run() -> None:
    prepared = prepare("playbooks/plants/forgetful-followers.yaml")
    text = resolved_playbook(prepared)
    assert parse(text, "resolved").topology == str(Path("playbooks/plants/long-lease.yaml").resolve())
