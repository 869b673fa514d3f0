"""Quorum arithmetic against an oracle that counts on its fingers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cluster.core.config import Configuration, Member
from cluster.core.quorum import Quorum

members = st.lists(st.sampled_from(range(1, 8)), min_size=1, max_size=7, unique=True).flatmap(
    lambda ids: st.lists(st.sampled_from("abc"), min_size=len(ids), max_size=len(ids)).map(
        lambda zones: tuple(Member(i, f"n{i}", z, z) for i, z in zip(ids, zones, strict=True))
    )
)
configs = st.tuples(members, st.one_of(st.just(()), members)).map(lambda pair: Configuration(pair[0], pair[1]))


def decided_by_hand(config: Configuration, acked: dict[int, int]) -> int:
    """The highest slot for which, in every set, more than half have it, and two zones where there are two."""

    def has(slot: int) -> bool:
        for voters in config.voter_sets():
            holders = [m for m in voters if acked.get(m.replica, 0) >= slot]
            if 2 * len(holders) <= len(voters):
                return False
            if len({m.zone for m in voters}) > 1 and len({m.zone for m in holders}) < 2:
                return False
        return True

    return max((slot for slot in range(12) if has(slot)), default=0)


@given(configs, st.dictionaries(st.integers(1, 8), st.integers(0, 11)))
def test_decided(config: Configuration, acked: dict[int, int]) -> None:
    assert Quorum(config).decided(acked) == decided_by_hand(config, acked)


@given(configs, st.sets(st.integers(1, 8)))
def test_won_is_a_majority_of_every_set(config: Configuration, granted: set[int]) -> None:
    by_hand = all(2 * len([m for m in v if m.replica in granted]) > len(v) for v in config.voter_sets())
    assert Quorum(config).won(granted) == by_hand


@given(configs, st.dictionaries(st.integers(1, 8), st.floats(0.1, 100)), st.floats(0.1, 100))
def test_until_holds_exactly_as_long_as_a_majority_does(
    config: Configuration, untils: dict[int, float], moment: float
) -> None:
    alive = {replica for replica, until in untils.items() if until >= moment}
    assert (Quorum(config).until(untils) >= moment) == Quorum(config).won(alive)


@given(configs, st.sets(st.integers(1, 8)), st.dictionaries(st.integers(1, 8), st.integers(0, 3)))
def test_a_decision_and_a_promise_share_a_member(
    config: Configuration, promised: set[int], acked: dict[int, int]
) -> None:
    """What the whole protocol stands on."""
    quorum = Quorum(config)
    slot = quorum.decided(acked)
    if slot and quorum.won(promised):
        assert any(acked.get(replica, 0) >= slot for replica in promised)
