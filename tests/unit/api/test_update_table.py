"""UpdateTable: what it refuses, and what it makes of a description."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.api import create_table, throughput, update_table
from cluster.core.errors import ApiError

NOW = 1_800_000_000.0
HASH = {
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
    "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
}


def units(read: int, write: int) -> dict[str, int]:
    return {"ReadCapacityUnits": read, "WriteCapacityUnits": write}


def described(**members: Any) -> dict[str, Any]:
    request = create_table.check_request({"TableName": "things", **HASH, **members})
    return create_table.describe(request, table_id="id", region="r-1", now=NOW)


PROVISIONED = described(ProvisionedThroughput=units(10, 20))
ON_DEMAND = described(BillingMode="PAY_PER_REQUEST")


def change(**members: Any) -> dict[str, Any]:
    checked: dict[str, Any] = update_table.check_request({"TableName": "things", **members})["change"]
    return checked


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"TableName": None}, "The parameter 'TableName' is required but was not present in the request"),
        ({"TableName": "a;"}, "TableName must be at least 3 characters long and at most 255 characters long"),
        (
            {"TableName": "abc;"},
            "1 validation error detected: Value 'abc;' at 'tableName' failed to satisfy constraint: Member must "
            "satisfy regular expression pattern: [a-zA-Z0-9_.-]+",
        ),
        (
            {},
            "At least one of ProvisionedThroughput, BillingMode, UpdateStreamEnabled, GlobalSecondaryIndexUpdates or "
            "SSESpecification or ReplicaUpdates is required",
        ),
        (
            {"ProvisionedThroughput": units(1_000_000_000_001, 1)},
            "Given value 1000000000001 for ReadCapacityUnits is out of bounds",
        ),
        (
            {
                "GlobalSecondaryIndexUpdates": [
                    {"Update": {"IndexName": "by-g", "ProvisionedThroughput": units(1, 1_000_000_000_001)}}
                ]
            },
            "Given value 1000000000001 for WriteCapacityUnits is out of bounds for index by-g",
        ),
        (
            {"GlobalSecondaryIndexUpdates": [{"Update": []}]},
            "Unrecognized collection type class com.amazonaws.dynamodb.v20120810.UpdateGlobalSecondaryIndexAction",
        ),
        (
            {"BillingMode": "PAY_PER_REQUEST", "ProvisionedThroughput": units(1, 1)},
            "One or more parameter values were invalid: Neither ReadCapacityUnits nor WriteCapacityUnits can be "
            "specified when BillingMode is PAY_PER_REQUEST",
        ),
        (
            {"TableClass": "standard"},
            "Invalid table-class parameter provided. Please try again with a valid table-class value: "
            "[STANDARD, STANDARD_INFREQUENT_ACCESS].",
        ),
        (
            {"StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"}},
            "One or more parameter values were invalid: Streams are not supported by this database",
        ),
    ],
)
def test_requests_that_cannot_be(body: dict[str, Any], message: str) -> None:
    with pytest.raises(ApiError) as refused:
        update_table.check_request({"TableName": "things", **body})
    assert refused.value.message == message


def test_units_below_one_are_all_named() -> None:
    with pytest.raises(ApiError) as refused:
        update_table.check_request({"TableName": "abc", "ProvisionedThroughput": units(-1, -1)})
    head, _, rest = refused.value.message.partition(" detected: ")
    assert head == "2 validation errors"
    assert sorted(rest.split("; ")) == [
        f"Value '-1' at 'provisionedThroughput.{kind}CapacityUnits' failed to satisfy constraint: Member must have "
        "value greater than or equal to 1"
        for kind in ("read", "write")
    ]


def test_more_units_are_shown_when_they_are_there() -> None:
    shown, after = update_table.apply(change(ProvisionedThroughput=units(100, 20)), PROVISIONED, NOW + 5)
    assert shown["ProvisionedThroughput"]["ReadCapacityUnits"] == 10
    assert shown["ProvisionedThroughput"]["LastIncreaseDateTime"] == NOW + 5
    assert after["ProvisionedThroughput"] == {
        **units(100, 20),
        "NumberOfDecreasesToday": 0,
        "LastIncreaseDateTime": NOW + 5,
    }
    assert throughput.rates(after) == (100.0, 20.0)
    assert PROVISIONED["ProvisionedThroughput"]["ReadCapacityUnits"] == 10


def test_the_same_units_are_no_change() -> None:
    with pytest.raises(ApiError) as refused:
        update_table.apply(change(ProvisionedThroughput=units(10, 20)), PROVISIONED, NOW)
    assert refused.value.message == (
        "The provisioned throughput for the table will not change. The requested value equals the current value. "
        "Current ReadCapacityUnits provisioned for the table: 10. Requested ReadCapacityUnits: 10. "
        "Current WriteCapacityUnits provisioned for the table: 20. Requested WriteCapacityUnits: 20. "
        "Refer to the Amazon DynamoDB Developer Guide for current limits and how to request higher limits."
    )


def test_decreases_are_rationed() -> None:
    description = PROVISIONED
    for count in range(1, 5):
        description = update_table.apply(change(ProvisionedThroughput=units(10 - count, 20)), description, NOW).after
        assert description["ProvisionedThroughput"]["NumberOfDecreasesToday"] == count
    fifth = change(ProvisionedThroughput=units(5, 20))
    with pytest.raises(ApiError, match=r"Number of decreases today: 4\.") as refused:
        update_table.apply(fifth, description, NOW + 3599)
    assert refused.value.kind == "LimitExceededException"
    assert update_table.apply(fifth, description, NOW + 3600).after["ProvisionedThroughput"]["ReadCapacityUnits"] == 5
    tomorrow = update_table.apply(fifth, description, NOW + 86_400).after["ProvisionedThroughput"]
    assert tomorrow["NumberOfDecreasesToday"] == 1


def test_to_on_demand_and_back() -> None:
    shown, after = update_table.apply(change(BillingMode="PAY_PER_REQUEST"), PROVISIONED, NOW + 1)
    assert shown["BillingModeSummary"] == {"BillingMode": "PAY_PER_REQUEST"}
    assert shown["ProvisionedThroughput"]["ReadCapacityUnits"] == 0
    assert after["BillingModeSummary"]["LastUpdateToPayPerRequestDateTime"] == NOW + 1
    assert throughput.rates(after) == (12_000.0, 4_000.0)
    with pytest.raises(ApiError, match="ProvisionedThroughput must be specified when BillingMode is PROVISIONED"):
        update_table.apply(change(BillingMode="PROVISIONED"), after, NOW)
    with pytest.raises(ApiError, match="Neither ReadCapacityUnits nor WriteCapacityUnits can be specified when"):
        update_table.apply(change(ProvisionedThroughput=units(1, 1)), after, NOW)
    back = update_table.apply(change(BillingMode="PROVISIONED", ProvisionedThroughput=units(7, 8)), after, NOW).after
    assert back["BillingModeSummary"]["BillingMode"] == "PROVISIONED"
    assert throughput.rates(back) == (7.0, 8.0)


def test_maxima_on_demand_bound_the_rates() -> None:
    after = update_table.apply(change(OnDemandThroughput={"MaxReadRequestUnits": 9}), ON_DEMAND, NOW).after
    assert after["OnDemandThroughput"] == {"MaxReadRequestUnits": 9, "MaxWriteRequestUnits": -1}
    assert throughput.rates(after) == (9.0, 4_000.0)
    after = update_table.apply(change(OnDemandThroughput={"MaxReadRequestUnits": -1}), after, NOW).after
    assert throughput.rates(after) == (12_000.0, 4_000.0)
    with pytest.raises(ApiError, match="cannot be specified when the table BillingMode is PROVISIONED"):
        update_table.apply(change(OnDemandThroughput={"MaxReadRequestUnits": 9}), PROVISIONED, NOW)


def test_warmth_never_falls() -> None:
    warm = {"ReadUnitsPerSecond": 13_000, "WriteUnitsPerSecond": 5_000}
    after = update_table.apply(change(WarmThroughput=warm), ON_DEMAND, NOW).after
    assert after["WarmThroughput"] == {**warm, "Status": "ACTIVE"}
    for member, low in (("ReadUnitsPerSecond", 12_999), ("WriteUnitsPerSecond", 4_999)):
        with pytest.raises(ApiError, match=f"{member} for WarmThroughput for table is lower than current"):
            update_table.apply(change(WarmThroughput={**warm, member: low}), after, NOW)
    with pytest.raises(ApiError, match="lower than initial throughput for OnDemand"):
        described(BillingMode="PAY_PER_REQUEST", WarmThroughput={"ReadUnitsPerSecond": 11_999})


def test_protection_is_there_at_once() -> None:
    wanted = change(DeletionProtectionEnabled=True)
    assert not update_table.needs_time(wanted)
    assert update_table.apply(wanted, ON_DEMAND, NOW).shown["DeletionProtectionEnabled"] is True
    assert update_table.needs_time(change(TableClass="STANDARD"))


def test_encryption_is_described_as_asked_for() -> None:
    assert "SSEDescription" not in ON_DEMAND
    with pytest.raises(ApiError, match="Table is already encrypted by default"):
        update_table.apply(change(SSESpecification={"Enabled": False}), ON_DEMAND, NOW)
    after = update_table.apply(change(SSESpecification={"Enabled": True}), ON_DEMAND, NOW).after
    assert after["SSEDescription"]["Status"] == "ENABLED"
    assert after["SSEDescription"]["KMSMasterKeyArn"].startswith("arn:aws:kms:r-1:")
    with pytest.raises(ApiError, match="already encrypted with given KMSMasterKeyId"):
        update_table.apply(change(SSESpecification={"Enabled": True}), after, NOW)
    assert "SSEDescription" not in update_table.apply(change(SSESpecification={"Enabled": False}), after, NOW).after
    with pytest.raises(ApiError, match="SSEType can not be specified if Enabled is false"):
        change(SSESpecification={"SSEType": "KMS"})


@pytest.mark.parametrize(
    ("members", "alone"),
    [
        ({"TableClass": "STANDARD"}, "TableClass modification"),
        ({"DeletionProtectionEnabled": True}, "DeletionProtection modification"),
        ({"WarmThroughput": {"ReadUnitsPerSecond": 20_000}}, "WarmThroughput"),
    ],
)
def test_some_changes_go_by_themselves(members: dict[str, Any], alone: str) -> None:
    with pytest.raises(ApiError, match=f"{alone} must be the only operation in the request"):
        change(BillingMode="PAY_PER_REQUEST", **members)
