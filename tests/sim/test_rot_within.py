"""Rot that a node meets while it does something else: giving its rows to a peer, or reading its own disk."""

from __future__ import annotations

import pytest

from cluster.node.replica import Replica
from cluster.store.anatomy import Extent, tree_extents
from tests.sim.database import SimDatabase


def settled() -> tuple[SimDatabase, Replica, list[Replica]]:
    """A database at rest, the leader's replica of one of its groups, its B-tree closed, and the other members."""
    db = SimDatabase(1)
    db.rate = 30
    db.sim.run_for(3)
    db.rate = 0
    found = [replica for name in db.sim.running() for replica in db.replicas(name) if replica.spec.table]
    leader = next(replica for replica in found if replica.serving)
    others = [r for r in found if r.spec.group == leader.spec.group and r is not leader]
    for replica in (leader, *others):
        replica.seal()
    db.sim.run_for(2)
    assert leader.tree.rest(), "what it reads next comes from the disk"
    return db, leader, others


def flip(db: SimDatabase, replica: Replica, kind: str) -> Extent:
    """Flip a bit in a live page of a replica's B-tree."""
    contents = db.sim.nodes[replica.host.name].disk.memory.pages.contents
    name = replica.spec.group + ".db"
    found = tree_extents(replica.spec.group, name, bytes(contents[name].data), bytes(contents[name + "-wal"].data))
    page = next(extent for extent in found if extent.live and kind in extent.what)
    for data in (contents[page.file].data, contents[page.file].durable):
        data[page.offset + 99] ^= 16
    return page


def test_a_giver_that_meets_a_bad_page_gives_none_of_it_and_mends_itself() -> None:
    db, leader, (other, third) = settled()
    page = flip(db, leader, "leaf of a table")
    other.host.transfer.rebuild(other, "wanted by the test", [leader.host.name])
    me, group = leader.host.name, leader.spec.group
    db.sim.run_until(lambda: db.sim.count("tree-damage", node=me, group=group, by="transfer") > 0, 10)
    event = next(e for e in db.sim.events if e["event"] == "tree-damage")
    assert (event["file"], event["offset"]) == (page.file, page.offset)
    db.sim.run_until(lambda: db.sim.count("snapshot-installed", node=me, group=group) > 0, 20)
    db.sim.run_until(lambda: not other.damaged and not leader.damaged, 20)
    assert third.tree.digest().digest == leader.tree.digest().digest == other.tree.digest().digest


@pytest.mark.parametrize("kind", ["leaf of a table", "leaf of an index"])
def test_the_scrub_of_the_disk_finds_what_nobody_reads(kind: str) -> None:
    db, leader, _ = settled()
    page = flip(db, leader, kind)
    answer = db.sim.call(leader.host.name, "scrub-disk", {}, 10.0)
    assert answer["bad"] == 1
    assert answer["bytes"] > 0
    event = next(e for e in db.sim.events if e["event"] == "tree-damage")
    assert (event["by"], event["file"], event["offset"]) == ("scrub", page.file, page.offset)
    db.sim.run_until(lambda: db.sim.count("snapshot-installed", group=leader.spec.group) > 0, 20)
    assert db.sim.call(leader.host.name, "scrub-disk", {}, 10.0)["bad"] == 0


def test_a_log_that_rots_costs_no_vote_while_its_node_lives() -> None:
    db, leader, _ = settled()
    me = leader.host.name
    contents = db.sim.nodes[me].disk.memory.log.contents
    name = next(name for name in sorted(contents) if name.startswith("wal-0"))
    for data in (contents[name].data, contents[name].durable):
        data[len(data) // 2] ^= 1
    assert db.sim.call(me, "scrub-disk", {}, 10.0)["bad"] >= 1
    assert db.sim.count("log-renewed", node=me) == 1
    assert name not in db.sim.nodes[me].disk.memory.log.contents
    db.power_off([me])
    db.sim.run_for(1)
    db.power_on([me])
    db.sim.run_for(5)
    assert db.sim.count("replica-quarantined") == 0
    assert [(r.name, r.result) for r in db.finish() if r.result != "ok"] == []
