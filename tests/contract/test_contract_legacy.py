"""The parameters from before expressions, which are still accepted."""

from __future__ import annotations

from typing import Any

import pytest


def test_expected(dynamodb: Any, table: str, key: dict[str, Any], refused: Any) -> None:
    absent = {"pk": {"Exists": False}}
    dynamodb.put_item(TableName=table, Item={**key, "v": {"N": "1"}}, Expected=absent)
    with refused("ConditionalCheckFailedException", "^The conditional request failed$"):
        dynamodb.put_item(TableName=table, Item={**key, "v": {"N": "2"}}, Expected=absent)
    with refused("ConditionalCheckFailedException"):
        dynamodb.delete_item(TableName=table, Key=key, Expected={"v": {"Value": {"S": "1"}}})
    either = {
        "v": {"ComparisonOperator": "GT", "AttributeValueList": [{"N": "7"}]},
        "w": {"ComparisonOperator": "NULL"},
    }
    dynamodb.delete_item(TableName=table, Key=key, Expected=either, ConditionalOperator="OR")
    assert "Item" not in dynamodb.get_item(TableName=table, Key=key, ConsistentRead=True)


def test_attribute_updates(dynamodb: Any, table: str, key: dict[str, Any], refused: Any) -> None:
    def update(**updates: Any) -> Any:
        answer = dynamodb.update_item(TableName=table, Key=key, AttributeUpdates=updates, ReturnValues="ALL_NEW")
        return answer["Attributes"]

    assert update(n={"Action": "ADD", "Value": {"N": "2"}}, s={"Value": {"S": "x"}}) == {
        **key,
        "n": {"N": "2"},
        "s": {"S": "x"},
    }
    after = update(n={"Action": "ADD", "Value": {"N": "-3"}}, s={"Action": "DELETE"}, t={"Value": {"SS": ["a", "b"]}})
    assert (after["n"], "s" in after, sorted(after["t"]["SS"])) == ({"N": "-1"}, False, ["a", "b"])
    after = update(t={"Action": "DELETE", "Value": {"SS": ["a"]}})
    assert after["t"] == {"SS": ["b"]}
    with refused("ValidationException", "Type mismatch for attribute to update"):
        update(t={"Action": "ADD", "Value": {"N": "1"}})
    with refused("ValidationException", "Cannot update attribute pk. This attribute is part of the key"):
        update(pk={"Value": {"S": "other"}})


def test_attributes_to_get(dynamodb: Any, table: str, key: dict[str, Any]) -> None:
    dynamodb.put_item(TableName=table, Item={**key, "a.b": {"S": "dot"}, "c": {"S": "x"}})
    got = dynamodb.get_item(TableName=table, Key=key, AttributesToGet=["a.b", "missing"], ConsistentRead=True)
    assert got["Item"] == {"a.b": {"S": "dot"}}


def test_key_conditions(dynamodb: Any, sorted_table: str, key: dict[str, Any]) -> None:
    for number in range(5):
        item = {**key, "sk": {"N": str(number)}, "odd": {"BOOL": number % 2 == 1}}
        dynamodb.put_item(TableName=sorted_table, Item=item)
    conditions = {
        "pk": {"ComparisonOperator": "EQ", "AttributeValueList": [key["pk"]]},
        "sk": {"ComparisonOperator": "GE", "AttributeValueList": [{"N": "1"}]},
    }
    odd = {"odd": {"ComparisonOperator": "EQ", "AttributeValueList": [{"BOOL": True}]}}
    answer = dynamodb.query(
        TableName=sorted_table, KeyConditions=conditions, QueryFilter=odd, ConsistentRead=True, ScanIndexForward=False
    )
    assert [item["sk"]["N"] for item in answer["Items"]] == ["3", "1"]
    assert answer["ScannedCount"] == 4


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (
            {"Expected": {"a": {"Exists": False}}, "ConditionExpression": "attribute_exists(a)"},
            "Can not use both expression and non-expression parameters in the same request: Non-expression parameters: "
            "{Expected} Expression parameters: {ConditionExpression}",
        ),
        ({"Expected": {"a": {}}}, "Value must be provided when Exists is null for Attribute: a"),
        (
            {"Expected": {"a": {"ComparisonOperator": "LT", "Value": {"BOOL": True}}}},
            "ComparisonOperator LT is not valid for BOOL AttributeValue type",
        ),
        ({"ConditionalOperator": "AND"}, "ConditionalOperator cannot be used without Filter or Expected"),
    ],
)
def test_refusals(
    dynamodb: Any, table: str, key: dict[str, Any], refused: Any, request_: dict[str, Any], message: str
) -> None:
    with refused("ValidationException", message):
        dynamodb.put_item(TableName=table, Item=key, **request_)
