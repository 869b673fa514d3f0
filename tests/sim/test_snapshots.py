"""A follower takes a snapshot: whatever happens to its source, to itself and to the group meanwhile, it keeps its rows
until it has the new ones whole."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from cluster.core.group import Group
from cluster.node import transfer
from cluster.node.replica import Replica
from cluster.node.transfer import CALL_TIMEOUT_S, Transfer
from cluster.store.btree import Replica as Tree
from tests.sim.database import SimDatabase

BEHIND_S = 1.0
SMALL_CHUNK_ROWS = 4


class Play:
    """A follower that hears nothing of its group's log for a while, and is then offered the leader's rows."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seed: int = 1) -> None:
        monkeypatch.setattr(transfer, "CHUNK_ROWS", SMALL_CHUNK_ROWS)
        self.db = db = SimDatabase(seed, partitions=1)
        db.rate = 60
        db.sim.run_for(5)
        self.leader = db.leaders()[0]
        self.group = self.leader.spec.group
        self.follower = next(r for r in self.members() if r is not self.leader)
        self.name = self.follower.host.name
        self.deaf = False
        self.silent: Callable[[int], bool] = lambda chunk: False
        step, on_read = Group.step, Transfer._on_read

        def heard(group: Group, sender: int, message: Any, now: float) -> None:
            if not (self.deaf and group is self.follower.group):
                step(group, sender, message, now)

        async def read(giver: Transfer, sender: str, params: tuple[int, int]) -> Any:
            while self.silent(params[1]):
                await giver._host.world.sleep(0.1)
            return await on_read(giver, sender, params)

        monkeypatch.setattr(Group, "step", heard)
        for replica in self.members():
            host = replica.host
            host.rpc.register_async("snapshot-read", partial(read, host.transfer), tuple[int, int])

    def members(self) -> list[Replica]:
        return [r for name in self.db.sim.running() for r in self.db.replicas(name) if r.spec.group == self.group]

    def fall_behind(self) -> None:
        self.follower.seal()
        self.db.sim.run_for(0.2)
        self.deaf = True
        self.db.sim.run_for(BEHIND_S)

    def offer(self) -> None:
        self.follower.host.transfer._on_offer(self.leader.host.name, (self.group, self.follower.spec.replica), None)

    def files(self) -> list[str]:
        return [name for name in self.db.sim.nodes[self.name].disk.memory.pages.list() if name.startswith(self.group)]

    def filling(self) -> bool:
        return any("~" in name for name in self.files())

    def run_until(self, condition: Callable[[], bool], limit_s: float = 20.0) -> None:
        self.db.sim.run_until(condition, limit_s)

    def judged(self) -> None:
        assert [(r.name, r.result) for r in self.db.finish() if r.result != "ok"] == []
        digests = {r.tree.digest().digest for r in self.members() if not r.rows.dirty}
        assert len(digests) <= 1


@pytest.mark.parametrize("filled_bytes", [transfer.FILLED_BYTES_MAX, 1])
def test_a_follower_that_is_behind_takes_the_rows_whole(monkeypatch: pytest.MonkeyPatch, filled_bytes: int) -> None:
    monkeypatch.setattr(transfer, "FILLED_BYTES_MAX", filled_bytes)
    largest = 0
    put = Transfer._put

    async def watched(self: Transfer, tree: Tree, position: int, writes: Any) -> None:
        nonlocal largest
        await put(self, tree, position, writes)
        largest = max(largest, tree.wal_bytes)

    monkeypatch.setattr(Transfer, "_put", watched)
    play = Play(monkeypatch)
    play.fall_behind()
    old = play.follower.tree
    play.offer()
    play.run_until(lambda: play.db.sim.count("snapshot-installed", node=play.name) == 1)
    assert (largest == 0) == (filled_bytes == 1), "what waits for a checkpoint is bounded"
    assert play.follower.tree is not old
    assert not play.filling()
    play.deaf = False
    play.judged()


