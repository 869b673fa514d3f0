"""CreateTable, DescribeTable, ListTables, DeleteTable as the API reference describes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

HASH = {
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
    "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
}


def test_the_life_of_a_table(dynamodb: Any, names: Iterator[str], refused: Any) -> None:
    name = next(names)
    created = dynamodb.create_table(TableName=name, BillingMode="PAY_PER_REQUEST", **HASH)["TableDescription"]
    assert created["TableName"] == name
    assert created["TableStatus"] in ("CREATING", "ACTIVE")
    assert created["KeySchema"] == HASH["KeySchema"]
    assert created["AttributeDefinitions"] == HASH["AttributeDefinitions"]
    assert created["TableArn"].endswith(f":table/{name}")
    assert created["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    dynamodb.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    described = dynamodb.describe_table(TableName=name)["Table"]
    assert described["TableStatus"] == "ACTIVE"
    assert described["TableId"] == created["TableId"]
    assert described["ItemCount"] == 0
    with refused("ResourceInUseException", name):
        dynamodb.create_table(TableName=name, BillingMode="PAY_PER_REQUEST", **HASH)
    dynamodb.delete_table(TableName=name)
    dynamodb.get_waiter("table_not_exists").wait(TableName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    for call in (dynamodb.describe_table, dynamodb.delete_table):
        with refused("ResourceNotFoundException", f"^Requested resource not found: Table: {name} not found$"):
            call(TableName=name)


def test_a_new_table_of_an_old_name_is_empty(dynamodb: Any, names: Iterator[str]) -> None:
    name, item = next(names), {"pk": {"S": "x"}}
    for _ in range(2):
        dynamodb.create_table(TableName=name, BillingMode="PAY_PER_REQUEST", **HASH)
        dynamodb.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
        assert "Item" not in dynamodb.get_item(TableName=name, Key=item, ConsistentRead=True)
        dynamodb.put_item(TableName=name, Item=item)
        dynamodb.delete_table(TableName=name)
        dynamodb.get_waiter("table_not_exists").wait(TableName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})


def test_provisioned_throughput_is_described(dynamodb: Any, names: Iterator[str]) -> None:
    name = next(names)
    units = {"ReadCapacityUnits": 5, "WriteCapacityUnits": 7}
    dynamodb.create_table(TableName=name, ProvisionedThroughput=units, **HASH)
    dynamodb.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    described = dynamodb.describe_table(TableName=name)["Table"]["ProvisionedThroughput"]
    assert {member: described[member] for member in units} == units
    assert described["NumberOfDecreasesToday"] == 0
    dynamodb.delete_table(TableName=name)


def test_listing_pages_in_order(dynamodb: Any, names: Iterator[str]) -> None:
    mine = [next(names) for _ in range(3)]
    for name in mine:
        dynamodb.create_table(TableName=name, BillingMode="PAY_PER_REQUEST", **HASH)
    for name in mine:
        dynamodb.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    listed: list[str] = []
    more: dict[str, Any] = {}
    while True:
        page = dynamodb.list_tables(Limit=2, **more)
        assert len(page["TableNames"]) <= 2
        listed += page["TableNames"]
        if "LastEvaluatedTableName" not in page:
            break
        assert page["LastEvaluatedTableName"] == page["TableNames"][-1]
        more = {"ExclusiveStartTableName": page["LastEvaluatedTableName"]}
    assert listed == sorted(listed)
    assert [name for name in listed if name in mine] == sorted(mine)
    for name in mine:
        dynamodb.delete_table(TableName=name)


def test_deletion_protection(dynamodb: Any, names: Iterator[str], refused: Any) -> None:
    name = next(names)
    dynamodb.create_table(TableName=name, BillingMode="PAY_PER_REQUEST", DeletionProtectionEnabled=True, **HASH)
    assert wait_until_active(dynamodb, name)["DeletionProtectionEnabled"] is True
    with refused("ValidationException", "^Resource cannot be deleted as it is currently protected against deletion"):
        dynamodb.delete_table(TableName=name)
    dynamodb.update_table(TableName=name, DeletionProtectionEnabled=False)
    assert wait_until_active(dynamodb, name)["DeletionProtectionEnabled"] is False
    dynamodb.delete_table(TableName=name)


PREFIX = "^One or more parameter values were invalid: "


@pytest.mark.parametrize(
    ("changed", "pattern"),
    [
        ({"KeySchema": []}, "at 'keySchema' failed to satisfy constraint"),
        (
            {"KeySchema": [{"AttributeName": "other", "KeyType": "HASH"}]},
            PREFIX + "Some index key attributes are not defined in AttributeDefinitions",
        ),
        (
            {"KeySchema": [{"AttributeName": "pk", "KeyType": "RANGE"}]},
            "^Invalid KeySchema: The first KeySchemaElement is not a HASH key type$",
        ),
        (
            {
                "AttributeDefinitions": [
                    {"AttributeName": "pk", "AttributeType": "S"},
                    {"AttributeName": "unused", "AttributeType": "S"},
                ]
            },
            PREFIX + "Number of attributes in KeySchema does not exactly match",
        ),
        ({"BillingMode": "PROVISIONED"}, "ReadCapacityUnits and WriteCapacityUnits must both be specified"),
        (
            {"ProvisionedThroughput": {"ReadCapacityUnits": 1, "WriteCapacityUnits": 1}},
            "Neither ReadCapacityUnits nor WriteCapacityUnits can be specified when BillingMode is PAY_PER_REQUEST",
        ),
        (
            {"AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "BOOL"}]},
            r"Member must satisfy enum value set: \[",
        ),
    ],
)
def test_tables_that_cannot_be(
    dynamodb: Any, names: Iterator[str], refused: Any, changed: dict[str, Any], pattern: str
) -> None:
    with refused("ValidationException", pattern):
        dynamodb.create_table(**{"TableName": next(names), "BillingMode": "PAY_PER_REQUEST", **HASH, **changed})


def test_names_of_tables(dynamodb: Any, refused: Any) -> None:
    with refused("ValidationException", "^1 validation error detected: Value 'ab' at 'tableName' failed to satisfy"):
        dynamodb.create_table(TableName="ab", BillingMode="PAY_PER_REQUEST", **HASH)
    with refused("ValidationException", "Member must satisfy regular expression pattern"):
        dynamodb.create_table(TableName="a table", BillingMode="PAY_PER_REQUEST", **HASH)


def test_limits_and_endpoints(dynamodb: Any) -> None:
    limits = dynamodb.describe_limits()
    assert limits["TableMaxWriteCapacityUnits"] > 0
    endpoints = dynamodb.describe_endpoints()["Endpoints"]
    assert endpoints[0]["CachePeriodInMinutes"] == 1440


def wait_until_active(dynamodb: Any, name: str) -> dict[str, Any]:
    dynamodb.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    description: dict[str, Any] = dynamodb.describe_table(TableName=name)["Table"]
    return description


def test_throughput_is_updated(dynamodb: Any, names: Iterator[str], refused: Any) -> None:
    name = next(names)
    units = {"ReadCapacityUnits": 5, "WriteCapacityUnits": 6}
    dynamodb.create_table(TableName=name, ProvisionedThroughput=units, **HASH)
    wait_until_active(dynamodb, name)
    with refused("ValidationException", "^The provisioned throughput for the table will not change"):
        dynamodb.update_table(TableName=name, ProvisionedThroughput=units)
    more = {"ReadCapacityUnits": 50, "WriteCapacityUnits": 60}
    answer = dynamodb.update_table(TableName=name, ProvisionedThroughput=more)["TableDescription"]
    assert answer["TableStatus"] == "UPDATING"
    assert answer["ProvisionedThroughput"]["ReadCapacityUnits"] == 5
    assert "LastIncreaseDateTime" in answer["ProvisionedThroughput"]
    described = wait_until_active(dynamodb, name)["ProvisionedThroughput"]
    assert (described["ReadCapacityUnits"], described["WriteCapacityUnits"]) == (50, 60)
    dynamodb.update_table(TableName=name, BillingMode="PAY_PER_REQUEST")
    described = wait_until_active(dynamodb, name)
    assert described["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    assert "LastUpdateToPayPerRequestDateTime" in described["BillingModeSummary"]
    assert described["ProvisionedThroughput"]["ReadCapacityUnits"] == 0
    dynamodb.put_item(TableName=name, Item={"pk": {"S": "still here"}})
    dynamodb.delete_table(TableName=name)


def test_table_class(dynamodb: Any, names: Iterator[str], refused: Any) -> None:
    name = next(names)
    dynamodb.create_table(TableName=name, BillingMode="PAY_PER_REQUEST", **HASH)
    assert "TableClassSummary" not in wait_until_active(dynamodb, name)
    dynamodb.update_table(TableName=name, TableClass="STANDARD_INFREQUENT_ACCESS")
    summary = wait_until_active(dynamodb, name)["TableClassSummary"]
    assert summary["TableClass"] == "STANDARD_INFREQUENT_ACCESS"
    assert "LastUpdateDateTime" in summary
    with refused("ValidationException", "table-class"):
        dynamodb.update_table(TableName=name, TableClass="junk")
    dynamodb.delete_table(TableName=name)


def test_an_update_of_no_table(dynamodb: Any, names: Iterator[str], refused: Any) -> None:
    name = next(names)
    with refused("ResourceNotFoundException", f"^Requested resource not found: Table: {name} not found$"):
        dynamodb.update_table(TableName=name, BillingMode="PAY_PER_REQUEST")
    with refused("ValidationException", "^At least one of ProvisionedThroughput, BillingMode, UpdateStreamEnabled"):
        dynamodb.update_table(TableName=name)
