"""CreateTable's secondary indexes: AWS's rules and words, and the description that comes of them."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.api import create_table
from cluster.core.errors import ApiError

WRONG = "One or more parameter values were invalid: "


def keys(*names: str) -> list[dict[str, str]]:
    """A key schema: ``a`` for HASH, ``+a`` for RANGE."""
    return [{"AttributeName": n.lstrip("+"), "KeyType": "RANGE" if n[0] == "+" else "HASH"} for n in names]


def index(name: str, *schema: str, projection: Any = None, **more: Any) -> dict[str, Any]:
    return {
        "IndexName": name,
        "KeySchema": keys(*schema),
        "Projection": projection or {"ProjectionType": "ALL"},
        **more,
    }


def table(*defined: str, schema: tuple[str, ...] = ("pk", "+sk"), **more: Any) -> dict[str, Any]:
    return {
        "TableName": "things",
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in defined],
        "KeySchema": keys(*schema),
        **more,
    }


def locals_(*indexes: Any) -> dict[str, Any]:
    return {"LocalSecondaryIndexes": list(indexes)}


def globals_(*indexes: Any) -> dict[str, Any]:
    return {"GlobalSecondaryIndexes": list(indexes)}


MANY = [f"{role}{number}" for role in "hr" for number in range(6)]

REFUSED: list[tuple[dict[str, Any], str]] = [
    (table("pk", "sk", **locals_()), f"{WRONG}List of LocalSecondaryIndexes is empty"),
    (table("pk", "sk", **globals_()), f"{WRONG}List of GlobalSecondaryIndexes is empty"),
    (table("pk", "idle", schema=("pk",), **locals_()), f"{WRONG}List of LocalSecondaryIndexes is empty"),
    (
        table("pk", "sk", **globals_(index("g-q", "q"))),
        f"{WRONG}Some index key attributes are not defined in AttributeDefinitions. Keys: [q], "
        "AttributeDefinitions: [pk, sk]",
    ),
    (
        table("pk", "sk", "a", "b", **globals_(index("g-a", "a", projection={}))),
        f"{WRONG}Some AttributeDefinitions are not used. AttributeDefinitions: [pk, sk, a, b], keys used: [pk, sk, a]",
    ),
    (
        table("pk", "l", schema=("pk",), **locals_(index("l-l", "pk", "+l"))),
        f"{WRONG}Table KeySchema does not have a range key, which is required when specifying a LocalSecondaryIndex",
    ),
    (
        table("pk", "l", schema=("pk",), **locals_(index("l-q", "pk", "+q"))),
        f"{WRONG}Table KeySchema does not have a range key, which is required when specifying a LocalSecondaryIndex",
    ),
    (
        table("pk", "sk", **locals_(index("l-a", "pk"))),
        f"{WRONG}Index KeySchema does not have a range key for index: l-a",
    ),
    (
        table("pk", "sk", "a", **locals_(index("l-a", "a", "+sk"))),
        f"{WRONG}Index KeySchema does not have the same leading hash key as table KeySchema for index: l-a. "
        "index hash key: a, table hash key: pk",
    ),
    (
        table("pk", "sk", "a", **locals_(*(index(f"l-{n}", "pk", "+a") for n in range(6)))),
        f"{WRONG}Number of LocalSecondaryIndexes exceeds per-table limit of 5",
    ),
    (
        table("pk", "sk", "a", **globals_(*(index(f"g-{n}", "a") for n in range(21)))),
        f"{WRONG}GlobalSecondaryIndex count exceeds the per-table limit of 20",
    ),
    (
        table("pk", "sk", "a", **globals_(index("dup", "a"), index("dup", "sk"))),
        f"{WRONG}Duplicate index name: dup",
    ),
    (
        table("pk", "sk", "a", **locals_(index("dup", "pk", "+a")), **globals_(index("dup", "a"))),
        f"{WRONG}Duplicate index name: dup",
    ),
    (
        table("pk", "sk", "a", **globals_(index("g-a", "+a"))),
        "Invalid KeySchema: The first KeySchemaElement is not a HASH key type",
    ),
    (
        table("pk", "sk", "a", **globals_(index("g-a", "a", "+a"))),
        "Both the Hash Key and the Range Key element in the KeySchema have the same name",
    ),
    (
        table("pk", "sk", *MANY[:5], **globals_(index("g-h", *MANY[:5]))),
        f"{WRONG}The KeySchema exceeds the maximum allowed number of HASH key attributes",
    ),
    (
        table("pk", "sk", "h0", *MANY[6:11], **globals_(index("g-r", "h0", *(f"+{name}" for name in MANY[6:11])))),
        f"{WRONG}The KeySchema exceeds the maximum allowed number of RANGE key attributes",
    ),
    (
        table("pk", "sk", "a", "b", "c", **globals_(index("g-m", "a", "+b", "c"))),
        f"{WRONG}All HASH key attributes must precede RANGE key attributes in the KeySchema",
    ),
    (
        table("pk", "sk", "a", **globals_(index("g-m", "a", "a"))),
        "The KeySchema contains multiple key attributes with the same name",
    ),
    (
        table("pk", "sk", "a", **globals_(index("g-a", "a", projection={"NonKeyAttributes": ["x"]}))),
        f"{WRONG}Unknown ProjectionType: null",
    ),
    (
        table("pk", "sk", "a", **globals_(index("g-a", "a", projection={"ProjectionType": "INCLUDE"}))),
        f"{WRONG}ProjectionType is INCLUDE, but NonKeyAttributes is not specified",
    ),
    (
        table(
            "pk", "sk", "a",
            **globals_(index("g-a", "a", projection={"ProjectionType": "KEYS_ONLY", "NonKeyAttributes": ["x"]})),
        ),
        f"{WRONG}ProjectionType is KEYS_ONLY, but NonKeyAttributes is specified",
    ),
    (
        table(
            "pk", "sk", "a",
            **globals_(index("g-a", "a", projection={"ProjectionType": "INCLUDE", "NonKeyAttributes": ["x", "x"]})),
        ),
        f"{WRONG}Duplicate element in NonKeyAttributes: x",
    ),
    (
        table(
            "pk", "sk", "a",
            **globals_(index("g-a", "a", ProvisionedThroughput={"ReadCapacityUnits": 1, "WriteCapacityUnits": 1})),
        ),
        f"{WRONG}ProvisionedThroughput should not be specified for index: g-a when BillingMode is PAY_PER_REQUEST",
    ),
    (
        {
            **table("pk", "sk", "a", **globals_(index("g-a", "a"))),
            "BillingMode": "PROVISIONED",
            "ProvisionedThroughput": {"ReadCapacityUnits": 1, "WriteCapacityUnits": 1},
        },
        f"{WRONG}ProvisionedThroughput is not specified for index: g-a",
    ),
    (
        table("pk", "sk", "a", **globals_(index("g-a", "a", OnDemandThroughput={"MaxReadRequestUnits": 0}))),
        f"{WRONG}Requested MaxReadRequestUnits for OnDemandThroughput for index : g-a is outside of valid range",
    ),
    (
        table("pk", "sk", "a", **globals_(index("g-a", "a", WarmThroughput={"ReadUnitsPerSecond": 100}))),
        f"{WRONG}Requested ReadUnitsPerSecond for WarmThroughput for index g-a is lower than initial throughput for "
        "OnDemand",
    ),
    (
        table("pk", "sk", "a", **globals_({"IndexName": "g-a", "KeySchema": keys("a")})),
        "1 validation error detected: Value null at 'globalSecondaryIndexes.1.member.projection' failed to satisfy "
        "constraint: Member must not be null",
    ),
    (
        table(
            "pk", "sk", "a",
            **globals_(
                *(
                    index(
                        f"g-{n}",
                        "a",
                        projection={"ProjectionType": "INCLUDE", "NonKeyAttributes": [f"{n}-{m}" for m in range(20)]},
                    )
                    for n in range(6)
                )
            ),
        ),
        f"{WRONG}Number of NonKeyAttributes across all indexes exceeds the limit of 100: 120",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("body", "message"), REFUSED)
def test_indexes_that_cannot_be(body: dict[str, Any], message: str) -> None:
    with pytest.raises(ApiError) as refused:
        create_table.check_request(body)
    assert refused.value.message == message


def test_the_description_of_a_table_with_both_kinds() -> None:
    included = {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["zz", "aa"]}
    request = create_table.check_request(
        table("sk", "pk", "l", "g", "h", **locals_(index("by-l", "pk", "+l")),
              **globals_(index("by-g", "g", "h", "+sk", projection=included)))
    )  # fmt: skip
    shown = create_table.describe(request, table_id="id", region="eu-west-1", now=1.0)
    assert [entry["AttributeName"] for entry in shown["AttributeDefinitions"]] == ["g", "h", "l", "pk", "sk"]
    assert shown["LocalSecondaryIndexes"] == [
        {
            "IndexName": "by-l",
            "KeySchema": keys("pk", "+l"),
            "Projection": {"ProjectionType": "ALL"},
            "IndexSizeBytes": 0,
            "ItemCount": 0,
            "IndexArn": f"{shown['TableArn']}/index/by-l",
        }
    ]
    assert shown["GlobalSecondaryIndexes"] == [
        {
            "IndexName": "by-g",
            "KeySchema": keys("g", "h", "+sk"),
            "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["aa", "zz"]},
            "IndexStatus": "CREATING",
            "ProvisionedThroughput": {"NumberOfDecreasesToday": 0, "ReadCapacityUnits": 0, "WriteCapacityUnits": 0},
            "WarmThroughput": {"ReadUnitsPerSecond": 12000, "WriteUnitsPerSecond": 4000, "Status": "ACTIVE"},
            "IndexSizeBytes": 0,
            "ItemCount": 0,
            "IndexArn": f"{shown['TableArn']}/index/by-g",
        }
    ]
