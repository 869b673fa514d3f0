"""Planted bugs of transactions: each is caught by the check ``transactions`` in its playbook, and by nothing but it and
the invariant that looks inside; the same game days without them pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.engine.game import Options
from chaos.engine.stop import StopRequest
from chaos.plants import Plant, catalogue
from chaos.prepare import prepare
from chaos.simulated.day import SimulatedDay
from reports.checkers import transactions
from reports.rundir import Verdict

PLANTS = [plant for plant in catalogue() if plant.caught_by == transactions.NAME]


def played(tmp_path: Path, plant: Plant, planted: bool) -> Verdict:
    options = Options(
        "simulated", tmp_path, plant.name if planted else None, plant.path if planted else None, keep=False
    )
    return SimulatedDay(prepare(plant.playbook, seed=plant.seed), options, StopRequest(), lambda event: None).play()


def test_there_is_a_plant_for_each_promise() -> None:
    assert {plant.name for plant in PLANTS} == {"skip-read-check", "commit-half", "lose-ledger"}


@pytest.mark.timeout(240)
@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.name)
def test_the_check_catches_it_and_no_other_of_the_history_is_troubled(tmp_path: Path, plant: Plant) -> None:
    verdict = played(tmp_path, plant, planted=True)
    assert verdict.verdict == "failed", verdict.why
    failed = {check.name: check for check in verdict.checks if check.result == "failed"}
    blind = plant.name == "skip-read-check"  # its transactions are whole; only what they rest on is not
    assert set(failed) == {transactions.NAME} | (set() if blind else {"invariants"})
    anomalies = {finding["anomaly"] for finding in failed[transactions.NAME].findings}
    assert anomalies <= ({"G-single", "G2"} if blind else {"bank"})


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", ["skip-read-check", "commit-half"])
def test_without_the_plant_the_game_day_passes(tmp_path: Path, name: str) -> None:
    (plant,) = [plant for plant in PLANTS if plant.name == name]
    verdict = played(tmp_path, plant, planted=False)
    assert verdict.verdict == "passed", verdict.why
    assert {check.name: check.result for check in verdict.checks}[transactions.NAME] == "ok"
