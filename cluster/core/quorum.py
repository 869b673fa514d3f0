"""Quorum arithmetic: pure, and checked against a dumb oracle in ``tests/property/core/test_quorum.py``.

A *decision* needs a majority of every active set of voters, spanning two zones where the set spans two: a zone that
burns down must never take the only copies. A *promise* or a *lease* needs the majorities alone, which intersect all
the same.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from cluster.core.config import Configuration, Member


class Quorum:
    """The quorums of one configuration, worked out once."""

    __slots__ = ("_sets", "config")

    def __init__(self, config: Configuration) -> None:
        self.config = config
        self._sets = tuple(_VoterSet(voters) for voters in config.voter_sets())

    def decided(self, acked: Mapping[int, int]) -> int:
        """The highest slot that a quorum has, where ``acked`` gives each replica's last slot (absent: 0)."""
        return min(voters.decided(acked) for voters in self._sets)

    def won(self, granted: Collection[int]) -> bool:
        """Whether these replicas hold a majority of every set."""
        return all(voters.held(granted) for voters in self._sets)

    def until(self, untils: Mapping[int, float]) -> float:
        """The latest time to which a majority of every set has given its word (absent: 0.0)."""
        return min(voters.until(untils) for voters in self._sets)


class _VoterSet:
    __slots__ = ("_ids", "_majority", "_zones")

    def __init__(self, voters: tuple[Member, ...]) -> None:
        self._ids = tuple(member.replica for member in voters)
        self._majority = len(voters) // 2 + 1
        zones: dict[str, list[int]] = {}
        for member in voters:
            zones.setdefault(member.zone, []).append(member.replica)
        # Where no zone holds a majority, each majority spans two zones by itself.
        can_stand_alone = any(len(ids) >= self._majority for ids in zones.values())
        self._zones = tuple(map(tuple, zones.values())) if len(zones) > 1 and can_stand_alone else ()

    def decided(self, acked: Mapping[int, int]) -> int:
        slots = sorted([acked.get(replica, 0) for replica in self._ids])
        by_majority = slots[-self._majority]
        if not self._zones:
            return by_majority
        best_by_zone = sorted([max([acked.get(replica, 0) for replica in ids]) for ids in self._zones])
        return min(by_majority, best_by_zone[-2])

    def held(self, granted: Collection[int]) -> bool:
        return sum(replica in granted for replica in self._ids) >= self._majority

    def until(self, untils: Mapping[int, float]) -> float:
        return sorted([untils.get(replica, 0.0) for replica in self._ids])[-self._majority]
