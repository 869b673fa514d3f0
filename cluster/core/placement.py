"""Which nodes hold a group's replicas: three zones, never two replicas on one rack, the emptiest node first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

REPLICAS = 3


class Candidate(NamedTuple):
    """A healthy storage node. ``disk`` identifies the life of its data volume: a replica is placed on a disk, not a
    name."""

    node: str
    az: str
    rack: str
    disk: str


class CannotPlace(Exception):
    """There are not enough healthy nodes in enough places; says what is missing."""


def place(candidates: Sequence[Candidate], load: Mapping[str, int], count: int = REPLICAS) -> list[Candidate]:
    """Choose ``count`` nodes, one per zone while zones last; ``load`` is replicas per node. Ties break by name.

    Raises :class:`CannotPlace`: fewer than ``count`` racks in all, or fewer than two zones for more than one replica,
    since a write quorum must span two zones.
    """
    chosen: list[Candidate] = []
    while len(chosen) < count:
        racks = {c.rack for c in chosen}
        zones = [c.az for c in chosen]
        open_ = [c for c in candidates if c.rack not in racks]
        if not open_:
            raise CannotPlace(
                f"{count} replicas need {count} racks with a healthy storage node; there are {len(racks)}"
            )
        chosen.append(min(open_, key=lambda c: (zones.count(c.az), load.get(c.node, 0), c.node)))
    if count > 1 and len({c.az for c in chosen}) < 2:
        raise CannotPlace("a write quorum must span two zones; all healthy storage nodes are in one")
    return chosen


def place_all(candidates: Sequence[Candidate], load: Mapping[str, int], groups: int) -> list[list[Candidate]]:
    """Place several groups one after the other, so that they spread; the first replica of each leads at first, and
    leaders rotate over the zones."""
    counts = dict(load)
    placed = []
    for index in range(groups):
        chosen = sorted(place(candidates, counts), key=lambda c: c.az)
        for candidate in chosen:
            counts[candidate.node] = counts.get(candidate.node, 0) + 1
        turn = index % len(chosen)
        placed.append(chosen[turn:] + chosen[:turn])
    return placed


def spread(
    candidates: Iterable[Candidate], load: Mapping[str, int], members: Sequence[Candidate]
) -> tuple[Candidate, Candidate] | None:
    """The move that brings a group into one more zone: who leaves a zone that holds two members, and who comes in a
    zone that holds none. None where the group is spread already, or there is no such zone. A group made while a zone
    was dark is put right this way once the zone is back."""
    zones = [member.az for member in members]
    crowded = [member for member in members if zones.count(member.az) > 1]
    open_ = [c for c in candidates if c.az not in zones]
    if not crowded or not open_:
        return None
    leaves = max(crowded, key=lambda c: (load.get(c.node, 0), c.node))
    return leaves, min(open_, key=lambda c: (load.get(c.node, 0), c.node))


def replacement(
    candidates: Iterable[Candidate], load: Mapping[str, int], keep: Sequence[Candidate], lost: Candidate
) -> Candidate | None:
    """Where a lost replica goes: its own node if that is back with a new disk, else another in its zone; never on a
    rack that holds one of those kept. None while there is no such node: the group waits rather than crowd another
    zone."""
    racks = {c.rack for c in keep}
    open_ = [c for c in candidates if c.az == lost.az and c.rack not in racks and c.disk != lost.disk]
    if not open_:
        return None
    return min(open_, key=lambda c: (c.node != lost.node, load.get(c.node, 0), c.node))
