"""BatchGetItem and BatchWriteItem as the API reference describes them."""

from __future__ import annotations

import os
from typing import Any


def fresh(count: int) -> list[dict[str, Any]]:
    stem = f"batch-{os.urandom(4).hex()}"
    return [{"pk": {"S": f"{stem}-{number}"}} for number in range(count)]


def write(dynamodb: Any, requests: dict[str, Any]) -> None:
    """Write until everything is processed, as clients must."""
    while requests:
        requests = dynamodb.batch_write_item(RequestItems=requests)["UnprocessedItems"]


def read(dynamodb: Any, requests: dict[str, Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {name: [] for name in requests}
    while requests:
        answer = dynamodb.batch_get_item(RequestItems=requests)
        for name, items in answer["Responses"].items():
            found[name] += items
        requests = answer["UnprocessedKeys"]
    return found


def test_what_is_written_is_read(dynamodb: Any, table: str, sorted_table: str) -> None:
    keys = fresh(24)
    items = [{**key, "n": {"N": str(number)}} for number, key in enumerate(keys)]
    other = {**fresh(1)[0], "sk": {"N": "1"}}
    requests = {
        table: [{"PutRequest": {"Item": item}} for item in items],
        sorted_table: [{"PutRequest": {"Item": other}}],
    }
    write(dynamodb, requests)
    missing = fresh(1)
    wanted = {
        table: {"Keys": keys + missing, "ConsistentRead": True},
        sorted_table: {"Keys": [other], "ConsistentRead": True, "ProjectionExpression": "sk"},
    }
    found = read(dynamodb, wanted)
    assert sorted(int(item["n"]["N"]) for item in found[table]) == list(range(24))
    assert found[sorted_table] == [{"sk": {"N": "1"}}]
    write(dynamodb, {table: [{"DeleteRequest": {"Key": key}} for key in keys[:20]]})
    assert len(read(dynamodb, {table: {"Keys": keys, "ConsistentRead": True}})[table]) == 4


def test_consumed_capacity(dynamodb: Any, table: str) -> None:
    keys = fresh(2)
    requests = [{"PutRequest": {"Item": {**key, "pad": {"S": "p" * 1500}}}} for key in keys]
    written = dynamodb.batch_write_item(RequestItems={table: requests}, ReturnConsumedCapacity="TOTAL")
    assert written["ConsumedCapacity"] == [{"TableName": table, "CapacityUnits": 4.0}]
    wanted = {table: {"Keys": keys + fresh(1), "ConsistentRead": True}}
    got = dynamodb.batch_get_item(RequestItems=wanted, ReturnConsumedCapacity="INDEXES")
    assert got["ConsumedCapacity"] == [{"TableName": table, "CapacityUnits": 3.0, "Table": {"CapacityUnits": 3.0}}]


def test_writes_that_are_refused(dynamodb: Any, table: str, refused: Any) -> None:
    (key,) = fresh(1)
    put, delete = {"PutRequest": {"Item": key}}, {"DeleteRequest": {"Key": key}}
    for requests, message in (
        (
            {},
            "^1 validation error detected: Value at 'RequestItems' failed to satisfy constraint: Member must have",
        ),
        ({table: [put, delete]}, "^Provided list of item keys contains duplicates$"),
        (
            {table: [{"PutRequest": {"Item": {"pk": {"N": "1"}}}}]},
            "^The provided key element does not match the schema",
        ),
        (
            {table: [{"PutRequest": {"Item": one}} for one in fresh(26)]},
            "Member must have length less than or equal to",
        ),
    ):
        with refused("ValidationException", message):
            dynamodb.batch_write_item(RequestItems=requests)
    with refused("ResourceNotFoundException", "^Requested resource not found$"):
        dynamodb.batch_write_item(RequestItems={"contract-nothing": [put]})
    assert read(dynamodb, {table: {"Keys": [key], "ConsistentRead": True}}) == {table: []}


def test_gets_that_are_refused(dynamodb: Any, table: str, refused: Any) -> None:
    (key,) = fresh(1)
    for requests, message in (
        (
            {},
            "^1 validation error detected: Value at 'RequestItems' failed to satisfy constraint: Member must have",
        ),
        ({table: {"Keys": [key, key]}}, "^Provided list of item keys contains duplicates$"),
        ({table: {"Keys": fresh(101)}}, "Member must have length less than or equal to 100$"),
        ({table: {"Keys": [{"pk": {"N": "1"}}]}}, "^The provided key element does not match the schema$"),
        ({table: {"Keys": [key], "ProjectionExpression": "a, a"}}, "^Invalid ProjectionExpression: Two document paths"),
    ):
        with refused("ValidationException", message):
            dynamodb.batch_get_item(RequestItems=requests)
    with refused("ResourceNotFoundException", "^Requested resource not found$"):
        dynamodb.batch_get_item(RequestItems={"contract-nothing": {"Keys": [key]}})
