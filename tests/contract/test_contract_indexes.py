"""Secondary indexes as callers see them: made with the table or later, followed, queried, scanned, deleted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

Refusal = Callable[..., Any]
WAIT_S = 60.0
WRONG = "One or more parameter values were invalid: "


def keys(first: str, second: str | None = None) -> list[dict[str, str]]:
    found = [{"AttributeName": first, "KeyType": "HASH"}]
    return found + ([{"AttributeName": second, "KeyType": "RANGE"}] if second else [])


def defined(**types: str) -> list[dict[str, str]]:
    return [{"AttributeName": name, "AttributeType": kind} for name, kind in types.items()]


ALL = {"ProjectionType": "ALL"}
LATER = {"IndexName": "later", "KeySchema": keys("h", "n"), "Projection": {"ProjectionType": "KEYS_ONLY"}}


def until(look: Callable[[], Any], wanted: Any) -> None:
    """Global indexes follow their table after a moment."""
    deadline = time.monotonic() + WAIT_S
    while (found := look()) != wanted:
        assert time.monotonic() < deadline, f"{found} instead of {wanted}"
        time.sleep(0.1)


def described(dynamodb: Any, name: str) -> dict[str, Any]:
    found: dict[str, Any] = dynamodb.describe_table(TableName=name)["Table"]
    return found


def active(dynamodb: Any, name: str) -> bool:
    table = described(dynamodb, name)
    entries = table.get("GlobalSecondaryIndexes", [])
    return table["TableStatus"] == "ACTIVE" and all(entry["IndexStatus"] == "ACTIVE" for entry in entries)


@pytest.fixture(scope="module")
def indexed(dynamodb: Any, names: Iterator[str]) -> Iterator[str]:
    """A table with a local index and two global ones."""
    name = next(names)
    dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=defined(pk="S", sk="S", g="S", h="S", n="N"),
        KeySchema=keys("pk", "sk"),
        LocalSecondaryIndexes=[{"IndexName": "by-n", "KeySchema": keys("pk", "n"), "Projection": ALL}],
        GlobalSecondaryIndexes=[
            {"IndexName": "by-g", "KeySchema": keys("g"), "Projection": ALL},
            {
                "IndexName": "by-h",
                "KeySchema": keys("h", "n"),
                "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["shown"]},
            },
        ],
    )
    until(lambda: active(dynamodb, name), True)
    yield name
    dynamodb.delete_table(TableName=name)


def put(dynamodb: Any, table: str, pk: str, **rest: Any) -> Any:
    item = {"pk": {"S": pk}, "sk": {"S": "1"}}
    item |= {name: {"N": str(value)} if isinstance(value, int) else {"S": value} for name, value in rest.items()}
    return dynamodb.put_item(TableName=table, Item=item, ReturnConsumedCapacity="INDEXES")["ConsumedCapacity"]


def query(dynamodb: Any, table: str, index: str, name: str, value: str, **more: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = dynamodb.query(
        TableName=table,
        IndexName=index,
        KeyConditionExpression="#k = :v",
        ExpressionAttributeNames={"#k": name},
        ExpressionAttributeValues={":v": {"S": value}},
        **more,
    )["Items"]
    return found


def pks(items: list[dict[str, Any]]) -> list[str]:
    return [item["pk"]["S"] for item in items]


def test_the_description(dynamodb: Any, indexed: str) -> None:
    table = described(dynamodb, indexed)
    (own,) = table["LocalSecondaryIndexes"]
    assert set(own) == {"IndexName", "KeySchema", "Projection", "IndexSizeBytes", "ItemCount", "IndexArn"}
    by_g, by_h = table["GlobalSecondaryIndexes"]
    assert by_g["IndexArn"] == f"{table['TableArn']}/index/by-g"
    assert "Backfilling" not in by_g
    assert by_g["ProvisionedThroughput"]["ReadCapacityUnits"] == 0
    assert by_h["Projection"] == {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["shown"]}
    assert [entry["AttributeName"] for entry in table["AttributeDefinitions"]] == ["g", "h", "n", "pk", "sk"]


def test_an_item_enters_moves_and_leaves(dynamodb: Any, indexed: str) -> None:
    put(dynamodb, indexed, "moving", g="here", extra="x")
    until(lambda: pks(query(dynamodb, indexed, "by-g", "g", "here")), ["moving"])
    assert query(dynamodb, indexed, "by-g", "g", "here")[0]["extra"] == {"S": "x"}
    key = {"pk": {"S": "moving"}, "sk": {"S": "1"}}
    dynamodb.update_item(
        TableName=indexed, Key=key, UpdateExpression="SET g = :g", ExpressionAttributeValues={":g": {"S": "there"}}
    )
    until(lambda: pks(query(dynamodb, indexed, "by-g", "g", "there")), ["moving"])
    until(lambda: query(dynamodb, indexed, "by-g", "g", "here"), [])
    dynamodb.update_item(TableName=indexed, Key=key, UpdateExpression="REMOVE g")
    until(lambda: query(dynamodb, indexed, "by-g", "g", "there"), [])
    dynamodb.delete_item(TableName=indexed, Key=key)


def test_a_local_index_is_there_at_once(dynamodb: Any, indexed: str) -> None:
    for sk, n in (("1", 10), ("2", 9), ("3", -5)):
        item = {"pk": {"S": "local"}, "sk": {"S": sk}, "n": {"N": str(n)}}
        dynamodb.put_item(TableName=indexed, Item=item)
        found = query(dynamodb, indexed, "by-n", "pk", "local", ConsistentRead=True)
        assert sk in [one["sk"]["S"] for one in found]
    found = query(dynamodb, indexed, "by-n", "pk", "local", ConsistentRead=True)
    assert [one["n"]["N"] for one in found] == ["-5", "9", "10"]
    backwards = query(dynamodb, indexed, "by-n", "pk", "local", ConsistentRead=True, ScanIndexForward=False)
    assert [one["n"]["N"] for one in backwards] == ["10", "9", "-5"]
    plain = dynamodb.query(
        TableName=indexed, KeyConditionExpression="pk = :p", ExpressionAttributeValues={":p": {"S": "local"}}
    )
    assert [one["sk"]["S"] for one in plain["Items"]] == ["1", "2", "3"]


def test_projections_and_scans(dynamodb: Any, indexed: str) -> None:
    put(dynamodb, indexed, "shown", h="h1", n=2, shown="yes", hidden="no")
    put(dynamodb, indexed, "sparse", h="h1")
    until(lambda: pks(query(dynamodb, indexed, "by-h", "h", "h1")), ["shown"])
    (item,) = query(dynamodb, indexed, "by-h", "h", "h1")
    assert set(item) == {"pk", "sk", "h", "n", "shown"}
    scanned = dynamodb.scan(TableName=indexed, IndexName="by-h")["Items"]
    assert item in scanned
    assert "sparse" not in pks(scanned)


def test_capacity_counts_what_an_index_writes(dynamodb: Any, indexed: str) -> None:
    first = put(dynamodb, indexed, "units", g="g1", n=1)
    assert first["CapacityUnits"] == 3
    assert first["Table"]["CapacityUnits"] == 1
    assert first["GlobalSecondaryIndexes"] == {"by-g": {"CapacityUnits": 1}}
    assert first["LocalSecondaryIndexes"] == {"by-n": {"CapacityUnits": 1}}
    again = put(dynamodb, indexed, "units", g="g1", n=1)
    assert again["CapacityUnits"] == 1
    assert "GlobalSecondaryIndexes" not in again
    moved = put(dynamodb, indexed, "units", g="g2", n=1)
    assert moved["GlobalSecondaryIndexes"] == {"by-g": {"CapacityUnits": 2}}
    key = {"pk": {"S": "units"}, "sk": {"S": "1"}}
    gone = dynamodb.delete_item(TableName=indexed, Key=key, ReturnConsumedCapacity="INDEXES")["ConsumedCapacity"]
    assert gone["CapacityUnits"] == 3


def test_a_transaction_tells_what_each_index_took(dynamodb: Any, indexed: str) -> None:
    """The table's own units are doubled, those of its indexes are not; TOTAL has them all."""

    def write(detail: str, *actions: dict[str, Any]) -> Any:
        answer = dynamodb.transact_write_items(TransactItems=list(actions), ReturnConsumedCapacity=detail)
        (entry,) = answer["ConsumedCapacity"]
        return entry

    def units(number: float) -> dict[str, float]:
        return {"CapacityUnits": number, "WriteCapacityUnits": number}

    def key(name: str) -> dict[str, Any]:
        return {"pk": {"S": name}, "sk": {"S": "1"}}

    def written(name: str, g: str) -> dict[str, Any]:
        return {"Put": {"TableName": indexed, "Item": {**key(name), "g": {"S": g}, "n": {"N": "1"}}}}

    first = write("INDEXES", written("txn-units", "t1"), written("txn-units-2", "t1"))
    assert first == {
        "TableName": indexed, **units(8),
        "Table": units(4), "GlobalSecondaryIndexes": {"by-g": units(2)}, "LocalSecondaryIndexes": {"by-n": units(2)},
    }  # fmt: skip
    moved = write("INDEXES", written("txn-units", "t2"))
    assert moved["GlobalSecondaryIndexes"] == {"by-g": units(2)}
    assert write("TOTAL", written("txn-units", "t3")) == {"TableName": indexed, **units(5)}
    look = {"TableName": indexed, "Key": key("txn-units"), "ConditionExpression": "attribute_exists(pk)"}
    untouched = write("INDEXES", {"ConditionCheck": look}, written("txn-units-2", "t1"))
    assert untouched == {"TableName": indexed, **units(4), "Table": units(4)}
    gone = write("INDEXES", {"Delete": {"TableName": indexed, "Key": key("txn-units")}})
    assert gone["CapacityUnits"] == 4


