"""Work that is done now and then is done at moments that all of a node's loops share."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cluster.node.pace import next_turn

times = st.floats(0, 1e9)
intervals = st.sampled_from([0.5, 1.0, 2.0, 5.0])


@given(times, intervals)
def test_a_turn_is_a_multiple_of_its_interval_and_about_an_interval_away(now: float, interval: float) -> None:
    turn = next_turn(now, interval)
    assert turn / interval == round(turn / interval)
    assert 0.5 * interval - 1e-6 <= turn - now <= 1.5 * interval + 1e-6


@given(times, intervals, st.floats(-1e-4, 0.1))
def test_the_turn_after_a_turn_is_one_interval_later_though_it_began_late_or_by_a_rounding_early(
    now: float, interval: float, late: float
) -> None:
    turn = next_turn(now, interval)
    assert next_turn(turn + late, interval) == turn + interval


@given(times)
def test_whoever_has_a_longer_interval_takes_no_moments_of_its_own(now: float) -> None:
    assert next_turn(now, 5.0) % 1.0 == 0.0
