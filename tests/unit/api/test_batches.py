"""BatchGetItem and BatchWriteItem: each request by itself, what is handed back, what it costs, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.api import batch_get_item
from cluster.api.batches import settle
from cluster.core.commands import Outcome
from cluster.core.errors import ApiError
from cluster.core.keys import encode_key
from tests.unit.api.query_tables import World

DUPLICATES = "Provided list of item keys contains duplicates"
SCHEMA = "The provided key element does not match the schema"


@pytest.fixture
def world() -> World:
    world = World()
    for number in range(4):
        world.put("hashed", a=str(number), n=number)
        world.put("plain", a="x", b=str(number), n=number)
    return world


def get(world: World, requests: dict[str, Any], **more: Any) -> dict[str, Any]:
    return world.call("BatchGetItem", {"RequestItems": requests, **more})


def write(world: World, requests: dict[str, Any], **more: Any) -> dict[str, Any]:
    return world.call("BatchWriteItem", {"RequestItems": requests, **more})


def keys(*values: str) -> list[dict[str, Any]]:
    return [{"a": {"S": value}} for value in values]


def put(**attributes: Any) -> dict[str, Any]:
    return {"PutRequest": {"Item": attributes}}


def delete(**attributes: Any) -> dict[str, Any]:
    return {"DeleteRequest": {"Key": attributes}}


# --- reading ---


def test_items_of_several_tables(world: World) -> None:
    requests = {
        "hashed": {"Keys": keys("0", "9", "2"), "ProjectionExpression": "n"},
        "plain": {"Keys": [{"a": {"S": "x"}, "b": {"S": "1"}}], "AttributesToGet": None, "ConsistentRead": True},
    }
    answer = get(world, requests, ReturnConsumedCapacity="INDEXES")
    assert answer["Responses"]["hashed"] == [{"n": {"N": "0"}}, {"n": {"N": "2"}}]
    assert [item["b"] for item in answer["Responses"]["plain"]] == [{"S": "1"}]
    assert answer["UnprocessedKeys"] == {}
    assert answer["ConsumedCapacity"] == [
        {"TableName": "hashed", "CapacityUnits": 1.5, "Table": {"CapacityUnits": 1.5}},
        {"TableName": "plain", "CapacityUnits": 1.0, "Table": {"CapacityUnits": 1.0}},
    ]
    arn = "arn:aws:dynamodb:local-1:123456789012:table/hashed"
    assert get(world, {arn: {"Keys": keys("1"), "AttributesToGet": ["n"]}})["Responses"] == {arn: [{"n": {"N": "1"}}]}


def test_what_is_dark_is_handed_back_with_all_that_was_asked(world: World) -> None:
    schema = world.schemas["hashed"].key
    world.services.dark.append(encode_key(schema, keys("1")[0]))
    entry = {"Keys": keys("0", "1"), "ConsistentRead": True, "ProjectionExpression": "a"}
    answer = get(world, {"hashed": entry})
    assert answer["Responses"] == {"hashed": keys("0")}
    assert answer["UnprocessedKeys"] == {"hashed": {**entry, "Keys": keys("1")}}
    with pytest.raises(ApiError, match="ServiceUnavailableException"):
        get(world, {"hashed": {"Keys": keys("1")}})


def test_a_throttled_table_does_not_keep_others_waiting(world: World) -> None:
    world.services.exhausted.append("plain")
    entry = {"Keys": [{"a": {"S": "x"}, "b": {"S": "1"}}]}
    answer = get(world, {"hashed": {"Keys": keys("0")}, "plain": entry}, ReturnConsumedCapacity="TOTAL")
    assert answer["UnprocessedKeys"] == {"plain": entry}
    assert answer["Responses"]["plain"] == []
    assert [entry["CapacityUnits"] for entry in answer["ConsumedCapacity"]] == [0.5, 0.0]
    with pytest.raises(ApiError, match="ProvisionedThroughputExceededException"):
        get(world, {"plain": entry})


def test_an_answer_has_a_limit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_get_item, "ANSWER_BYTES_MAX", 10)
    answer = get(world, {"hashed": {"Keys": keys("0", "1", "2")}})
    assert (len(answer["Responses"]["hashed"]), len(answer["UnprocessedKeys"]["hashed"]["Keys"])) == (2, 1)


NO_TABLES = (
    "failed to satisfy constraint: Map keys must satisfy constraint: [Member must have length less than or equal to "
    "255, Member must have length greater than or equal to 3, Member must satisfy regular expression pattern: "
    "[a-zA-Z0-9_.-]+]"
)


@pytest.mark.parametrize(
    ("requests", "message"),
    [
        (
            {},
            "1 validation error detected: Value at 'RequestItems' failed to satisfy constraint: Member must have "
            "length greater than or equal to 1",
        ),
        (
            {"hashed": {"Keys": keys(*map(str, range(101)))}},
            "1 validation error detected: Value at 'RequestItems.hashed.member.Keys' failed to satisfy constraint: "
            "Member must have length less than or equal to 100",
        ),
        (
            {name: {"Keys": keys(*map(str, range(60)))} for name in ("hashed", "other")},
            "Too many items requested for the BatchGetItem call",
        ),
        (
            {"hashed": {"Keys": []}},
            "1 validation error detected: Value at 'RequestItems.hashed.member.Keys' failed to satisfy constraint: "
            "Member must have length greater than or equal to 1",
        ),
        (
            {"no!table": {"Keys": [{"a": {"S": "x"}}]}},
            """1 validation error detected: Value '{"no!table":{"Keys":[{"a":{"S":"x"}}]}}' at 'requestItems' """
            + NO_TABLES,
        ),
        (
            {"hashed": {}},
            "1 validation error detected: Value null at 'requestItems.hashed.member.keys' failed to satisfy "
            "constraint: Member must not be null",
        ),
        ({"hashed": {"Keys": keys("1", "1")}}, DUPLICATES),
        ({"hashed": {"Keys": [{"a": {"N": "1"}}]}}, SCHEMA),
        (
            {"hashed": {"Keys": keys("")}},
            "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an "
            "empty string value. Key: a",
        ),
        (
            {"hashed": {"Keys": keys("1"), "AttributesToGet": ["a"], "ProjectionExpression": "a"}},
            "Can not use both expression and non-expression parameters in the same request: Non-expression "
            "parameters: {AttributesToGet} Expression parameters: {ProjectionExpression}",
        ),
        (
            {
                "hashed": {"Keys": keys("1"), "AttributesToGet": ["a"]},
                "plain": {"Keys": keys("1"), "ProjectionExpression": "a"},
            },
            "Can not use both expression and non-expression parameters in the same request: Non-expression "
            "parameters: {AttributesToGet} Expression parameters: {ProjectionExpression}",
        ),
    ],
)
def test_gets_that_are_refused(world: World, requests: dict[str, Any], message: str) -> None:
    world.refused("BatchGetItem", {"RequestItems": requests}, message)


def test_a_missing_table(world: World) -> None:
    for name, entry in (("BatchGetItem", {"Keys": keys("1")}), ("BatchWriteItem", [put(a={"S": "1"})])):
        with pytest.raises(ApiError, match="ResourceNotFoundException: Requested resource not found"):
            world.call(name, {"RequestItems": {"hashed": entry, "nothing": entry}})


def test_no_path_leads_into_a_key(world: World) -> None:
    message = "Key attributes must be scalars; list random access '[]' and map lookup '.' are not allowed: Key: a"
    key = keys("1")[0]
    condition = {"ConditionExpression": "attribute_exists(a.b)"}
    for name, body in (
        ("BatchGetItem", {"RequestItems": {"hashed": {"Keys": [key], "ProjectionExpression": "a[0]"}}}),
        ("GetItem", {"TableName": "hashed", "Key": key, "ProjectionExpression": "n, a.b"}),
        ("PutItem", {"TableName": "hashed", "Item": key, **condition}),
        ("DeleteItem", {"TableName": "hashed", "Key": key, **condition}),
        ("UpdateItem", {"TableName": "hashed", "Key": key, **condition}),
    ):
        world.refused(name, body, message)


# --- writing ---


def test_puts_and_deletes_of_several_tables(world: World) -> None:
    requests = {
        "hashed": [put(a={"S": "new"}, n={"N": "1.0"}), delete(a={"S": "0"})],
        "plain": [put(a={"S": "x"}, b={"S": "1"}, pad={"S": "p" * 2000})],
    }
    answer = write(world, requests, ReturnConsumedCapacity="TOTAL")
    assert answer["UnprocessedItems"] == {}
    assert [entry["CapacityUnits"] for entry in answer["ConsumedCapacity"]] == [2.0, 2.0]
    found = get(world, {"hashed": {"Keys": keys("new", "0")}})["Responses"]["hashed"]
    assert found == [{"a": {"S": "new"}, "n": {"N": "1"}}]


def test_indexes_are_written_charged_and_told_of(world: World) -> None:
    item = {"a": {"S": "1"}, "b": {"S": "2"}, "c": {"S": "3"}, "d": {"S": "4"}}
    more = {"ReturnConsumedCapacity": "INDEXES", "ReturnItemCollectionMetrics": "SIZE"}
    answer = write(world, {"indexed": [put(**item), put(**{**item, "b": {"S": "3"}})]}, **more)
    assert answer["ConsumedCapacity"] == [
        {
            "TableName": "indexed",
            "CapacityUnits": 8.0,
            "Table": {"CapacityUnits": 2.0},
            "LocalSecondaryIndexes": {"local": {"CapacityUnits": 2.0}},
            "GlobalSecondaryIndexes": {"all": {"CapacityUnits": 2.0}, "few": {"CapacityUnits": 2.0}},
        }
    ]
    metrics = {"ItemCollectionKey": {"a": {"S": "1"}}, "SizeEstimateRangeGB": [0.0, 1.0]}
    assert answer["ItemCollectionMetrics"] == {"indexed": [metrics]}
    single = world.call("PutItem", {"TableName": "indexed", "Item": item, **more})
    assert single["ItemCollectionMetrics"] == metrics
    assert "ItemCollectionMetrics" not in world.call("PutItem", {"TableName": "plain", "Item": item, **more})


def test_what_was_not_done_is_handed_back(world: World) -> None:
    world.services.dark.append(encode_key(world.schemas["hashed"].key, keys("7")[0]))
    requests = [put(a={"S": "6"}), put(a={"S": "7"})]
    assert write(world, {"hashed": requests})["UnprocessedItems"] == {"hashed": requests[1:]}
    world.services.exhausted.append("hashed")
    with pytest.raises(ApiError, match="ProvisionedThroughputExceededException"):
        write(world, {"hashed": requests[:1]})


def test_what_is_not_known_to_be_done_is_handed_back_and_fails_a_batch_of_nothing_else() -> None:
    done, unknown = Outcome(), ApiError("InternalServerError", "who knows")
    away = ApiError("ServiceUnavailableException")
    conflict = Outcome(None, "TransactionConflictException", "")
    assert settle([done, away, None, conflict, unknown]) == [done, None, None, None, None]
    failing: list[tuple[list[Outcome | ApiError | None], str]] = [
        ([unknown], "InternalServerError"),
        ([away, None, unknown, conflict], "InternalServerError"),  # the batch may have happened: no 503
        ([away, None], "ServiceUnavailableException"),
        ([done, Outcome(None, "ValidationException", "no")], "ValidationException"),
    ]
    for results, kind in failing:
        with pytest.raises(ApiError, match=kind):
            settle(results)


@pytest.mark.parametrize(
    ("requests", "message"),
    [
        (
            {},
            "1 validation error detected: Value at 'RequestItems' failed to satisfy constraint: Member must have "
            "length greater than or equal to 1",
        ),
        (
            {"hashed": []},
            "1 validation error detected: Value '{hashed=[]}' at 'requestItems' failed to satisfy constraint: Map "
            "value must satisfy constraint: [Member must have length less than or equal to 25, Member must have length "
            "greater than or equal to 1]",
        ),
        (
            {"no!table": [{"PutRequest": {"Item": {"a": {"S": "x"}}}}, {"DeleteRequest": {"Key": {"b": {"S": "x"}}}}]},
            "1 validation error detected: Value '{no!table=[WriteRequest(putRequest=PutRequest(item={"
            "a=AttributeValue()})), WriteRequest(deleteRequest=DeleteRequest(key={b=AttributeValue()}))]}' at "
            "'requestItems' " + NO_TABLES,
        ),
        (
            {name: [put(a={"S": str(n)}) for n in range(13)] for name in ("hashed", "other")},
            "Too many items requested for the BatchWriteItem call",
        ),
        (
            {"hashed": [{}]},
            "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported "
            "datatypes",
        ),
        (
            {"hashed": [{"PutRequest": {}}]},
            "1 validation error detected: Value null at 'requestItems.hashed.member.1.member.putRequest.item' failed "
            "to satisfy constraint: Member must not be null",
        ),
        ({"hashed": [put(a={"S": "1"}), delete(a={"S": "1"})]}, DUPLICATES),
        ({"hashed": [put(a={"N": "1"})]}, SCHEMA),
        ({"hashed": [put(b={"S": "1"})]}, SCHEMA),
        ({"hashed": [delete(a={"S": "1"}, b={"S": "1"})]}, SCHEMA),
        (
            {"hashed": [put(a={"S": "1"}, pad={"S": "x" * 409_600})]},
            "Item size has exceeded the maximum allowed size",
        ),
        (
            {"indexed": [put(a={"S": "1"}, b={"S": "1"}, c={"N": "5"})]},
            "One or more parameter values were invalid: Type mismatch for Index Key c Expected: S Actual: N "
            "IndexName: all",
        ),
    ],
)
def test_writes_that_are_refused(world: World, requests: dict[str, Any], message: str) -> None:
    world.refused("BatchWriteItem", {"RequestItems": requests}, message)


def test_too_many_writes_are_shown_without_their_content(world: World) -> None:
    requests = {"hashed": [put(a={"S": str(n)}) for n in range(26)]}
    with pytest.raises(ApiError, match=r"Value '\{hashed=\[.+\]\}' at 'requestItems' failed to satisfy constraint"):
        write(world, requests)


def test_nothing_is_written_where_one_request_is_wrong(world: World) -> None:
    requests = {"hashed": [put(a={"S": "good"}), put(a={"N": "1"})]}
    world.refused("BatchWriteItem", {"RequestItems": requests}, SCHEMA)
    assert get(world, {"hashed": {"Keys": keys("good")}})["Responses"] == {"hashed": []}
