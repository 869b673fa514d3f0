"""Tags and time to live: what is refused, and what is kept."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.api import (
    create_table,
    describe_continuous_backups,
    list_tags_of_resource,
    tag_resource,
    tags,
    time_to_live,
    untag_resource,
    update_time_to_live,
)
from cluster.api.tables import ACCOUNT
from cluster.api.time_to_live import Setting
from cluster.core.errors import ApiError

ARN = f"arn:aws:dynamodb:r-1:{ACCOUNT}:table/things"
TAG = {"Key": "k", "Value": "v"}


def test_a_request_names_a_table_by_its_arn() -> None:
    assert tag_resource.check_request({"ResourceArn": ARN, "Tags": [TAG]}) == {
        "name": "things",
        "arn": ARN,
        "tags": {"k": "v"},
    }
    assert untag_resource.check_request({"ResourceArn": ARN, "TagKeys": ["k"]})["keys"] == ["k"]
    assert list_tags_of_resource.check_request({"ResourceArn": ARN}) == {"name": "things", "arn": ARN}
    assert tag_resource.respond({}) == b""
    assert list_tags_of_resource.respond({"tags": {"k": "v"}}) == b'{"Tags":[{"Key":"k","Value":"v"}]}'


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        ({"ResourceArn": None}, "ValidationException", "Invalid TableArn"),
        (
            {"ResourceArn": None, "Tags": [{"Key": 1}]},
            "SerializationException",
            "NUMBER_VALUE cannot be converted to String",
        ),
        (
            {"Tags": None},
            "ValidationException",
            "1 validation error detected: Value null at 'tags' failed to satisfy constraint: Member must not be null",
        ),
        (
            {"ResourceArn": "abcd"},
            "ValidationException",
            "One or more parameter values were invalid: ARNs must start with 'arn:': abcd",
        ),
        (
            {"ResourceArn": "a:b:c:d:e:f/g"},
            "ValidationException",
            "Invalid TableArn: Invalid ResourceArn provided as input a:b:c:d:e:f/g",
        ),
        (
            {"ResourceArn": f"arn:aws:dynamodb:r-1:{ACCOUNT}:table/ab"},
            "ValidationException",
            f"Invalid TableArn: Invalid ResourceArn provided as input arn:aws:dynamodb:r-1:{ACCOUNT}:table/ab",
        ),
        (
            {"ResourceArn": f"{ARN}/index/gsi"},
            "ValidationException",
            "One or more parameter values were invalid: Invalid resource arn provided, only table or stream is "
            f"accepted. Provided resource arn: {ARN}/index/gsi",
        ),
        (
            {"ResourceArn": "arn:aws:dynamodb:r-1:000000000000:table/things"},
            "AccessDeniedException",
            f"User: arn:aws:iam::{ACCOUNT}:root is not authorized to perform: dynamodb:TagResource on resource: "
            "arn:aws:dynamodb:r-1:000000000000:table/things",
        ),
        ({"Tags": []}, "ValidationException", "Atleast one Tag needs to be provided as Input."),
        (
            {"Tags": [{"Key": "hi!", "Value": "v"}]},
            "ValidationException",
            "The Tag Key provided is invalid, Key: hi!",
        ),
        ({"Tags": [{"Key": "", "Value": "v"}]}, "ValidationException", "The Tag Key provided is invalid, Key: "),
        ({"Tags": [{"Key": "k"}]}, "ValidationException", "The Tag Value provided is invalid, Value: null"),
        (
            {"Tags": [{"Key": "aws:k", "Value": ""}]},
            "ValidationException",
            "Tag Key cannot be prefixed with aws:, Key: aws:k",
        ),
        (
            {"Tags": [TAG, TAG]},
            "ValidationException",
            "Duplicate Tag Keys provided as input: Duplicate Tag Key found k",
        ),
        (
            {"Tags": [{"Key": str(number), "Value": ""} for number in range(51)]},
            "ValidationException",
            "Number of Tags exceed the current limit for the provided ResourceArn",
        ),
    ],
)
def test_tags_that_cannot_be(body: dict[str, Any], kind: str, message: str) -> None:
    with pytest.raises(ApiError) as refused:
        tag_resource.check_request({"ResourceArn": ARN, "Tags": [TAG], **body})
    assert (refused.value.kind, refused.value.message) == (kind, message)


def test_lengths_count_characters() -> None:
    long = {"Key": "א" * 128, "Value": "א" * 256}
    assert tag_resource.check_request({"ResourceArn": ARN, "Tags": [long]})["tags"] == {"א" * 128: "א" * 256}
    for member, length in (("Key", 129), ("Value", 257)):
        with pytest.raises(ApiError, match=f"less than or equal to {length - 1}"):
            tag_resource.check_request({"ResourceArn": ARN, "Tags": [{**TAG, member: "x" * length}]})


def test_a_table_has_at_most_fifty_tags() -> None:
    thirty = {str(number): "" for number in range(30)}
    assert len(tags.tagged(thirty, {str(number): "new" for number in range(20, 50)})) == 50
    with pytest.raises(ApiError, match="Number of Tags exceed the current limit"):
        tags.tagged(thirty, {str(number): "" for number in range(30, 51)})


def test_a_table_is_created_with_its_tags_or_not_at_all() -> None:
    body = {
        "TableName": "things",
        "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
    }
    assert create_table.check_request({**body, "Tags": [TAG]})["tags"] == {"k": "v"}
    with pytest.raises(ApiError, match="Duplicate Tag Keys"):
        create_table.check_request({**body, "Tags": [TAG, TAG]})


def test_time_to_live_is_changed_one_step_at_a_time() -> None:
    with pytest.raises(ApiError, match=r"^ValidationException: TimeToLive is already disabled$"):
        time_to_live.change(None, "ttl", False)
    on = time_to_live.change(None, "ttl", True)
    assert time_to_live.describe(on) == {"TimeToLiveStatus": "ENABLING", "AttributeName": "ttl"}
    on = on._replace(settled=True)
    assert time_to_live.describe(on) == {"TimeToLiveStatus": "ENABLED", "AttributeName": "ttl"}
    with pytest.raises(ApiError, match=r"^ValidationException: TimeToLive is already enabled$"):
        time_to_live.change(on, "ttl", True)
    for enabled in (True, False):
        with pytest.raises(
            ApiError, match=r"TimeToLive is active on a different AttributeName: current AttributeName is ttl$"
        ):
            time_to_live.change(on, "other", enabled)
    off = time_to_live.change(on, "ttl", False)
    assert time_to_live.describe(off) == {"TimeToLiveStatus": "DISABLING", "AttributeName": "ttl"}
    assert time_to_live.describe(off._replace(settled=True)) == {"TimeToLiveStatus": "DISABLED"}
    assert time_to_live.change(Setting("ttl", False, True), "other", True).attribute == "other"


@pytest.mark.parametrize(
    ("specification", "pattern"),
    [
        (None, "Value null at 'timeToLiveSpecification' failed to satisfy constraint: Member must not be null"),
        ({"Enabled": True}, "Value null at 'timeToLiveSpecification.attributeName'"),
        ({"AttributeName": "a"}, "Value null at 'timeToLiveSpecification.enabled'"),
        ({"AttributeName": "", "Enabled": True}, "Member must have length greater than or equal to 1"),
        ({"AttributeName": "x" * 256, "Enabled": True}, "Member must have length less than or equal to 255"),
    ],
)
def test_settings_that_cannot_be(specification: Any, pattern: str) -> None:
    with pytest.raises(ApiError, match=pattern):
        update_time_to_live.check_request({"TableName": "things", "TimeToLiveSpecification": specification})


def test_a_setting_as_asked_for_comes_back() -> None:
    body = {"TableName": "things", "TimeToLiveSpecification": {"Enabled": True, "AttributeName": "ttl"}}
    request = update_time_to_live.check_request(body)
    assert update_time_to_live.respond(request) == (
        b'{"TimeToLiveSpecification":{"Enabled":true,"AttributeName":"ttl"}}'
    )


def test_no_table_is_said_to_be_restorable() -> None:
    assert b'"PointInTimeRecoveryStatus":"DISABLED"' in describe_continuous_backups.respond({})
