"""TransactWriteItems and TransactGetItems as the developer guide and the API reference describe them."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError

Key = dict[str, Any]


@pytest.fixture
def keys(key: Key) -> list[Key]:
    """Keys of this test alone."""
    return [{**key, "pk": {"S": f"{key['pk']['S']}-{number}"}} for number in range(6)]


def put(table: str, key: Key, value: str, **more: Any) -> dict[str, Any]:
    return {"Put": {"TableName": table, "Item": {**key, "v": {"S": value}}, **more}}


def update(table: str, key: Key, value: str, **more: Any) -> dict[str, Any]:
    entry = {"TableName": table, "Key": key, "UpdateExpression": "SET v = :v", **more}
    entry["ExpressionAttributeValues"] = {":v": {"S": value}, **more.get("ExpressionAttributeValues", {})}
    return {"Update": entry}


def delete(table: str, key: Key, **more: Any) -> dict[str, Any]:
    return {"Delete": {"TableName": table, "Key": key, **more}}


def check(table: str, key: Key, condition: str, **more: Any) -> dict[str, Any]:
    return {"ConditionCheck": {"TableName": table, "Key": key, "ConditionExpression": condition, **more}}


def get(table: str, key: Key, **more: Any) -> dict[str, Any]:
    return {"Get": {"TableName": table, "Key": key, **more}}


def write(dynamodb: Any, *actions: dict[str, Any], **more: Any) -> Any:
    return dynamodb.transact_write_items(TransactItems=list(actions), **more)


def value_of(dynamodb: Any, table: str, key: Key) -> str | None:
    item = dynamodb.get_item(TableName=table, Key=key, ConsistentRead=True).get("Item")
    return item["v"]["S"] if item else None


def refused(act: Any) -> ClientError:
    with pytest.raises(ClientError) as caught:
        act()
    return caught.value


def error_of(error: ClientError) -> tuple[str, str]:
    return error.response["Error"]["Code"], error.response["Error"]["Message"]


def test_all_four_actions_at_once(dynamodb: Any, table: str, keys: list[Key]) -> None:
    for number in (1, 2, 3):
        dynamodb.put_item(TableName=table, Item={**keys[number], "v": {"S": "old"}})
    write(
        dynamodb,
        put(table, keys[0], "made"),
        update(table, keys[1], "changed"),
        delete(table, keys[2]),
        check(table, keys[3], "v = :v", ExpressionAttributeValues={":v": {"S": "old"}}),
    )
    assert [value_of(dynamodb, table, key) for key in keys[:4]] == ["made", "changed", None, "old"]


def test_nothing_happens_where_one_condition_fails_and_reasons_are_in_order(
    dynamodb: Any, table: str, keys: list[Key]
) -> None:
    dynamodb.put_item(TableName=table, Item={**keys[1], "v": {"S": "old"}})
    error = refused(
        lambda: write(
            dynamodb,
            put(table, keys[0], "made"),
            put(table, keys[1], "new", ConditionExpression="attribute_not_exists(pk)",
                ReturnValuesOnConditionCheckFailure="ALL_OLD"),
            update(table, keys[2], "x", ConditionExpression="attribute_exists(pk)"),
        )
    )  # fmt: skip
    assert error_of(error) == (
        "TransactionCanceledException",
        "Transaction cancelled, please refer cancellation reasons for specific reasons "
        "[None, ConditionalCheckFailed, ConditionalCheckFailed]",
    )
    failed = {"Code": "ConditionalCheckFailed", "Message": "The conditional request failed"}
    assert error.response["CancellationReasons"] == [
        {"Code": "None"}, {**failed, "Item": {**keys[1], "v": {"S": "old"}}}, failed,
    ]  # fmt: skip
    assert [value_of(dynamodb, table, key) for key in keys[:3]] == [None, "old", None]


def test_an_update_that_its_item_does_not_bear_is_a_reason(dynamodb: Any, table: str, keys: list[Key]) -> None:
    error = refused(
        lambda: write(
            dynamodb,
            {"Update": {"TableName": table, "Key": keys[0], "UpdateExpression": "SET n = nothing + :v",
                        "ExpressionAttributeValues": {":v": {"N": "1"}}}},
        )
    )  # fmt: skip
    (reason,) = error.response["CancellationReasons"]
    assert reason["Code"] == "ValidationError"
    assert "does not exist in the item" in reason["Message"]


def test_a_wrong_key_is_a_reason_and_an_empty_one_refuses_the_request(
    dynamodb: Any, table: str, keys: list[Key]
) -> None:
    error = refused(lambda: write(dynamodb, delete(table, {**keys[0], "pk": {"N": "1"}})))
    assert error.response["CancellationReasons"] == [
        {"Code": "ValidationError", "Message": "The provided key element does not match the schema"}
    ]
    error = refused(lambda: write(dynamodb, put(table, {**keys[0], "pk": {"N": "1"}}, "x")))
    (reason,) = error.response["CancellationReasons"]
    assert "Type mismatch for key pk expected: S actual: N" in reason["Message"]
    error = refused(lambda: write(dynamodb, delete(table, {**keys[0], "pk": {"S": ""}})))
    assert error_of(error) == (
        "ValidationException",
        "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty "
        "string value. Key: pk",
    )


def test_only_the_first_wrong_item_is_told(dynamodb: Any, table: str, keys: list[Key]) -> None:
    wrong = put(table, {**keys[0], "pk": {"N": "1"}}, "x")
    never = {**put(table, keys[1], "x")["Put"], "ConditionExpression": "attribute_exists(pk)"}
    error = refused(lambda: write(dynamodb, put(table, keys[0], "x"), wrong, wrong, {"Put": never}))
    codes = [reason["Code"] for reason in error.response["CancellationReasons"]]
    assert codes == ["None", "ValidationError", "None", "None"]


def test_requests_that_are_refused_as_a_whole(dynamodb: Any, table: str, keys: list[Key]) -> None:
    twice = refused(lambda: write(dynamodb, put(table, keys[0], "a"), delete(table, keys[0])))
    assert error_of(twice) == (
        "ValidationException", "Transaction request cannot include multiple operations on one item"
    )  # fmt: skip
    both = refused(lambda: write(dynamodb, {**put(table, keys[0], "a"), **delete(table, keys[1])}))
    assert error_of(both) == (
        "ValidationException", "TransactItems can only contain one of Check, Put, Update or Delete"
    )  # fmt: skip
    nowhere = refused(lambda: write(dynamodb, put("no-such-table", keys[0], "a")))
    assert error_of(nowhere) == ("ResourceNotFoundException", "Requested resource not found")
    many = refused(lambda: write(dynamodb, *[put(table, {**keys[0], "pk": {"S": f"m{n}"}}, "x") for n in range(101)]))
    code, message = error_of(many)
    assert code == "ValidationException"
    assert message.endswith("failed to satisfy constraint: Member must have length less than or equal to 100")
    large = [put(table, {**keys[0], "pk": {"S": f"m{n}"}}, "x" * 350_000) for n in range(12)]
    assert error_of(refused(lambda: write(dynamodb, *large)))[0] == "ValidationException"


def test_a_token_makes_a_request_idempotent(dynamodb: Any, table: str, keys: list[Key]) -> None:
    token = str(uuid.uuid4())
    grow = {
        "Update": {"TableName": table, "Key": keys[0], "UpdateExpression": "ADD n :one",
                   "ExpressionAttributeValues": {":one": {"N": "1"}}}
    }  # fmt: skip
    for _ in range(3):
        write(dynamodb, grow, ClientRequestToken=token)
    item = dynamodb.get_item(TableName=table, Key=keys[0], ConsistentRead=True)["Item"]
    assert item["n"] == {"N": "1"}
    error = refused(lambda: write(dynamodb, put(table, keys[0], "other"), ClientRequestToken=token))
    assert error_of(error)[0] == "IdempotentParameterMismatchException"


def test_capacity_is_doubled(dynamodb: Any, table: str, keys: list[Key]) -> None:
    answer = write(
        dynamodb, put(table, keys[0], "x" * 1500), put(table, keys[1], "x"), ReturnConsumedCapacity="TOTAL",
    )  # fmt: skip
    assert answer["ConsumedCapacity"] == [{"TableName": table, "CapacityUnits": 6.0, "WriteCapacityUnits": 6.0}]
    answer = dynamodb.transact_get_items(
        TransactItems=[get(table, keys[0]), get(table, keys[5])], ReturnConsumedCapacity="INDEXES"
    )
    assert answer["ConsumedCapacity"] == [
        {
            "TableName": table, "CapacityUnits": 4.0, "ReadCapacityUnits": 4.0,
            "Table": {"CapacityUnits": 4.0, "ReadCapacityUnits": 4.0},
        }
    ]  # fmt: skip


def test_items_that_are_too_large(dynamodb: Any, table: str, keys: list[Key]) -> None:
    """Of a put the request tells it, and is refused; of an update the item does, and the transaction is cancelled."""
    error = refused(lambda: write(dynamodb, put(table, keys[1], "x"), put(table, keys[0], "x" * 409_600)))
    assert error_of(error) == ("ValidationException", "Item size has exceeded the maximum allowed size")
    values = {":v": {"S": "x" * 409_600}}
    update = {"TableName": table, "Key": keys[0], "UpdateExpression": "SET v = :v", "ExpressionAttributeValues": values}
    error = refused(lambda: write(dynamodb, put(table, keys[1], "x"), {"Update": update}))
    assert error_of(error)[0] == "TransactionCanceledException"
    reasons = error.response["CancellationReasons"]
    assert reasons[1]["Message"] == "Item size to update has exceeded the maximum allowed size"
    assert "Item" not in dynamodb.get_item(TableName=table, Key=keys[1], ConsistentRead=True)


def test_asking_again_costs_a_read_of_what_was_there(dynamodb: Any, table: str, keys: list[Key]) -> None:
    token = str(uuid.uuid4())
    write(dynamodb, put(table, keys[0], "x" * 9000))
    for kind, units in (("Write", 18.0), ("Read", 6.0)):
        answer = write(dynamodb, delete(table, keys[0]), ClientRequestToken=token, ReturnConsumedCapacity="TOTAL")
        entry = {"TableName": table, "CapacityUnits": units, f"{kind}CapacityUnits": units}
        assert answer["ConsumedCapacity"] == [entry]


def test_reads_come_in_order_with_projections_and_gaps(dynamodb: Any, table: str, keys: list[Key]) -> None:
    write(dynamodb, put(table, keys[0], "a"), put(table, keys[1], "b"), put(table, keys[2], "c"))
    answer = dynamodb.transact_get_items(
        TransactItems=[
            get(table, keys[1], ProjectionExpression="#v", ExpressionAttributeNames={"#v": "v"}),
            get(table, keys[4]),
            get(table, keys[0]),
            get(table, keys[2], ProjectionExpression="nothing"),
        ]
    )
    assert answer["Responses"] == [{"Item": {"v": {"S": "b"}}}, {}, {"Item": {**keys[0], "v": {"S": "a"}}}, {}]


def test_reads_that_are_refused(dynamodb: Any, table: str, keys: list[Key]) -> None:
    def read(*gets: dict[str, Any]) -> ClientError:
        return refused(lambda: dynamodb.transact_get_items(TransactItems=list(gets)))

    assert error_of(read(get(table, keys[0]), get(table, keys[0])))[0] == "ValidationException"
    assert error_of(read(get("no-such-table", keys[0])))[0] == "ResourceNotFoundException"
    assert error_of(read(get(table, keys[0], ProjectionExpression="!!!"))) == (
        "ValidationException", 'Invalid ProjectionExpression: Syntax error; token: "!", near: "!!"'
    )  # fmt: skip
    assert read(get(table, {})).response["CancellationReasons"] == [
        {"Code": "ValidationError", "Message": "The provided key element does not match the schema"}
    ]
