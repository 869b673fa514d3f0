"""The load's table: what a profile with indexes makes, and items that come and go in them."""

from __future__ import annotations

import msgspec

from cluster.api import create_table, update_table
from loadgen.plan import Operation
from loadgen.profiles import profile_named
from loadgen.schema import SORT, group_of, later_body, table_body
from loadgen.translate import body_of

INDEXED, MIXED = profile_named("indexed"), profile_named("mixed")
VALUES = [f"load-a.{number}" for number in range(200)]


def test_the_requests_are_what_dynamodb_takes() -> None:
    made = create_table.check_request(table_body(INDEXED, "load", 4))
    assert made["partitions"] == 4
    assert [index["IndexName"] for index in made["description"]["GlobalSecondaryIndexes"]] == ["by-group", "by-value"]
    later = later_body(INDEXED, "load")
    assert later is not None
    assert update_table.check_request(later)["indexes"][0]["Create"]["IndexName"] == "later"
    assert "GlobalSecondaryIndexes" not in create_table.check_request(table_body(MIXED, "load", None))["description"]
    assert later_body(MIXED, "load") is None


def test_some_values_have_no_group_and_the_others_many() -> None:
    groups = [group_of(value) for value in VALUES]
    assert 20 < groups.count(None) < 80
    assert len(set(groups)) > 10


def test_puts_and_updates_leave_the_same_item() -> None:
    for value in VALUES:
        group = group_of(value)
        put = msgspec.json.decode(body_of(Operation("put", "load", "k1", value, None), 300, indexed=True))
        assert put["Item"].get("g") == ({"S": group} if group else None)
        assert put["Item"]["sk"] == {"S": SORT}
        update = msgspec.json.decode(body_of(Operation("update", "load", "k1", value, "e"), 300, indexed=True))
        assert update["Key"] == {"pk": {"S": "k1"}, "sk": {"S": SORT}}
        changed = "SET v = :v, #p = :p" + (", g = :g" if group else " REMOVE g")
        assert update["UpdateExpression"] == changed
        assert update["ExpressionAttributeValues"].get(":g") == ({"S": group} if group else None)


def test_without_indexes_nothing_is_added() -> None:
    put = msgspec.json.decode(body_of(Operation("put", "load", "k1", "a.1", None), 300))
    assert set(put["Item"]) == {"pk", "v", "pad"}