def test_values_that_an_index_cannot_hold(dynamodb: Any, indexed: str, refused: Refusal) -> None:
    key = {"pk": {"S": "wrong"}, "sk": {"S": "1"}}
    with refused("ValidationException", f"{WRONG}Type mismatch for Index Key g Expected: S Actual: N IndexName: by-g"):
        dynamodb.put_item(TableName=indexed, Item={**key, "g": {"N": "1"}})
    with refused(
        "ValidationException",
        "One or more parameter values are not valid. A value specified for a secondary index key is not supported. The "
        "AttributeValue for a key attribute cannot contain an empty string value. IndexName: by-g, IndexKey: g",
    ):
        dynamodb.put_item(TableName=indexed, Item={**key, "g": {"S": ""}})
    assert "Item" not in dynamodb.get_item(TableName=indexed, Key=key, ConsistentRead=True)


@pytest.mark.parametrize(
    ("update", "actual"),
    [
        ({"UpdateExpression": "SET g = :g"}, "N"),
        ({"UpdateExpression": "ADD g :g"}, "N"),
        ({"UpdateExpression": "SET n = g[1], g = n + :g"}, "N"),
        ({"UpdateExpression": "SET g = list_append(n, n)"}, "L"),
        ({"AttributeUpdates": {"g": {"Value": {"NULL": True}}}}, "NULL"),
    ],
)
def test_an_update_to_a_type_that_an_index_cannot_hold(
    dynamodb: Any, indexed: str, refused: Refusal, update: dict[str, Any], actual: str
) -> None:
    """What an update makes of any item is told before the item is read, and before paths into the index's key."""
    if ":g" in update.get("UpdateExpression", ""):
        update = {**update, "ExpressionAttributeValues": {":g": {"N": "1"}}}
    key = {"pk": {"S": "wrong"}, "sk": {"S": "1"}}
    mismatch = f"{WRONG}Type mismatch for Index Key g Expected: S Actual: {actual} IndexName: by-g"
    with refused("ValidationException", mismatch):
        dynamodb.update_item(TableName=indexed, Key=key, **update)


