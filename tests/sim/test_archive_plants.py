"""The scrub from outside over simulated clusters: what is well passes, each planted bug fails the right check."""

from __future__ import annotations

from typing import Any

import pytest

from chaos.engine.scrub import DAMAGE_TOLD, Target, partitions, scrub_one
from chaos.engine.watch import placement
from chaos.explore.stage import load_plant
from chaos.plants import DIRECTORY, catalogue
from chaos.simulated.scrub import SCRUB_S, SimCalls, SimReader
from cluster.sim.deploy import peers
from reports.checkers import CheckResult, archive_agrees, replicas_agree
from reports.rundir import Scrub
from tests.sim.database import SimDatabase

OURS = ("archive-uncommitted", "drop-segment", "heal-from-damaged", "scrub-skips-range")


class Controller:
    """The controller's way of calling, as :func:`chaos.engine.watch.placement` wants it."""

    def __init__(self, db: SimDatabase) -> None:
        self.db = db

    def call(self, node: str, method: str, params: Any = None, timeout_s: float = 2.0) -> Any:
        return self.db.sim.call(node, method, params, timeout_s)


def played(seed: int, plant: str | None = None, *, heal: bool = False) -> tuple[SimDatabase, Scrub]:
    """A cluster under load whose zone a is an island for a while, reaching only the archive; then a scrub."""
    install = load_plant(plant, DIRECTORY).module.install if plant is not None else None
    db = SimDatabase(seed, install, nodes=peers(archive=True))
    db.rate = 12.0
    db.sim.run_for(13)
    back = db.sim.partition(db.zone("a"), [*db.zone("b"), *db.zone("c")])
    db.sim.run_for(7)
    back()
    db.sim.run_for(16)
    db.settle()
    return db, scrub(db, heal=heal)


def scrub(db: SimDatabase, *, heal: bool = False) -> Scrub:
    roles = {config.name: config.role for config in db.configs if config.role in ("storage", "autoadmin")}
    zones = {config.name: config.az for config in db.configs}
    target = Target(db.configs[0].cluster, roles, zones, SimReader(db.sim), heal=heal)
    parts = partitions(placement(Controller(db), roles))
    groups = [db.sim.run(scrub_one(SimCalls(db.sim), target, part), SCRUB_S) for part in parts]
    told = [event for event in db.sim.events if event["event"] in DAMAGE_TOLD]
    return Scrub(groups=groups, archived=True, background=told)


def judged(done: Scrub) -> dict[str, CheckResult]:
    return {
        "replicas_agree": replicas_agree.check(done),
        "archive_agrees": archive_agrees.check(done, expected=True),
    }


def test_without_a_bug_both_checks_are_ok() -> None:
    db, done = played(1)
    with db.sim:
        assert {name: check.result for name, check in judged(done).items()} == dict.fromkeys(judged(done), "ok")
        assert all(group.reference and group.reference.segments >= 3 for group in done.groups)


@pytest.mark.parametrize("name", OURS)
def test_each_plant_fails_the_check_that_its_entry_names(name: str) -> None:
    plant = next(plant for plant in catalogue() if plant.name == name)
    db, done = played(2, name)
    with db.sim:
        check = judged(done)[plant.caught_by]
        assert check.result == "failed", check.why
        assert check.findings


def test_a_scrub_on_demand_names_the_item_and_heals_the_replica() -> None:
    db, _ = played(3)
    with db.sim:
        name, replica = next((n, r) for n in db.sim.running() for r in db.replicas(n) if r.spec.table and not r.leading)
        db.sim.run(replica.rows_all())
        key, _ = replica.tree.scan()[0]
        replica.tree.apply(replica.tree.position, [(key, None)])
        replica.rows.clear(replica.applied)
        done = scrub(db, heal=True)
        assert judged(done)["replicas_agree"].result == "failed"
        (found,) = [r for group in done.groups for r in group.replicas if r.difference]
        assert (found.node, found.key, found.difference) == (name, key.hex(), "missing")
        assert found.healed_s is not None
        again = scrub(db)
        assert {check.result for check in judged(again).values()} == {"ok"}