def test_a_follower_whose_source_dies_keeps_its_rows_and_may_lead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seed 2665: it had let go of its own for those of the source, led, and answered from what had come."""
    play = Play(monkeypatch)
    play.fall_behind()
    rows = play.follower.tree.scan()
    play.silent = lambda chunk: chunk > 2
    play.offer()
    play.run_until(play.filling)
    play.db.sim.run_for(0.2)
    assert play.follower.tree.scan() == rows
    assert rows
    play.deaf = False
    play.db.power_off([play.leader.host.name])
    play.run_until(lambda: len(play.db.leaders()) > 0)
    (elected,) = play.db.leaders()
    if elected is not play.follower:
        elected.group.relinquish(elected.host.world.now(), play.follower.spec.replica)
        elected.host.touch(elected)
    play.run_until(lambda: play.follower.serving)
    assert play.filling(), "it leads while it still waits for the source"
    play.run_until(lambda: play.db.sim.count("snapshot-failed", node=play.name) == 1, CALL_TIMEOUT_S + 0.1)
    assert not play.filling()
    play.db.power_on([play.leader.host.name])
    play.judged()


def test_rows_that_the_log_has_brought_meanwhile_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    play = Play(monkeypatch)
    play.fall_behind()
    play.silent = lambda chunk: chunk > 2
    play.offer()
    play.run_until(play.filling)
    play.deaf = False
    play.run_until(lambda: play.follower.applied >= play.leader.applied - 5)
    old = play.follower.tree
    play.silent = lambda chunk: False
    play.run_until(lambda: not play.filling())
    assert play.follower.tree is old
    assert play.db.sim.count("snapshot-installed", node=play.name) == 0
    play.judged()


@pytest.mark.parametrize("chunk", [1, 2, 4])
@pytest.mark.parametrize("lose_unsynced", [True, False])
def test_a_follower_that_restarts_while_it_takes_rows_has_its_own(
    monkeypatch: pytest.MonkeyPatch, chunk: int, lose_unsynced: bool
) -> None:
    play = Play(monkeypatch)
    play.fall_behind()
    play.silent = lambda number: number >= chunk
    play.offer()
    play.run_until(play.filling)
    play.db.sim.run_for(0.1)
    play.db.sim.crash(play.name, lose_unsynced)
    assert play.filling()
    play.deaf = False
    play.silent = lambda number: False
    play.db.power_on([play.name])
    play.run_until(lambda: any(r.host.name == play.name for r in play.members()))
    assert not play.filling()
    assert play.db.sim.count("rebuild-began", node=play.name) == 0
    play.judged()


def test_a_replica_that_is_destroyed_while_it_takes_rows_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    play = Play(monkeypatch)
    play.fall_behind()
    play.silent = lambda number: number >= 2
    play.offer()
    play.run_until(play.filling)
    host = play.follower.host
    host.world.spawn(host.destroy(play.group, play.follower.spec.replica), "destroy")
    play.run_until(lambda: play.db.sim.count("replica-destroyed", node=play.name) == 1)
    play.silent = lambda number: False
    play.run_until(lambda: not play.files())


def test_a_damaged_replica_lets_go_of_its_rows_at_once_and_asks_who_is_heard_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    play = Play(monkeypatch)
    third = next(r for r in play.members() if r not in (play.leader, play.follower))
    order = [m.node for m in play.follower.group.config.members() if m.node != play.name]
    gone, heard = order[0], order[1]
    assert {gone, heard} == {play.leader.host.name, third.host.name}
    play.db.power_off([gone])
    play.run_until(lambda: play.db.sim.count("suspects", node=play.name, peer=gone) > 0)
    play.run_until(lambda: len(play.db.leaders()) > 0)
    play.silent = lambda chunk: chunk >= 2
    play.follower.host.transfer.rebuild(play.follower, "wanted by the test")
    play.run_until(play.filling)
    assert [name for name in play.files() if "~" not in name] == [], "a restart would take them for sound"
    play.silent = lambda chunk: False
    began = play.db.sim.now
    play.run_until(lambda: not play.follower.damaged)
    assert play.db.sim.now - began < 1.0
    assert play.db.sim.count("snapshot-failed", node=play.name) == 0
    play.db.power_on([gone])
    play.judged()


@pytest.mark.parametrize("way_out", ["its log brings it there", "it stops leading"])
def test_a_leader_takes_no_state_ahead_of_its_own(monkeypatch: pytest.MonkeyPatch, way_out: str) -> None:
    """It was elected while the rows came: what its log has decided up to there must still go through its own hands."""
    play = Play(monkeypatch)
    play.db.rate = 0
    play.db.sim.run_for(1)
    (leader,) = play.db.leaders()
    taker, slot = leader.host.transfer, leader.applied + 3
    assert not taker._wanted(leader, slot)
    assert play.follower.host.transfer._wanted(play.follower, slot)
    waiting = leader.host.world.spawn(taker._until_ready(leader, slot), "until-ready")
    play.db.sim.run_for(2)
    assert not waiting.done()
    if way_out == "it stops leading":
        leader.relinquish()
    else:
        play.db.rate = 60
    play.run_until(waiting.done, 2)
    assert waiting.exception() is None
