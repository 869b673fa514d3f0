"""Operations from the router's side: what they make of a request, and of an outcome."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cluster.api import (
    OPERATIONS,
    ControlOperation,
    DataOperation,
    TableSchema,
    create_table,
    find_operation,
    list_tables,
)
from cluster.core.commands import Command, Outcome, evaluate
from cluster.core.errors import ApiError
from cluster.core.items import image_body, image_size
from cluster.core.keys import KeyAttribute, KeySchema, encode_key
from cluster.wire.json import CODEC

SCHEMA = TableSchema("things", "id-1", KeySchema(KeyAttribute("pk", "S"), KeyAttribute("sk", "N")))
KEY = {"pk": {"S": "a"}, "sk": {"N": "1.0"}}
STORED_KEY = encode_key(SCHEMA.key, {"pk": {"S": "a"}, "sk": {"N": "1"}})


def data(name: str) -> DataOperation:
    operation = OPERATIONS[name]
    assert isinstance(operation, DataOperation)
    return operation


def command_of(name: str, body: dict[str, Any]) -> Command:
    operation = data(name)
    request = operation.check(body)
    assert request.table == "things"
    return operation.prepare(request, SCHEMA)


def test_put() -> None:
    command = command_of("PutItem", {"TableName": "things", "Item": {**KEY, "n": {"N": "2.50"}}})
    assert (command.kind, command.table, command.key) == ("put", "things", STORED_KEY)
    assert command.image is not None
    assert json.loads(image_body(command.image)) == {"pk": {"S": "a"}, "sk": {"N": "1"}, "n": {"N": "2.5"}}
    assert image_size(command.image) == 2 + 1 + 2 + 2 + 1 + 3
    assert (command.returns, command.on_failure, command.capacity) == ("NONE", "NONE", "NONE")


def test_get() -> None:
    command = command_of("GetItem", {"TableName": "things", "Key": KEY, "ConsistentRead": True})
    assert (command.kind, command.key, command.consistent) == ("get", STORED_KEY, True)
    assert not command_of("GetItem", {"TableName": "things", "Key": KEY}).consistent
    answer = data("GetItem").respond(command, Outcome(b'{"pk":{"S":"a"}}', size_before=3))
    assert answer == b'{"Item":{"pk":{"S":"a"}}}'
    assert data("GetItem").respond(command, Outcome()) == b"{}"


def test_an_arn_names_a_table() -> None:
    arn = "arn:aws:dynamodb:local-1:000000000000:table/things"
    assert command_of("GetItem", {"TableName": arn, "Key": KEY}).table == "things"
    assert control("DescribeTable").check({"TableName": arn}) == {"name": "things"}
    with pytest.raises(ApiError, match="regular expression pattern"):
        data("GetItem").check({"TableName": "arn:aws:s3:::things", "Key": KEY})


def test_a_projection_is_made_by_the_router() -> None:
    command = command_of(
        "GetItem",
        {"TableName": "things", "Key": KEY, "ProjectionExpression": "#x", "ExpressionAttributeNames": {"#x": "x"}},
    )
    answer = data("GetItem").respond(command, Outcome(b'{"x":{"N":"1"},"y":{"N":"2"}}', size_before=9))
    assert json.loads(answer) == {"Item": {"x": {"N": "1"}}}


def test_update_and_delete() -> None:
    update = command_of(
        "UpdateItem",
        {
            "TableName": "things",
            "Key": KEY,
            "UpdateExpression": "SET v = :v",
            "ConditionExpression": "v = :v",
            "ExpressionAttributeValues": {":v": {"N": "1.0"}},
            "ReturnValues": "UPDATED_NEW",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        },
    )
    assert (update.kind, update.returns, update.on_failure) == ("update", "UPDATED_NEW", "ALL_OLD")
    assert json.loads(update.key_image or b"") == {"pk": {"S": "a"}, "sk": {"N": "1"}}
    assert update.update == update.condition._replace(text="SET v = :v") if update.condition else False
    delete = command_of("DeleteItem", {"TableName": "things", "Key": KEY, "ReturnValues": "ALL_OLD"})
    assert (delete.kind, delete.key, delete.returns) == ("delete", STORED_KEY, "ALL_OLD")


def test_a_failure_is_raised_with_the_item_the_caller_asked_for() -> None:
    command = command_of("DeleteItem", {"TableName": "things", "Key": KEY})
    outcome = Outcome(b'{"pk":{"S":"a"}}', "ConditionalCheckFailedException", "The conditional request failed", 3, 3)
    with pytest.raises(ApiError) as failed:
        data("DeleteItem").respond(command, outcome)
    assert failed.value.kind == "ConditionalCheckFailedException"
    assert failed.value.extra is not None


@pytest.mark.parametrize(
    ("name", "consistent", "before", "after", "units"),
    [
        ("GetItem", True, 0, 0, 1.0),
        ("GetItem", False, 0, 0, 0.5),
        ("GetItem", True, 4096, 4096, 1.0),
        ("GetItem", True, 4097, 4097, 2.0),
        ("GetItem", False, 4097, 4097, 1.0),
        ("DeleteItem", False, 0, 0, 1.0),
        ("DeleteItem", False, 1024, 0, 1.0),
        ("DeleteItem", False, 1025, 0, 2.0),
        ("UpdateItem", False, 100, 5000, 5.0),
        ("UpdateItem", False, 5000, 100, 5.0),
    ],
)
def test_capacity(name: str, consistent: bool, before: int, after: int, units: float) -> None:
    body: dict[str, Any] = {"TableName": "things", "Key": KEY, "ReturnConsumedCapacity": "INDEXES"}
    if name == "GetItem":
        body["ConsistentRead"] = consistent
    command = command_of(name, body)
    answer = json.loads(data(name).respond(command, Outcome(size_before=before, size_after=after)))
    assert answer["ConsumedCapacity"] == {
        "TableName": "things",
        "CapacityUnits": units,
        "Table": {"CapacityUnits": units},
    }


ENVELOPE = "1 validation error detected: "


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        (
            "PutItem",
            {"Item": {**KEY, "x": {"SS": []}}},
            ENVELOPE + "One or more parameter values were invalid: An string",
        ),
        ("PutItem", {"Item": {**KEY, "x": {}}}, "Supplied AttributeValue is empty"),
        ("PutItem", {"Item": {"pk": {"S": "a"}}}, "One or more parameter values were invalid: Missing the key sk"),
        ("PutItem", {"Item": KEY, "ReturnValues": "ALL_NEW"}, ENVELOPE + "ReturnValues can only be ALL_OLD or NONE"),
        ("PutItem", {"Item": KEY, "ConditionExpression": ""}, ENVELOPE + "Invalid ConditionExpression: The expression"),
        ("GetItem", {"Key": KEY, "ProjectionExpression": ""}, "Invalid ProjectionExpression: The expression"),
        ("GetItem", {"Key": {"pk": {"S": "a"}}}, "The provided key element does not match the schema"),
        (
            "PutItem",
            {"Item": KEY, "Expected": {}, "ConditionExpression": "attribute_exists(pk)"},
            ENVELOPE + "Can not use both expression and non-expression parameters in the same request: Non-expression "
            "parameters: {Expected} Expression parameters: {ConditionExpression}",
        ),
        (
            "UpdateItem",
            {"Key": KEY, "UpdateExpression": "SET sk = :v", "ExpressionAttributeValues": {":v": {"N": "1"}}},
            "One or more parameter values were invalid: Cannot update attribute sk. This attribute is part of the key",
        ),
        (
            "UpdateItem",
            {"Key": KEY, "ReturnValues": "X", "ReturnConsumedCapacity": "Y"},
            ENVELOPE + "Value 'X' at 'returnValues' failed to satisfy constraint: Member must satisfy enum value set",
        ),
        (
            "PutItem",
            {"Item": KEY, "ReturnValues": "X", "ReturnConsumedCapacity": "Y", "ReturnItemCollectionMetrics": "Z"},
            "3 validation errors detected: Value 'X' at 'returnValues'",
        ),
    ],
)
def test_refusals(name: str, body: dict[str, Any], message: str) -> None:
    with pytest.raises(ApiError) as refused:
        command_of(name, {"TableName": "things", **body})
    assert refused.value.kind == "ValidationException"
    assert refused.value.message.startswith(message)


@pytest.mark.parametrize(
    ("member", "value", "message"),
    [
        ("TableName", 5, "NUMBER_VALUE cannot be converted to String"),
        ("TableName", [], "Unrecognized collection type class java.lang.String"),
        ("TableName", {}, "Start of structure or map found where not expected"),
        ("ConsistentRead", "yes", "Unexpected token received from parser"),
        ("ConsistentRead", 1, "NUMBER_VALUE cannot be converted to Boolean"),
        ("Key", "x", "Unexpected field type"),
        ("ExpressionAttributeNames", {"#a": 1}, "NUMBER_VALUE cannot be converted to String"),
    ],
)
def test_wrong_shapes(member: str, value: Any, message: str) -> None:
    with pytest.raises(ApiError) as refused:
        data("GetItem").check({"TableName": "things", "Key": KEY, member: value})
    assert (refused.value.kind, refused.value.message) == ("SerializationException", message)


@pytest.mark.parametrize("name", [name for name, each in OPERATIONS.items() if isinstance(each, DataOperation)])
@pytest.mark.parametrize("body", [{}, {"TableName": "things"}, {"TableName": None}, {"unknown": 1}])
def test_incomplete_requests_are_refused(name: str, body: dict[str, Any]) -> None:
    with pytest.raises(ApiError, match="Member must not be null"):
        data(name).check(body)


def test_operations_are_found_by_target() -> None:
    assert find_operation({"x-amz-target": "DynamoDB_20120810.PutItem"}) is OPERATIONS["PutItem"]
    for target in ("", "PutItem", "DynamoDB_20111205.PutItem", "DynamoDB_20120810.", "DynamoDB_20120810.Nothing"):
        with pytest.raises(ApiError) as refused:
            find_operation({"x-amz-target": target})
        assert refused.value.kind == "UnknownOperationException"


# --- tables ---

HASH = {
    "TableName": "things",
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
    "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
}


def control(name: str) -> ControlOperation:
    operation = OPERATIONS[name]
    assert isinstance(operation, ControlOperation)
    return operation


def test_a_table_from_request_to_schema() -> None:
    request = control("CreateTable").check({**HASH, "BillingMode": "PAY_PER_REQUEST"})
    assert (request["name"], request["partitions"], request["protected"]) == ("things", 4, False)
    description = create_table.describe(request, table_id="id-1", region="local-1", now=12.3456)
    assert description["TableStatus"] == "CREATING"
    assert description["TableArn"] == "arn:aws:dynamodb:local-1:123456789012:table/things"
    assert description["CreationDateTime"] == 12.346
    assert TableSchema.from_description(description) == TableSchema(
        "things", "id-1", KeySchema(KeyAttribute("pk", "S"), None)
    )
    assert "TableId" not in request["description"], "the request is left as it was"
    assert json.loads(control("CreateTable").respond({"description": description}))["TableDescription"] == description
    assert json.loads(control("DescribeTable").respond({"description": description}))["Table"] == description
    deleted = json.loads(control("DeleteTable").respond({"description": description}))["TableDescription"]
    assert deleted["TableStatus"] == "DELETING"


@pytest.mark.parametrize(
    ("read", "write", "partitions"),
    [(1, 1, 1), (3000, 1000, 1), (3001, 1, 2), (1, 3200, 4), (9000, 6000, 6), (40_000, 40_000, 40)],
)
def test_partitions_follow_capacity(read: int, write: int, partitions: int) -> None:
    units = {"ReadCapacityUnits": read, "WriteCapacityUnits": write}
    assert control("CreateTable").check({**HASH, "ProvisionedThroughput": units})["partitions"] == partitions


def test_a_tag_sets_the_partitions() -> None:
    body = {**HASH, "BillingMode": "PAY_PER_REQUEST", "Tags": [{"Key": create_table.PARTITIONS_TAG, "Value": "7"}]}
    assert control("CreateTable").check(body)["partitions"] == 7
    for bad in ("0", "65", "x", "-1", "\u0663"):
        body["Tags"] = [{"Key": create_table.PARTITIONS_TAG, "Value": bad}]
        with pytest.raises(ApiError, match="must be a number from 1 to 64"):
            control("CreateTable").check(body)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"TableName": None}, "The parameter 'TableName' is required but was not present in the request"),
        (
            {"TableName": "ab"},
            "1 validation error detected: Value 'ab' at 'tableName' failed to satisfy constraint: Member must have "
            "length greater than or equal to 3",
        ),
        (
            {"StreamSpecification": {"StreamEnabled": False, "StreamViewType": "NEW_IMAGE"}},
            "One or more parameter values were invalid: Table is being created with a stream disabled, UpdateViewType "
            "should not be specified",
        ),
        (
            {"KeySchema": [{"AttributeName": "pk", "KeyType": "NO"}]},
            "1 validation error detected: Value 'NO' at 'keySchema.1.member.keyType' failed to satisfy constraint: "
            "Member must satisfy enum value set: [HASH, RANGE]",
        ),
        (
            {"KeySchema": [{"AttributeName": name, "KeyType": "HASH"} for name in "abc"]},
            "1 validation error detected: Value '[KeySchemaElement(attributeName=a, keyType=HASH), "
            "KeySchemaElement(attributeName=b, keyType=HASH), KeySchemaElement(attributeName=c, keyType=HASH)]' at "
            "'keySchema' failed to satisfy constraint: Member must have length less than or equal to 2",
        ),
        (
            {
                "KeySchema": [
                    {"AttributeName": "pk", "KeyType": "HASH"},
                    {"AttributeName": "pk", "KeyType": "RANGE"},
                ]
            },
            "Invalid KeySchema: Some index key attribute have no definition",
        ),
        (
            {"StreamSpecification": {"StreamEnabled": True}},
            "One or more parameter values were invalid: Streams are not supported by this database",
        ),
    ],
)
def test_tables_that_cannot_be(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ApiError) as refused:
        control("CreateTable").check({**HASH, "BillingMode": "PAY_PER_REQUEST", **changed})
    assert refused.value.message == message


def test_listing_pages() -> None:
    check, names = control("ListTables").check, ["aaa", "bbb", "ccc"]
    assert list_tables.page(names, check({})) == {"names": names, "last": None}
    assert list_tables.page(names, check({"Limit": 2})) == {"names": ["aaa", "bbb"], "last": "bbb"}
    assert list_tables.page(names, check({"Limit": 2, "ExclusiveStartTableName": "bbb"})) == {
        "names": ["ccc"],
        "last": None,
    }
    assert list_tables.page([], check({})) == {"names": [], "last": None}
    assert json.loads(control("ListTables").respond({"names": ["aaa"], "last": "aaa"})) == {
        "TableNames": ["aaa"],
        "LastEvaluatedTableName": "aaa",
    }
    for limit in (0, 101):
        with pytest.raises(ApiError, match="at 'limit' failed to satisfy constraint"):
            check({"Limit": limit})


def test_what_a_router_answers_alone() -> None:
    assert control("DescribeLimits").local
    assert control("DescribeEndpoints").local
    assert json.loads(control("DescribeLimits").respond({"address": "h:1"}))["TableMaxReadCapacityUnits"] == 40_000
    endpoints = json.loads(control("DescribeEndpoints").respond({"address": "h:1"}))["Endpoints"]
    assert endpoints == [{"Address": "h:1", "CachePeriodInMinutes": 1440}]
    assert not control("ListTables").local


def test_what_is_put_is_what_is_got() -> None:
    put = command_of("PutItem", {"TableName": "things", "Item": {**KEY, "d": {"M": {"l": {"L": [{"NULL": True}]}}}}})
    stored = evaluate(put, None, CODEC)
    got = evaluate(command_of("GetItem", {"TableName": "things", "Key": KEY}), stored.image, CODEC)
    assert put.image is not None
    assert got.outcome.attributes == image_body(put.image)
