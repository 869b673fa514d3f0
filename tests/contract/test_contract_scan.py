"""Scan as the developer guide and the API reference describe it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from conftest import make_table

COUNT = 30


@pytest.fixture(scope="module")
def scanned(dynamodb: Any, names: Iterator[str]) -> Iterator[str]:
    """A table of thirty items."""
    name = next(names)
    make_table(dynamodb, name, None)
    for number in range(COUNT):
        item = {"pk": {"S": f"key-{number}"}, "n": {"N": str(number)}, "even": {"BOOL": number % 2 == 0}}
        dynamodb.put_item(TableName=name, Item=item)
    yield name
    dynamodb.delete_table(TableName=name)


def pages(dynamodb: Any, **request: Any) -> list[dict[str, Any]]:
    found = [dynamodb.scan(ConsistentRead=True, **request)]
    while "LastEvaluatedKey" in found[-1]:
        start = found[-1]["LastEvaluatedKey"]
        found.append(dynamodb.scan(ConsistentRead=True, **request, ExclusiveStartKey=start))
    return found


def keys_of(found: list[dict[str, Any]]) -> list[str]:
    return [item["pk"]["S"] for page in found for item in page["Items"]]


def test_everything_once(dynamodb: Any, scanned: str) -> None:
    (whole,) = pages(dynamodb, TableName=scanned)
    assert sorted(keys_of([whole])) == sorted(f"key-{number}" for number in range(COUNT))
    assert (whole["Count"], whole["ScannedCount"]) == (COUNT, COUNT)
    paged = pages(dynamodb, TableName=scanned, Limit=7)
    assert keys_of(paged) == keys_of([whole])
    assert [page["Count"] for page in paged] == [7, 7, 7, 7, 2]


@pytest.mark.parametrize("total", [2, 5])
def test_segments_share_everything(dynamodb: Any, scanned: str, total: int) -> None:
    whole = keys_of(pages(dynamodb, TableName=scanned))
    parts = [pages(dynamodb, TableName=scanned, Segment=one, TotalSegments=total, Limit=4) for one in range(total)]
    found = [key for part in parts for key in keys_of(part)]
    assert sorted(found) == sorted(whole)


def test_filter_and_projection(dynamodb: Any, scanned: str) -> None:
    request = {
        "TableName": scanned,
        "FilterExpression": "n < :n AND even = :yes",
        "ExpressionAttributeValues": {":n": {"N": "7"}, ":yes": {"BOOL": True}},
    }
    (answer,) = pages(dynamodb, **request, ProjectionExpression="n")
    assert sorted(int(item["n"]["N"]) for item in answer["Items"]) == [0, 2, 4, 6]
    assert all(set(item) == {"n"} for item in answer["Items"])
    assert (answer["Count"], answer["ScannedCount"]) == (4, COUNT)
    (counted,) = pages(dynamodb, **request, Select="COUNT")
    assert counted["Count"] == 4
    assert "Items" not in counted


def test_a_filter_knows_types(dynamodb: Any, scanned: str) -> None:
    for value, expected in (({"N": "3"}, 1), ({"S": "3"}, 0), ({"BOOL": True}, 0)):
        (answer,) = pages(
            dynamodb, TableName=scanned, FilterExpression="n = :v", ExpressionAttributeValues={":v": value}
        )
        assert answer["Count"] == expected


def test_legacy_filters(dynamodb: Any, scanned: str) -> None:
    tests = {
        "n": {"ComparisonOperator": "BETWEEN", "AttributeValueList": [{"N": "3"}, {"N": "5"}]},
        "even": {"ComparisonOperator": "EQ", "AttributeValueList": [{"BOOL": True}]},
    }
    for operator, expected in (("AND", 1), ("OR", 17)):
        found = pages(
            dynamodb, TableName=scanned, ScanFilter=tests, ConditionalOperator=operator, AttributesToGet=["pk"]
        )
        assert len(keys_of(found)) == expected


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (
            {"Limit": 0},
            "Value at 'Limit' failed to satisfy constraint: Member must have value greater than or equal to 1$",
        ),
        ({"Segment": 0}, "^The TotalSegments parameter is required but was not present"),
        ({"TotalSegments": 4}, "^The Segment parameter is required but was not present"),
        (
            {"Segment": 4, "TotalSegments": 4},
            "^The Segment parameter is zero-based and must be less than parameter TotalSegments$",
        ),
        (
            {"Select": "SPECIFIC_ATTRIBUTES"},
            "^1 validation error detected: Must specify the AttributesToGet or ProjectionExpression",
        ),
        (
            {"Select": "ALL_PROJECTED_ATTRIBUTES"},
            "^1 validation error detected: ALL_PROJECTED_ATTRIBUTES can be used only when",
        ),
        ({"FilterExpression": ""}, "^Invalid FilterExpression: The expression can not be empty;"),
        ({"ExclusiveStartKey": {"x": {"S": "1"}}}, "^The provided starting key is invalid"),
        ({"ConditionalOperator": "OR"}, "^ConditionalOperator cannot be used without Filter or Expected"),
    ],
)
def test_refusals(dynamodb: Any, scanned: str, refused: Any, request_: dict[str, Any], message: str) -> None:
    with refused("ValidationException", message):
        dynamodb.scan(TableName=scanned, **request_)
