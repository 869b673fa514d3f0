"""Query as the developer guide and the API reference describe it."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(scope="module")
def collection(dynamodb: Any, sorted_table: str) -> str:
    """The hash value of a collection of ten items with sort keys -5 to 4, and one more beside it."""
    for number in range(-5, 5):
        item = {"pk": {"S": "query"}, "sk": {"N": str(number)}, "square": {"N": str(number**2)}, "pad": {"S": "p" * 99}}
        dynamodb.put_item(TableName=sorted_table, Item=item)
    dynamodb.put_item(TableName=sorted_table, Item={"pk": {"S": "query!"}, "sk": {"N": "0"}})
    return "query"


@pytest.fixture
def query(dynamodb: Any, sorted_table: str, collection: str) -> Any:
    """``query(condition, values, **more)`` of the collection, strongly consistent."""

    def run(condition: str = "pk = :pk", values: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        answer: dict[str, Any] = dynamodb.query(
            TableName=sorted_table,
            KeyConditionExpression=condition,
            ExpressionAttributeValues={":pk": {"S": collection}, **(values or {})},
            **{"ConsistentRead": True, **more},
        )
        return answer

    return run


def sort_keys(answer: dict[str, Any]) -> list[int]:
    return [int(item["sk"]["N"]) for item in answer["Items"]]


def test_a_collection_is_in_the_order_of_its_sort_keys(query: Any) -> None:
    answer = query()
    assert sort_keys(answer) == list(range(-5, 5))
    assert (answer["Count"], answer["ScannedCount"]) == (10, 10)
    assert "LastEvaluatedKey" not in answer
    assert sort_keys(query(ScanIndexForward=False)) == list(range(4, -6, -1))


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("sk = :n", [2]),
        ("sk < :n", [-5, -4, -3, -2, -1, 0, 1]),
        ("sk <= :n", [-5, -4, -3, -2, -1, 0, 1, 2]),
        ("sk > :n", [3, 4]),
        ("sk >= :n", [2, 3, 4]),
        ("sk BETWEEN :n AND :m", [2, 3]),
        (":n > sk", [-5, -4, -3, -2, -1, 0, 1]),
    ],
)
def test_each_sort_key_condition(query: Any, condition: str, expected: list[int]) -> None:
    values = {":n": {"N": "2"}, **({":m": {"N": "3.0"}} if ":m" in condition else {})}
    for both in (f"pk = :pk AND {condition}", f"{condition} AND :pk = pk"):
        assert sort_keys(query(both, values)) == expected


@pytest.mark.parametrize("forward", [True, False])
def test_pages_come_to_the_whole(query: Any, forward: bool) -> None:
    found: list[int] = []
    more: dict[str, Any] = {}
    for _ in range(5):
        page = query(Limit=3, ScanIndexForward=forward, **more)
        found += sort_keys(page)
        if "LastEvaluatedKey" not in page:
            break
        assert page["LastEvaluatedKey"] == {"pk": {"S": "query"}, "sk": {"N": str(found[-1])}}
        more = {"ExclusiveStartKey": page["LastEvaluatedKey"]}
    assert found == (list(range(-5, 5)) if forward else list(range(4, -6, -1)))


def test_filters_drop_items_after_they_were_counted(query: Any) -> None:
    answer = query(values={":s": {"N": "9"}}, FilterExpression="square >= :s", Limit=4)
    assert sort_keys(answer) == [-5, -4, -3]
    assert (answer["Count"], answer["ScannedCount"]) == (3, 4)
    assert answer["LastEvaluatedKey"]["sk"] == {"N": "-2"}
    none = query(values={":s": {"S": "9"}}, FilterExpression="square >= :s")
    assert (none["Count"], none["ScannedCount"]) == (0, 10)


def test_projection_and_count(query: Any) -> None:
    answer = query("pk = :pk AND sk = :n", {":n": {"N": "3"}}, ProjectionExpression="square, absent")
    assert answer["Items"] == [{"square": {"N": "9"}}]
    counted = query(Select="COUNT")
    assert counted["Count"] == 10
    assert "Items" not in counted


def test_begins_with(dynamodb: Any, table: str, query: Any, refused: Any) -> None:
    with refused("ValidationException", "Incorrect operand type for operator or function"):
        query("pk = :pk AND begins_with(sk, :n)", {":n": {"N": "3"}})


def test_consumed_capacity_is_of_the_sum(query: Any, sorted_table: str) -> None:
    for consistent, units in ((True, 1.0), (False, 0.5)):
        answer = query(ConsistentRead=consistent, ReturnConsumedCapacity="INDEXES")
        expected = {"TableName": sorted_table, "CapacityUnits": units, "Table": {"CapacityUnits": units}}
        assert answer["ConsumedCapacity"] == expected


@pytest.mark.parametrize(
    ("condition", "values", "message"),
    [
        ("sk = :n", {":n": {"N": "1"}}, "Query condition missed key schema element: pk"),
        ("pk > :v", {":v": {"S": "x"}}, "Query key condition not supported"),
        ("pk = :v AND square = :v", {":v": {"S": "x"}}, "Query condition missed key schema element: sk"),
        ("pk = :n", {":n": {"N": "1"}}, "Condition parameter type does not match schema type"),
        ("pk = :v OR sk = :v", {":v": {"S": "x"}}, "Invalid operator used in KeyConditionExpression: OR"),
        ("pk = :v AND sk.a = :v", {":v": {"S": "x"}}, "cannot have conditions on nested attributes"),
        ("", {":v": {"S": "x"}}, "Invalid KeyConditionExpression: The expression can not be empty;"),
        ("((pk = :v))", {":v": {"S": "x"}}, "Invalid KeyConditionExpression: The expression has redundant parentheses"),
    ],
)
def test_key_conditions_that_cannot_be(
    dynamodb: Any, sorted_table: str, refused: Any, condition: str, values: dict[str, Any], message: str
) -> None:
    with refused("ValidationException", message):
        dynamodb.query(TableName=sorted_table, KeyConditionExpression=condition, ExpressionAttributeValues=values)


def test_start_keys_that_cannot_be(query: Any, refused: Any) -> None:
    for start, message in (
        ({"bad": {"S": "p"}}, "^The provided starting key is invalid$"),
        ({"pk": {"S": "other"}, "sk": {"N": "1"}}, "^The provided starting key is outside query boundaries"),
        ({"pk": {"S": "query"}, "sk": {"S": "1"}}, "^The provided key element does not match the schema$"),
    ):
        with refused("ValidationException", message):
            query(ExclusiveStartKey=start)


def test_a_missing_table_or_index(dynamodb: Any, query: Any, refused: Any) -> None:
    with refused("ResourceNotFoundException", "^Requested resource not found$"):
        dynamodb.query(
            TableName="contract-nothing", KeyConditionExpression="a = :a", ExpressionAttributeValues={":a": {"S": "x"}}
        )
    with refused("ValidationException", "^The table does not have the specified index: nothing$"):
        query(IndexName="nothing")


def test_a_page_ends_at_a_megabyte(dynamodb: Any, sorted_table: str, key: dict[str, Any]) -> None:
    for number in range(4):
        item = {**key, "sk": {"N": str(number)}, "pad": {"S": "p" * 390_000}}
        dynamodb.put_item(TableName=sorted_table, Item=item)
    request = {
        "TableName": sorted_table,
        "KeyConditionExpression": "pk = :pk",
        "ExpressionAttributeValues": {":pk": key["pk"]},
        "ConsistentRead": True,
    }
    first = dynamodb.query(**request)
    assert first["Count"] == 3
    second = dynamodb.query(**request, ExclusiveStartKey=first["LastEvaluatedKey"])
    assert sort_keys(second) == [3]
    assert "LastEvaluatedKey" not in second
