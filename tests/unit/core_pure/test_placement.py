"""Placement: three zones, never two replicas on a rack."""

from __future__ import annotations

import pytest

from cluster.core.placement import Candidate, CannotPlace, place, place_all, replacement, spread

SMALL = [Candidate(f"storage-{z}{n}", z, f"{z}{n}", f"disk-{z}{n}") for z in "abc" for n in (1, 2)]


def test_one_replica_per_zone_and_groups_spread_over_nodes_and_leaders_over_zones() -> None:
    placed = place_all(SMALL, {}, 6)
    for chosen in placed:
        assert sorted(c.az for c in chosen) == ["a", "b", "c"]
    assert [chosen[0].az for chosen in placed] == ["a", "b", "c", "a", "b", "c"]
    counts = [sum(c in chosen for chosen in placed) for c in SMALL]
    assert counts == [3] * 6


def test_two_zones_still_place_on_three_racks() -> None:
    chosen = place([c for c in SMALL if c.az != "c"], {})
    assert len({c.rack for c in chosen}) == 3
    assert len({c.az for c in chosen}) == 2


def test_one_zone_or_too_few_racks_are_refused_with_what_is_missing() -> None:
    with pytest.raises(CannotPlace, match="two zones"):
        place([Candidate(f"s{n}", "a", f"a{n}", "d") for n in range(3)], {})
    with pytest.raises(CannotPlace, match="3 racks"):
        place(SMALL[:2], {})


def test_a_lost_disk_is_replaced_on_its_own_node_first_and_never_by_itself() -> None:
    lost = SMALL[0]
    keep = [SMALL[2], SMALL[4]]
    assert replacement(SMALL, {}, keep, lost) == SMALL[1], "the same disk is no replacement"
    back = lost._replace(disk="new")
    assert replacement([back, *SMALL[1:]], {"storage-a1": 9}, keep, lost) == back
    assert replacement([c for c in SMALL if c.az != "a"], {}, keep, lost) is None, "another zone is not crowded"


def test_a_group_made_while_a_zone_was_dark_moves_into_it_when_it_is_back() -> None:
    dark = [c for c in SMALL if c.az != "c"]
    members = place(dark, {})
    assert spread(dark, {}, members) is None, "there is nowhere to go yet"
    move = spread(SMALL, {"storage-c1": 5}, members)
    assert move is not None
    leaves, comes = move
    assert [m.az for m in members].count(leaves.az) == 2
    assert comes.node == "storage-c2", "the emptier one"
    assert spread(SMALL, {}, [m for m in members if m != leaves] + [comes]) is None
