"""UpdateItem as the API reference describes it."""

from __future__ import annotations

import re
from typing import Any

import pytest


def test_an_update_makes_a_missing_item(dynamodb: Any, table: str, key: dict[str, Any]) -> None:
    answer = dynamodb.update_item(
        TableName=table,
        Key=key,
        UpdateExpression="SET a = :v ADD n :n",
        ExpressionAttributeValues={":v": {"S": "x"}, ":n": {"N": "2"}},
        ReturnValues="ALL_NEW",
    )
    assert answer["Attributes"] == {**key, "a": {"S": "x"}, "n": {"N": "2"}}
    assert dynamodb.get_item(TableName=table, Key=key, ConsistentRead=True)["Item"] == answer["Attributes"]


def test_an_update_of_nothing_makes_an_item_of_its_key(dynamodb: Any, table: str, key: dict[str, Any]) -> None:
    dynamodb.update_item(TableName=table, Key=key)
    assert dynamodb.get_item(TableName=table, Key=key, ConsistentRead=True)["Item"] == key


@pytest.mark.parametrize(
    "change",
    [
        {"UpdateExpression": "REMOVE a, m.x"},
        {"UpdateExpression": "DELETE s :s", "ExpressionAttributeValues": {":s": {"SS": ["x"]}}},
        {"AttributeUpdates": {"a": {"Action": "DELETE"}, "s": {"Action": "DELETE", "Value": {"SS": ["x"]}}}},
    ],
)
def test_an_update_that_only_takes_away_makes_no_item(
    dynamodb: Any, table: str, key: dict[str, Any], change: dict[str, Any]
) -> None:
    answer = dynamodb.update_item(TableName=table, Key=key, ReturnValues="ALL_NEW", **change)
    assert "Attributes" not in answer
    assert "Item" not in dynamodb.get_item(TableName=table, Key=key, ConsistentRead=True)


def test_conditions_may_be_nested_deeply(dynamodb: Any, table: str, key: dict[str, Any]) -> None:
    dynamodb.put_item(TableName=table, Item={**key, "a": {"N": "1"}, "b": {"N": "2"}})
    dynamodb.update_item(
        TableName=table,
        Key=key,
        UpdateExpression="SET z = a",
        ConditionExpression="b < a " + "OR (b < a " * 148 + "OR (a < b" + ")" * 149,
    )


@pytest.mark.parametrize(
    ("returns", "expected"),
    [
        ("NONE", None),
        ("ALL_OLD", {"a": {"S": "old"}, "b": {"S": "kept"}, "n": {"N": "1"}}),
        ("ALL_NEW", {"a": {"S": "new"}, "b": {"S": "kept"}, "n": {"N": "2"}, "c": {"N": "1"}}),
        ("UPDATED_OLD", {"a": {"S": "old"}, "n": {"N": "1"}}),
        ("UPDATED_NEW", {"a": {"S": "new"}, "n": {"N": "2"}, "c": {"N": "1"}}),
    ],
)
def test_return_values(dynamodb: Any, table: str, key: dict[str, Any], returns: str, expected: Any) -> None:
    dynamodb.put_item(TableName=table, Item={**key, "a": {"S": "old"}, "b": {"S": "kept"}, "n": {"N": "1"}})
    answer = dynamodb.update_item(
        TableName=table,
        Key=key,
        UpdateExpression="SET a = :new, n = n + :one, c = if_not_exists(c, :one)",
        ExpressionAttributeValues={":new": {"S": "new"}, ":one": {"N": "1"}},
        ReturnValues=returns,
    )
    whole = returns.startswith("ALL")
    assert answer.get("Attributes") == ({**key, **expected} if whole else expected)


@pytest.mark.parametrize(
    ("expression", "values", "expected"),
    [
        ("REMOVE l[0], s", {}, {"l": {"L": [{"N": "2"}, {"N": "3"}]}, "ss": {"SS": ["a", "b"]}}),
        (
            "SET l = list_append(l, :l), s = :v",
            {":l": {"L": [{"N": "4"}]}, ":v": {"S": "t"}},
            {"l": {"L": [{"N": n} for n in "1234"]}, "s": {"S": "t"}, "ss": {"SS": ["a", "b"]}},
        ),
        (
            "DELETE ss :d",
            {":d": {"SS": ["a", "b"]}},
            {"l": {"L": [{"N": n} for n in "123"]}, "s": {"S": "x"}},
        ),
        (
            "SET l[1] = :v, l[10] = :v",
            {":v": {"S": "v"}},
            {
                "l": {"L": [{"N": "1"}, {"S": "v"}, {"N": "3"}, {"S": "v"}]},
                "s": {"S": "x"},
                "ss": {"SS": ["a", "b"]},
            },
        ),
    ],
)
def test_actions(
    dynamodb: Any, table: str, key: dict[str, Any], expression: str, values: Any, expected: dict[str, Any]
) -> None:
    item = {**key, "l": {"L": [{"N": n} for n in "123"]}, "s": {"S": "x"}, "ss": {"SS": ["a", "b"]}}
    dynamodb.put_item(TableName=table, Item=item)
    more = {"ExpressionAttributeValues": values} if values else {}
    dynamodb.update_item(TableName=table, Key=key, UpdateExpression=expression, **more)
    got = dynamodb.get_item(TableName=table, Key=key, ConsistentRead=True)["Item"]
    if "ss" in got:
        got["ss"]["SS"].sort()
    assert got == {**key, **expected}


