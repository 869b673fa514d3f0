"""PutItem, GetItem, DeleteItem as the API reference describes them."""

from __future__ import annotations

from typing import Any

import pytest

EVERY_TYPE: dict[str, Any] = {
    "s": {"S": "héllo \u2603 \U0001f600"},
    "empty": {"S": ""},
    "n": {"N": "-123.456"},
    "b": {"B": b"\x00\x01\xff"},
    "yes": {"BOOL": True},
    "nil": {"NULL": True},
    "l": {"L": [{"S": "x"}, {"L": []}, {"M": {"k": {"N": "1"}}}]},
    "m": {"M": {"a": {"S": "b"}, "in": {"M": {}}}},
}


def test_an_item_of_every_type_comes_back(dynamodb: Any, table: str, key: dict[str, Any]) -> None:
    dynamodb.put_item(TableName=table, Item={**key, **EVERY_TYPE})
    got = dynamodb.get_item(TableName=table, Key=key, ConsistentRead=True)
    assert got["Item"] == {**key, **EVERY_TYPE}
    assert len(got["ResponseMetadata"]["RequestId"]) == 52
    assert "x-amz-crc32" in got["ResponseMetadata"]["HTTPHeaders"]


def test_sets_come_back_as_sets(dynamodb: Any, table: str, key: dict[str, Any]) -> None:
    dynamodb.put_item(
        TableName=table,
        Item={**key, "ss": {"SS": ["b", "a"]}, "ns": {"NS": ["2", "1"]}, "bs": {"BS": [b"x", b"y"]}},
    )
    item = dynamodb.get_item(TableName=table, Key=key, ConsistentRead=True)["Item"]
    assert sorted(item["ss"]["SS"]) == ["a", "b"]
    assert sorted(item["ns"]["NS"]) == ["1", "2"]
    assert sorted(item["bs"]["BS"]) == [b"x", b"y"]


@pytest.mark.parametrize(
    ("given", "stored"), [("1.0", "1"), ("0012", "12"), ("1e3", "1000"), ("-0", "0"), (".5", "0.5"), ("1E-3", "0.001")]
)
def test_numbers_are_normalised(dynamodb: Any, table: str, key: dict[str, Any], given: str, stored: str) -> None:
    dynamodb.put_item(TableName=table, Item={**key, "n": {"N": given}})
    assert dynamodb.get_item(TableName=table, Key=key, ConsistentRead=True)["Item"]["n"] == {"N": stored}


def test_a_put_replaces_the_whole_item_and_may_return_it(dynamodb: Any, table: str, key: dict[str, Any]) -> None:
    first = dynamodb.put_item(TableName=table, Item={**key, "a": {"S": "1"}}, ReturnValues="ALL_OLD")
    assert "Attributes" not in first
    second = dynamodb.put_item(TableName=table, Item={**key, "b": {"S": "2"}}, ReturnValues="ALL_OLD")
    assert second["Attributes"] == {**key, "a": {"S": "1"}}
    assert dynamodb.get_item(TableName=table, Key=key, ConsistentRead=True)["Item"] == {**key, "b": {"S": "2"}}


def test_a_missing_item_is_no_item(dynamodb: Any, table: str, key: dict[str, Any]) -> None:
    assert "Item" not in dynamodb.get_item(TableName=table, Key=key)
    assert "Item" not in dynamodb.get_item(TableName=table, Key=key, ConsistentRead=True)


def test_delete(dynamodb: Any, table: str, key: dict[str, Any]) -> None:
    assert "Attributes" not in dynamodb.delete_item(TableName=table, Key=key, ReturnValues="ALL_OLD")
    dynamodb.put_item(TableName=table, Item={**key, "a": {"S": "1"}})
    gone = dynamodb.delete_item(TableName=table, Key=key, ReturnValues="ALL_OLD")
    assert gone["Attributes"] == {**key, "a": {"S": "1"}}
    assert "Item" not in dynamodb.get_item(TableName=table, Key=key, ConsistentRead=True)


