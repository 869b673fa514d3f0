"""The check ``transactions`` over recorded histories: what it says, when it says nothing, and that it can fail."""

from __future__ import annotations

import json
from typing import Any

import pytest

from reports.checkers import transactions
from reports.checkers.evidence import History
from reports.checkers.transactions_graph import Graph
from reports.checkers.transactions_lists import Dependencies
from reports.rundir.history import NEVER_NS, Operation

Steps = list[list[Any]]


def operation(
    number: int, op: str, steps: Steps, seen: Steps | None = None, *, at: int, outcome: str = "ok"
) -> Operation:
    ended = NEVER_NS if outcome == "unknown" else at + 5
    return Operation(
        "load-a", number, op, "load", "", json.dumps(steps), None, "a", "", at, at, ended, ended, outcome, 200, None,
        json.dumps(seen) if seen is not None else None,
    )  # fmt: skip


def serial(count: int = 12) -> list[Operation]:
    """Appends to two lists at once, each followed by a read of both."""
    made: list[Operation] = []
    state: list[str] = []
    for number in range(count):
        state = [*state, str(number)]
        made.append(
            operation(
                2 * number, "twrite", [["append", "x", str(number)], ["append", "y", str(number)]], at=20 * number
            )
        )
        read = [["r", "x", state], ["r", "y", state]]
        made.append(operation(2 * number + 1, "tread", [["r", "x", None], ["r", "y", None]], read, at=20 * number + 10))
    return made


def test_a_serial_history_is_ok_and_half_a_transaction_is_not() -> None:
    history = serial()
    good = transactions.check(History(history))
    assert (good.result, good.looked_at) == ("ok", 24)
    last = history[-1]
    whole, half = [str(n) for n in range(12)], [str(n) for n in range(11)]
    asked: Steps = [["r", "x", None], ["r", "y", None]]
    torn = operation(last.id, "tread", asked, [["r", "x", whole], ["r", "y", half]], at=last.invoked_ns)
    closing = operation(
        99, "tread", [["r", "y", None]], [["r", "y", [str(n) for n in range(12)]]], at=last.invoked_ns + 50
    )
    bad = transactions.check(History([*history[:-1], torn, closing]))
    assert bad.result == "failed"
    assert bad.findings[0]["anomaly"] == "G-single"
    assert "load-a#23 -rw y-> load-a#22 -wr x-> load-a#23" in bad.findings[0]["what"]


def test_a_total_that_changed_is_found_and_an_overdrawn_account_too() -> None:
    transfers = [operation(n, "twrite", [["add", "a", -1], ["add", "b", 1]], at=20 * n) for n in range(12)]
    asked: Steps = [["balance", "a", 100], ["balance", "b", 100]]

    def read(number: int, first: int, second: int) -> Operation:
        return operation(
            number, "tread", asked, [["balance", "a", first], ["balance", "b", second]], at=20 * number + 10
        )

    fine = [read(20 + n, 100 - n, 100 + n) for n in range(11)]
    assert transactions.check(History([*transfers, *fine])).result == "ok"
    for first, second in ((99, 100), (-5, 205)):
        bad = transactions.check(History([*transfers, *fine, read(50, first, second)]))
        assert (bad.result, bad.found) == ("failed", 1)
        assert bad.findings[0]["anomaly"] == "bank"


def test_without_transactions_there_is_nothing_to_judge_and_with_few_nothing_is_proved() -> None:
    assert transactions.check(History([])).result == "skipped"
    assert transactions.check(History(serial(3))).result == "unknown"
    refused = [operation(n, "twrite", [["append", "x", str(n)]], at=n, outcome="fail") for n in range(50)]
    assert transactions.check(History(refused)).result == "unknown"


def test_a_checker_that_always_agrees_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted checker: were the graph thrown away, the torn read above would pass."""
    monkeypatch.setattr(transactions, "cycles", lambda graph: [])
    monkeypatch.setattr(transactions, "depend", lambda txns: Dependencies(Graph(0)))
    with pytest.raises(AssertionError):
        test_a_serial_history_is_ok_and_half_a_transaction_is_not()
