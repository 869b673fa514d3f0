"""UpdateTable's changes of global indexes: AWS's rules and words, and what they make of a description."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.api import create_table, index_updates, update_table
from cluster.core.errors import ApiError

WRONG = "One or more parameter values were invalid: "
ONE = {"ReadCapacityUnits": 1, "WriteCapacityUnits": 1}
TWO = {"ReadCapacityUnits": 2, "WriteCapacityUnits": 2}


def new(name: str, key: str = "n", **more: Any) -> dict[str, Any]:
    schema = [{"AttributeName": key, "KeyType": "HASH"}]
    return {"Create": {"IndexName": name, "KeySchema": schema, "Projection": {"ProjectionType": "ALL"}, **more}}


def description(billing: str = "PAY_PER_REQUEST", **states: str) -> dict[str, Any]:
    """A table with two global indexes and a local one; ``states`` of the global ones that are not ACTIVE."""
    provisioned = billing == "PROVISIONED"
    units = {"ProvisionedThroughput": ONE} if provisioned else {}
    body = {
        "TableName": "things",
        "BillingMode": billing,
        **units,
        "AttributeDefinitions": [{"AttributeName": n, "AttributeType": "S"} for n in ("pk", "sk", "a", "b")],
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        "GlobalSecondaryIndexes": [{**new(name, key)["Create"], **units} for name, key in (("one", "a"), ("two", "b"))],
        "LocalSecondaryIndexes": [
            {
                "IndexName": "own",
                "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "a", "KeyType": "RANGE"}],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
    }
    shown = create_table.describe(create_table.check_request(body), table_id="id", region="eu-west-1", now=1.0)
    for entry in shown["GlobalSecondaryIndexes"]:
        entry["IndexStatus"] = states.get(entry["IndexName"], "ACTIVE")
    return shown


def change(
    *updates: dict[str, Any], defined: str | None = None, table: Any = None, **more: Any
) -> index_updates.Changed:
    """What a request makes of a table."""
    body = {"TableName": "things", **({"GlobalSecondaryIndexUpdates": list(updates)} if updates else {}), **more}
    if defined is not None:
        body["AttributeDefinitions"] = [{"AttributeName": name, "AttributeType": "S"} for name in defined.split()]
    request = update_table.check_request(body)
    shown = table or description()
    after = update_table.apply(request["change"], shown, 2.0).after
    return index_updates.apply(request["indexes"], request["definitions"], shown, after)


def status(changed: index_updates.Changed) -> dict[str, str]:
    return {entry["IndexName"]: entry["IndexStatus"] for entry in changed.members["GlobalSecondaryIndexes"]}


def test_an_index_begins_to_be_created() -> None:
    made = change(new("late"), defined="n")
    assert made.online
    assert status(made) == {"one": "ACTIVE", "two": "ACTIVE", "late": "CREATING"}
    entry = made.members["GlobalSecondaryIndexes"][2]
    assert entry["Backfilling"] is False
    assert entry["IndexArn"].endswith(":table/things/index/late")
    assert [d["AttributeName"] for d in made.members["AttributeDefinitions"]] == ["a", "b", "n", "pk", "sk"]


def test_an_index_begins_to_be_deleted() -> None:
    made = change({"Delete": {"IndexName": "one"}})
    assert (made.online, status(made)) == (True, {"one": "DELETING", "two": "ACTIVE"})


def test_new_throughput_shows_a_moment_later() -> None:
    updates = [{"Update": {"IndexName": name, "ProvisionedThroughput": TWO}} for name in ("one", "two")]
    made = change(*updates, table=description("PROVISIONED"))
    assert (made.online, status(made)) == (False, {"one": "UPDATING", "two": "UPDATING"})
    assert made.members["GlobalSecondaryIndexes"][0]["ProvisionedThroughput"]["WriteCapacityUnits"] == 1
    assert made.later["one"]["ProvisionedThroughput"]["WriteCapacityUnits"] == 2


def test_a_table_that_goes_on_demand_takes_its_indexes_along() -> None:
    made = change(table=description("PROVISIONED"), BillingMode="PAY_PER_REQUEST")
    assert made.later["two"]["ProvisionedThroughput"]["WriteCapacityUnits"] == 0


REFUSED: list[tuple[list[dict[str, Any]], dict[str, Any], str, str]] = [
    ([{}], {}, "ValidationException", f"{WRONG}One of GlobalSecondaryIndexUpdate.Update, "
     "GlobalSecondaryIndexUpdate.Create, GlobalSecondaryIndexUpdate.Delete must not be null"),
    ([{**new("late"), "Delete": {"IndexName": "one"}}], {"defined": "n"}, "ValidationException",
     f"{WRONG}Only one global secondary index action is allowed per GlobalSecondaryIndexUpdate object"),
    ([{"Delete": {"IndexName": "one"}}, {"Delete": {"IndexName": "one"}}], {}, "ValidationException",
     f"{WRONG}Only one global secondary index update per index is allowed simultaneously. Index: one"),
    ([new("late")], {}, "ValidationException", f"{WRONG}AttributeDefinitions is not specified for index: late"),
    ([new("late")], {"defined": "x"}, "ValidationException",
     f"{WRONG}Some index key attributes are not defined in AttributeDefinitions. Keys: [n], AttributeDefinitions: [x]"),
    ([new("one")], {"defined": "n"}, "ValidationException", "Attempting to create an index which already exists"),
    ([new("late"), {"Delete": {"IndexName": "one"}}], {"defined": "n"}, "LimitExceededException",
     index_updates.ONE_AT_A_TIME),
    ([new("late")], {"defined": "n", "table": description(one="DELETING")}, "LimitExceededException",
     index_updates.ONE_AT_A_TIME),
    ([{"Delete": {"IndexName": "no-such"}}], {}, "ResourceNotFoundException",
     "Requested resource not found: Index no-such for table things"),
    ([{"Delete": {"IndexName": "own"}}], {}, "ValidationException",
     "Cannot delete an index that is not a GlobalSecondaryIndex: own"),
    ([{"Update": {"IndexName": "one", "ProvisionedThroughput": TWO}}], {}, "ValidationException",
     f"{WRONG}The only Updates for index: one when TableThroughputMode is PAY_PER_REQUEST can be to "
     "OnDemandThroughput, WarmThroughput"),
    ([new("late", ProvisionedThroughput=ONE)], {"defined": "n"}, "ValidationException",
     f"{WRONG}Neither ReadCapacityUnits nor WriteCapacityUnits can be specified for index: late when BillingMode is "
     "PAY_PER_REQUEST"),
    ([new("late")], {"defined": "n", "table": description("PROVISIONED")}, "ValidationException",
     f"{WRONG}Both ReadCapacityUnits and WriteCapacityUnits must be specified for index: late"),
    ([{"Update": {"IndexName": "one", "ProvisionedThroughput": TWO}}],
     {"table": description("PROVISIONED", one="UPDATING")}, "ResourceInUseException",
     "Attempt to change a resource which is still in use: Index is being updated. Table: things Index: one"),
    ([], {"table": description(), "BillingMode": "PROVISIONED", "ProvisionedThroughput": TWO}, "ValidationException",
     f"{WRONG}ProvisionedThroughput must be specified for index: one"),
    ([{"Delete": {"IndexName": "one"}}], {"table": description("PROVISIONED"), "ProvisionedThroughput": TWO},
     "ValidationException", f"{WRONG}You cannot create or delete index while updating table IOPS"),
]  # fmt: skip


@pytest.mark.parametrize(("updates", "more", "kind", "message"), REFUSED)
def test_changes_that_cannot_be(updates: list[Any], more: dict[str, Any], kind: str, message: str) -> None:
    with pytest.raises(ApiError) as refused:
        change(*updates, **more)
    assert (refused.value.kind, refused.value.message) == (kind, message)
