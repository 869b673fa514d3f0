"""How values are refused: two layers of the service look at them, and which one does shows in the words.

Operations on one item answer in the newer words behind ``1 validation error detected:``, reads by key and Query in the
same words without it, BatchWriteItem and Scan in the older ones, with a placeholder's name where there is one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

WRONG = "One or more parameter values were invalid: "
NO_NUMBER = "The parameter cannot be converted to a numeric value"
OVERFLOW = "Number overflow. Attempting to store a number with magnitude larger than supported range"
UNDERFLOW = "Number underflow. Attempting to store a number with magnitude smaller than supported range"
TOO_DEEP = (
    "Nesting Levels have exceeded supported limits: Attributes in the item have nested levels beyond supported limit"
)

REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"N": "one"}, f"{NO_NUMBER}: one", f"{NO_NUMBER}: one"),
    ({"N": ""}, f"{NO_NUMBER}: ", NO_NUMBER),
    ({"N": "1e126"}, OVERFLOW, OVERFLOW),
    ({"N": "1e2147483647"}, OVERFLOW, UNDERFLOW),
    (
        {"SS": ["y", "x", "y", "w"]},
        f'{WRONG}Input collection ["x", "y", "y", "w"] contains duplicates.',
        f"{WRONG}Input collection [y, x, y, w] contains duplicates.",
    ),
    (
        {"BS": [b"\xfe", b"\x01", b"\xfe"]},
        f'{WRONG}Input collection ["AQ==","/g==","/g=="]of type BS contains duplicates.',
        f"{WRONG}Input collection [/g==, AQ==, /g==]of type BS contains duplicates.",
    ),
    ({"NS": ["1", "1.0"]}, f"{WRONG}Input collection contains duplicates.", "Input collection contains duplicates"),
]

Send = Callable[[Any, str, dict[str, Any]], Any]
KEY = {"pk": {"S": "values"}}


def with_value(value: dict[str, Any], expression: str, text: str, **more: Any) -> dict[str, Any]:
    return {expression: text, "ExpressionAttributeValues": {":v": value, **more}}


ENVELOPED: list[Send] = [
    lambda client, table, value: client.put_item(TableName=table, Item={**KEY, "v": value}),
    lambda client, table, value: client.put_item(TableName=table, Item={**KEY, "v": {"L": [{"M": {"x": value}}]}}),
    lambda client, table, value: client.put_item(
        TableName=table, Item=KEY, **with_value(value, "ConditionExpression", "v = :v")
    ),
    lambda client, table, value: client.put_item(TableName=table, Item=KEY, Expected={"v": {"Value": value}}),
    lambda client, table, value: client.update_item(
        TableName=table, Key=KEY, **with_value(value, "UpdateExpression", "SET v = :v")
    ),
    lambda client, table, value: client.update_item(TableName=table, Key=KEY, AttributeUpdates={"v": {"Value": value}}),
    lambda client, table, value: client.update_item(TableName=table, Key={"pk": value}),
    lambda client, table, value: client.delete_item(TableName=table, Key={"pk": value}),
    lambda client, table, value: client.delete_item(
        TableName=table, Key=KEY, **with_value(value, "ConditionExpression", "v = :v")
    ),
]
BARE: list[Send] = [
    lambda client, table, value: client.get_item(TableName=table, Key={"pk": value}),
    lambda client, table, value: client.batch_get_item(RequestItems={table: {"Keys": [{"pk": value}]}}),
    lambda client, table, value: client.query(
        TableName=table, **with_value(value, "KeyConditionExpression", "pk = :v")
    ),
    lambda client, table, value: client.query(
        TableName=table,
        FilterExpression="v = :v",
        **with_value(value, "KeyConditionExpression", "pk = :p", **{":p": KEY["pk"]}),
    ),
    lambda client, table, value: client.transact_write_items(
        TransactItems=[{"Put": {"TableName": table, "Item": {**KEY, "v": value}}}]
    ),
    lambda client, table, value: client.transact_write_items(
        TransactItems=[
            {"Update": {"TableName": table, "Key": KEY, **with_value(value, "UpdateExpression", "SET v = :v")}}
        ]
    ),
    lambda client, table, value: client.transact_get_items(
        TransactItems=[{"Get": {"TableName": table, "Key": {"pk": value}}}]
    ),
]
OLDER: list[Send] = [
    lambda client, table, value: client.batch_write_item(
        RequestItems={table: [{"PutRequest": {"Item": {**KEY, "v": value}}}]}
    ),
    lambda client, table, value: client.batch_write_item(
        RequestItems={table: [{"DeleteRequest": {"Key": {"pk": value}}}]}
    ),
]


def refusal(send: Send, client: Any, table: str, value: dict[str, Any]) -> str:
    with pytest.raises(ClientError) as failure:
        send(client, table, value)
    error = failure.value.response["Error"]
    assert error["Code"] == "ValidationException", error
    return str(error["Message"])


@pytest.mark.parametrize(("value", "newer", "older"), REFUSED)
def test_values_are_refused_in_the_words_of_the_layer(
    dynamodb: Any, table: str, value: dict[str, Any], newer: str, older: str
) -> None:
    for send in ENVELOPED:
        assert refusal(send, dynamodb, table, value) == f"1 validation error detected: {newer}"
    for send in BARE:
        assert refusal(send, dynamodb, table, value) == newer
    for send in OLDER:
        assert refusal(send, dynamodb, table, value) == older
    scanned = refusal(
        lambda client, name, one: client.scan(TableName=name, **with_value(one, "FilterExpression", "v = :v")),
        dynamodb,
        table,
        value,
    )
    assert scanned == f"ExpressionAttributeValues contains invalid value: {older} for key :v"
    assert "Item" not in dynamodb.get_item(TableName=table, Key=KEY, ConsistentRead=True)


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("0e125", "0"),
        ("0e-130", "0"),
        ("-0", "0"),
        ("0e126", OVERFLOW),
        ("0e-131", UNDERFLOW),
        ("1e2147483648", OVERFLOW),
        ("1e-99999999999", UNDERFLOW),
        ("1e9223372036854775807", OVERFLOW),
        ("1e9223372036854775808", f"{NO_NUMBER}: 1e9223372036854775808"),
        ("1e" + "9" * 5000, f"{NO_NUMBER}: 1e" + "9" * 5000),
    ],
)
def test_exponents(dynamodb: Any, table: str, key: dict[str, Any], written: str, kept: str) -> None:
    item = {**key, "n": {"N": written}}
    if kept[0].isalpha():
        said = refusal(lambda client, name, _: client.put_item(TableName=name, Item=item), dynamodb, table, {})
        assert said == f"1 validation error detected: {kept}"
        return
    dynamodb.put_item(TableName=table, Item=item)
    assert dynamodb.get_item(TableName=table, Key=key, ConsistentRead=True)["Item"]["n"] == {"N": kept}


def test_a_difference_of_tiny_numbers_is_zero(dynamodb: Any, table: str, key: dict[str, Any]) -> None:
    tiny = {"N": "1.2345678901234567890123456789012345678e-130"}
    dynamodb.put_item(TableName=table, Item={**key, "n": tiny})
    answer = dynamodb.update_item(
        TableName=table,
        Key=key,
        UpdateExpression="SET n = n - :n",
        ExpressionAttributeValues={":n": tiny},
        ReturnValues="ALL_NEW",
    )
    assert answer["Attributes"]["n"] == {"N": "0"}


def nested(levels: int, leaf: dict[str, Any]) -> dict[str, Any]:
    """A leaf on the given level; an item's own attributes are level 1."""
    value = leaf
    for level in range(levels - 1):
        value = {"M": {"x": value}} if level % 2 else {"L": [value]}
    return value


