"""Scan: everything once, in DynamoDB's order, by pages and segments; its costs and refusals."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.api.scan import segment_bounds
from tests.unit.api.query_tables import World


@pytest.fixture
def world() -> World:
    world = World()
    for number in range(20):
        world.put("hashed", a=str(number), n=number)
        world.put("indexed", a=str(number % 4), b=str(number), c=f"c{number % 3}", d="d", e="e")
    world.put("indexed", a="0", b="without", e="e")
    return world


def names(answer: dict[str, Any], name: str = "a") -> list[str]:
    return [item[name]["S"] for item in answer["Items"]]


def all_pages(world: World, **request: Any) -> list[dict[str, Any]]:
    pages = [world.call("Scan", request)]
    while "LastEvaluatedKey" in pages[-1]:
        pages.append(world.call("Scan", {**request, "ExclusiveStartKey": pages[-1]["LastEvaluatedKey"]}))
    return pages


def test_items_come_in_the_order_of_dynamodb_scans() -> None:
    world = World()
    words = ["2", "8", "9", "1", "6", "hello", "0", "5", "4", "äáöü", "aardman", "7", "3", "zapf"]
    for word in sorted(words):
        world.put("hashed", a=word)
    answer = world.call("Scan", {"TableName": "hashed", "ReturnConsumedCapacity": "TOTAL"})
    assert names(answer) == words
    assert answer["ConsumedCapacity"] == {"TableName": "hashed", "CapacityUnits": 0.5}


def test_pages_come_to_the_whole(world: World) -> None:
    whole = world.call("Scan", {"TableName": "hashed"})
    assert (whole["Count"], whole["ScannedCount"], "LastEvaluatedKey" in whole) == (20, 20, False)
    pages = all_pages(world, TableName="hashed", Limit=6)
    assert [name for page in pages for name in names(page)] == names(whole)
    assert [page["ScannedCount"] for page in pages] == [6, 6, 6, 2]
    assert "LastEvaluatedKey" in world.call("Scan", {"TableName": "hashed", "Limit": 20})
    assert "LastEvaluatedKey" not in world.call("Scan", {"TableName": "hashed", "Limit": 21})


@pytest.mark.parametrize("total", [1, 2, 3, 7])
def test_segments_share_everything(world: World, total: int) -> None:
    whole = names(world.call("Scan", {"TableName": "hashed"}))
    parts = [all_pages(world, TableName="hashed", Segment=one, TotalSegments=total, Limit=2) for one in range(total)]
    assert [name for pages in parts for page in pages for name in names(page)] == whole


def test_segments_are_cut_where_dynamodb_cuts_them() -> None:
    assert segment_bounds(0, 2)[1] == segment_bounds(1, 2)[0] == bytes([0x80]) + bytes(15)
    assert segment_bounds(2, 4) == (segment_bounds(1, 2)[0], segment_bounds(3, 4)[0])
    assert segment_bounds(0, 1)[1] == b""


def test_filters_projections_and_counts(world: World) -> None:
    values = {":n": {"N": "17"}}
    request = {"TableName": "hashed", "FilterExpression": "n > :n", "ExpressionAttributeValues": values}
    answer = world.call("Scan", {**request, "ProjectionExpression": "n"})
    assert sorted(item["n"]["N"] for item in answer["Items"]) == ["18", "19"]
    assert (answer["Count"], answer["ScannedCount"]) == (2, 20)
    counted = world.call("Scan", {**request, "Select": "COUNT"})
    assert counted == {"Count": 2, "ScannedCount": 20}
    old = {"n": {"ComparisonOperator": "IN", "AttributeValueList": [{"N": str(n)} for n in range(2, 4)] * 9_000}}
    assert world.call("Scan", {"TableName": "hashed", "ScanFilter": old})["Count"] == 2
    none = {"TableName": "hashed", "FilterExpression": "n > :n", "ExpressionAttributeValues": {":n": {"S": "0"}}}
    assert world.call("Scan", none)["Count"] == 0, "a string is no number"


def test_a_table_with_local_indexes_shows_its_items_once(world: World) -> None:
    assert world.call("Scan", {"TableName": "indexed"})["Count"] == 21
    assert sum(page["ScannedCount"] for page in all_pages(world, TableName="indexed", Limit=4)) == 21


@pytest.mark.parametrize("index", ["local", "all", "few"])
def test_indexes_hold_the_items_that_have_their_keys(world: World, index: str) -> None:
    pages = all_pages(world, TableName="indexed", IndexName=index, Limit=3, ReturnConsumedCapacity="INDEXES")
    found = [item["b"]["S"] for page in pages for item in page["Items"]]
    assert sorted(found, key=int) == [str(number) for number in range(20)]
    kind = "LocalSecondaryIndexes" if index == "local" else "GlobalSecondaryIndexes"
    assert pages[0]["ConsumedCapacity"][kind] == {index: {"CapacityUnits": 0.5}}
    assert pages[0]["ConsumedCapacity"]["Table"] == {"CapacityUnits": 0.0}
    keys = {"local": "abc", "all": "abc", "few": "abcd"}[index]
    assert "".join(sorted(pages[0]["LastEvaluatedKey"])) == keys


START = "The provided starting key is invalid"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            {"Limit": 0},
            "1 validation error detected: Value at 'Limit' failed to satisfy constraint: Member must have value "
            "greater than or equal to 1",
        ),
        (
            {"Segment": 0},
            "The TotalSegments parameter is required but was not present in the request when Segment parameter is "
            "present",
        ),
        (
            {"TotalSegments": 4},
            "The Segment parameter is required but was not present in the request when parameter TotalSegments is "
            "present",
        ),
        (
            {"Segment": 5, "TotalSegments": 5},
            "The Segment parameter is zero-based and must be less than parameter TotalSegments",
        ),
        (
            {"Select": "COUNT", "AttributesToGet": ["a"]},
            "1 validation error detected: Cannot specify the AttributesToGet when choosing to get only the Count",
        ),
        ({"IndexName": "none"}, "The table does not have the specified index: none"),
        ({"IndexName": "none", "ExclusiveStartKey": {}}, START),
        ({"ExclusiveStartKey": {}}, START),
        (
            {"ExclusiveStartKey": {"a": {"S": "1"}, "b": {"N": "1"}}},
            START + ": The provided key element does not match the schema",
        ),
        ({"IndexName": "few", "ExclusiveStartKey": {"a": {"S": "1"}, "b": {"S": "1"}}}, START),
        (
            {"IndexName": "few", "ConsistentRead": True},
            "Consistent reads are not supported on global secondary indexes",
        ),
        (
            {"ScanFilter": {"a": {"ComparisonOperator": "EQ"}}},
            "One or more parameter values were invalid: Invalid number of argument(s) for the EQ ComparisonOperator",
        ),
        (
            {"FilterExpression": "a.b = c"},
            "Key attributes must be scalars; list random access '[]' and map lookup '.' are not allowed: Key: a",
        ),
        (
            {"FilterExpression": "c[1] = e"},
            "Key attributes must be scalars; list random access '[]' and map lookup '.' are not allowed: IndexKey: c",
        ),
    ],
)
def test_refusals(world: World, body: dict[str, Any], message: str) -> None:
    world.refused("Scan", {"TableName": "indexed", **body}, message)


def test_a_start_key_of_another_segment(world: World) -> None:
    first, second = (
        names(world.call("Scan", {"TableName": "hashed", "Segment": one, "TotalSegments": 2})) for one in (0, 1)
    )
    start = {"a": {"S": second[0]}}
    world.refused(
        "Scan",
        {"TableName": "hashed", "Segment": 0, "TotalSegments": 2, "ExclusiveStartKey": start},
        START + ": Invalid ExclusiveStartKey. Please use ExclusiveStartKey with correct Segment. TotalSegments: 2 "
        "Segment: 0",
    )
    assert first
