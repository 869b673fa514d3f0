"""What a canary tries, and what it takes for a right answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canaries.plan import KEYS, STEPS, WRONG, Judged, Key, Round, Rounds
from loadgen.plan import Operation
from loadgen.translate import Outcome


def ok(value: str | None) -> Outcome:
    return Outcome("ok", 200, None, value)


LOST = Outcome("unknown", 0, "AnswerTimeout", None)
REFUSED = Outcome("fail", 503, "ServiceUnavailable", None)


class Register:
    """A correct database of one key."""

    def __init__(self) -> None:
        self.value: str | None = None

    def do(self, operation: Operation) -> Outcome:
        before = self.value
        if operation.op not in ("get", "eget"):
            self.value = operation.value
        return ok(before)


def play(current: Round, register: Register) -> list[Judged]:
    found = []
    for op in STEPS:
        operation = current.operation(op)
        found.append(current.key.judge(operation, register.do(operation)))
    return found


def test_rounds_go_through_the_endpoints_in_turn_and_every_endpoint_meets_every_key() -> None:
    rounds = Rounds("canary-a", "load", 3, offset=1)
    met: dict[int, set[str]] = {}
    for number in range(3 * KEYS):
        current = rounds.begin()
        assert current.endpoint == (number + 1) % 3
        met.setdefault(current.endpoint, set()).add(current.key.name)
        rounds.end(current)
    assert [len(keys) for keys in met.values()] == [KEYS] * 3


def test_two_rounds_under_way_never_share_a_key() -> None:
    rounds = Rounds("canary-a", "load", 3)
    names = [rounds.begin().key.name for _ in range(5 * KEYS)]
    assert len(set(names)) == len(names)


def test_a_correct_database_has_only_right_answers() -> None:
    current = Rounds("c", "load", 1).begin()
    register = Register()
    assert [judged.outcome for judged in play(current, register) + play(current, register)] == ["ok"] * 10


@pytest.mark.parametrize("op", ["get", "put", "update", "delete"])
def test_an_answer_that_cannot_be_is_wrong(op: str) -> None:
    key = Key("k")
    put = Operation("put", "t", "k", key.next_value(), None)
    assert key.judge(put, ok(None)).outcome == "ok"
    asked = Operation(op, "t", "k", None, None)  # type: ignore[arg-type]
    assert key.judge(asked, ok(None)) == Judged("wrong", 200, WRONG)


def test_an_eventual_read_may_be_late_but_invents_nothing() -> None:
    key = Key("k")
    key.judge(Operation("put", "t", "k", key.next_value(), None), ok(None))
    read = Operation("eget", "t", "k", None, None)
    assert key.judge(read, ok(None)).outcome == "ok"
    assert key.judge(read, ok("!torn:k.1")).outcome == "wrong"
    assert key.judge(read, ok("other.1")).outcome == "wrong"


def test_a_write_without_an_answer_makes_the_key_unsure_and_a_fresh_one_takes_its_place() -> None:
    rounds = Rounds("c", "load", 1)
    current = rounds.begin()
    put = current.operation("put")
    assert current.key.judge(put, LOST).outcome == "unknown"
    # Whether it happened is not known: neither answer is wrong.
    assert current.key.judge(current.operation("get"), ok(put.value)).outcome == "ok"
    assert current.key.judge(current.operation("get"), ok(None)).outcome == "ok"
    rounds.end(current)
    later = []
    for _ in range(2 * KEYS):
        again = rounds.begin()
        later.append(again.key.name)
        rounds.end(again)
    assert current.key.name not in later


def test_a_refused_write_and_an_unanswered_read_leave_the_key_sure() -> None:
    key = Key("k")
    assert key.judge(Operation("put", "t", "k", key.next_value(), None), REFUSED).outcome == "fail"
    assert key.judge(Operation("get", "t", "k", None, None), LOST).outcome == "unknown"
    assert key.sure
    assert key.judge(Operation("get", "t", "k", None, None), ok("k.1")).outcome == "wrong"


@given(st.lists(st.sampled_from(["done", "refused", "lost-done", "lost"]), min_size=5, max_size=100))
def test_no_fate_of_single_requests_makes_a_correct_database_look_wrong(fates: list[str]) -> None:
    rounds = Rounds("c", "load", 2)
    registers: dict[str, Register] = {}
    left = list(fates)
    while len(left) >= len(STEPS):
        current = rounds.begin()
        register = registers.setdefault(current.key.name, Register())
        for op in STEPS:
            operation = current.operation(op)
            fate = left.pop()
            answer = register.do(operation) if fate in ("done", "lost-done") else REFUSED
            judged = current.key.judge(operation, LOST if fate.startswith("lost") else answer)
            assert judged.outcome != "wrong"
        rounds.end(current)
