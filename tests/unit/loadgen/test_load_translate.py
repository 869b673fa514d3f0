"""Requests are DynamoDB's, items have the asked size, and no answer is taken for more than it says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from loadgen.plan import Operation
from loadgen.profiles import OpName
from loadgen.translate import API, Outcome, body_of, filler, outcome_of

CONDITION = "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"
KEY = "k0000001"


def operation(op: OpName, expect: str | None = None) -> Operation:
    value = "load-a.7" if op in ("put", "cput", "update") else None
    return Operation(op, "t", KEY, value, expect)


def item(value: str, key: str = KEY, size: int = 900) -> dict[str, Any]:
    return {"pk": {"S": key}, "v": {"S": value}, "pad": {"S": filler(key, value, size)}}


def judge(op: OpName, status: int, body: Any) -> Outcome:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return outcome_of(operation(op), status, raw, 900)


def test_an_item_has_exactly_the_size_asked_for() -> None:
    for size in (64, 900, 4096):
        written = json.loads(body_of(operation("put"), size))["Item"]
        assert sum(len(name) + len(value["S"]) for name, value in written.items()) == size


@pytest.mark.parametrize("op", ["put", "cput", "update", "delete"])
def test_every_write_asks_for_its_predecessor(op: OpName) -> None:
    body = json.loads(body_of(operation(op), 900))
    assert body["ReturnValues"] == "ALL_OLD"
    assert body["ReturnValuesOnConditionCheckFailure"] == "ALL_OLD"


def test_reads_are_strong_or_eventual_as_planned() -> None:
    assert json.loads(body_of(operation("get"), 900))["ConsistentRead"] is True
    assert json.loads(body_of(operation("final"), 900))["ConsistentRead"] is True
    assert "ConsistentRead" not in json.loads(body_of(operation("eget"), 900))


@pytest.mark.parametrize("op", ["cput", "update"])
def test_conditions_name_the_expected_value_or_its_absence(op: OpName) -> None:
    held = json.loads(body_of(operation(op, "load-b.3"), 900))
    assert held["ConditionExpression"] == "v = :e"
    assert held["ExpressionAttributeValues"][":e"] == {"S": "load-b.3"}
    absent = json.loads(body_of(operation(op, "-"), 900))
    assert absent["ConditionExpression"] == "attribute_not_exists(pk)"
    assert "ConditionExpression" not in json.loads(body_of(operation(op), 900))


def test_every_operation_has_an_api_call() -> None:
    assert set(API) == {"put", "cput", "update", "delete", "get", "eget", "final", "twrite", "tread"}


@pytest.mark.parametrize(
    ("op", "status", "body", "expected"),
    [
        ("get", 200, {"Item": item("load-b.1")}, Outcome("ok", 200, None, "load-b.1")),
        ("get", 200, {}, Outcome("ok", 200, None, None)),
        ("put", 200, {"Attributes": item("load-b.1")}, Outcome("ok", 200, None, "load-b.1")),
        ("put", 200, {}, Outcome("ok", 200, None, None)),
        (
            "cput",
            400,
            {"__type": CONDITION, "message": "m", "Item": item("load-b.1")},
            Outcome("fail", 400, "ConditionalCheckFailedException", "load-b.1"),
        ),
        ("cput", 400, {"__type": CONDITION}, Outcome("fail", 400, "ConditionalCheckFailedException", None)),
        ("put", 400, {"__type": "c#ThrottlingException"}, Outcome("fail", 400, "ThrottlingException", None)),
        ("put", 503, {"__type": "c#ServiceUnavailable"}, Outcome("fail", 503, "ServiceUnavailable", None)),
        ("put", 503, b"<html>", Outcome("fail", 503, "HTTP503", None)),
        ("put", 500, {"__type": "c#InternalServerError"}, Outcome("unknown", 500, "InternalServerError", None)),
        ("put", 502, b"bad gateway", Outcome("unknown", 502, "HTTP502", None)),
        ("put", 301, {}, Outcome("unknown", 301, "HTTP301", None)),
        ("put", 200, b"not json", Outcome("unknown", 200, "MalformedAnswer", None)),
        ("put", 500, {"__type": CONDITION}, Outcome("unknown", 500, "ConditionalCheckFailedException", None)),
    ],
)
def test_answers_are_judged_by_whether_the_operation_may_have_happened(
    op: OpName, status: int, body: Any, expected: Outcome
) -> None:
    assert judge(op, status, body) == expected


def test_an_item_under_a_wrong_key_is_a_value_nobody_wrote() -> None:
    wrong = judge("get", 200, {"Item": item("load-b.1", key="k0000002")})
    assert wrong == Outcome("ok", 200, None, "!wrong-key:k0000002:load-b.1")


def test_an_item_pieced_together_from_two_writes_is_a_value_nobody_wrote() -> None:
    torn = item("load-b.1")
    torn["pad"] = item("load-b.2")["pad"]
    assert judge("get", 200, {"Item": torn}).value == "!torn:load-b.1"


def test_an_item_of_another_shape_is_a_value_nobody_wrote() -> None:
    assert judge("get", 200, {"Item": {"pk": {"S": KEY}}}).value == f"!foreign-item:{KEY}"
