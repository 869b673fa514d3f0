"""The game days are able to fail: each planted bug is caught by the check that its catalogue entry names."""

from __future__ import annotations

import json

import pytest

from chaos.plants import Plant, catalogue
from tests.e2e.conftest import Blackstart

pytestmark = [pytest.mark.slow, pytest.mark.plant, pytest.mark.timeout(420)]


@pytest.mark.parametrize("plant", catalogue(), ids=lambda plant: plant.name)
def test_plant_is_caught(blackstart: Blackstart, plant: Plant) -> None:
    process = blackstart.run(plant.playbook, "--plant", plant.name, "--seed", str(plant.seed))
    out, _ = process.communicate(timeout=400)
    verdict = json.loads(out)
    assert (process.returncode, verdict["verdict"], verdict["plant"]) == (1, "failed", plant.name), verdict["why"]
    caught = next(check for check in verdict["checks"] if check["name"] == plant.caught_by)
    assert caught["result"] == "failed", verdict["checks"]
    assert caught["findings"], "the lost or wrong operation is named"
    assert caught["findings"][0]["what"]
