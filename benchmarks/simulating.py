"""How fast the simulator is: virtual seconds for one second of a core, and explored seeds a minute on one core.

The game day is the power cut of ``playbooks/az-power-off.yaml`` on the whole small topology, at a lower rate and with
fewer keys; every node and client of it runs in this process. What is timed is from the first request to the end of the
steady state after the cut: 8 s before, 2 s until the zone goes dark, :data:`DARK_S` of darkness, 8 s of recovery. In
that window are load and canaries over signed HTTP, the status polls of the engine, background scrub, archive, all
records of the run and the invariants that look inside. Outside are deployment and the making of the table before it,
closing reads, comparison of replicas, checkers and report after it. What is given is processor time of this process,
the median of :data:`DAYS` days.

Beside it the same topology with the same requests a second as explored seeds carry them: clients live in the routers'
nodes and call the routers' code where HTTP would, and no canary or poll asks anything. That is the simulator, the
database and the invariants, without what carries requests to it.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from chaos.engine.game import Options
from chaos.engine.stop import StopRequest
from chaos.explore.scenario import Scenario
from chaos.explore.stage import Stage
from chaos.explore.swarm import explore_one
from chaos.prepare import prepare
from chaos.simulated.day import SimulatedDay
from cluster import topology
from cluster.sim.collector import rare_collections

TARGET = 20.0
"""Virtual seconds a core-second of the small topology at 100 requests a second that we want at least."""
SEEDS = 40
RATE = 100.0
IDLE_RATE = 1.0
"""What a day costs at this rate it costs at any: canaries (15 requests a second), polls, heartbeats, scrub."""

DARK_S = 60
"""How long the zone is dark: long enough that what happens once counts for little."""

DAYS = 3
STEADY_S = 60.0
"""What is timed without HTTP, after five seconds to get going."""


class Timed(SimulatedDay):
    """Notes virtual time and processor time at the ends of phases."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.marks: dict[tuple[str, str], tuple[float, float]] = {}

    def emit(self, event: str, **fields: Any) -> None:
        if event == "phase":
            self.marks[(fields["phase"], fields["state"])] = (self.sim.now, time.process_time())
        super().emit(event, **fields)


def game_day(home: Path, rate: float, dark_s: float = DARK_S) -> dict[str, Any]:
    """One day at this rate, its records below ``home``: what was timed, and its verdict."""
    playbook = yaml.safe_load((Path(__file__).parents[1] / "playbooks" / "az-power-off.yaml").read_text())
    playbook["load"] |= {"rate": rate, "floor": 0, "keys": 500}
    playbook["method"][0]["for"] = f"{dark_s}s"
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


def game_days(days: int = DAYS, dark_s: float = DARK_S) -> dict[str, Any]:
    """The median of several days at :data:`RATE`, and beside it a day at :data:`IDLE_RATE` and what share of the median
    it is (``idle``)."""
    with tempfile.TemporaryDirectory(prefix="blackstart-simulated-") as home:
        played = [game_day(Path(home), RATE, dark_s) for _ in range(days)]
        idle = game_day(Path(home), IDLE_RATE, dark_s)
    cpu = median(day["cpu_s"] for day in played)
    verdicts = {day["verdict"] for day in (*played, idle)}
    day = played[0] | {
        "verdict": ", ".join(sorted(verdicts)), "days": days, "cpu_s": cpu,
        "virtual_s_per_cpu_s": played[0]["virtual_s"] / cpu,
    }  # fmt: skip
    share = (idle["cpu_s"] / idle["virtual_s"]) / (cpu / day["virtual_s"])
    return day | {"idle": idle | {"share": share}}


class SmallTopology(Scenario, frozen=True, kw_only=True):
    """The small topology as a scenario: its routers are where the load lives."""

    def nodes(self) -> list[tuple[str, str, str, str]]:
        return [(node.name, node.role, node.az, node.rack) for node in topology.load("small").nodes()]

    def client_nodes(self) -> list[tuple[str, str, str, str]]:
        return []


def without_http(steady_s: float = STEADY_S) -> dict[str, Any]:
    """The small topology at :data:`RATE`, with nothing wrong."""
    scenario = SmallTopology(seed=1, admins=3, partitions=4, rate=RATE, keys=500, archive=True)
    with rare_collections(), Stage(scenario) as stage:
        stage.deploy()
        stage.rate = RATE / len(stage.clients)
        stage.sim.run_for(5.0)
        sent, cpu = len(stage.history), time.process_time()
        stage.sim.run_for(steady_s)
        cpu = time.process_time() - cpu
        return {
            "nodes": len(scenario.nodes()), "rate": (len(stage.history) - sent) / steady_s, "virtual_s": steady_s,
            "cpu_s": cpu, "virtual_s_per_cpu_s": steady_s / cpu, "target": TARGET,
        }  # fmt: skip


def measure(seeds: int = SEEDS) -> dict[str, Any]:
    """``{"game_day": {...}, "without_http": {...}, "explore": {...}}``; one core each."""
    day = game_days()
    outcomes = [explore_one(seed) for seed in range(1, seeds + 1)]
    cpu, virtual = sum(o.cpu_s for o in outcomes), sum(o.virtual_s for o in outcomes)
    explored = {
        "seeds": seeds, "failed": sum(o.finding is not None for o in outcomes), "cpu_s": cpu, "virtual_s": virtual,
        "seeds_per_core_minute": 60 * seeds / cpu, "virtual_s_per_cpu_s": virtual / cpu,
    }  # fmt: skip
    return {"game_day": day, "without_http": without_http(), "explore": explored}
