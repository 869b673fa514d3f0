"""Durability: exactly the forgotten writes are named, and none other."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from report_synth import Mix, operation, simulate

from reports.checkers import durability
from reports.checkers.evidence import History
from reports.rundir import Operation, Problem


def lost_names(history: list[Operation]) -> set[str]:
    result = durability.check(History(history))
    assert result.result in ("ok", "failed"), result.why
    return {found["operation"] for found in result.findings}


@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.05, 0.3]), st.integers(1, 8), st.integers(4, 120))
@settings(max_examples=120)
def test_correct_histories_lose_nothing(seed: int, unknown: float, clients: int, count: int) -> None:
    history, _, _ = simulate(seed, Mix(operations=count, clients=clients, keys=2, unknown=unknown))
    assert not durability.check(History(history)).findings


@given(st.integers(0, 2**32), st.integers(5, 60))
@settings(max_examples=120)
def test_forgotten_writes_are_named_exactly(seed: int, at: int) -> None:
    """Without deletes and unknown outcomes the model's truth is known to the last write."""
    mix = Mix(operations=60, clients=4, failed=0.1, weights={"put": 3, "update": 2, "get": 2, "eget": 1})
    history, model, forgotten = simulate(seed, mix, roll_back_at=at)
    acknowledged = {o.name for o in history if o.outcome == "ok" and o.is_write}
    present = {name for chain in model.truth.values() for name, _ in chain}
    assert forgotten.isdisjoint(present)
    named = lost_names(history)
    assert named <= forgotten & acknowledged
    last_forgotten = acknowledged & forgotten
    # of a forgotten run the last is a chain's end; those before it were superseded by it
    assert bool(named) == bool(last_forgotten)


@given(st.integers(0, 2**32), st.integers(5, 60), st.sampled_from([0.05, 0.3]))
@settings(max_examples=120)
def test_only_forgotten_writes_are_named(seed: int, at: int, unknown: float) -> None:
    history, _, forgotten = simulate(seed, Mix(operations=60, keys=1, unknown=unknown), roll_back_at=at)
    if not forgotten:
        assert not durability.check(History(history)).findings
    result = durability.check(History(history))
    if result.findings and not any(o.op == "delete" or o.outcome == "unknown" for o in history):
        assert {found["operation"] for found in result.findings} <= forgotten


def final(id: int, value: str | None) -> Operation:
    return operation("final", id, 1000, 1010, observed=value)


def test_last_write_gone() -> None:
    history = [
        operation("put", 1, 0, 10, value="x"),
        operation("put", 2, 20, 30, value="y", observed="x"),
        final(3, "x"),
    ]
    assert lost_names(history) == {"w#2"}
    result = durability.check(History(history))
    assert "w#2" in result.why
    assert result.findings[0]["value"] == "y"
    assert result.looked_at == 2


def test_whole_tail_that_was_undone_is_named() -> None:
    history = [
        operation("put", 1, 0, 10, value="x"),
        operation("put", 2, 20, 30, value="y", observed="x"),
        operation("update", 3, 40, 50, value="z", observed="y"),
        final(4, "x"),
    ]
    assert lost_names(history) == {"w#2", "w#3"}


def test_deleted_item_that_is_back() -> None:
    history = [operation("put", 1, 0, 10, value="x"), operation("delete", 2, 20, 30, observed="x"), final(3, "x")]
    assert lost_names(history) == {"w#2"}
    assert "is back" in durability.check(History(history)).why


def test_a_lost_delete_is_told_by_what_was_there_again_not_by_what_there_is_at_the_end() -> None:
    history = [
        operation("put", 1, 0, 10, value="x"),
        operation("delete", 2, 20, 30, observed="x"),
        operation("cput", 3, 40, 50, value="y", observed="x", expect="x"),
        operation("delete", 4, 60, 70, observed="y"),
        final(5, None),
    ]
    assert lost_names(history) == {"w#2"}
    why = durability.check(History(history)).why
    assert "the item it removed, 'x', was there afterwards; it ends as no item" in why


def test_item_that_vanished() -> None:
    assert lost_names([operation("put", 1, 0, 10, value="x"), final(2, None)]) == {"w#1"}


def test_overwritten_on_a_fork() -> None:
    history = [
        operation("put", 1, 0, 10, value="x"),
        operation("put", 2, 20, 30, value="y", observed="x"),
        operation("put", 3, 40, 50, value="z", observed="x"),
        final(4, "z"),
    ]
    assert lost_names(history) == {"w#2"}


def test_an_unanswered_write_excuses_one_end_not_two() -> None:
    first = operation("put", 1, 0, 10, value="x")
    fork = operation("put", 2, 20, 30, value="y", observed=None)
    unknown = operation("put", 3, 40, None, value="z")
    assert lost_names([first, unknown, final(4, "z")]) == set()
    assert len(lost_names([first, fork, unknown, final(4, "z")])) == 1


def test_an_unanswered_delete_excuses_an_absence() -> None:
    write, delete = operation("put", 1, 0, 10, value="x"), operation("delete", 2, 20, None)
    assert lost_names([write, delete, final(3, None)]) == set()


def test_a_fork_has_one_branch_too_many_whatever_is_unanswered() -> None:
    history = [
        operation("put", 1, 0, 10, value="x"),
        operation("put", 2, 20, 30, value="y", observed="x"),
        operation("put", 3, 40, 50, value="z", observed="x"),
        operation("delete", 4, 0, None),
        final(5, "z"),
    ]
    assert lost_names(history) == {"w#2"}
    vanished = [*history[:4], final(5, None)]
    assert len(lost_names(vanished)) == 1


def test_what_was_seen_long_before_cannot_have_replaced_it() -> None:
    history = [
        operation("put", 1, 0, None, value="u"),
        operation("get", 2, 5, 6, observed="u"),
        operation("put", 3, 20, 30, value="x", observed="u"),
        final(4, None),
    ]
    assert lost_names(history) == {"w#3"}


def test_an_unanswered_delete_much_later_excuses_nothing() -> None:
    """The item was seen without the value before that delete began: something else had taken it away by then."""
    history = [
        operation("put", 1, 0, 10, value="x"),
        operation("put", 2, 20, 30, value="y"),
        operation("delete", 3, 500, None),
        final(4, "y"),
    ]
    assert lost_names(history) == {"w#1"}
    early = operation("delete", 3, 15, None)
    assert lost_names([history[0], early, history[1], final(4, "y")]) == set()


def test_a_conditional_unanswered_write_excuses_only_what_it_expected() -> None:
    write = operation("put", 1, 0, 10, value="x")
    right = operation("cput", 2, 20, None, value="z", expect="x")
    wrong = operation("cput", 2, 20, None, value="z", expect="-")
    assert lost_names([write, right, final(3, "z")]) == set()
    assert lost_names([write, wrong, final(3, "z")]) == {"w#1"}


def test_no_closing_read_is_unknown() -> None:
    result = durability.check(History([operation("put", 1, 0, 10, value="x")]))
    assert result.result == "unknown"
    early = operation("final", 2, 5, 8, observed=None)
    assert durability.check(History([operation("put", 1, 0, 10, value="x"), early])).result == "unknown"


def test_damaged_history_is_unknown() -> None:
    history = [operation("put", 1, 0, 10, value="x"), final(2, "x")]
    assert durability.check(History(history)).result == "ok"
    damage = [Problem("a.log", 9, "checksum differs")]
    assert durability.check(History(history, damage)).result == "unknown"
    without = durability.check(History([history[0], final(2, None)], damage))
    assert (without.result, without.found) == ("unknown", 1)
