"""Secondary indexes in requests and descriptions: their fields, AWS's rules for them, and how DescribeTable shows them.

CreateTable takes both kinds, UpdateTable a global one. A global index may have up to four attributes of each role in
its key, a table and a local index one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cluster.api import throughput
from cluster.api.fields import Field
from cluster.core.errors import ApiError, invalid

LOCALS_MAX = 5
GLOBALS_MAX = 20
KEY_ATTRIBUTES_MAX = 4
"""Of one role, in a global index's key."""
NON_KEYS_MAX = 20
NON_KEYS_TOTAL_MAX = 100
"""Attributes that all indexes of a table may name in NonKeyAttributes together [DG]."""

WRONG = "One or more parameter values were invalid: "

NAME = Field("IndexName", "str", required=True, pattern="[a-zA-Z0-9_.-]+", length=(3, 255))
DEFINITIONS = Field(
    "AttributeDefinitions",
    "list",
    element=Field(
        "member",
        "struct",
        members=(
            Field("AttributeName", "str", required=True, length=(1, 255)),
            Field("AttributeType", "str", required=True, enum=("B", "N", "S")),
        ),
    ),
)
KEY_SCHEMA = Field(
    "KeySchema",
    "list",
    required=True,
    length=(1, 2),
    element=Field(
        "member",
        "struct",
        shape="KeySchemaElement",
        members=(
            Field("AttributeName", "str", required=True, length=(1, 255)),
            Field("KeyType", "str", required=True, enum=("HASH", "RANGE")),
        ),
    ),
)
PROJECTION = Field(
    "Projection",
    "struct",
    required=True,
    members=(
        Field("ProjectionType", "str", enum=("ALL", "INCLUDE", "KEYS_ONLY")),
        Field(
            "NonKeyAttributes",
            "list",
            length=(1, NON_KEYS_MAX),
            element=Field("member", "str", length=(1, 255)),
        ),
    ),
)
LOCAL = (NAME, KEY_SCHEMA, PROJECTION)
GLOBAL = (
    NAME,
    KEY_SCHEMA._replace(length=(1, 1 << 31)),
    PROJECTION,
    throughput.THROUGHPUT,
    throughput.ON_DEMAND,
    throughput.WARM,
)
LOCALS = Field("LocalSecondaryIndexes", "list", element=Field("member", "struct", members=LOCAL))
GLOBALS = Field("GlobalSecondaryIndexes", "list", element=Field("member", "struct", members=GLOBAL))


def names_of(schema: Iterable[Mapping[str, str]]) -> list[str]:
    """A key schema's attributes, in order."""
    return [entry["AttributeName"] for entry in schema]


# --- rules ---


def check(body: Mapping[str, Any]) -> None:
    """The rules of a CreateTable request's indexes; its own key has been checked."""
    locals_, globals_ = body.get("LocalSecondaryIndexes"), body.get("GlobalSecondaryIndexes")
    for member in ("LocalSecondaryIndexes", "GlobalSecondaryIndexes"):
        if body.get(member) is not None and not body[member]:
            raise invalid(f"{WRONG}List of {member} is empty")
    if not locals_ and not globals_:
        return
    if locals_ and len(body["KeySchema"]) != 2:
        raise invalid(
            f"{WRONG}Table KeySchema does not have a range key, which is required when specifying a LocalSecondaryIndex"
        )
    check_definitions(body, [*(locals_ or ()), *(globals_ or ())])
    seen: list[str] = []
    for index in locals_ or ():
        _check_local(index, body["KeySchema"])
        _check_name(index, seen)
    if len(locals_ or ()) > LOCALS_MAX:
        raise invalid(f"{WRONG}Number of LocalSecondaryIndexes exceeds per-table limit of {LOCALS_MAX}")
    for index in globals_ or ():
        check_global(index)
        _check_throughput(index, on_demand=body.get("BillingMode") == "PAY_PER_REQUEST")
        _check_name(index, seen)
    if len(globals_ or ()) > GLOBALS_MAX:
        raise invalid(f"{WRONG}GlobalSecondaryIndex count exceeds the per-table limit of {GLOBALS_MAX}")
    check_total([*(locals_ or ()), *(globals_ or ())])


def check_definitions(body: Mapping[str, Any], indexes: Sequence[Mapping[str, Any]]) -> None:
    """Every key attribute has a definition, and every definition a key: looked at before the rules of any index."""
    defined = names_of(body["AttributeDefinitions"])
    used = names_of(body["KeySchema"])
    for index in indexes:
        keys = names_of(index["KeySchema"])
        if any(key not in defined for key in keys):
            raise undefined(keys, defined)
        used += keys
    if any(name not in used for name in defined):
        raise invalid(
            f"{WRONG}Some AttributeDefinitions are not used. AttributeDefinitions: [{', '.join(defined)}], "
            f"keys used: [{', '.join(dict.fromkeys(used))}]"
        )


