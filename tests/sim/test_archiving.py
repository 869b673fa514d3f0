"""The archive and the scrub under simulation: segments as every replica has them, outages, holes, heals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cluster.core import archive
from cluster.core.archive import Manifest, Place
from cluster.node import replica as replica_module
from cluster.node import upkeep
from cluster.node.config import Scrub
from cluster.node.reference import Reference, read_manifests
from cluster.sim.deploy import peers
from tests.sim.database import SimDatabase

RATE = 12.0


def archived(seed: int, **more: Any) -> SimDatabase:
    return SimDatabase(seed, nodes=peers(archive=True), **more)


def objects(db: SimDatabase) -> dict[str, bytes]:
    contents = db.sim.nodes["archive"].disk.memory.log.contents
    return {name: bytes(contents[name].data) for name in sorted(contents)}


def place_of(db: SimDatabase, group: str) -> Place:
    for name in db.sim.running():
        for replica in db.replicas(name):
            if replica.spec.group == group:
                spec = replica.spec
                return Place(db.configs[0].cluster, spec.table, group, spec.start, spec.end)
    raise LookupError(group)


def manifests(db: SimDatabase, group: str) -> list[Manifest]:
    prefix = place_of(db, group).prefix + "/"
    found = [(n, d) for n, d in objects(db).items() if n.startswith(prefix) and n.endswith(".manifest")]
    read, damaged = read_manifests(found)  # type: ignore[arg-type]
    assert not damaged
    return read


def reference(db: SimDatabase, group: str, slot: int) -> Reference:
    place, stored = place_of(db, group), objects(db)
    made = Reference(place)
    for wanted in made.wanted(archive.plan_rebuild(place, manifests(db, group), slot)):
        made.take(wanted, stored.get(wanted.name))
    return made


def agree(db: SimDatabase, limit_s: float = 40.0) -> dict[str, Reference]:
    """A barrier in each group; once it is archived, the reference must be what every replica holds."""
    for _ in range(3):
        digests = db.digests()
        slots = {group: said[0]["slot"] for group, said in digests.items()}
        assert slots
        until(db, lambda: all(any(m.last >= s for m in manifests(db, g)) for g, s in slots.items()), limit_s)  # noqa: B023
        if all(any(m.last == s for m in manifests(db, g)) for g, s in slots.items()):
            break  # else an archive began anew beyond the barrier: another one
    made = {}
    for group, slot in slots.items():
        copy = made[group] = reference(db, group, slot)
        assert copy.problems == []
        assert {said["digest"] for said in digests[group]} == {copy.digest().digest}
    return made


def until(db: SimDatabase, condition: Callable[[], bool], limit_s: float) -> None:
    """Look twice a second: what is looked for takes longer to see than a step of the simulation."""
    for _ in range(int(2 * limit_s)):
        if condition():
            return
        db.sim.run_for(0.5)
    raise AssertionError(f"not within {limit_s} s")


def events(db: SimDatabase, name: str) -> list[dict[str, Any]]:
    return [event for event in db.sim.events if event["event"] == name]


def run_some(db: SimDatabase, seconds: float) -> None:
    db.rate = RATE
    db.sim.run_for(seconds)
    db.settle()


def leader_of(db: SimDatabase, group: str) -> str:
    return next(n for n in db.sim.running() for r in db.replicas(n) if r.spec.group == group and r.serving)


@pytest.fixture
def small_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that seconds of light load reach."""
    monkeypatch.setattr(replica_module, "TRIM_MARK_BYTES", 2000)
    monkeypatch.setattr(replica_module, "TRIM_MARKS_KEPT", 2)
    monkeypatch.setattr(upkeep, "CHECKPOINT_INTERVAL_S", 0.7)
    monkeypatch.setattr(upkeep, "CHECKPOINT_LOG_BYTES", 3000)


def test_a_copy_from_the_archive_is_what_replicas_hold() -> None:
    db = archived(1)
    with db.sim:
        run_some(db, 14)
        copies = agree(db)
        assert all(copy.rows and copy.segments >= 2 for copy in copies.values())
        assert not events(db, "archive-refused")
        assert not events(db, "archive-disagrees")
        # The leader's replica uploads, and the others find that they would have said the same.
        for group in copies:
            uploaded = [e["node"] for e in events(db, "archived") if e["group"] == group]
            assert uploaded.count(leader_of(db, group)) >= len(uploaded) - 1
            tips = {db.nodes[n].role.status()["archived"].get(group) for n in members_of(db, group)}  # type: ignore[attr-defined]
            db.sim.run_for(3)
            assert tips == {manifests(db, group)[-1].last}


def members_of(db: SimDatabase, group: str) -> list[str]:
    return [n for n in db.sim.running() for r in db.replicas(n) if r.spec.group == group]


def test_the_cluster_goes_on_without_the_archive_and_catches_up() -> None:
    db = archived(2)
    with db.sim:
        run_some(db, 5)
        heal = db.sim.partition(["archive"])
        before = db.acknowledged()
        run_some(db, 16)
        assert db.acknowledged() - before > 16 * RATE * 3 * 0.3  # as many as ever: nobody waits for the archive
        assert events(db, "archive-away")
        heal()
        agree(db)
        # Whoever has stored a segment just before notices when its next one is whole, a span later.
        away = [event["seconds"] for event in events(db, "archive-back")]
        assert max(away) > 10
        assert min(away) > 16 - archive.SEGMENT_SPAN_MS / 1000
        assert all(check.result == "ok" for check in db.finish())


