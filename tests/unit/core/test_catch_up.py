"""A follower that restarts while its leader goes on, and never pauses: it must catch up all the same."""

from __future__ import annotations

import random

from cluster.core.config import Configuration, Member
from cluster.core.group import Group, GroupOptions, HardState
from cluster.core.lease import LeaseOptions, Liveness
from cluster.core.messages import Record

MEMBERS = tuple(Member(n, f"n{n}", zone, f"{zone}1") for n, zone in enumerate("abc", start=1))


class Trio:
    """Three replicas, a network without loss, disks that sync at once."""

    def __init__(self) -> None:
        self.now = 0.0
        self.records: dict[int, list[Record]] = {n: [] for n in (1, 2, 3)}
        self.groups = {n: self.start(n, HardState.fresh(Configuration(MEMBERS))) for n in (1, 2, 3)}
        self.down: set[int] = set()

    def start(self, replica: int, hard: HardState, applied: int = 0) -> Group:
        leases = Liveness(f"n{replica}", 1, LeaseOptions(), self.now, fresh=True)
        options = (hard, leases, GroupOptions(), random.Random(replica), self.now)
        return Group("g", replica, *options, applied=applied)

    def settle(self, rounds: int = 50) -> None:
        """Deliver until nobody has anything to say, at this moment."""
        for _ in range(rounds):
            sends = []
            for number in sorted(self.groups.keys() - self.down):
                effects = self.groups[number].take()
                self.records[number] += [record for _, record in effects.persist]
                if effects.persist:
                    self.groups[number].persisted(effects.persist[-1][0], self.now)
                sends += [(number, send.to.replica, send.message) for send in effects.sends]
            for sender, to, message in sends:
                if to not in self.down:
                    self.groups[to].step(sender, message, self.now)
            if not sends:
                return


def test_a_follower_that_had_acknowledged_more_than_it_knew_to_be_committed_catches_up_under_load() -> None:
    trio = Trio()
    leader = trio.groups[1]
    leader.campaign(0.0)
    trio.settle()
    leader.propose([b"x"], 0.0)
    trio.settle()
    assert leader.acked(2) == leader.last_slot
    # It restarts knowing its log but not how much of it is decided: the advisory record came too late.
    log = [record for record in trio.records[2] if type(record).__name__ != "Committed"]
    trio.down.add(2)
    leader.propose([b"while it is away"], trio.now)
    trio.settle()
    trio.groups[2] = trio.start(2, HardState.replay(log))
    trio.down.clear()
    for _ in range(40):
        # Every reply is followed by another write, so that the leader never finds the follower silent.
        trio.now += 0.02
        leader.propose([b"load"], trio.now)
        trio.settle()
    assert leader.acked(2) == leader.last_slot, "the follower must not wait for a pause"