def undefined(keys: Iterable[str], defined: Iterable[str]) -> ApiError:
    """A key names attributes that have no definition."""
    return invalid(
        f"{WRONG}Some index key attributes are not defined in AttributeDefinitions. Keys: [{', '.join(keys)}], "
        f"AttributeDefinitions: [{', '.join(defined)}]"
    )


def _check_local(index: Mapping[str, Any], table: Sequence[Mapping[str, str]]) -> None:
    schema = index["KeySchema"]
    _check_order(schema)
    if len(schema) != 2:
        raise invalid(f"{WRONG}Index KeySchema does not have a range key for index: {index['IndexName']}")
    own, tables = schema[0]["AttributeName"], table[0]["AttributeName"]
    if own != tables:
        raise invalid(
            f"{WRONG}Index KeySchema does not have the same leading hash key as table KeySchema for index: "
            f"{index['IndexName']}. index hash key: {own}, table hash key: {tables}"
        )
    _check_projection(index["Projection"])


def check_global(index: Mapping[str, Any]) -> None:
    """The key and the projection of a global index."""
    schema = index["KeySchema"]
    if len(schema) <= 2 and len({entry["KeyType"] for entry in schema}) == len(schema):
        _check_order(schema)
    else:
        _check_many(schema)
    _check_projection(index["Projection"])


def _check_order(schema: Sequence[Mapping[str, str]]) -> None:
    """A key of one or two attributes."""
    names = names_of(schema)
    if len(names) == 2 and names[0] == names[1]:
        raise invalid("Both the Hash Key and the Range Key element in the KeySchema have the same name")
    if schema[0]["KeyType"] != "HASH":
        raise invalid("Invalid KeySchema: The first KeySchemaElement is not a HASH key type")
    if len(schema) == 2 and schema[1]["KeyType"] != "RANGE":
        raise invalid("Invalid KeySchema: The second KeySchemaElement is not a RANGE key type")


def _check_many(schema: Sequence[Mapping[str, str]]) -> None:
    """A key of several attributes of a role."""
    roles, names = [entry["KeyType"] for entry in schema], names_of(schema)
    if roles[0] != "HASH":
        raise invalid("Invalid KeySchema: The first KeySchemaElement is not a HASH key type")
    if roles != sorted(roles):  # HASH sorts before RANGE
        raise invalid(f"{WRONG}All HASH key attributes must precede RANGE key attributes in the KeySchema")
    if len(set(names)) != len(names):
        raise invalid("The KeySchema contains multiple key attributes with the same name")
    for role in ("HASH", "RANGE"):
        if roles.count(role) > KEY_ATTRIBUTES_MAX:
            raise invalid(f"{WRONG}The KeySchema exceeds the maximum allowed number of {role} key attributes")


def _check_projection(projection: Mapping[str, Any]) -> None:
    kind = projection.get("ProjectionType")
    included: list[str] | None = projection.get("NonKeyAttributes")
    if kind is None:
        raise invalid(f"{WRONG}Unknown ProjectionType: null")
    if kind == "INCLUDE" and included is None:
        raise invalid(f"{WRONG}ProjectionType is INCLUDE, but NonKeyAttributes is not specified")
    if kind != "INCLUDE" and included is not None:
        raise invalid(f"{WRONG}ProjectionType is {kind}, but NonKeyAttributes is specified")
    twice = next((name for name in included or () if (included or []).count(name) > 1), None)
    if twice is not None:
        raise invalid(f"{WRONG}Duplicate element in NonKeyAttributes: {twice}")


def _check_throughput(index: Mapping[str, Any], *, on_demand: bool) -> None:
    name, units = index["IndexName"], index.get("ProvisionedThroughput")
    if on_demand and units is not None:
        raise invalid(
            f"{WRONG}ProvisionedThroughput should not be specified for index: {name} when BillingMode is "
            "PAY_PER_REQUEST"
        )
    if not on_demand and units is None:
        raise invalid(f"{WRONG}ProvisionedThroughput is not specified for index: {name}")
    throughput.check_units(units, f" for index {name}")
    throughput.check_quota(units)
    check_maxima(index, on_demand=on_demand)


