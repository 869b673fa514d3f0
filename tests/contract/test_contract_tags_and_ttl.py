"""TagResource, UntagResource, ListTagsOfResource, UpdateTimeToLive, DescribeTimeToLive."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest


def arn_of(dynamodb: Any, table: str) -> str:
    arn: str = dynamodb.describe_table(TableName=table)["Table"]["TableArn"]
    return arn


def wait_for_tags(dynamodb: Any, arn: str, expected: dict[str, str]) -> None:
    """AWS shows a change of tags a little later."""
    for _ in range(50):
        tags = {tag["Key"]: tag["Value"] for tag in dynamodb.list_tags_of_resource(ResourceArn=arn)["Tags"]}
        if tags == expected:
            return
        time.sleep(0.2)
    assert tags == expected


def test_tags_come_and_go(dynamodb: Any, table: str) -> None:
    arn = arn_of(dynamodb, table)
    dynamodb.tag_resource(ResourceArn=arn, Tags=[{"Key": "a", "Value": "1"}, {"Key": " ", "Value": ""}])
    wait_for_tags(dynamodb, arn, {"a": "1", " ": ""})
    dynamodb.tag_resource(ResourceArn=arn, Tags=[{"Key": "a", "Value": "2"}])
    wait_for_tags(dynamodb, arn, {"a": "2", " ": ""})
    dynamodb.untag_resource(ResourceArn=arn, TagKeys=["a", "never there"])
    wait_for_tags(dynamodb, arn, {" ": ""})
    dynamodb.untag_resource(ResourceArn=arn, TagKeys=[" "])
    wait_for_tags(dynamodb, arn, {})


def test_a_table_is_made_with_tags(dynamodb: Any, names: Iterator[str], refused: Any) -> None:
    name = next(names)
    schema = {
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
        "BillingMode": "PAY_PER_REQUEST",
    }
    with refused("ValidationException", "Number of Tags exceed the current limit"):
        dynamodb.create_table(TableName=name, Tags=[{"Key": str(n), "Value": ""} for n in range(51)], **schema)
    dynamodb.create_table(TableName=name, Tags=[{"Key": "made", "Value": "so"}], **schema)
    dynamodb.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    wait_for_tags(dynamodb, arn_of(dynamodb, name), {"made": "so"})
    dynamodb.delete_table(TableName=name)


def test_tags_of_nothing(dynamodb: Any, table: str, refused: Any) -> None:
    missing = arn_of(dynamodb, table) + "x"
    tag = {"Key": "a", "Value": "b"}
    for call, more in (
        (dynamodb.list_tags_of_resource, {}),
        (dynamodb.tag_resource, {"Tags": [tag]}),
        (dynamodb.untag_resource, {"TagKeys": ["a"]}),
    ):
        with refused("ResourceNotFoundException", "^Requested resource not found"):
            call(ResourceArn=missing, **more)
        with refused("ValidationException", "ARNs must start with 'arn:'"):
            call(ResourceArn="no-arn", **more)


@pytest.mark.parametrize("tag", [("hi!", "v"), ("k", "d%g"), ("", "v")])
def test_characters_of_tags(dynamodb: Any, table: str, refused: Any, tag: tuple[str, str]) -> None:
    with refused("ValidationException"):
        dynamodb.tag_resource(ResourceArn=arn_of(dynamodb, table), Tags=[{"Key": tag[0], "Value": tag[1]}])


def wait_for_ttl(dynamodb: Any, table: str, status: str) -> dict[str, Any]:
    for _ in range(100):
        description: dict[str, Any] = dynamodb.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
        if description["TimeToLiveStatus"] == status:
            return description
        assert description["TimeToLiveStatus"] in ("ENABLING", "DISABLING")
        time.sleep(0.1)
    raise AssertionError(description)


def test_time_to_live(dynamodb: Any, names: Iterator[str], refused: Any) -> None:
    name = next(names)
    dynamodb.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    dynamodb.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    assert dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"] == {"TimeToLiveStatus": "DISABLED"}
    on = {"AttributeName": "expires", "Enabled": True}
    with refused("ValidationException", "^TimeToLive is already disabled$"):
        dynamodb.update_time_to_live(TableName=name, TimeToLiveSpecification={**on, "Enabled": False})
    assert dynamodb.update_time_to_live(TableName=name, TimeToLiveSpecification=on)["TimeToLiveSpecification"] == on
    assert wait_for_ttl(dynamodb, name, "ENABLED")["AttributeName"] == "expires"
    with refused("ValidationException", "^TimeToLive is already enabled$"):
        dynamodb.update_time_to_live(TableName=name, TimeToLiveSpecification=on)
    with refused("ValidationException", "active on a different AttributeName: current AttributeName is expires$"):
        dynamodb.update_time_to_live(TableName=name, TimeToLiveSpecification={"AttributeName": "x", "Enabled": False})
    dynamodb.delete_table(TableName=name)
    with refused("ResourceNotFoundException"):
        dynamodb.describe_time_to_live(TableName=f"{name}-not")