def test_a_failed_condition_changes_nothing_and_shows_the_item(
    dynamodb: Any, table: str, key: dict[str, Any], refused: Any
) -> None:
    item = {**key, "n": {"N": "1"}}
    dynamodb.put_item(TableName=table, Item=item)
    with refused("ConditionalCheckFailedException") as answer:
        dynamodb.update_item(
            TableName=table,
            Key=key,
            UpdateExpression="SET n = :v",
            ConditionExpression="n > :v",
            ExpressionAttributeValues={":v": {"N": "5"}},
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    assert answer["Item"] == item
    assert dynamodb.get_item(TableName=table, Key=key, ConsistentRead=True)["Item"] == item


@pytest.mark.parametrize(
    ("expression", "values", "pattern"),
    [
        ("SET pk = :v", {":v": {"S": "x"}}, r"Cannot update attribute pk\. This attribute is part of the key$"),
        ("SET a = b", {}, "The provided expression refers to an attribute that does not exist in the item"),
        (
            "SET a.b = :v",
            {":v": {"S": "x"}},
            "The document path provided in the update expression is invalid for update",
        ),
        ("SET s = s + :v", {":v": {"N": "1"}}, "An operand in the update expression has an incorrect data type"),
        ("SET a = :v, a = :v", {":v": {"S": "x"}}, "Two document paths overlap with each other"),
        ("SET a = :v", {":v": {"S": "x"}, ":w": {"S": "y"}}, r"unused in expressions: keys: \{:w\}"),
        ("SET a = :v", {}, "attribute value: :v"),
        ("SET size = :v", {":v": {"S": "x"}}, "reserved keyword: size"),
        ("", {}, "Invalid UpdateExpression: The expression can not be empty;"),
        ("SET a == :v", {":v": {"S": "x"}}, 'Syntax error; token: "="'),
        ("SET p = :v", {":v": {"S": "x" * 409_600}}, "Item size to update has exceeded the maximum allowed size"),
    ],
)
def test_updates_that_cannot_be(
    dynamodb: Any, table: str, key: dict[str, Any], refused: Any, expression: str, values: Any, pattern: str
) -> None:
    dynamodb.put_item(TableName=table, Item={**key, "s": {"S": "x"}})
    more = {"ExpressionAttributeValues": values} if values else {}
    with refused("ValidationException", pattern):
        dynamodb.update_item(TableName=table, Key=key, UpdateExpression=expression, **more)
    assert dynamodb.get_item(TableName=table, Key=key, ConsistentRead=True)["Item"] == {**key, "s": {"S": "x"}}


LIMIT = 400 * 1024


def padded(expression: str, more: dict[str, Any], size: int) -> dict[str, Any]:
    """An update that sets ``b`` to ``size`` bytes."""
    return {"UpdateExpression": expression, "ExpressionAttributeValues": {":pad": {"S": "x" * size}, **more}}


@pytest.mark.parametrize(
    ("expression", "more", "price", "written"),
    [
        ("SET b = :pad", {}, 22, 1),
        ("SET b = :pad, c = :c", {":c": {"S": "y"}}, 41, 3),
        ("SET b = :pad REMOVE r", {}, 24, 1),
        ("SET b = :pad, c = :c", {":c": {"S": "y" * 500}}, 41, 502),
        ("SET b = :pad ADD n :n", {":n": {"N": "1"}}, 41, 4),
        ("SET b = :pad ADD s :s", {":s": {"SS": ["y" * 500]}}, 41, 502),
        ("SET b = :pad DELETE s :s", {":s": {"SS": ["y" * 500]}}, 23, 2),
        ("SET b = :pad REMOVE m.four, l[10]", {}, 22 + 1 + 4 + 1 + 4, 1 + 5 + 3),
        ("SET b = :pad, m.four = :c", {":c": {"S": "yy"}}, 41 + 4, 1 + 5 + 2),
        ("SET b = :pad, c = held", {}, 41 + 1 + 14, 2 + 4),
        ("SET b = :pad, c = m.four, d = l[10]", {}, 60 + 1 + 14 + 14 + 1 + 14 + 14, 3 + 5 + 3),
        ("SET b = :pad, n = n + :n", {":n": {"N": "1"}}, 41 + 34 + 15, 2 + 1 + 2),
        ("SET b = :pad, n = n - :n", {":n": {"N": "1"}}, 41 + 37 + 15, 2 + 1 + 2),
        ("SET b = :pad, c = if_not_exists(held, :c)", {":c": {"S": "y" * 50}}, 41 + 39 + 15, 2 + 4 + 50),
        ("SET b = :pad, l = list_append(l, :l)", {":l": {"L": [{"S": "y"}]}}, 41 + 37 + 15, 2 + 1 + 5),
    ],
)
def test_an_update_is_measured_by_what_it_says(
    dynamodb: Any, table: str, refused: Any, expression: str, more: Any, price: int, written: int
) -> None:
    """The key is left out of the measure, and each action has a price: for a short key the price is the greater. What
    is read from the item or taken out of it costs nothing."""
    key = {"pk": {"S": "K"}}
    room = LIMIT - written - price
    there = {
        "n": {"N": "12345678901234567890"},
        "held": {"S": "x"},
        "m": {"M": {"four": {"S": "x"}}},
        "l": {"L": [{"S": ""}] * (11 if "[10]" in expression else 1)},
        "s": {"SS": ["z"]},
    }
    mentioned = {name: value for name, value in there.items() if re.search(rf"\b{name}\b", expression)}
    dynamodb.put_item(TableName=table, Item={**key, **mentioned})
    dynamodb.update_item(TableName=table, Key=key, **padded(expression, more, room))
    with refused("ValidationException", "Item size to update has exceeded the maximum allowed size"):
        dynamodb.update_item(TableName=table, Key=key, **padded(expression, more, room + 1))
    dynamodb.delete_item(TableName=table, Key=key)


def test_the_measure_comes_before_the_condition(dynamodb: Any, table: str, key: dict[str, Any], refused: Any) -> None:
    dynamodb.put_item(TableName=table, Item={**key, "c": {"S": "x"}})
    update = {
        "TableName": table,
        "Key": key,
        "UpdateExpression": "SET c = if_not_exists(c, :huge)",
        "ExpressionAttributeValues": {":huge": {"S": "h" * (LIMIT + 100)}},
    }
    for condition in ("attribute_exists(c)", "attribute_exists(nothing)"):
        with refused("ValidationException", "^Item size to update has exceeded the maximum allowed size$"):
            dynamodb.update_item(**update, ConditionExpression=condition)


def test_old_updates_measure_the_item_alone(dynamodb: Any, table: str, refused: Any) -> None:
    key = {"pk": {"S": "X"}}
    for room, fits in ((LIMIT - 4, True), (LIMIT - 3, False)):
        update = {"TableName": table, "Key": key, "AttributeUpdates": {"b": {"Value": {"S": "x" * room}}}}
        if fits:
            dynamodb.update_item(**update)
            continue
        with refused("ValidationException", "Item size to update has exceeded the maximum allowed size"):
            dynamodb.update_item(**update)
    dynamodb.delete_item(TableName=table, Key=key)


def test_an_update_of_a_long_key_is_measured_by_the_item(dynamodb: Any, table: str, refused: Any) -> None:
    key = {"pk": {"S": "k" * 100}}
    room = LIMIT - 102 - 1
    dynamodb.update_item(TableName=table, Key=key, **padded("SET b = :pad", {}, room))
    with refused("ValidationException", "Item size to update has exceeded the maximum allowed size"):
        dynamodb.update_item(TableName=table, Key=key, **padded("SET b = :pad", {}, room + 1))
    dynamodb.delete_item(TableName=table, Key=key)


def test_transactions_and_partiql_measure_the_item_alone(dynamodb: Any, table: str) -> None:
    key = {"pk": {"S": "X"}}
    room = LIMIT - 3 - 1
    dynamodb.execute_statement(Statement=f"INSERT INTO \"{table}\" VALUE {{'pk': 'X'}}")
    pad = {"S": "x" * room}
    dynamodb.execute_statement(Statement=f"UPDATE \"{table}\" SET b = ? WHERE pk = 'X'", Parameters=[pad])
    action = {"TableName": table, "Key": key, **padded("SET b = :pad", {}, room)}
    dynamodb.transact_write_items(TransactItems=[{"Update": action}])
    dynamodb.delete_item(TableName=table, Key=key)


def test_a_null_is_never_false(dynamodb: Any, table: str, key: dict[str, Any], refused: Any) -> None:
    with refused("ValidationException", "Null attribute value types must have the value of true$"):
        dynamodb.put_item(TableName=table, Item={**key, "nil": {"NULL": False}})
