"""The drivers' whole stack under simulated game days: the code that runs in containers, judged by the same checkers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cluster.node.host import Host
from cluster.node.process import Node
from tests.sim.database import SimDatabase


def zone_power_off(db: SimDatabase) -> None:
    db.power_off(db.zone("b"))
    db.sim.run_for(4)
    assert db.sim.count("leader-elected", round=2) >= 1
    db.power_on(db.zone("b"))
    db.sim.run_for(2)


def region_power_off(db: SimDatabase) -> None:
    everything = [name for az in "abc" for name in db.zone(az)]
    db.power_off(everything)
    db.sim.run_for(1)
    db.power_on(everything)
    db.sim.run_for(5)


def lost_disks(db: SimDatabase) -> None:
    """A storage node and a control-plane node come back with empty disks: learners under new ids take their places."""
    names = ["storage-a1", "storage-a2", "autoadmin-c"]
    db.power_off(names)
    db.sim.run_for(2)
    db.power_on(names, wipe=True)
    db.sim.run_until(lambda: db.sim.count("replacement-done") >= 3, 20)


def leader_cut_from_its_peers(db: SimDatabase) -> None:
    """Routers and clients still reach the old leader; it must stop serving by its lease."""
    leader = next(
        e["node"] for e in db.sim.events if e["event"] == "leader-elected" and e["node"].startswith("storage")
    )
    peers = [name for name in db.nodes if name.startswith("storage") and name != leader]
    heal = db.sim.partition([leader], peers)
    db.sim.run_for(5)
    assert db.sim.count("leader-stopped", node=leader) >= 1
    heal()
    db.sim.run_for(1)


def control_plane_and_caches_away(db: SimDatabase) -> None:
    """Nothing on the request path needs the control plane, GAC or identity once routes are known."""
    before = db.acknowledged()
    names = [n for n in db.nodes if n.split("-")[0] in ("autoadmin", "gac", "identity", "memds")]
    db.power_off(names)
    db.sim.run_for(3)
    assert db.acknowledged() > before + 60
    db.power_on(names)
    db.sim.run_for(1)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    "play", [zone_power_off, region_power_off, lost_disks, leader_cut_from_its_peers, control_plane_and_caches_away]
)
def test_no_acknowledged_write_is_lost_and_no_read_is_wrong(play: Callable[[SimDatabase], None], seed: int) -> None:
    db = SimDatabase(seed)
    db.rate = 25
    db.sim.run_for(2)
    play(db)
    results = db.finish()
    assert [(r.name, r.result, r.findings) for r in results if r.result != "ok"] == []
    assert db.acknowledged() > 50
    for group, digests in db.digests().items():
        assert len({d["digest"] for d in digests}) == 1, (group, digests)
        assert digests[0]["items"] > 0


def test_the_same_seed_gives_the_same_run() -> None:
    def fingerprint() -> int:
        db = SimDatabase(5)
        db.rate = 20
        db.sim.run_for(1)
        zone_power_off(db)
        return db.sim.fingerprint

    assert fingerprint() == fingerprint()


def test_a_table_made_while_a_zone_is_dark_spreads_into_it_when_it_is_back() -> None:
    def dark(db: SimDatabase) -> None:
        db.sim.run_until(lambda: db.sim.count("control-plane-acting") >= 1, 10)  # the first start needs all zones
        db.power_off(db.zone("c"))
        db.sim.run_for(5)

    db = SimDatabase(3, before_table=dark)
    db.rate = 20
    db.sim.run_for(2)
    db.power_on(db.zone("c"))
    db.sim.run_until(lambda: db.sim.count("replacement-done") >= 2, 30)
    assert [(r.name, r.result) for r in db.finish() if r.result != "ok"] == []
    for name in db.sim.running():
        for replica in db.replicas(name):
            if replica.serving and replica.spec.table:
                assert {m.zone for m in replica.group.config.voters} == {"a", "b", "c"}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_zone_that_is_back_catches_up_under_load(seed: int) -> None:
    """Redundancy must come back while writes go on, not only once they pause."""
    db = SimDatabase(seed)
    db.rate = 40
    db.sim.run_for(2)
    db.power_off(db.zone("b"))
    db.sim.run_for(6)
    db.power_on(db.zone("b"))
    caught_up: dict[str, float] = {}
    began = db.sim.now
    while db.sim.now - began < 8 and len(caught_up) < 2:
        leaders = {r.spec.group: r for name in db.sim.running() for r in db.replicas(name) if r.serving}
        for group, leader in leaders.items():
            lag = [leader.applied - leader.group.acked(m.replica) for m in leader.group.config.voters]
            if leader.spec.table and max(lag) < 20:
                caught_up.setdefault(group, db.sim.now)
        db.sim.run_for(0.1)
    assert len(caught_up) == 2, caught_up


def test_a_quarantined_replica_is_replaced_on_its_own_disk() -> None:
    """A damaged log costs a node its votes, not its place: the successor joins under a new id."""

    def install(node: Node) -> None:
        host = getattr(node.role, "host", None)
        if not isinstance(host, Host) or node.config.name not in ("storage-a1", "autoadmin-b"):
            return
        restore = host._restore

        async def damaged(group: str, bodies: list[bytes], quarantined: bool) -> None:
            await restore(group, bodies, quarantined or host.superblock.incarnation == 2)

        host._restore = damaged  # type: ignore[method-assign]

    db = SimDatabase(1, install)
    db.rate = 20
    db.sim.run_for(2)
    db.power_off(["storage-a1", "autoadmin-b"])
    db.sim.run_for(1)
    db.power_on(["storage-a1", "autoadmin-b"])
    db.sim.run_until(lambda: db.sim.count("replacement-done") >= 2, 40)
    assert db.sim.count("replica-quarantined") >= 2
    assert [(r.name, r.result) for r in db.finish() if r.result != "ok"] == []


def test_a_founder_that_is_overtaken_is_taken_in() -> None:
    """The others elect before the founder has made its own replica: it must not stay outside for ever."""

    def install(node: Node) -> None:
        bootstrap = getattr(getattr(node.role, "admin", None), "_bootstrap", None)
        if bootstrap is None or node.config.name != "autoadmin-a":
            return
        create = bootstrap._create

        async def slow(sender: str, params: object) -> None:
            if sender == "autoadmin-a":
                await node.world.sleep(1_000.0)
            await create(sender, params)

        bootstrap._create = slow

    db = SimDatabase(1, install)
    db.sim.run_until(lambda: db.sim.count("replacement-done", group="system") >= 1, 40)
    assert db.settle(20) < 20
