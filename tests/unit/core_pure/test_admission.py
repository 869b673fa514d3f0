"""GAC's arithmetic: the budget holds, nobody starves, tokens lapse."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.core.admission import GlobalBucket, LocalBucket, max_min_shares


def test_tokens_lapse() -> None:
    bucket = LocalBucket()
    bucket.refill(10, now=0.0, life_s=2.0)
    assert bucket.take(1, now=1.9)
    assert not bucket.take(1, now=2.0)


def test_a_debt_is_paid_from_the_next_grant() -> None:
    bucket = LocalBucket()
    bucket.refill(1, now=0.0)
    assert bucket.take(1, now=0.0)
    bucket.refill(5, now=0.0)
    bucket.charge(0)
    assert bucket.take(5, now=0.0)
    assert not bucket.take(1, now=0.0)


def test_an_overdraft_is_carried_over() -> None:
    bucket = LocalBucket()
    bucket.refill(1, now=0.0)
    assert bucket.take(4, now=0.0), "a request may overdraw the last token"
    bucket.refill(2, now=0.0)
    assert not bucket.take(1, now=0.0), "the debt of 3 is larger than the grant of 2"


def test_demand_includes_what_was_refused() -> None:
    bucket = LocalBucket()
    assert not bucket.take(3, now=0.0)
    assert bucket.report() == (0.0, 3.0)
    assert bucket.report() == (0.0, 0.0)


@given(st.dictionaries(st.sampled_from("abcdef"), st.floats(0, 1e6), min_size=1), st.floats(0, 1e6))
def test_shares_never_exceed_the_rate_and_are_max_min_fair(demands: dict[str, float], rate: float) -> None:
    shares = max_min_shares(demands, rate)
    assert sum(shares.values()) <= rate * (1 + 1e-9) + 1e-9
    short = [share for name, share in shares.items() if share < demands[name] - 1e-6]
    if short:
        assert max(shares.values()) <= min(short) + 1e-6 * max(1.0, rate)
        assert sum(shares.values()) == pytest.approx(rate)


def test_a_busy_router_gets_what_idle_ones_leave_and_a_silent_one_is_forgotten() -> None:
    bucket = GlobalBucket()
    for router in ("router-a", "router-b", "router-c"):
        bucket.vend(router, 0.0, rate=900.0, now=0.0)
    assert bucket.vend("router-a", 600.0, rate=900.0, now=0.5) == pytest.approx(600 + 100)
    assert bucket.vend("router-a", 600.0, rate=900.0, now=10.0) == pytest.approx(900)
    bucket.vend("router-b", 600.0, rate=900.0, now=10.0)
    assert bucket.vend("router-a", 600.0, rate=900.0, now=10.1) == pytest.approx(450)


def test_a_lower_rate_takes_savings_away() -> None:
    bucket = LocalBucket()
    bucket.refill(1000.0, 0.0, 300.0)
    bucket.refill(50.0, 0.0)
    bucket.cap(60.0)
    assert bucket.take(59.0, 1.0)
    assert bucket.take(1.0, 1.0)
    assert not bucket.take(1.0, 1.0)