def check_maxima(index: Mapping[str, Any], *, on_demand: bool, lowest: Mapping[str, int] | None = None) -> None:
    """An index's OnDemandThroughput and WarmThroughput; ``lowest`` is what it is warm for already."""
    name = index["IndexName"]
    for member, value in (index.get("OnDemandThroughput") or {}).items():
        if value is None or not member.startswith("Max"):
            continue
        if not on_demand:
            raise invalid(
                f"{WRONG}{member} for OnDemandThroughput for index: {name} cannot be specified when table BillingMode "
                "is PROVISIONED."
            )
        if value < 1 and not (lowest is not None and value == throughput.UNLIMITED):
            raise invalid(
                f"{WRONG}Requested {member} for OnDemandThroughput for index : {name} is outside of valid range"
            )
    for member, value in (index.get("WarmThroughput") or {}).items():
        least = (lowest or _warm_base(index)).get(member)
        if value is not None and least is not None and value < least:
            than = (
                "current WarmThroughput, decreasing WarmThroughput is not supported"
                if lowest is not None
                else "initial throughput for OnDemand"
            )
            raise invalid(f"{WRONG}Requested {member} for WarmThroughput for index {name} is lower than {than}")


def _check_name(index: Mapping[str, Any], seen: list[str]) -> None:
    name = index["IndexName"]
    if name in seen:
        raise invalid(f"{WRONG}Duplicate index name: {name}")
    seen.append(name)


def check_total(indexes: Iterable[Mapping[str, Any]]) -> None:
    """The attributes that all of a table's indexes include."""
    total = sum(len(index["Projection"].get("NonKeyAttributes") or ()) for index in indexes)
    if total > NON_KEYS_TOTAL_MAX:
        raise invalid(
            f"{WRONG}Number of NonKeyAttributes across all indexes exceeds the limit of {NON_KEYS_TOTAL_MAX}: {total}"
        )


# --- descriptions ---


def described(body: Mapping[str, Any]) -> dict[str, Any]:
    """The members of a new table's description that show its indexes, but for their ARNs."""
    members: dict[str, Any] = {}
    if body.get("LocalSecondaryIndexes"):
        members["LocalSecondaryIndexes"] = [_common(index) for index in body["LocalSecondaryIndexes"]]
    if body.get("GlobalSecondaryIndexes"):
        members["GlobalSecondaryIndexes"] = [describe_global(index) for index in body["GlobalSecondaryIndexes"]]
    return members


def describe_global(index: Mapping[str, Any]) -> dict[str, Any]:
    """A global index that begins to exist."""
    units = index.get("ProvisionedThroughput") or {"ReadCapacityUnits": 0, "WriteCapacityUnits": 0}
    warm = index.get("WarmThroughput") or {}
    base = _warm_base(index)
    shown = {
        **_common(index),
        "IndexStatus": "CREATING",
        "ProvisionedThroughput": {
            "NumberOfDecreasesToday": 0,
            "ReadCapacityUnits": units["ReadCapacityUnits"],
            "WriteCapacityUnits": units["WriteCapacityUnits"],
        },
        "WarmThroughput": {member: warm.get(member) or least for member, least in base.items()} | {"Status": "ACTIVE"},
    }
    maxima = throughput.on_demand(dict(index))
    if maxima is not None:
        shown["OnDemandThroughput"] = maxima
    return shown


def _warm_base(index: Mapping[str, Any]) -> dict[str, int]:
    units = index.get("ProvisionedThroughput") or {}
    return {
        "ReadUnitsPerSecond": units.get("ReadCapacityUnits") or throughput.WARM_READ_UNITS,
        "WriteUnitsPerSecond": units.get("WriteCapacityUnits") or throughput.WARM_WRITE_UNITS,
    }


def _common(index: Mapping[str, Any]) -> dict[str, Any]:
    projection = index["Projection"]
    shown: dict[str, Any] = {"ProjectionType": projection["ProjectionType"]}
    if projection.get("NonKeyAttributes"):
        shown["NonKeyAttributes"] = sorted(projection["NonKeyAttributes"])
    return {
        "IndexName": index["IndexName"],
        "KeySchema": [
            {"AttributeName": entry["AttributeName"], "KeyType": entry["KeyType"]} for entry in index["KeySchema"]
        ],
        "Projection": shown,
        "IndexSizeBytes": 0,
        "ItemCount": 0,
    }


def with_arns(description: dict[str, Any]) -> dict[str, Any]:
    """A description whose indexes have their ARNs, which hang on the table's."""
    shown = dict(description)
    for member in ("LocalSecondaryIndexes", "GlobalSecondaryIndexes"):
        if member in shown:
            arn = shown["TableArn"]
            shown[member] = [{**index, "IndexArn": f"{arn}/index/{index['IndexName']}"} for index in shown[member]]
    return shown
