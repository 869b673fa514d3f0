"""Query: which items, in which order, what it costs, and what it refuses, in which words and order."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.core.errors import ApiError
from tests.unit.api.query_tables import World, value_of


@pytest.fixture
def world() -> World:
    world = World()
    for number in range(10):
        world.put("plain", a="x", b=f"{number:02d}", n=number, pad="p" * 50)
        world.put("numbered", a="x", b=number - 5)
    world.put("plain", a="y", b="00")
    return world


def query(world: World, condition: str, values: dict[str, Any], table: str = "plain", **more: Any) -> dict[str, Any]:
    body = {
        "TableName": table,
        "KeyConditionExpression": condition,
        "ExpressionAttributeValues": {f":{name}": value_of(content) for name, content in values.items()},
        **more,
    }
    return world.call("Query", body)


def found(answer: dict[str, Any], name: str = "b") -> list[str]:
    return [next(iter(item[name].values())) for item in answer["Items"]]


@pytest.mark.parametrize(
    ("condition", "values", "expected"),
    [
        ("a = :a", {}, range(10)),
        ("a = :a AND b = :v", {"v": "03"}, [3]),
        ("b = :v and a = :a", {"v": "03"}, [3]),
        ("a = :a AND b < :v", {"v": "03"}, [0, 1, 2]),
        ("a = :a AND b <= :v", {"v": "03"}, [0, 1, 2, 3]),
        ("a = :a AND b > :v", {"v": "07"}, [8, 9]),
        ("a = :a AND b >= :v", {"v": "07"}, [7, 8, 9]),
        (":a = a AND :v >= b", {"v": "01"}, [0, 1]),
        (":v < b and :a = a", {"v": "08"}, [9]),
        ("(a = :a) AND (b BETWEEN :v AND :w)", {"v": "03", "w": "05"}, [3, 4, 5]),
        ("a = :a AND begins_with(b, :v)", {"v": "0"}, range(10)),
        ("a = :a AND begins_with(b, :v)", {"v": "07"}, [7]),
        ("a = :a AND begins_with(b, :v)", {"v": "1"}, []),
    ],
)
def test_each_key_condition(world: World, condition: str, values: dict[str, Any], expected: Any) -> None:
    wanted = [f"{number:02d}" for number in expected]
    answer = query(world, condition, {"a": "x", **values})
    assert found(answer) == wanted
    assert (answer["Count"], answer["ScannedCount"]) == (len(wanted), len(wanted))
    assert "LastEvaluatedKey" not in answer
    assert found(query(world, condition, {"a": "x", **values}, ScanIndexForward=False)) == wanted[::-1]


def test_numbers_are_in_numeric_order(world: World) -> None:
    values = {"a": "x", "low": -2, "high": 3}
    assert found(query(world, "a = :a AND b BETWEEN :low AND :high", values, "numbered")) == [
        str(n) for n in range(-2, 4)
    ]


def test_legacy_key_conditions(world: World) -> None:
    conditions = {
        "a": {"ComparisonOperator": "EQ", "AttributeValueList": [{"S": "x"}]},
        "b": {"ComparisonOperator": "BETWEEN", "AttributeValueList": [{"S": "02"}, {"S": "04"}]},
    }
    answer = world.call("Query", {"TableName": "plain", "KeyConditions": conditions, "AttributesToGet": ["b"]})
    assert answer["Items"] == [{"b": {"S": f"0{number}"}} for number in (2, 3, 4)]
    filtered = {"n": {"ComparisonOperator": "GT", "AttributeValueList": [{"N": "3"}]}}
    answer = world.call("Query", {"TableName": "plain", "KeyConditions": conditions, "QueryFilter": filtered})
    assert (found(answer), answer["ScannedCount"]) == (["04"], 3)


@pytest.mark.parametrize("forward", [True, False])
def test_pages_come_to_the_whole(world: World, forward: bool) -> None:
    request: dict[str, Any] = {"Limit": 3, "ScanIndexForward": forward}
    seen: list[str] = []
    pages = 0
    while True:
        answer = query(world, "a = :a", {"a": "x"}, **request)
        seen += found(answer)
        pages += 1
        if "LastEvaluatedKey" not in answer:
            break
        assert set(answer["LastEvaluatedKey"]) == {"a", "b"}
        request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
    expected = [f"{number:02d}" for number in range(10)]
    assert (seen, pages) == (expected if forward else expected[::-1], 4)


def test_a_limit_that_ends_exactly_at_the_last_item_still_says_where(world: World) -> None:
    assert query(world, "a = :a", {"a": "x"}, Limit=10)["LastEvaluatedKey"] == {"a": {"S": "x"}, "b": {"S": "09"}}
    assert "LastEvaluatedKey" not in query(world, "a = :a", {"a": "x"}, Limit=11)


def test_filters_count_what_they_drop(world: World) -> None:
    answer = query(world, "a = :a", {"a": "x", "n": 4}, FilterExpression="n > :n", Limit=6)
    assert (answer["Count"], answer["ScannedCount"]) == (1, 6)
    assert answer["LastEvaluatedKey"]["b"] == {"S": "05"}
    none = query(world, "a = :a", {"a": "x", "n": "4"}, FilterExpression="n > :n")
    assert (none["Count"], none["ScannedCount"], none["Items"]) == (0, 10, []), "a string is no number"


def test_a_page_ends_at_a_megabyte(world: World) -> None:
    for number in range(5):
        world.put("plain", a="big", b=str(number), pad="p" * 300_000)
    answer = query(world, "a = :a", {"a": "big"}, ReturnConsumedCapacity="TOTAL")
    assert found(answer) == ["0", "1", "2", "3"], "the item that fills the page is in it"
    assert answer["LastEvaluatedKey"]["b"] == {"S": "3"}
    assert answer["ConsumedCapacity"] == {"TableName": "plain", "CapacityUnits": 146.5}


def test_capacity_is_of_the_sum_of_what_was_evaluated(world: World) -> None:
    sizes = 10 * (2 + 3 + 50 + 3) + 9 * 3 + 2  # keys, numbers, padding
    assert sizes < 4096
    for consistent, units in ((False, 0.5), (True, 1.0)):
        answer = query(world, "a = :a", {"a": "x"}, ReturnConsumedCapacity="INDEXES", ConsistentRead=consistent)
        expected = {"TableName": "plain", "CapacityUnits": units, "Table": {"CapacityUnits": units}}
        assert answer["ConsumedCapacity"] == expected
    world.services.taken.clear()
    query(world, "a = :a", {"a": "big"}, ConsistentRead=True)
    assert sum(reads for _, reads, _ in world.services.taken) == 1.0


def test_an_exhausted_budget_throttles(world: World) -> None:
    world.services.exhausted.append("plain")
    with pytest.raises(ApiError, match="ProvisionedThroughputExceededException"):
        query(world, "a = :a", {"a": "x"})


def test_select(world: World) -> None:
    answer = query(world, "a = :a", {"a": "x"}, Select="COUNT")
    assert (answer["Count"], "Items" in answer) == (10, False)
    some = query(world, "a = :a", {"a": "y"}, Select="SPECIFIC_ATTRIBUTES", ProjectionExpression="b")
    assert some["Items"] == [{"b": {"S": "00"}}]


ENVELOPE = "1 validation error detected: "
EITHER = "Either the KeyConditions or KeyConditionExpression parameter must be specified in the request."
SCHEMA = "The provided key element does not match the schema"
START = "The provided starting key is invalid"
ONE: dict[str, Any] = {"KeyConditionExpression": "a = :a", "ExpressionAttributeValues": {":a": {"S": "x"}}}
TWO: dict[str, Any] = {
    "KeyConditionExpression": "a = :a AND b > :b",
    "ExpressionAttributeValues": {":a": {"S": "x"}, ":b": {"S": "04"}},
}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, EITHER),
        (
            {**ONE, "Limit": 0},
            ENVELOPE + "Value at 'Limit' failed to satisfy constraint: Member must have value greater than or equal "
            "to 1",
        ),
        (
            {**ONE, "Select": "SPECIFIC_ATTRIBUTES"},
            ENVELOPE + "Must specify the AttributesToGet or ProjectionExpression when choosing to get "
            "SPECIFIC_ATTRIBUTES",
        ),
        (
            {**ONE, "Select": "COUNT", "ProjectionExpression": "b"},
            ENVELOPE + "Cannot specify the ProjectionExpression when choosing to get only the Count",
        ),
        (
            {**ONE, "Select": "ALL_PROJECTED_ATTRIBUTES"},
            ENVELOPE + "ALL_PROJECTED_ATTRIBUTES can be used only when Querying using an IndexName",
        ),
        ({"KeyConditions": {}}, "Conditions can be of length 1 or 2 only"),
        ({**ONE, "IndexName": "none"}, "The table does not have the specified index: none"),
        ({**ONE, "ExclusiveStartKey": {}}, START),
        ({**ONE, "ExclusiveStartKey": {"a": {"S": "x"}, "c": {"S": "y"}}}, START),
        ({**ONE, "ExclusiveStartKey": {"a": {"S": "x"}, "b": {"N": "1"}}}, SCHEMA),
        (
            {**ONE, "ExclusiveStartKey": {"a": {"S": "y"}, "b": {"S": "1"}}},
            "The provided starting key is outside query boundaries based on provided conditions",
        ),
        (
            {**TWO, "ExclusiveStartKey": {"a": {"S": "x"}, "b": {"S": "03"}}},
            "The provided starting key does not match the range key predicate",
        ),
        (
            {**TWO, "ExclusiveStartKey": {"a": {"S": "y"}, "b": {"S": "05"}}},
            "The query can return at most one row and cannot be restarted",
        ),
        (
            {**ONE, "ExclusiveStartKey": {"a": {}, "b": {"S": "1"}}},
            START + ": Supplied AttributeValue is empty, must contain exactly one of the supported datatypes",
        ),
        ({**ONE, "ExclusiveStartKey": {"a": {"N": "b"}}}, "The parameter cannot be converted to a numeric value: b"),
        (
            {**ONE, "FilterExpression": "b = :a"},
            "Filter Expression can only contain non-primary key attributes: Primary key attribute: b",
        ),
        (
            {**ONE, "ProjectionExpression": "b.c"},
            "Key attributes must be scalars; list random access '[]' and map lookup '.' are not allowed: Key: b",
        ),
    ],
)
def test_refusals(world: World, body: dict[str, Any], message: str) -> None:
    world.refused("Query", {"TableName": "plain", **body}, message)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("a > :v", "Query key condition not supported"),
        ("b = :v", "Query condition missed key schema element: a"),
        ("z = :v", "Query condition missed key schema element: a"),
        ("a = :v AND z = :v", "Query condition missed key schema element: b"),
        (
            "a = :v AND b = :v AND z = :v",
            "The number of query conditions (3) exceeds the number of key attributes defined in the schema (2)",
        ),
        ("a = :v OR b = :v", "Invalid operator used in KeyConditionExpression: OR"),
        ("NOT a = :v", "Invalid operator used in KeyConditionExpression: NOT"),
        ("a <> :v", "Invalid operator used in KeyConditionExpression: <>"),
        ("a IN (:v)", "Invalid operator used in KeyConditionExpression: IN"),
        ("contains(a, :v)", "Invalid operator used in KeyConditionExpression: contains"),
        ("size(a) = :v", "KeyConditionExpressions cannot contain nested operations"),
        (
            "a = b AND z = :v",
            "Invalid condition in KeyConditionExpression: Multiple attribute names used in one condition",
        ),
        ("a.b = :v", "KeyConditionExpressions cannot have conditions on nested attributes"),
        (":v = :v", "Invalid condition in KeyConditionExpression: No key attribute specified"),
        (
            "a = :v AND a = :v",
            "Invalid KeyConditionExpression: KeyConditionExpressions must only contain one condition per key",
        ),
        (
            ":v BETWEEN a AND b",
            "Invalid condition in KeyConditionExpression: BETWEEN operator must have the key attribute as its first "
            "operand",
        ),
    ],
)
def test_key_conditions_that_cannot_be(world: World, expression: str, message: str) -> None:
    body = {"KeyConditionExpression": expression, "ExpressionAttributeValues": {":v": {"S": "x"}}}
    world.refused("Query", {"TableName": "plain", **body}, message)


def test_types_and_operators_of_key_conditions(world: World) -> None:
    wrong = "One or more parameter values were invalid: Condition parameter type does not match schema type"
    body = {"TableName": "plain", "KeyConditionExpression": "a = :v", "ExpressionAttributeValues": {":v": {"N": "1"}}}
    world.refused("Query", body, wrong)
    for operator in ("NE", "CONTAINS"):
        condition = {"ComparisonOperator": operator, "AttributeValueList": [{"S": "x"}]}
        body = {"TableName": "plain", "KeyConditions": {"a": condition}}
        world.refused("Query", body, "Attempted conditional constraint is not an indexable operation")
    two = {"a": {"ComparisonOperator": "EQ", "AttributeValueList": [{"S": "x"}]}}
    world.refused(
        "Query", {"TableName": "hashed", "KeyConditions": {**two, "b": two["a"]}}, "Query key condition not supported"
    )
    with pytest.raises(ApiError, match="ResourceNotFoundException"):
        world.call("Query", {"TableName": "nothing", **ONE})


# --- indexes ---


@pytest.fixture
def indexed() -> World:
    world = World()
    for number in range(6):
        world.put("indexed", a="x", b=str(number), c="cba"[number % 3], d=str(9 - number), e=f"e{number}", f="f" * 10)
    world.put("indexed", a="x", b="none", e="no c")
    world.put("indexed", a="y", b="0", c="a", d="0", e="ey")
    return world


def test_a_local_index_sorts_the_collection_by_another_attribute(indexed: World) -> None:
    answer = query(indexed, "a = :a", {"a": "x"}, "indexed", IndexName="local", ReturnConsumedCapacity="INDEXES")
    assert found(answer, "c") == ["a", "a", "b", "b", "c", "c"]
    assert [sorted(item) for item in answer["Items"]] == [["a", "b", "c"]] * 6
    assert answer["ConsumedCapacity"] == {
        "TableName": "indexed",
        "CapacityUnits": 0.5,
        "Table": {"CapacityUnits": 0.0},
        "LocalSecondaryIndexes": {"local": {"CapacityUnits": 0.5}},
    }
    pages: list[str] = []
    start: dict[str, Any] = {}
    while True:
        page = query(indexed, "a = :a", {"a": "x"}, "indexed", IndexName="local", Limit=2, ConsistentRead=True, **start)
        pages += found(page)
        if "LastEvaluatedKey" not in page:
            break
        assert set(page["LastEvaluatedKey"]) == {"a", "b", "c"}
        start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}
    assert pages == found(answer)
    assert found(query(indexed, "a = :a", {"a": "x"}, "indexed")) == ["0", "1", "2", "3", "4", "5", "none"]


def test_a_local_index_fetches_what_it_does_not_have(indexed: World) -> None:
    values = {"a": "x", "c": "b"}
    request = {"IndexName": "local", "ReturnConsumedCapacity": "INDEXES"}
    answer = query(indexed, "a = :a AND c = :c", values, "indexed", Select="ALL_ATTRIBUTES", **request)
    assert [item["f"] for item in answer["Items"]] == [{"S": "f" * 10}] * 2
    assert answer["ConsumedCapacity"]["CapacityUnits"] == 1.5
    assert answer["ConsumedCapacity"]["Table"] == {"CapacityUnits": 1.0}
    some = query(indexed, "a = :a AND c = :c", values, "indexed", ProjectionExpression="e", **request)
    assert found(some, "e") == ["e1", "e4"]
    values |= {"e": "e4"}
    filtered = query(indexed, "a = :a AND c = :c", values, "indexed", FilterExpression="e = :e", **request)
    assert (found(filtered, "e"), filtered["ScannedCount"]) == (["e4"], 2)


def test_a_global_index(indexed: World) -> None:
    answer = query(indexed, "c = :c", {"c": "a"}, "indexed", IndexName="few", ReturnConsumedCapacity="INDEXES")
    assert found(answer, "d") == ["0", "4", "7"]
    assert [sorted(item) for item in answer["Items"]] == [["a", "b", "c", "d", "e"]] * 3
    assert answer["ConsumedCapacity"] == {
        "TableName": "indexed",
        "CapacityUnits": 0.5,
        "Table": {"CapacityUnits": 0.0},
        "GlobalSecondaryIndexes": {"few": {"CapacityUnits": 0.5}},
    }
    values = {"c": "a", "d": "4"}
    assert found(query(indexed, "c = :c AND d >= :d", values, "indexed", IndexName="few"), "d") == ["4", "7"]
    first = query(indexed, "c = :c", {"c": "a"}, "indexed", IndexName="all", Limit=2)
    assert set(first["LastEvaluatedKey"]) == {"a", "b", "c"}
    start = first["LastEvaluatedKey"]
    second = query(indexed, "c = :c", {"c": "a"}, "indexed", IndexName="all", ExclusiveStartKey=start)
    assert sorted(found(first, "e") + found(second, "e")) == ["e2", "e5", "ey"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"ConsistentRead": True}, "Consistent reads are not supported on global secondary indexes"),
        (
            {"Select": "ALL_ATTRIBUTES"},
            "One or more parameter values were invalid: Select type ALL_ATTRIBUTES is not supported for global "
            "secondary index few because its projection type is not ALL",
        ),
        (
            {"ProjectionExpression": "f"},
            "One or more parameter values were invalid: Global secondary index few does not project [f]",
        ),
        (
            {"FilterExpression": "d = :c"},
            "Filter Expression can only contain non-primary key attributes: Primary key attribute: d",
        ),
        (
            {"FilterExpression": "attribute_exists(b[0])"},
            "Key attributes must be scalars; list random access '[]' and map lookup '.' are not allowed: Key: b",
        ),
        ({"ExclusiveStartKey": {"a": {"S": "a"}, "b": {"S": "a"}, "c": {"S": "a"}}}, START),
        (
            {"ExclusiveStartKey": {"a": {"N": "1"}, "b": {"S": "a"}, "c": {"S": "a"}, "d": {"S": "a"}}},
            START + ": " + SCHEMA,
        ),
    ],
)
def test_refusals_of_a_global_index(indexed: World, more: dict[str, Any], message: str) -> None:
    base = {"TableName": "indexed", "IndexName": "few", "KeyConditionExpression": "c = :c"}
    indexed.refused("Query", {**base, "ExpressionAttributeValues": {":c": {"S": "a"}}, **more}, message)


def test_an_index_that_came_since_the_table_was_cached(indexed: World, monkeypatch: pytest.MonkeyPatch) -> None:
    known = indexed.services.table
    asked: list[bool] = []

    async def cached(name: str, *, fresh: bool = False) -> Any:
        asked.append(fresh)
        table = await known(name)
        return table if fresh or "/" in name else table._replace(schema=table.schema._replace(globals=()))

    monkeypatch.setattr(indexed.services, "table", cached)
    answer = query(indexed, "c = :c", {"c": "a"}, "indexed", IndexName="few")
    assert (answer["Count"], asked) == (3, [False, True, False])