def test_conditions_on_writes(dynamodb: Any, table: str, key: dict[str, Any], refused: Any) -> None:
    absent = "attribute_not_exists(pk)"
    dynamodb.put_item(TableName=table, Item={**key, "v": {"N": "1"}}, ConditionExpression=absent)
    with refused("ConditionalCheckFailedException", "^The conditional request failed$") as plain:
        dynamodb.put_item(TableName=table, Item={**key, "v": {"N": "2"}}, ConditionExpression=absent)
    assert "Item" not in plain
    values = {":v": {"N": "2"}}
    with refused("ConditionalCheckFailedException"):
        dynamodb.delete_item(TableName=table, Key=key, ConditionExpression="v = :v", ExpressionAttributeValues=values)
    with refused("ConditionalCheckFailedException") as shown:
        dynamodb.put_item(
            TableName=table,
            Item=key,
            ConditionExpression="v = :v",
            ExpressionAttributeValues=values,
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    assert shown["Item"] == {**key, "v": {"N": "1"}}
    values = {":v": {"N": "1"}}
    dynamodb.delete_item(TableName=table, Key=key, ConditionExpression="v = :v", ExpressionAttributeValues=values)
    assert "Item" not in dynamodb.get_item(TableName=table, Key=key, ConsistentRead=True)


def test_range_keys_tell_items_apart(dynamodb: Any, sorted_table: str, key: dict[str, Any]) -> None:
    for number in ("1", "-1", "1.5"):
        dynamodb.put_item(TableName=sorted_table, Item={**key, "sk": {"N": number}, "v": {"S": number}})
    for given, stored in (("1.0", "1"), ("-1", "-1"), ("15e-1", "1.5")):
        got = dynamodb.get_item(TableName=sorted_table, Key={**key, "sk": {"N": given}}, ConsistentRead=True)
        assert got["Item"]["v"] == {"S": stored}


@pytest.mark.parametrize(
    ("projection", "placeholders", "expected"),
    [
        ("s, n", None, {"s": EVERY_TYPE["s"], "n": EVERY_TYPE["n"]}),
        ("m.a, l[2].k", None, {"m": {"M": {"a": {"S": "b"}}}, "l": {"L": [{"M": {"k": {"N": "1"}}}]}}),
        ("#x", {"#x": "yes"}, {"yes": {"BOOL": True}}),
        ("nowhere", None, {}),
    ],
)
def test_projections(
    dynamodb: Any, table: str, key: dict[str, Any], projection: str, placeholders: Any, expected: dict[str, Any]
) -> None:
    dynamodb.put_item(TableName=table, Item={**key, **EVERY_TYPE})
    more = {"ExpressionAttributeNames": placeholders} if placeholders else {}
    got = dynamodb.get_item(TableName=table, Key=key, ProjectionExpression=projection, ConsistentRead=True, **more)
    assert got.get("Item", {}) == expected


def test_document_paths_have_at_most_32_levels(dynamodb: Any, table: str, key: dict[str, Any], refused: Any) -> None:
    dynamodb.get_item(TableName=table, Key=key, ProjectionExpression="a" + ".b" * 31)
    too_many = "Invalid ProjectionExpression: The document path has too many nesting levels; nesting levels: 33"
    with refused("ValidationException", too_many):
        dynamodb.get_item(TableName=table, Key=key, ProjectionExpression="a" + ".b" * 32)


def test_consumed_capacity(dynamodb: Any, table: str, key: dict[str, Any]) -> None:
    """Writes per KB begun of the larger of before and after, reads per 4 KB begun, half where eventual."""
    big = {**key, "pad": {"S": "x" * 5000}}

    def units(answer: dict[str, Any]) -> float:
        assert answer["ConsumedCapacity"]["TableName"] == table
        return float(answer["ConsumedCapacity"]["CapacityUnits"])

    total = {"ReturnConsumedCapacity": "TOTAL"}
    assert units(dynamodb.get_item(TableName=table, Key=key, **total)) == 0.5
    assert units(dynamodb.put_item(TableName=table, Item=key, **total)) == 1
    assert units(dynamodb.put_item(TableName=table, Item=big, **total)) == 5
    assert units(dynamodb.get_item(TableName=table, Key=key, ConsistentRead=True, **total)) == 2
    while "pad" not in dynamodb.get_item(TableName=table, Key=key).get("Item", {}):
        pass  # an eventual read may still see the item as it was; the test's own time limit ends this
    assert units(dynamodb.get_item(TableName=table, Key=key, **total)) == 1
    indexes = dynamodb.put_item(TableName=table, Item=key, ReturnConsumedCapacity="INDEXES")
    assert units(indexes) == 5
    assert indexes["ConsumedCapacity"]["Table"]["CapacityUnits"] == 5
    assert units(dynamodb.delete_item(TableName=table, Key=key, **total)) == 1


PREFIX = "One or more parameter values were invalid: "


@pytest.mark.parametrize(
    ("item", "pattern"),
    [
        ({"other": {"S": "x"}}, PREFIX + "Missing the key pk in the item$"),
        ({"pk": {"N": "1"}}, PREFIX + "Type mismatch for key pk expected: S actual: N$"),
        ({"pk": {"S": ""}}, r"cannot contain an empty string value\. Key: pk$"),
        ({"pk": {"S": "x"}, "n": {"N": "x"}}, "The parameter cannot be converted to a numeric value: x$"),
        ({"pk": {"S": "x"}, "n": {"N": "1" * 39}}, "more than 38 significant digits"),
        ({"pk": {"S": "x"}, "n": {"N": "1e126"}}, "Number overflow"),
        ({"pk": {"S": "x"}, "s": {"SS": []}}, PREFIX + "An string set  may not be empty$"),
        ({"pk": {"S": "x"}, "s": {"SS": ["a", "a"]}}, r'Input collection \["a", "a"\] contains duplicates\.$'),
        ({"pk": {"S": "x"}, "v": {}}, "^Supplied AttributeValue is empty"),
        ({"pk": {"S": "x"}, "v": {"S": "a", "N": "1"}}, "^Supplied AttributeValue has more than one datatypes set"),
        ({"pk": {"S": "x"}, "pad": {"S": "x" * 409_600}}, "^Item size has exceeded the maximum allowed size$"),
    ],
)
def test_items_that_cannot_be_put(dynamodb: Any, table: str, refused: Any, item: dict[str, Any], pattern: str) -> None:
    with refused("ValidationException", pattern):
        dynamodb.put_item(TableName=table, Item=item)


@pytest.mark.parametrize("key", [{}, {"sk": {"S": "x"}}, {"pk": {"N": "1"}}, {"pk": {"S": "x"}, "more": {"S": "y"}}])
def test_keys_that_fit_no_schema(dynamodb: Any, table: str, refused: Any, key: dict[str, Any]) -> None:
    for call in (dynamodb.get_item, dynamodb.delete_item, dynamodb.update_item):
        with refused("ValidationException", "^The provided key element does not match the schema$"):
            call(TableName=table, Key=key)


def test_the_largest_item_is_accepted(dynamodb: Any, table: str) -> None:
    item = {"pk": {"S": "x"}, "pad": {"S": "x" * (409_600 - len("pk") - 1 - len("pad"))}}
    dynamodb.put_item(TableName=table, Item=item)
    assert dynamodb.get_item(TableName=table, Key={"pk": {"S": "x"}}, ConsistentRead=True)["Item"] == item


def test_return_values_a_put_or_delete_does_not_have(dynamodb: Any, table: str, refused: Any) -> None:
    with refused("ValidationException", "ReturnValues can only be ALL_OLD or NONE"):
        dynamodb.put_item(TableName=table, Item={"pk": {"S": "x"}}, ReturnValues="ALL_NEW")
    with refused("ValidationException", "ReturnValues can only be ALL_OLD or NONE"):
        dynamodb.delete_item(TableName=table, Key={"pk": {"S": "x"}}, ReturnValues="UPDATED_NEW")


def test_tables_that_do_not_exist(dynamodb: Any, refused: Any) -> None:
    for call in (
        lambda: dynamodb.get_item(TableName="no-such-table", Key={"pk": {"S": "x"}}),
        lambda: dynamodb.put_item(TableName="no-such-table", Item={"pk": {"S": "x"}}),
        lambda: dynamodb.delete_item(TableName="no-such-table", Key={"pk": {"S": "x"}}),
        lambda: dynamodb.update_item(TableName="no-such-table", Key={"pk": {"S": "x"}}),
    ):
        with refused("ResourceNotFoundException", "^Requested resource not found"):
            call()


def test_constraints_are_reported_together(dynamodb: Any, refused: Any) -> None:
    with refused("ValidationException", "^2 validation errors detected: ") as answer:
        dynamodb.get_item(TableName="abc", ReturnConsumedCapacity="SOME")
    message = answer["Error"]["Message"]
    assert "Value null at 'key' failed to satisfy constraint: Member must not be null" in message
    assert "at 'returnConsumedCapacity' failed to satisfy constraint: Member must satisfy enum value set: [" in message


def test_a_bad_table_name_is_reported_alone(dynamodb: Any, refused: Any) -> None:
    with refused(
        "ValidationException",
        r"^1 validation error detected: Value 'a b' at 'tableName' failed to satisfy constraint: Member must satisfy "
        r"regular expression pattern: \[a-zA-Z0-9_.-\]\+$",
    ):
        dynamodb.get_item(TableName="a b", ReturnConsumedCapacity="SOME")
    with refused("ValidationException", "^1 validation error detected: Value null at 'tableName' failed"):
        dynamodb.put_item(Item={"pk": {"S": "x"}})


def test_wrong_json_types(dynamodb: Any, table: str, refused: Any) -> None:
    with refused("SerializationException"):
        dynamodb.get_item(TableName=table, Key={"pk": {"S": "x"}}, ConsistentRead="maybe")


def test_names_have_a_length_too(dynamodb: Any, table: str, key: dict[str, Any], refused: Any) -> None:
    longest = "n" * 65_535
    dynamodb.put_item(TableName=table, Item={**key, longest: {"N": "1"}})
    named = {"ExpressionAttributeNames": {"#n": longest}, "ExpressionAttributeValues": {":one": {"N": "1"}}}
    dynamodb.update_item(TableName=table, Key=key, UpdateExpression="SET #n = #n + :one", **named)
    assert dynamodb.get_item(TableName=table, Key=key, ConsistentRead=True)["Item"][longest] == {"N": "2"}
    too_long = {"#n": longest + "n"}
    text = "Attribute name is too large, must be less than 65536 bytes"
    with refused("ValidationException", text):
        dynamodb.put_item(TableName=table, Item={**key, longest + "n": {"N": "1"}})
    with refused("ValidationException", text):
        dynamodb.get_item(TableName=table, Key=key, ProjectionExpression="#n", ExpressionAttributeNames=too_long)
    with refused("ValidationException", text):
        dynamodb.get_item(TableName=table, Key=key, AttributesToGet=[longest + "n"])


@pytest.mark.parametrize("operands", [("9e125", "9e125"), ("1e50", "1"), ("-9e125", "-9e125")])
def test_sums_that_no_number_holds(
    dynamodb: Any, table: str, key: dict[str, Any], refused: Any, operands: tuple[str, str]
) -> None:
    values = {":a": {"N": operands[0]}, ":b": {"N": operands[1]}}
    with refused("ValidationException", "Number overflow. Attempting to store a number with magnitude larger"):
        dynamodb.update_item(
            TableName=table, Key=key, UpdateExpression="SET n = :a + :b", ExpressionAttributeValues=values
        )


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "dog", " 1", "1 ", "0x1", "1_0", "", "--1", "1e"])
def test_what_is_no_number(dynamodb: Any, table: str, key: dict[str, Any], refused: Any, text: str) -> None:
    with refused("ValidationException", "numeric"):
        dynamodb.put_item(TableName=table, Item={**key, "n": {"N": text}})
