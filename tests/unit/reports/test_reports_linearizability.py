"""Linearizability: against a slow oracle, on correct histories of a model, and on planted defects it must name."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_synth import Mix, operation, simulate

from reports.checkers import linearizability
from reports.checkers.chains import holds
from reports.checkers.evidence import History
from reports.rundir import CONDITION_FAILED, Operation
from reports.rundir.history import NEVER_NS


def oracle(operations: list[Operation]) -> bool:
    """Try every order, straight from the definition. Exponential; for a handful of operations."""
    must = [
        o
        for o in operations
        if (o.op in ("get", "final") and o.outcome == "ok")
        or (o.is_write and (o.outcome == "ok" or o.condition_failed))
    ]
    may = [o for o in operations if o.is_write and o.outcome == "unknown"]
    return _order_exists(frozenset(range(len(must))), frozenset(range(len(may))), None, must, may)


def _order_exists(
    left: frozenset[int], spare: frozenset[int], state: str | None, must: list[Operation], may: list[Operation]
) -> bool:
    if not left:
        return True
    bound = min(must[i].ended_ns for i in left)
    for i in left:
        o = must[i]
        if o.invoked_ns <= bound and o.observed == state:
            if o.is_write and o.expect is not None and holds(o.expect, state) != (o.outcome == "ok"):
                continue
            after = o.value if o.is_write and o.outcome == "ok" else state
            if _order_exists(left - {i}, spare, after, must, may):
                return True
    return any(
        may[i].invoked_ns <= bound
        and (may[i].expect is None or holds(may[i].expect or "", state))
        and _order_exists(left, spare - {i}, may[i].value, must, may)
        for i in spare
    )


@st.composite
def small_histories(draw: st.DrawFn) -> list[Operation]:
    count = draw(st.integers(1, 6))
    kinds = draw(
        st.lists(st.sampled_from(["put", "put", "cput", "delete", "get", "get"]), min_size=count, max_size=count)
    )
    values = [f"v{n}" for n, kind in enumerate(kinds) if kind in ("put", "cput")]
    states = st.sampled_from([None, *values])
    history = []
    for n, kind in enumerate(kinds):
        invoked = draw(st.integers(0, 12))
        ended = invoked + draw(st.integers(0, 8))
        outcome = draw(st.sampled_from(["ok", "ok", "ok", "unknown", "fail"])) if kind != "get" else "ok"
        expect = draw(st.sampled_from(["-", "*", *values])) if kind == "cput" else None
        if kind == "delete" and draw(st.booleans()):
            expect = draw(st.sampled_from(["*", *values]))
        error = draw(st.sampled_from([CONDITION_FAILED, "ThrottlingException"])) if outcome == "fail" else None
        if error == CONDITION_FAILED and expect is None:
            error = "ThrottlingException"
        history.append(
            operation(
                kind,
                n,
                invoked,
                ended,
                value=f"v{n}" if kind in ("put", "cput") else None,
                outcome=outcome,
                error=error,
                observed=None if outcome == "unknown" or error == "ThrottlingException" else draw(states),
                expect=expect,
            )
        )
    history.sort(key=lambda o: o.invoked_ns)
    return history


@given(small_histories())
@settings(max_examples=600)
def test_agrees_with_the_oracle(history: list[Operation]) -> None:
    contradictions, gave_up = linearizability.judge(history)
    assert not gave_up
    assert (not contradictions) == oracle(history), contradictions


@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.05, 0.3]), st.integers(1, 8), st.integers(4, 120))
@settings(max_examples=120)
def test_correct_histories_pass(seed: int, unknown: float, clients: int, count: int) -> None:
    history, _, _ = simulate(seed, Mix(operations=count, clients=clients, keys=2, unknown=unknown))
    result = linearizability.check(History(history))
    assert result.result == "ok", result.why


@given(st.integers(0, 2**32), st.data())
@settings(max_examples=120)
def test_a_changed_answer_is_judged_like_the_oracle(seed: int, data: st.DataObject) -> None:
    """Short correct histories with unknown outcomes, one answer falsified."""
    history, _, _ = simulate(seed, Mix(operations=7, clients=3, unknown=0.2))
    history = [o for o in history if o.op != "eget"]
    answered = [n for n, o in enumerate(history) if o.observes]
    if not answered:
        return
    place = data.draw(st.sampled_from(answered))
    value = data.draw(st.sampled_from([None, *(o.value for o in history if o.value)]))
    history[place] = msgspec.structs.replace(history[place], observed=value)
    contradictions, gave_up = linearizability.judge(history)
    assert not gave_up
    assert (not contradictions) == oracle(history), contradictions


def names(history: list[Operation]) -> list[str]:
    result = linearizability.check(History(history))
    assert result.result == "failed"
    assert result.found == len(result.findings)
    return [found["operation"] for found in result.findings]


def test_stale_read_is_named() -> None:
    history = [
        operation("put", 1, 0, 10, value="x"),
        operation("put", 2, 20, 30, value="y", observed="x"),
        operation("get", 3, 40, 50, observed="x"),
    ]
    result = linearizability.check(History(history))
    assert names(history) == ["w#3"]
    assert "stale read" in result.why
    assert result.findings[0]["related"][0]["operation"] == "w#2"


def test_lost_update_is_named() -> None:
    history = [
        operation("put", 1, 0, 10, value="x"),
        operation("put", 2, 20, 30, value="y", observed="x"),
        operation("put", 3, 40, 50, value="z", observed="x"),
    ]
    assert names(history) == ["w#3"]


def test_value_from_nowhere_and_of_a_refused_write() -> None:
    assert names([operation("get", 1, 0, 1, observed="ghost")]) == ["w#1"]
    refused = operation("put", 1, 0, 5, value="x", outcome="fail", error="ThrottlingException")
    assert names([refused, operation("get", 2, 6, 7, observed="x")]) == ["w#2"]


def test_value_read_before_it_was_written() -> None:
    assert names([operation("get", 1, 0, 1, observed="x"), operation("put", 2, 5, 6, value="x")]) == ["w#1"]


def test_condition_that_did_not_hold() -> None:
    history = [
        operation("put", 1, 0, 10, value="x"),
        operation("cput", 2, 20, 30, value="y", observed="x", expect="other"),
    ]
    assert "w#2" in names(history)


def test_condition_refused_though_it_held() -> None:
    history = [
        operation("put", 1, 0, 10, value="x"),
        operation("cput", 2, 20, 30, value="y", observed="x", expect="x", outcome="fail", error=CONDITION_FAILED),
    ]
    assert names(history) == ["w#2"]


def test_item_that_vanished() -> None:
    history = [
        operation("put", 1, 0, 10, value="x"),
        operation("get", 2, 20, 30, observed=None),
        operation("get", 3, 40, 50, observed="x"),
    ]
    assert names(history) == ["w#2"]


def test_second_birth_without_a_delete() -> None:
    history = [operation("put", 1, 0, 10, value="x"), operation("put", 2, 20, 30, value="y")]
    assert names(history) == ["w#2"]
    unknown_delete = operation("delete", 3, 5, None)
    assert linearizability.check(History([history[0], unknown_delete, history[1]])).result == "ok"


def test_unanswered_delete_cannot_act_before_it_began() -> None:
    history = [
        operation("put", 1, 0, 10, value="x"),
        operation("put", 2, 20, 30, value="y"),
        operation("delete", 3, 40, None),
        operation("get", 4, 50, 60, observed="y"),
    ]
    assert names(history)


def test_a_write_that_may_have_happened_may_have() -> None:
    first = operation("put", 1, 0, 10, value="x")
    lost_answer = operation("put", 2, 20, None, value="y")
    assert linearizability.check(History([first, lost_answer])).result == "ok"
    for seen in ("x", "y"):
        assert (
            linearizability.check(History([first, lost_answer, operation("get", 3, 90, 95, observed=seen)])).result
            == "ok"
        )
    both_ways = [
        first,
        lost_answer,
        operation("get", 3, 90, 95, observed="y"),
        operation("get", 4, 100, 105, observed="x"),
    ]
    assert names(both_ways)


def test_circle_of_predecessors() -> None:
    history = [
        operation("put", 1, 0, 100, value="x", observed="y"),
        operation("put", 2, 0, 100, value="y", observed="x"),
    ]
    assert names(history)


def test_ids_written_twice() -> None:
    history = [operation("put", 1, 0, 10, value="x"), operation("put", 2, 20, 30, value="x", observed="x")]
    assert "not unique" in linearizability.check(History(history)).why


def test_exhaustion_is_unknown_not_ok() -> None:
    history = []
    for n in range(4):
        history.append(operation("put", 10 + n, 0, None, value=f"f{n}"))
        history.append(operation("get", 20 + n, 100 * n + 50, 100 * n + 90, observed=f"f{n}"))
    assert linearizability.check(History(history)).result == "ok"
    result = linearizability.check(History(history), steps_max=2)
    assert result.result == "unknown"
    assert "gave up" in result.why


def test_nothing_to_look_at_is_unknown() -> None:
    assert linearizability.check(History([])).result == "unknown"


@pytest.mark.parametrize("seed", range(25))
def test_a_crash_that_forgets_acknowledged_writes_is_seen(seed: int) -> None:
    history, _, forgotten = simulate(seed, Mix(operations=120, weights={"put": 3, "get": 3}), roll_back_at=60)
    assert forgotten
    assert linearizability.check(History(history)).result == "failed"


def test_open_operations_end_never() -> None:
    assert operation("put", 1, 0, None, value="x").ended_ns == NEVER_NS
