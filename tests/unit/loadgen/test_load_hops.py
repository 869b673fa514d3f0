"""CPU by operation and hop: the right requests, counted for the right nodes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks.hops import OPERATIONS, Place, by_hop, place_of, sorted_table
from benchmarks.requests import FILLED, REQUESTS, Items, trouble
from benchmarks.show import show
from cluster.api import ControlOperation, find_operation
from cluster.core.items import item_size

ROLES = {"r1": "router", "r2": "router", "s1": "storage", "s2": "storage", "s3": "storage", "s4": "storage"}
ROLES |= {"memds-a": "memds", "archive": "archive"}


def placed(leader: str | None, members: tuple[str, ...] = ("s3", "s1", "s2"), partitions: int = 1) -> dict[str, Any]:
    one = {"group": "g", "leader": leader, "members": [{"node": node} for node in members]}
    return {"tables": [{"name": "other", "partitions": []}, {"name": "bench", "partitions": [one] * partitions}]}


def items(keys: int = 100) -> Items:
    return Items("bench", keys, 900)


def body(operation: str, number: int, keys: int = 100) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(REQUESTS[operation].body(items(keys), number))
    return found


def found_in(value: Any, name: str) -> list[Any]:
    """Every value of that name, at any depth."""
    if isinstance(value, list):
        return [hit for entry in value for hit in found_in(entry, name)]
    if isinstance(value, dict):
        return [hit for key, entry in value.items() for hit in ([entry] if key == name else found_in(entry, name))]
    return []


def keys_in(operation: str, number: int, keys: int = 100) -> list[str]:
    return [value["S"] for value in found_in(body(operation, number, keys), "pk")]


def test_each_node_counts_for_what_it_is_to_the_partition() -> None:
    used = {name: float(10**index) for index, name in enumerate(ROLES)}
    assert by_hop(used, ROLES, Place("s2", ("s1", "s3"))) == {
        "routers": 11.0,
        "leader": 1000.0,
        "followers": 10100.0,
        "others": 11100000.0,
    }


def test_the_leader_is_known_only_where_one_of_the_members_leads() -> None:
    assert place_of(placed("s2"), "bench") == Place("s2", ("s1", "s3"))
    assert place_of(placed(None), "bench") is None
    assert place_of(placed("s4"), "bench") is None  # the map is older than a membership change
    assert place_of(placed("s2"), "missing") is None
    assert place_of({}, "bench") is None


def test_a_table_of_several_partitions_is_refused() -> None:
    with pytest.raises(ValueError, match="bench has 2 partitions"):
        place_of(placed("s2", partitions=2), "bench")


@pytest.mark.parametrize("operation", REQUESTS)
def test_the_product_takes_every_request(operation: str) -> None:
    request = REQUESTS[operation]
    served = find_operation({"x-amz-target": f"DynamoDB_20120810.{request.api}"})
    assert not isinstance(served, ControlOperation)
    served.check(body(operation, 7))


@pytest.mark.parametrize(
    ("operation", "count"),
    [
        ("put", 1),
        ("cput", 1),
        ("batch-write", 10),
        ("tput", 1),
        ("tput-token", 1),
        ("transact-write-1", 1),
        ("transact-write-4", 4),
        ("fill", FILLED),
        ("fill-sorted", 10),
    ],
)
def test_what_is_written_is_as_many_items_of_900_bytes(operation: str, count: int) -> None:
    written = found_in(body(operation, 12345), "Item")
    assert [item_size(item) for item in written] == [900] * count
    assert len({(item["pk"]["S"], item.get("sk", {}).get("S")) for item in written}) == count


def test_an_update_leaves_an_item_of_900_bytes() -> None:
    update = body("update", 7)
    values = update["ExpressionAttributeValues"]
    assert item_size({"pk": update["Key"]["pk"], "v": values[":v"], "pad": values[":p"]}) == 900


@pytest.mark.parametrize("operation", ["transact-write-1", "transact-write-4", "transact-get-4"])
def test_transactions_of_about_the_same_time_do_not_meet(operation: str) -> None:
    asked = [key for number in range(95, 120) for key in keys_in(operation, number)]
    assert len(set(asked)) == len(asked)


def test_what_is_deleted_was_filled_once_and_nobody_else_asks_for_it() -> None:
    filled = [key for number in range(1, 9) for key in keys_in("fill", number)]
    assert len(set(filled)) == 8 * FILLED
    deleted = [key for number in range(1, 101) for key in keys_in("delete", number, keys=100)]
    assert deleted == filled[100:]
    reads = items(keys=100)
    assert {reads.any() for _ in range(2000)} == set(filled[:100]) == set(reads.several(100))


def test_a_query_asks_for_a_key_that_was_filled_whole() -> None:
    filled = {key for number in range(1, 21) for key in keys_in("fill-sorted", number)}
    for number in range(100):
        assert body("query", number, keys=20)["ExpressionAttributeValues"][":k"]["S"] in filled


def test_answers_with_missing_items_or_unprocessed_ones_are_errors() -> None:
    assert trouble("query", 200, b'{"Items":[' + b'{"pad":{"S":"x"}},' * 10 + b"]}") is None
    assert "with 9 items" in str(trouble("query", 200, b'{"pad":1}' * 9))
    assert "with 0 items" in str(trouble("sget", 200, b"{}"))
    assert trouble("batch-write", 200, b'{"UnprocessedItems":{}}') is None
    assert trouble("batch-write", 200, b'{"UnprocessedItems":{"bench":[{}]}}') is not None
    assert trouble("put", 400, b"no") == "400 no"
    assert trouble("put", 200, b'{"Attributes":{"pad":{"S":"x"}}}') is None
    assert trouble("get", 200, b"{}") is None  # a plain benchmark's reads may find nothing
    assert trouble("range", 200, b"etcd's") is None


def test_what_every_row_reads_is_looked_at_and_the_sorted_table_has_one_partition() -> None:
    assert [operation for operation in OPERATIONS if REQUESTS[operation].items is None] == ["put"]
    table = find_operation({"x-amz-target": "DynamoDB_20120810.CreateTable"})
    assert isinstance(table, ControlOperation)
    assert table.check(sorted_table())["partitions"] == 1


def test_the_table_says_what_was_met_and_what_not_to_trust(capsys: pytest.CaptureFixture[str]) -> None:
    hops = {"routers": 140.0, "leader": 130.0, "followers": 120.0, "others": 40.0}
    cell = {"requests": 9, "per_second": 1234.0, "p50_ms": 1.0, "errors": 0, "first_error": None, "moved": False}
    cells: dict[str, Any] = {
        "put": cell | {"hops_us": hops},
        "sget": cell | {"hops_us": hops | {"routers": 121.0}, "moved": True},
        "scan": cell | {"hops_us": hops, "requests": 0, "p50_ms": None, "errors": 3, "first_error": "400 [no/]"},
    }
    figures = {"kind": "local", "concurrency": 16, "idle_us_per_s": hops, "cells": cells}
    show({"cores": 2, "seconds": 1.0, "hops": figures})
    text = capsys.readouterr().out
    assert "150 met" in text
    assert "120 missed" in text
    assert "the leader changed meanwhile" in text
    assert "3 errors: 400 [no/]" in text
