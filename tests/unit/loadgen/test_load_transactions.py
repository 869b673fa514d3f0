"""Loads of transactions: their steps, requests and answers, and that what they record is what the checker reads."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from cluster.api import transact_get_items, transact_write_items
from loadgen.plan import Operation, Plan, sweep
from loadgen.profiles import profile_named
from loadgen.transactions import ACTIVE, FIRST_BALANCE, Bank, Lists, body_of, decode_steps, seen_of
from loadgen.translate import body_of as request_of
from loadgen.translate import outcome_of


@pytest.mark.parametrize("name", ["bank", "list-append"])
def test_every_request_is_one_that_the_database_accepts(name: str) -> None:
    plan = Plan(profile_named(name), table="load", keys=profile_named(name).keys, seed=3, writer="w")
    seen = set()
    for _ in range(400):
        operation = plan.next()
        if operation.op not in ("twrite", "tread"):
            continue
        seen.add(operation.op)
        body = json.loads(request_of(operation, 900))
        checked = transact_write_items if operation.op == "twrite" else transact_get_items
        checked.check_request(body)
        steps = decode_steps(operation.value or "")
        if operation.op == "tread":
            plan.learn("", json.dumps([[kind, key, [] if kind == "r" else 5] for kind, key, _ in steps]))
    assert seen == {"twrite", "tread"}


def test_some_appends_have_a_token_of_their_own_and_transfers_which_may_be_alike_have_none() -> None:
    tokens = [json.loads(body_of("t", [["append", "k", f"w.{n}"]])).get("ClientRequestToken") for n in range(100)]
    sent = [token for token in tokens if token is not None]
    assert 30 < len(sent) < 70
    assert len(set(sent)) == len(sent)
    assert "ClientRequestToken" not in json.loads(body_of("t", Bank(10).write(Random(), "w.1")))


def test_transfers_leave_the_total_and_overdraw_nothing() -> None:
    for _ in range(50):
        steps = Bank(10).write(Random(), "w.1")
        assert sum(step[2] for step in steps) == 0
        (payer,) = [step for step in steps if step[2] < 0]
        (action,) = [
            entry["Update"] for entry in json.loads(body_of("t", steps))["TransactItems"]
            if entry["Update"]["Key"]["pk"]["S"] == payer[1]
        ]  # fmt: skip
        assert action["ExpressionAttributeValues"][":least"] == {"N": str(-payer[2])}


def test_lists_move_on_and_conditions_demand_what_was_seen() -> None:
    lists, rng = Lists(1000), Random(5)
    lists.learn([["r", f"list-{number:05d}", ["a", "b"]] for number in range(ACTIVE)])
    checks = [step for _ in range(12) for step in lists.write(rng, "w.1") if step[0] == "r"]
    assert checks
    assert all(step[2] == ["a", "b"] for step in checks)
    for _ in range(600):
        lists.write(rng, "w.2")
    assert min(step[1] for step in lists.write(rng, "w.3")) > "list-00040"


def test_answers_become_what_was_seen() -> None:
    steps: list[list[Any]] = [["r", "x", None], ["balance", "y", FIRST_BALANCE], ["r", "z", None]]
    answer = {"Responses": [{"Item": {"pk": {"S": "x"}, "ids": {"L": [{"S": "1"}]}}}, {}, {}]}
    assert seen_of(steps, answer) == [["r", "x", ["1"]], ["balance", "y", FIRST_BALANCE], ["r", "z", None]]
    wrong = {"Responses": [{"Item": {"pk": {"S": "y"}, "ids": {"L": []}}}, {}, {}]}
    assert seen_of(steps, wrong)[0] == ["r", "x", ["!wrong-key:y"]], "which nobody wrote, so that the checker names it"


def test_outcomes_of_transactions() -> None:
    read = Operation("tread", "load", "", '[["r","x",null]]', None)
    write = Operation("twrite", "load", "", '[["append","x","1"]]', None)
    assert outcome_of(read, 200, b'{"Responses":[{}]}', 900) == ("ok", 200, None, '[["r","x",null]]')
    assert outcome_of(read, 200, b'{"Responses":[]}', 900).outcome == "unknown"
    assert outcome_of(write, 200, b"{}", 900).outcome == "ok"
    cancelled = b'{"__type":"com.amazonaws.dynamodb.v20120810#TransactionCanceledException"}'
    assert outcome_of(write, 400, cancelled, 900)[:3] == ("fail", 400, "TransactionCanceledException")
    assert outcome_of(write, 500, b"{}", 900).outcome == "unknown"


def test_the_closing_sweep_reads_all_there_may_be_in_transactions_too() -> None:
    parts = [list(sweep("load", 10, part, 3, "bank")) for part in range(3)]
    assert sum(len(part) for part in parts) == 10 + 1
    treads = [operation for operation in sweep("load", 400, workload="list-append") if operation.op == "tread"]
    assert sum(len(decode_steps(operation.value or "")) for operation in treads) == 400