def test_an_update_that_finds_a_type_that_an_index_cannot_hold(dynamodb: Any, indexed: str, refused: Refusal) -> None:
    key = {"pk": {"S": "found"}, "sk": {"S": "1"}}
    dynamodb.put_item(TableName=indexed, Item={**key, "e": {"N": "1"}})
    unsupported = "The update expression attempted to update the secondary index key to unsupported type"
    for expression in ("SET g = e", "SET g = if_not_exists(g, e)"):
        with refused("ValidationException", unsupported):
            dynamodb.update_item(TableName=indexed, Key=key, UpdateExpression=expression)
    dynamodb.delete_item(TableName=indexed, Key=key)


def test_consistent_reads_of_global_indexes_are_refused(dynamodb: Any, indexed: str, refused: Refusal) -> None:
    with refused("ValidationException", "Consistent reads are not supported on global secondary indexes"):
        query(dynamodb, indexed, "by-g", "g", "x", ConsistentRead=True)


def test_an_index_is_added_filled_in_and_deleted(dynamodb: Any, names: Iterator[str], refused: Refusal) -> None:
    name = next(names)
    dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=defined(pk="S", sk="S"),
        KeySchema=keys("pk", "sk"),
    )
    until(lambda: active(dynamodb, name), True)
    for number in range(30):
        put(dynamodb, name, f"item-{number:02}", h="all", n=number)
    put(dynamodb, name, "odd", h="all", n="no number")
    made = dynamodb.update_table(
        TableName=name,
        AttributeDefinitions=defined(h="S", n="N"),
        GlobalSecondaryIndexUpdates=[{"Create": LATER}],
    )["TableDescription"]
    (entry,) = made["GlobalSecondaryIndexes"]
    assert (made["TableStatus"], entry["IndexStatus"], entry["Backfilling"]) == ("UPDATING", "CREATING", False)
    until(lambda: active(dynamodb, name), True)
    until(lambda: len(query(dynamodb, name, "later", "h", "all")), 30)
    assert set(query(dynamodb, name, "later", "h", "all")[0]) == {"pk", "sk", "h", "n"}
    with refused("ValidationException", "Attempting to create an index which already exists"):
        dynamodb.update_table(
            TableName=name,
            AttributeDefinitions=defined(h="S", n="N"),
            GlobalSecondaryIndexUpdates=[{"Create": LATER}],
        )
    gone = dynamodb.update_table(TableName=name, GlobalSecondaryIndexUpdates=[{"Delete": {"IndexName": "later"}}])
    assert gone["TableDescription"]["GlobalSecondaryIndexes"][0]["IndexStatus"] == "DELETING"
    until(lambda: described(dynamodb, name).get("GlobalSecondaryIndexes", []), [])
    until(lambda: active(dynamodb, name), True)
    assert [entry["AttributeName"] for entry in described(dynamodb, name)["AttributeDefinitions"]] == ["pk", "sk"]
    with refused("ValidationException", "The table does not have the specified index: later"):
        query(dynamodb, name, "later", "h", "all")
    with refused("ResourceNotFoundException", f"Requested resource not found: Index later for table {name}"):
        dynamodb.update_table(TableName=name, GlobalSecondaryIndexUpdates=[{"Delete": {"IndexName": "later"}}])
    dynamodb.delete_table(TableName=name)


