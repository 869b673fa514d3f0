"""The load's table: what a profile needs of it. Pure.

Every profile's items are ``{"pk", "v", "pad"}``. A profile with ``indexed`` adds a constant sort key and ``g``, a group
that depends on the value, so that it changes with almost every write, and that some values do not have, so that items
come and go in the indexes: a local one, two global ones made with the table, and one that is added under load.
"""

from __future__ import annotations

from typing import Any
from zlib import crc32

from loadgen.profiles import Profile

PARTITIONS_TAG = "blackstart:partitions"
SORT = "-"
"""The one sort key of items in an indexed table."""

GROUPS = 24
SPARSE = 6
"""Groups that no item shows: a quarter of all values has none."""

LATER_S = 4.0
"""Seconds after the begin of the load when the last index is added."""

ALL = {"ProjectionType": "ALL"}
KEYS_ONLY = {"ProjectionType": "KEYS_ONLY"}


def group_of(value: str) -> str | None:
    """The group of an item with this value; None: none."""
    number = crc32(value.encode()) % GROUPS
    return f"g{number:02}" if number >= SPARSE else None


def _schema(first: str, second: str | None = None) -> list[dict[str, str]]:
    found = [{"AttributeName": first, "KeyType": "HASH"}]
    return found + ([{"AttributeName": second, "KeyType": "RANGE"}] if second is not None else [])


def _definitions(*names: str) -> list[dict[str, str]]:
    return [{"AttributeName": name, "AttributeType": "S"} for name in names]


def table_body(profile: Profile, table: str, partitions: int | None) -> dict[str, Any]:
    """The CreateTable request."""
    body: dict[str, Any] = {
        "TableName": table,
        "AttributeDefinitions": _definitions("pk"),
        "KeySchema": _schema("pk"),
        "BillingMode": "PAY_PER_REQUEST",
    }
    if partitions is not None:
        body["Tags"] = [{"Key": PARTITIONS_TAG, "Value": str(partitions)}]
    if profile.indexed:
        body["AttributeDefinitions"] = _definitions("pk", "sk", "g", "v")
        body["KeySchema"] = _schema("pk", "sk")
        body["LocalSecondaryIndexes"] = [{"IndexName": "own-group", "KeySchema": _schema("pk", "g"), "Projection": ALL}]
        body["GlobalSecondaryIndexes"] = [
            {"IndexName": "by-group", "KeySchema": _schema("g", "v"), "Projection": ALL},
            {"IndexName": "by-value", "KeySchema": _schema("v"), "Projection": KEYS_ONLY},
        ]
    return body


def later_body(profile: Profile, table: str) -> dict[str, Any] | None:
    """The UpdateTable request that adds an index while the load runs; None: nothing is added."""
    if not profile.indexed:
        return None
    index = {"IndexName": "later", "KeySchema": _schema("g"), "Projection": KEYS_ONLY}
    return {
        "TableName": table,
        "AttributeDefinitions": _definitions("g"),
        "GlobalSecondaryIndexUpdates": [{"Create": index}],
    }
