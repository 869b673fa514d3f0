"""Planted bugs of canaries and alarms: each is caught by the check that its catalogue entry names, in its playbook."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.engine.game import Options
from chaos.engine.stop import StopRequest
from chaos.plants import Plant, catalogue
from chaos.prepare import prepare
from chaos.simulated.day import SimulatedDay
from reports.rundir import Verdict

WATCHERS = ("canaries", "alarms")
PLANTS = [plant for plant in catalogue() if plant.caught_by in WATCHERS]


def played(tmp_path: Path, plant: Plant, planted: bool) -> Verdict:
    options = Options(
        "simulated", tmp_path, plant.name if planted else None, plant.path if planted else None, keep=False
    )
    return SimulatedDay(prepare(plant.playbook, seed=plant.seed), options, StopRequest(), lambda event: None).play()


def test_there_is_a_plant_for_each() -> None:
    assert {plant.caught_by for plant in PLANTS} == set(WATCHERS)


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.name)
def test_the_named_check_catches_it_and_no_other_is_troubled(tmp_path: Path, plant: Plant) -> None:
    verdict = played(tmp_path, plant, planted=True)
    assert verdict.verdict == "failed"
    failed = {check.name: check for check in verdict.checks if check.result == "failed"}
    assert set(failed) == {plant.caught_by}
    assert "zone-b" in str(failed[plant.caught_by].findings) or "zone b" in str(failed[plant.caught_by].findings)


def test_without_a_plant_both_are_content(tmp_path: Path) -> None:
    verdict = played(tmp_path, PLANTS[0], planted=False)
    assert verdict.verdict == "passed", verdict.why
    assert {check.name: check.result for check in verdict.checks if check.name in WATCHERS} == dict.fromkeys(
        WATCHERS, "ok"
    )
    assert {alarm.name for alarm in verdict.alarms} == {"cfa-availability", "cfa-zone-b"}
