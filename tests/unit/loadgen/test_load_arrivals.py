"""The open model: rates, shapes, and that no arrival is ever hidden."""

from __future__ import annotations

from itertools import islice, pairwise, takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.arrivals import Arrivals, Offered, Shape, arrival_times


def test_poisson_arrivals_have_the_rate_and_the_spread_of_independent_users() -> None:
    times = list(takewhile(lambda t: t < 100, arrival_times(Shape.constant(200), "seed")))
    assert len(times) == pytest.approx(20_000, rel=0.03)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    mean = sum(gaps) / len(gaps)
    variance = sum((gap - mean) ** 2 for gap in gaps) / len(gaps)
    assert variance == pytest.approx(mean**2, rel=0.1)  # exponential gaps


def test_even_arrivals_are_evenly_spaced() -> None:
    times = list(islice(arrival_times(Shape.constant(10), "x", poisson=False), 5))
    assert times == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])


def test_the_same_seed_gives_the_same_arrivals() -> None:
    first = list(islice(arrival_times(Shape.constant(10), "1/load-a"), 100))
    assert first == list(islice(arrival_times(Shape.constant(10), "1/load-a"), 100))
    assert first != list(islice(arrival_times(Shape.constant(10), "1/load-b"), 100))


def test_a_ramp_offers_the_area_under_its_line() -> None:
    shape = Shape.ramp(0, 100, 10)
    times = list(takewhile(lambda t: t < 20, arrival_times(shape, "x", poisson=False)))
    assert sum(t <= 10 for t in times) == pytest.approx(500, abs=1)
    assert sum(t > 10 for t in times) == pytest.approx(1000, abs=1)
    assert shape.rate_at(5) == 50
    assert shape.rate_at(15) == 100


def test_a_spike_is_only_where_it_should_be_and_a_shape_may_pause_and_end() -> None:
    shape = Shape(((0, 0), (5, 0), (5, 10), (7, 10), (7, 0)))
    times = list(arrival_times(shape, "x", poisson=False))
    assert len(times) == 20
    assert 5 < times[0] <= times[-1] <= 7
    assert Shape.spike(10, 50, at=3, seconds=2).rate_at(4) == 50


@pytest.mark.parametrize(
    ("points", "message"),
    [((), "starts with"), (((1.0, 5.0),), "starts with"), (((0.0, 5.0), (2.0, 1.0), (1.0, 1.0)), "order of time")],
)
def test_a_shape_that_makes_no_sense_is_refused(points: tuple[tuple[float, float], ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Shape(points)


def test_a_user_gets_future_arrivals_and_old_ones_are_skipped_and_counted() -> None:
    arrivals = Arrivals(iter([1.0, 2.0, 3.0, 4.0]), patience_s=0.5)
    assert arrivals.take(0.0) == 1.0
    assert arrivals.take(3.2) == 3.0  # 2.0 had waited for 1.2 s
    assert (arrivals.taken, arrivals.skipped) == (2, 1)
    assert arrivals.expire(9.0) == 1
    assert arrivals.take(9.0) is None


@given(
    st.lists(st.floats(0, 30, allow_nan=False), max_size=60),
    st.lists(st.floats(0, 40, allow_nan=False), max_size=60),
    st.floats(0, 5),
)
def test_every_offered_arrival_is_taken_skipped_or_still_to_come(
    due: list[float], calls: list[float], patience_s: float
) -> None:
    arrivals, offered = Arrivals(iter(sorted(due)), patience_s), Offered(iter(sorted(due)))
    for now in sorted(calls):
        arrivals.take(now)
    arrivals.expire(1e9)
    assert arrivals.taken + arrivals.skipped == offered.until(1e9) == len(due)


def test_offered_counts_each_arrival_in_its_own_window() -> None:
    offered = Offered(iter([0.1, 0.9, 1.0, 5.0]))
    assert [offered.until(t) for t in (1.0, 2.0, 3.0, 10.0)] == [2, 1, 0, 1]