def test_a_key_of_several_attributes(dynamodb: Any, names: Iterator[str], refused: Refusal) -> None:
    name = next(names)
    schema = [*keys("tenant"), *keys("kind"), *keys("x", "dated")[1:], *keys("x", "n")[1:]]
    dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=defined(pk="S", sk="S", tenant="S", kind="S", dated="S", n="N"),
        KeySchema=keys("pk", "sk"),
        GlobalSecondaryIndexes=[{"IndexName": "many", "KeySchema": schema, "Projection": ALL}],
    )
    until(lambda: active(dynamodb, name), True)
    for pk, rest in {
        "a": {"tenant": "t", "kind": "k", "dated": "2", "n": 1},
        "b": {"tenant": "t", "kind": "k", "dated": "1", "n": 10},
        "c": {"tenant": "t", "kind": "k", "dated": "1", "n": 9},
        "d": {"tenant": "t", "kind": "other", "dated": "1", "n": 9},
        "e": {"tenant": "t", "kind": "k", "dated": "1"},
    }.items():
        put(dynamodb, name, pk, **rest)

    def found(condition: str, **values: Any) -> list[str]:
        given = {f":{k}": {"N": str(v)} if isinstance(v, int) else {"S": v} for k, v in values.items()}
        request = {"TableName": name, "IndexName": "many", "KeyConditionExpression": condition}
        return pks(dynamodb.query(**request, ExpressionAttributeValues=given)["Items"])

    until(lambda: found("tenant = :t AND kind = :k", t="t", k="k"), ["c", "b", "a"])
    assert found("tenant = :t AND kind = :k AND dated = :d", t="t", k="k", d="1") == ["c", "b"]
    with refused("ValidationException"):
        found("tenant = :t", t="t")
    for gap in ("n = :n", "dated > :d AND n = :n"):
        with refused(
            "ValidationException",
            "^RANGE key attributes dated must have equality conditions specified in the query because a condition is "
            "present on key attribute n$",
        ):
            given = {"d": "1"} if ":d" in gap else {}
            found(f"tenant = :t AND kind = :k AND {gap}", t="t", k="k", n=9, **given)
    shown = described(dynamodb, name)["GlobalSecondaryIndexes"][0]["KeySchema"]
    assert shown == schema
    gone = dynamodb.delete_table(TableName=name)["TableDescription"]
    assert gone["TableStatus"] == "DELETING"
    assert not {"KeySchema", "AttributeDefinitions", "GlobalSecondaryIndexes"} & set(gone)


def test_no_path_leads_into_an_index_key(dynamodb: Any, indexed: str, refused: Refusal) -> None:
    for update in ("SET n.x = :v", "SET a = n[0]", "REMOVE n.x"):
        with refused("ValidationException", r"map lookup '\.' are not allowed: IndexKey: n$"):
            dynamodb.update_item(
                TableName=indexed,
                Key={"pk": {"S": "a"}, "sk": {"S": "x"}},
                UpdateExpression=update,
                **({"ExpressionAttributeValues": {":v": {"N": "1"}}} if ":v" in update else {}),
            )