def test_whoever_has_the_log_after_all_goes_on_from_the_image_that_a_leader_began_with() -> None:
    db = archived(8)
    with db.sim:
        run_some(db, 14)
        groups = sorted({r.spec.group for n in db.sim.running() for r in db.replicas(n) if r.spec.table})
        for group in groups:
            host = db.nodes[leader_of(db, group)].role.host  # type: ignore[attr-defined]
            lane = host.archiver._lanes[group]
            begun = host.world.spawn(host.archiver._restart(lane, lane.tip), "restart")
            db.sim.run_until(begun.done, 5)
        assert len(events(db, "archive-restarted")) == len(groups)
        run_some(db, 14)  # the others compare what follows
        gone = leader_of(db, groups[0])
        db.power_off([gone])
        db.rate = RATE
        db.sim.run_for(20)  # and upload it
        db.power_on([gone])
        db.settle()
        agree(db)
        assert not events(db, "archive-disagrees")
        assert {event["node"] for event in events(db, "archived") if event["group"] == groups[0]} > {gone}


def test_segments_survive_leaders_that_die_and_an_archive_without_power() -> None:
    db = archived(3)
    with db.sim:
        db.rate = RATE
        for zone in "abc":
            db.sim.run_for(6)
            db.power_off(db.zone(zone))
            if zone == "b":
                db.sim.crash("archive")
            db.sim.run_for(4)
            db.power_on(db.zone(zone))
            if zone == "b":
                db.sim.restart("archive")
        db.sim.run_for(8)
        db.settle()
        agree(db)
        assert not events(db, "archive-disagrees")


def test_log_is_kept_until_it_is_archived(small_log: None) -> None:
    db = archived(4)
    with db.sim:
        db.sim.partition(["archive"])
        run_some(db, 20)
        first = {r.group.first_slot for n in db.sim.running() for r in db.replicas(n) if r.spec.table}
        assert first == {1}
        db.sim.heal_network()
        agree(db)
        run_some(db, 10)
        firsts = [r.group.first_slot for n in db.sim.running() for r in db.replicas(n) if r.spec.table]
        assert min(firsts) > 1
        agree(db)


def test_beyond_the_limit_the_log_goes_and_the_hole_is_told(small_log: None) -> None:
    db = archived(5, hold_bytes=20_000)
    with db.sim:
        heal = db.sim.partition(["archive"])
        run_some(db, 40)
        assert events(db, "archive-limit")
        heal()
        db.sim.run_for(40)
        run_some(db, 5)
        copies = agree(db)
        told = [(event["group"], tuple(event["hole"])) for event in events(db, "archive-restarted")]
        assert {group for group, _ in told} == set(copies)
        for group, copy in copies.items():
            assert copy.bridged == [hole for of, hole in told if of == group]
            assert copy.bridged[0][0] == 1


def test_a_replica_made_of_a_snapshot_does_not_break_the_chain(small_log: None) -> None:
    db = archived(6)
    with db.sim:
        run_some(db, 20)
        victim = next(n for n in db.sim.running() if any(r.spec.table for r in db.replicas(n)))
        db.power_off([victim])
        db.power_on([victim], wipe=True)
        until(db, lambda: db.sim.count("replacement-done") >= 1 and db.whole(), 120)
        run_some(db, 15)
        for group in [r.spec.group for r in db.replicas(victim) if r.spec.table]:
            replica = next(r for r in db.replicas(victim) if r.spec.group == group)
            replica.campaign()
        run_some(db, 15)
        agree(db)
        assert not events(db, "archive-restarted")


def test_a_damaged_segment_is_found_by_the_second_agent_and_stored_again() -> None:
    db = archived(7)
    with db.sim:
        log = db.sim.nodes["archive"].disk.memory.log
        write = log.write_small
        spoilt: list[str] = []

        def spoil(name: str, data: bytes) -> None:
            if name.endswith(".log") and not spoilt:
                spoilt.append(name)
                data = data[:-1] + bytes([data[-1] ^ 1])
            write(name, data)

        log.write_small = spoil  # type: ignore[method-assign]
        run_some(db, 15)
        agree(db)
        assert [event["object"] for event in events(db, "archive-damage")] == spoilt
        assert [event["object"] for event in events(db, "archive-repaired")] == spoilt


def test_a_segment_that_vanished_is_stored_again_on_demand() -> None:
    db = archived(8)
    with db.sim:
        run_some(db, 15)
        group = next(iter(agree(db)))
        contents = db.sim.nodes["archive"].disk.memory.log.contents
        gone = archive.object_name(place_of(db, group), manifests(db, group)[0].first, "log")
        del contents[gone]
        slot = manifests(db, group)[-1].last
        assert reference(db, group, slot).damaged == [gone]
        assert db.sim.call(leader_of(db, group), "archive-mend", (group, 1)) == "rewritten"
        assert reference(db, group, slot).problems == []


def test_the_background_scrub_finds_locates_and_heals_a_replica() -> None:
    db = archived(9, scrub=Scrub(bytes_per_s=1 << 20, every_s=5.0))
    with db.sim:
        run_some(db, 10)
        group = sorted(place_names(db))[0]
        victim = next(n for n in members_of(db, group) if n != leader_of(db, group))
        replica = next(r for r in db.replicas(victim) if r.spec.group == group)
        db.sim.run(replica.rows_all())
        key, value = replica.tree.scan()[-1]
        extra = key + b"extra"  # one that the load never writes
        replica.tree.apply(replica.tree.position, [(extra, value)])
        db.rate = RATE
        until(db, lambda: bool(events(db, "healed")), 40)
        db.settle()
        (damage,) = events(db, "replica-damage")
        assert (damage["node_damaged"], damage["group"], damage["key"]) == (victim, group, extra.hex())
        assert damage["detail"] == "extra"
        assert events(db, "healed")[0]["node_healed"] == victim
        agree(db)


def place_names(db: SimDatabase) -> list[str]:
    return sorted({r.spec.group for n in db.sim.running() for r in db.replicas(n) if r.spec.table})
