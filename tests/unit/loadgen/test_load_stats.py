"""Windows and histograms: monotonic, at most 12 % wide, and sums of parts are the whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.commands.load import _shown
from loadgen.distributed import Merger
from loadgen.stats import OutcomeName, Window, bucket_ms, bucket_of, percentile_ms
from loadgen.translate import Outcome


@given(st.integers(0, 10**11))
def test_a_bucket_holds_its_latency_and_is_never_far_above_it(ns: int) -> None:
    edge_ms = bucket_ms(bucket_of(ns))
    assert ns / 1e6 <= edge_ms
    assert edge_ms <= max(ns / 1e6 * 1.13, ns / 1e6 + 0.0011)


@given(st.integers(0, 10**11), st.integers(0, 10**11))
def test_buckets_are_monotonic(one: int, other: int) -> None:
    if one <= other:
        assert bucket_of(one) <= bucket_of(other)


def test_percentiles_of_nothing_are_unknown_and_of_something_near() -> None:
    window = Window()
    assert window.line()["p50_ms"] is None
    for ms in range(1, 101):
        window.complete("put", "ok", ms * 1_000_000)
    assert 50 <= (percentile_ms(window.latency, 0.5) or 0) <= 57
    assert 99 <= (percentile_ms(window.latency, 0.99) or 0) <= 112


def test_a_window_survives_its_way_to_the_master_and_adds_up() -> None:
    window = Window(offered=5, sent=4, skipped=1)
    window.complete("put", "ok", 1_000_000)
    window.complete("get", "unknown", 2_000_000)
    window.complete("cput", "fail", 1_000_000, unmet=True)
    window.complete("cput", "fail", 1_000_000)
    twice = Window()
    for _ in range(2):
        twice.add(Window.unpack(window.pack()))
    line = twice.line()
    assert (line["offered"], line["sent"], line["skipped"], line["ok"], line["unknown"]) == (10, 8, 2, 2, 2)
    assert (line["failed"], line["unmet"]) == (4, 2)
    assert line["by_op"] == {"cput": {"fail": 4}, "get": {"unknown": 2}, "put": {"ok": 2}}


@pytest.mark.parametrize(
    ("outcome", "error", "unmet"),
    [
        ("fail", "ConditionalCheckFailedException", True),
        ("fail", "TransactionCanceledException", True),
        ("fail", "TransactionConflictException", True),
        ("fail", "ProvisionedThroughputExceededException", False),
        ("ok", None, False),
        ("unknown", "AnswerTimeout", False),
    ],
)
def test_a_condition_that_does_not_hold_is_an_answer(outcome: OutcomeName, error: str | None, unmet: bool) -> None:
    assert Outcome(outcome, 400, error, None).unmet == unmet


def test_what_people_see_counts_no_right_answer_among_the_failures() -> None:
    window = Window(offered=3, sent=3)
    window.complete("cput", "fail", 1_000_000, unmet=True)
    window.complete("put", "fail", 1_000_000)
    shown = _shown(0, [window.line()])
    assert "unmet     1  failed     1" in shown


def test_the_merger_waits_for_every_worker_that_lives() -> None:
    merger = Merger(2)
    merger.add(0, 0, Window(offered=1))
    assert list(merger.complete()) == []
    merger.add(1, 0, Window(offered=2))
    assert [(second, window.offered) for second, window in merger.complete()] == [(0, 3)]
    merger.add(0, 1, Window(offered=4))
    merger.leave(1)  # died: the others' seconds must not wait for it for ever
    assert [(second, window.offered) for second, window in merger.complete()] == [(1, 4)]
    merger.leave(0)
    assert merger.totals.offered == 7
