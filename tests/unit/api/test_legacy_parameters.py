"""Parameters from before expressions: rules, and what leaders make of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cluster.api import OPERATIONS, DataOperation, TableSchema
from cluster.api.legacy import check_mixture, read_attributes_to_get, read_conditions, read_expected, read_updates
from cluster.core.commands import evaluate
from cluster.core.errors import ApiError
from cluster.core.expressions.legacy import Comparison, Expected, apply, holds
from cluster.core.items import item_size, pack_image
from cluster.core.keys import KeyAttribute, KeySchema
from cluster.wire.json import CODEC

SCHEMA = TableSchema("things", "id-1", KeySchema(KeyAttribute("pk", "S"), None))
KEY = {"pk": {"S": "a"}}
WRONG = "One or more parameter values were invalid: "
ITEM: dict[str, Any] = {
    "s": {"S": "hello"},
    "n": {"N": "5"},
    "b": {"B": "aGkgdGhlcmU="},
    "ss": {"SS": ["a", "b"]},
    "ns": {"NS": ["1", "2"]},
    "l": {"L": [{"N": "1"}, {"S": "x"}]},
    "nil": {"NULL": True},
}


def condition(operator: str, *arguments: Any) -> dict[str, Any]:
    return {"ComparisonOperator": operator, "AttributeValueList": list(arguments)}


@pytest.mark.parametrize(
    ("name", "operator", "arguments", "expected"),
    [
        ("s", "EQ", [{"S": "hello"}], True),
        ("s", "EQ", [{"B": "aGVsbG8="}], False),
        ("n", "EQ", [{"S": "5"}], False),
        ("n", "EQ", [{"N": "5.0"}], True),
        ("ss", "EQ", [{"SS": ["b", "a"]}], True),
        ("ss", "EQ", [{"L": [{"S": "a"}, {"S": "b"}]}], False),
        ("q", "EQ", [{"S": "x"}], False),
        ("s", "NE", [{"S": "hello"}], False),
        ("s", "NE", [{"N": "1"}], True),
        ("q", "NE", [{"S": "x"}], True),
        ("n", "LT", [{"N": "10"}], True),
        ("n", "LT", [{"S": "9"}], False),
        ("n", "GE", [{"N": "5"}], True),
        ("s", "GT", [{"S": "hellm"}], True),
        ("q", "LE", [{"N": "1"}], False),
        ("n", "IN", [{"N": "1"}, {"N": "5"}], True),
        ("n", "IN", [{"S": "5"}], False),
        ("q", "IN", [{"S": "5"}], False),
        ("n", "BETWEEN", [{"N": "5"}, {"N": "6"}], True),
        ("n", "BETWEEN", [{"S": "1"}, {"S": "9"}], False),
        ("s", "BEGINS_WITH", [{"S": "he"}], True),
        ("b", "BEGINS_WITH", [{"B": "aGk="}], True),
        ("n", "BEGINS_WITH", [{"S": "5"}], False),
        ("s", "CONTAINS", [{"S": "ell"}], True),
        ("s", "CONTAINS", [{"N": "1"}], False),
        ("ns", "CONTAINS", [{"N": "1.0"}], True),
        ("ns", "CONTAINS", [{"S": "1"}], False),
        ("l", "CONTAINS", [{"N": "1"}], True),
        ("q", "CONTAINS", [{"N": "1"}], False),
        ("s", "NOT_CONTAINS", [{"S": "dog"}], True),
        ("s", "NOT_CONTAINS", [{"N": "1"}], True),
        ("ns", "NOT_CONTAINS", [{"N": "1"}], False),
        ("q", "NOT_CONTAINS", [{"N": "1"}], False),
        ("nil", "NULL", [], False),
        ("q", "NULL", [], True),
        ("nil", "NOT_NULL", [], True),
        ("q", "NOT_NULL", [], False),
    ],
)
def test_each_operator(name: str, operator: str, arguments: list[Any], expected: bool) -> None:
    tests = read_conditions({name: condition(operator, *arguments)})
    assert holds(Expected(tests), ITEM) is expected


def test_conditions_are_joined() -> None:
    yes, no = Comparison("n", "NOT_NULL"), Comparison("n", "NULL")
    assert [holds(Expected((yes, no), any), ITEM) for any in (False, True)] == [False, True]
    assert [holds(Expected((yes, yes), any), ITEM) for any in (False, True)] == [True, True]
    assert not holds(Expected((yes,)), None)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (condition("EQ"), "Invalid number of argument(s) for the EQ ComparisonOperator"),
        (condition("NULL", {"S": "a"}), "Invalid number of argument(s) for the NULL ComparisonOperator"),
        (condition("BETWEEN", {"S": "a"}), "Invalid number of argument(s) for the BETWEEN ComparisonOperator"),
        (condition("IN"), "Invalid number of argument(s) for the IN ComparisonOperator"),
        (condition("IN", {"S": "a"}, {"N": "1"}), "AttributeValues inside AttributeValueList must be of same type"),
        (condition("LT", {"BOOL": True}), "ComparisonOperator LT is not valid for BOOL AttributeValue type"),
        (condition("CONTAINS", {"L": []}), "ComparisonOperator CONTAINS is not valid for L AttributeValue type"),
        (condition("BEGINS_WITH", {"N": "1"}), "ComparisonOperator BEGINS_WITH is not valid for N AttributeValue type"),
    ],
)
def test_conditions_that_cannot_be(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(ApiError) as refused:
        read_conditions({"a": entry})
    assert refused.value.message == WRONG + message


def test_a_range_the_wrong_way_round() -> None:
    with pytest.raises(ApiError, match=r"^ValidationException: The BETWEEN condition was provided a range where the"):
        read_conditions({"a": condition("BETWEEN", {"N": "10"}, {"N": "9"})})


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {"Value": {"S": "a"}, "AttributeValueList": []},
            "Value and AttributeValueList cannot be used together for Attribute: a",
        ),
        (
            {"Exists": True, "ComparisonOperator": "EQ", "Value": {"S": "a"}},
            "Exists and ComparisonOperator cannot be used together for Attribute: a",
        ),
        (
            {"ComparisonOperator": "LT"},
            "Value or AttributeValueList must be used with ComparisonOperator: LT for Attribute: a",
        ),
        (
            {"AttributeValueList": []},
            "AttributeValueList can only be used with a ComparisonOperator for Attribute: a",
        ),
        ({}, "Value must be provided when Exists is null for Attribute: a"),
        ({"Exists": True}, "Value must be provided when Exists is true for Attribute: a"),
        ({"Exists": False, "Value": {"S": "a"}}, "Value cannot be used when Exists is false for Attribute: a"),
    ],
)
def test_expectations_that_cannot_be(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(ApiError) as refused:
        read_expected({"Expected": {"a": entry}})
    assert refused.value.message == WRONG + message


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"Action": "ADD"}, "Only DELETE action is allowed when no attribute value is specified"),
        ({}, "Only DELETE action is allowed when no attribute value is specified"),
        ({"Action": "DELETE", "Value": {"S": "a"}}, "DELETE action with value is not supported for the type S"),
        ({"Action": "ADD", "Value": {"S": "a"}}, "ADD action is not supported for the type S"),
    ],
)
def test_updates_that_cannot_be(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(ApiError) as refused:
        read_updates({"AttributeUpdates": {"a": entry}})
    assert refused.value.message == WRONG + message


def updated(**updates: Any) -> dict[str, Any]:
    return apply(read_updates({"AttributeUpdates": updates}), ITEM)


def test_each_action() -> None:
    assert updated(s={"Value": {"S": "x"}})["s"] == {"S": "x"}
    assert "s" not in updated(s={"Action": "DELETE"})
    assert updated(q={"Action": "DELETE"}) == ITEM
    assert updated(n={"Action": "ADD", "Value": {"N": "0.5"}})["n"] == {"N": "5.5"}
    assert updated(q={"Action": "ADD", "Value": {"N": "2"}})["q"] == {"N": "2"}
    assert updated(ss={"Action": "ADD", "Value": {"SS": ["b", "c"]}})["ss"] == {"SS": ["a", "b", "c"]}
    assert updated(l={"Action": "ADD", "Value": {"L": [{"S": "y"}]}})["l"]["L"][2] == {"S": "y"}
    assert updated(ss={"Action": "DELETE", "Value": {"SS": ["b", "c"]}})["ss"] == {"SS": ["a"]}
    assert "ss" not in updated(ss={"Action": "DELETE", "Value": {"SS": ["a", "b"]}})
    for wrong in ({"s": {"Action": "ADD", "Value": {"N": "1"}}}, {"ss": {"Action": "DELETE", "Value": {"NS": ["1"]}}}):
        with pytest.raises(ApiError, match="Type mismatch for attribute to update"):
            updated(**wrong)


def run(name: str, body: dict[str, Any], current: dict[str, Any] | None = None) -> Any:
    operation = OPERATIONS[name]
    assert isinstance(operation, DataOperation)
    command = operation.prepare(operation.check({"TableName": "things", **body}), SCHEMA)
    image = pack_image(item_size(current), CODEC.encode(current)) if current is not None else None
    decision = evaluate(command, image, CODEC)
    return json.loads(operation.respond(command, decision.outcome))


def test_writes_with_expectations() -> None:
    item = {**KEY, "v": {"N": "1"}}
    for name, given in (("PutItem", {"Item": item}), ("DeleteItem", {"Key": KEY}), ("UpdateItem", {"Key": KEY})):
        assert run(name, {**given, "Expected": {"v": {"Value": {"N": "1"}}}}, item) == {}
        with pytest.raises(ApiError, match="ConditionalCheckFailedException"):
            run(name, {**given, "Expected": {"v": {"Value": {"N": "2"}}}}, item)
        with pytest.raises(ApiError, match="ConditionalCheckFailedException"):
            run(name, {**given, "Expected": {"pk": {"Exists": False}}}, item)
        assert run(name, {**given, "Expected": {"pk": {"Exists": False}}}) == {}
        either = {"v": condition("EQ", {"N": "7"}), "pk": condition("NOT_NULL")}
        assert run(name, {**given, "Expected": either, "ConditionalOperator": "OR"}, item) == {}


def test_updates_and_what_they_return() -> None:
    item = {**KEY, "v": {"N": "1"}, "w": {"S": "x"}}
    body = {"Key": KEY, "AttributeUpdates": {"v": {"Action": "ADD", "Value": {"N": "1"}}}}
    assert run("UpdateItem", {**body, "ReturnValues": "UPDATED_NEW"}, item) == {"Attributes": {"v": {"N": "2"}}}
    assert run("UpdateItem", {**body, "ReturnValues": "UPDATED_OLD"}, item) == {"Attributes": {"v": {"N": "1"}}}
    assert run("UpdateItem", {**body, "ReturnValues": "ALL_NEW"}) == {"Attributes": {**KEY, "v": {"N": "1"}}}
    with pytest.raises(ApiError, match=r"Cannot update attribute pk. This attribute is part of the key"):
        run("UpdateItem", {"Key": KEY, "AttributeUpdates": {"pk": {"Value": {"S": "b"}}}}, item)
    with pytest.raises(ApiError, match="Type mismatch"):
        run("UpdateItem", {"Key": KEY, "AttributeUpdates": {"w": {"Action": "ADD", "Value": {"N": "1"}}}}, item)


def test_attributes_to_get() -> None:
    item = {**KEY, "v": {"N": "1"}, "a.b": {"S": "x"}}
    assert run("GetItem", {"Key": KEY, "AttributesToGet": ["a.b", "q"]}, item) == {"Item": {"a.b": {"S": "x"}}}
    with pytest.raises(ApiError, match="Duplicate value in attribute name: v"):
        read_attributes_to_get({"AttributesToGet": ["v", "w", "v"]})


QUERY = ("ProjectionExpression", "FilterExpression", "KeyConditionExpression")
OLD = ("AttributesToGet", "QueryFilter", "ConditionalOperator", "KeyConditions")
MIXED = "Can not use both expression and non-expression parameters in the same request: Non-expression parameters: "


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            {name: {} for name in (*OLD, *QUERY)},
            MIXED + "{AttributesToGet, QueryFilter, ConditionalOperator, KeyConditions} "
            "Expression parameters: {ProjectionExpression, FilterExpression, KeyConditionExpression}",
        ),
        (
            {"QueryFilter": {}, "KeyConditions": {}, "FilterExpression": ""},
            MIXED + "{QueryFilter} Expression parameters: {FilterExpression}",
        ),
        ({"ExpressionAttributeNames": {}}, "ExpressionAttributeNames can only be specified when using expressions"),
        (
            {"ExpressionAttributeValues": {}, "ProjectionExpression": "a"},
            "ExpressionAttributeValues can only be specified when using expressions: FilterExpression and "
            "KeyConditionExpression are null",
        ),
        ({"ConditionalOperator": "OR"}, "ConditionalOperator cannot be used without Filter or Expected"),
        (
            {"ConditionalOperator": "OR", "QueryFilter": {"a": {}}},
            "ConditionalOperator can only be used when Filter or Expected has two or more elements",
        ),
    ],
)
def test_what_cannot_be_mixed(body: dict[str, Any], message: str) -> None:
    with pytest.raises(ApiError) as refused:
        check_mixture(body, QUERY, OLD)
    assert refused.value.message == message


def test_key_conditions_go_with_other_expressions() -> None:
    check_mixture({"KeyConditions": {}, "FilterExpression": "", "ProjectionExpression": ""}, QUERY, OLD)
