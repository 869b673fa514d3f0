"""How fast the simulator is: virtual seconds for one second of a core, and explored seeds a minute on one core."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from chaos.engine.game import Options
from chaos.engine.stop import StopRequest
from chaos.explore.swarm import explore_one
from chaos.prepare import prepare
from chaos.simulated.day import SimulatedDay

TARGET = 20.0
"""Virtual seconds a core-second of the small topology at 100 requests a second that we want at least."""
SEEDS = 40
RATE = 100.0


class Timed(SimulatedDay):
    """Notes virtual time and processor time at the ends of phases."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.marks: dict[tuple[str, str], tuple[float, float]] = {}

    def emit(self, event: str, **fields: Any) -> None:
        if event == "phase":
            self.marks[(fields["phase"], fields["state"])] = (self.sim.now, time.process_time())
        super().emit(event, **fields)


def game_day(home: Path, rate: float) -> dict[str, Any]:
    """The playbook of the power cut at a lower rate, from the first request to the last: the whole small topology."""
    playbook = yaml.safe_load((Path(__file__).parents[1] / "playbooks" / "az-power-off.yaml").read_text())
    playbook["load"] |= {"rate": rate, "floor": 0, "keys": 500}
    playbook["method"][0]["for"] = "5s"
    playbook["expect"] = {"data": {"lost": 0}}  # too short for alarms
    path = home / "power-cut.yaml"
    path.write_text(yaml.safe_dump(playbook))
    day = Timed(prepare(str(path), seed=1), Options(out=home), StopRequest(), lambda event: None)
    verdict = day.play()
    (virtual_from, cpu_from), (virtual_to, cpu_to) = (
        day.marks["steady-before", "begin"],
        day.marks["steady-after", "end"],
    )
    return {
        "nodes": len(day.prepared.topology.nodes()), "rate": rate, "verdict": verdict.verdict,
        "virtual_s": virtual_to - virtual_from,
        "cpu_s": cpu_to - cpu_from, "virtual_s_per_cpu_s": (virtual_to - virtual_from) / (cpu_to - cpu_from),
        "target": TARGET,
    }  # fmt: skip


def measure(seeds: int = SEEDS) -> dict[str, Any]:
    """``{"game_day": {...}, "explore": {...}}``; one core each."""
    with tempfile.TemporaryDirectory(prefix="blackstart-simulated-") as home:
        day = game_day(Path(home), RATE)
    outcomes = [explore_one(seed) for seed in range(1, seeds + 1)]
    cpu, virtual = sum(o.cpu_s for o in outcomes), sum(o.virtual_s for o in outcomes)
    explored = {
        "seeds": seeds, "failed": sum(o.finding is not None for o in outcomes), "cpu_s": cpu, "virtual_s": virtual,
        "seeds_per_core_minute": 60 * seeds / cpu, "virtual_s_per_cpu_s": virtual / cpu,
    }  # fmt: skip
    return {"game_day": day, "explore": explored}
