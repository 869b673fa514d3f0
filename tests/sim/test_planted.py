"""Each planted bug is caught under simulation by the check that its catalogue entry names; without it the same play
passes."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from cluster.core.failures import ProtocolBroken
from cluster.node.config import Timing
from cluster.sim.simulation import ConditionNotMet, NodeBug
from tests.sim.database import SimDatabase

DIRECTORY = Path(__file__).parents[1] / "plants"
CHECKS = ("durability", "linearizability", "replicas_agree")
"""Plants that other checks catch are played in modules of their own beside this one."""
CATALOGUE = [
    plant for plant in json.loads((DIRECTORY / "plants.json").read_text())["plants"] if plant["caught_by"] in CHECKS
]
sys.path.insert(0, str(DIRECTORY))  # as a node does that is given a plant

HELD_BACK_S: float = importlib.import_module("ack_before_fsync").HELD_BACK_S
HONEST_SLOTS: int = importlib.import_module("ack_before_quorum").HONEST_SLOTS
LONG_LEASE = Timing(lease_s=8.0)
"""Keeps an old leader serving while others elect a new one."""


def region(db: SimDatabase) -> None:
    everything = [name for az in "abc" for name in db.zone(az)]
    db.power_off(everything)
    db.sim.run_for(1)
    db.power_on(everything)
    db.sim.run_for(5)


def region_while_the_logs_are_behind(db: SimDatabase) -> None:
    """The power goes when no replica of some group has synced for a while: an honest log is never so far behind."""

    def behind(node: str) -> bool:
        wal = db.replicas(node)[0].host.wal
        return bool(wal._appended - wal._durable > 20)

    with suppress(ConditionNotMet):
        db.sim.run_until(
            lambda: any(all(behind(m.node) for m in r.group.config.voters) for r in db.leaders()), 2 * HELD_BACK_S
        )
    region(db)


def zone_of_a_leader(db: SimDatabase) -> None:
    """The zone that goes dark is one that leads, just after its leader's plant awoke: elsewhere nothing is lost."""
    db.sim.run_until(lambda: any(r.group.last_slot > HONEST_SLOTS for r in db.leaders()), 30)
    leader = db.leaders()[0]
    db.sim.run_for(HELD_BACK_S / 4)  # what it acknowledges meanwhile is still held back
    dark = db.zone(leader.host.config.az)
    db.power_off(dark)
    db.sim.run_for(5)
    db.power_on(dark)
    db.sim.run_for(2)


def leader_cut_off(db: SimDatabase) -> None:
    leader = db.leaders()[0].host.name
    heal = db.sim.partition([leader], [n for n in db.nodes if n.startswith("storage") and n != leader])
    db.sim.run_for(5)
    heal()
    db.sim.run_for(1)


def followers_restart_while_the_leader_is_on_an_island(db: SimDatabase) -> None:
    """A leader's zone is cut off, its clients with it, who go on reading from it: its lease is long. Everybody else
    elects another leader and writes there."""
    island = db.leaders()[0].host.config.az
    rest = [config.name for config in db.configs if config.az != island]
    heal = db.sim.partition([config.name for config in db.configs if config.az == island], rest)
    for client in db.clients:
        client.reads_only = client.az == island  # what it wrote in vain would hold its reads up
    followers = [name for name in rest if name.startswith("storage")]
    db.power_off(followers)
    db.power_on(followers)
    db.sim.run_for(LONG_LEASE.lease_s)
    heal()
    db.sim.run_for(1)


PLAYS: dict[str, Callable[[SimDatabase], None]] = {
    "ack-before-fsync": region_while_the_logs_are_behind,
    "no-fsync": region,
    "skip-log": region,
    "apply-on-two": region,
    "ack-before-quorum": zone_of_a_leader,
    "reads-without-lease": leader_cut_off,
    "forget-promises": followers_restart_while_the_leader_is_on_an_island,
}

TIMINGS = {"forget-promises": LONG_LEASE}


def test_every_plant_of_the_catalogue_is_played() -> None:
    assert sorted(PLAYS) == sorted(plant["name"] for plant in CATALOGUE)


def play(name: str, seed: int, planted: bool) -> dict[str, str]:
    """The result of each check; ``invariant`` where the database itself noticed that a decided value was to change."""
    try:
        return _play(name, seed, planted)
    except NodeBug as bug:
        if not planted or not isinstance(bug.__cause__, ProtocolBroken):
            raise
        return {"invariant": str(bug.__cause__)}


def _play(name: str, seed: int, planted: bool) -> dict[str, str]:
    module = importlib.import_module(name.replace("-", "_"))
    db = SimDatabase(seed, module.install if planted else None, timing=TIMINGS.get(name))
    if planted and hasattr(module, "keep_routes"):
        for client in db.clients:
            module.keep_routes(client.dispatch)
    db.rate = 80
    db.sim.run_for(0.5 if name == "ack-before-quorum" else 6)  # that one is honest until its play begins
    PLAYS[name](db)
    results = {result.name: result.result for result in db.finish()}
    agree = all(len({d["digest"] for d in digests}) == 1 for digests in db.digests().values())
    return {**results, "replicas_agree": "ok" if agree else "failed"}


@pytest.mark.parametrize("plant", CATALOGUE, ids=lambda plant: plant["name"])
def test_the_named_check_catches_it(plant: dict[str, str]) -> None:
    for seed in (1, 2):
        found = play(plant["name"], seed, planted=True)
        assert "invariant" in found or found[plant["caught_by"]] == "failed", (seed, found)


@pytest.mark.parametrize("name", sorted(PLAYS))
def test_without_the_plant_nothing_is_found(name: str) -> None:
    assert set(play(name, 1, planted=False).values()) == {"ok"}