def test_documents_have_32_levels(dynamodb: Any, table: str, key: dict[str, Any], refused: Any) -> None:
    for leaf in ({"S": "x"}, {"M": {}}, {"L": []}):
        deepest = nested(32, leaf)
        dynamodb.put_item(TableName=table, Item={**key, "d": deepest})
        assert dynamodb.get_item(TableName=table, Key=key, ConsistentRead=True)["Item"]["d"] == deepest
        for send in ENVELOPED[:2]:
            assert refusal(send, dynamodb, table, nested(33, leaf)) == f"1 validation error detected: {TOO_DEEP}"
        assert refusal(BARE[-3], dynamodb, table, nested(33, leaf)) == TOO_DEEP
        assert refusal(OLDER[0], dynamodb, table, nested(33, leaf)) == TOO_DEEP


def test_names_are_never_empty(dynamodb: Any, table: str, key: dict[str, Any]) -> None:
    """An item's own names are looked at first of all, those within documents last."""

    def put(item: dict[str, Any]) -> str:
        return refusal(
            lambda client, name, one: client.transact_write_items(
                TransactItems=[{"Put": {"TableName": name, "Item": {**key, **one}}}]
            ),
            dynamodb,
            table,
            item,
        )

    deep = nested(40, {"S": "x"})
    assert put({"": {"S": "x"}, "d": deep}) == put({"d": deep, "": {"S": "x"}}) == "Empty attribute name"
    assert put({"m": {"M": {"": {"S": "x"}}}}) == "Empty attribute name"
    assert put({"m": {"M": {"": {"S": "x"}, "d": {"N": "one"}}}}) == f"{NO_NUMBER}: one"
    assert put({"m": {"M": {"": {"S": "x"}}}, "d": deep}) == TOO_DEEP
