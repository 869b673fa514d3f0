"""CreateTable: check the schema, and lay out what the control plane will keep as the table's description."""

from __future__ import annotations

from typing import Any

from cluster.api import index_schemas, throughput
from cluster.api.fields import TABLE_NAME_PATTERN, Field, Table, check_control_name
from cluster.api.operation import ControlOperation
from cluster.api.tables import ACCOUNT
from cluster.api.tags import TAGS, read_tags
from cluster.core.errors import invalid
from cluster.wire.json import encode

PARTITIONS_ON_DEMAND = 4
"""Partitions of a new on-demand table: 4,000 writes/s at 1,000 WCU a partition [DG]."""
PARTITIONS_MAX = 64
PARTITIONS_TAG = "blackstart:partitions"
"""A tag with this key overrides the number of partitions."""
PARTITION_RCU_MAX = 3000
PARTITION_WCU_MAX = 1000

FIELDS = Table(
    Field("TableName", "str", required=True, pattern=TABLE_NAME_PATTERN, length=(3, 255)),
    index_schemas.DEFINITIONS._replace(required=True),
    index_schemas.KEY_SCHEMA,
    *throughput.SHARED,
    index_schemas.GLOBALS,
    index_schemas.LOCALS,
    TAGS,
)


def check_request(body: dict[str, Any]) -> dict[str, Any]:
    """``{"name", "partitions", "tags", "protected", "description"}``; the description lacks what :func:`describe`
    adds."""
    check_control_name(body, FIELDS, measured=False)
    FIELDS.check(body)
    _check_billing(body)
    _check_schema(body)
    index_schemas.check(body)
    _check_stream(body.get("StreamSpecification") or {})
    throughput.check_members(body)
    tags = read_tags(body.get("Tags") or ())
    return {
        "name": body["TableName"],
        "partitions": _partitions(body, tags),
        "tags": tags,
        "protected": bool(body.get("DeletionProtectionEnabled")),
        "encryption": body.get("SSESpecification") or {},
        "description": _skeleton(body),
    }


def _check_billing(body: dict[str, Any]) -> None:
    units = body.get("ProvisionedThroughput")
    if body.get("BillingMode") == "PAY_PER_REQUEST":
        if units is not None:
            raise invalid(
                "One or more parameter values were invalid: Neither ReadCapacityUnits nor WriteCapacityUnits can be "
                "specified when BillingMode is PAY_PER_REQUEST"
            )
    elif units is None:
        raise invalid(
            "One or more parameter values were invalid: ReadCapacityUnits and WriteCapacityUnits must both be "
            "specified when BillingMode is PROVISIONED"
        )
    throughput.check_units(units)
    throughput.check_quota(units)


def _check_stream(stream: dict[str, Any]) -> None:
    if stream.get("StreamViewType") is not None and not stream.get("StreamEnabled"):
        raise invalid(
            "One or more parameter values were invalid: Table is being created with a stream disabled, UpdateViewType "
            "should not be specified"
        )


def _check_schema(body: dict[str, Any]) -> None:
    defined = [entry["AttributeName"] for entry in body["AttributeDefinitions"]]
    schema = body["KeySchema"]
    keys = [entry["AttributeName"] for entry in schema]
    for name in defined:
        if defined.count(name) > 1:
            raise invalid(f"Attribute Name is duplicated: {name}")
    missing = [name for name in keys if name not in defined]
    if len(keys) == 2 and (missing or (keys[0] == keys[1] and len(defined) == 1)):
        raise invalid("Invalid KeySchema: Some index key attribute have no definition")
    if missing:
        raise invalid(
            "One or more parameter values were invalid: Some index key attributes are not defined in "
            f"AttributeDefinitions. Keys: [{', '.join(keys)}], AttributeDefinitions: [{', '.join(defined)}]"
        )
    if len(keys) == 2 and keys[0] == keys[1]:
        raise invalid("Both the Hash Key and the Range Key element in the KeySchema have the same name")
    if schema[0]["KeyType"] != "HASH":
        raise invalid("Invalid KeySchema: The first KeySchemaElement is not a HASH key type")
    if len(schema) == 2 and schema[1]["KeyType"] != "RANGE":
        raise invalid("Invalid KeySchema: The second KeySchemaElement is not a RANGE key type")
    indexed = body.get("LocalSecondaryIndexes") is not None or body.get("GlobalSecondaryIndexes") is not None
    if not indexed and len(defined) != len(keys):
        raise invalid(
            "One or more parameter values were invalid: Number of attributes in KeySchema does not exactly match "
            "number of attributes defined in AttributeDefinitions"
        )


def _partitions(body: dict[str, Any], tags: dict[str, str]) -> int:
    return tagged_partitions(tags) or partitions_of(body.get("ProvisionedThroughput"))


def tagged_partitions(tags: dict[str, str]) -> int:
    """The number of partitions a table's tags ask for, also for each of its indexes; 0: none."""
    wanted = tags.get(PARTITIONS_TAG)
    if wanted is not None:
        if not wanted.isascii() or not wanted.isdigit() or not 1 <= int(wanted) <= PARTITIONS_MAX:
            raise invalid(f"Tag {PARTITIONS_TAG} must be a number from 1 to {PARTITIONS_MAX}, not '{wanted}'")
        return int(wanted)
    return 0


def partitions_of(units: dict[str, Any] | None) -> int:
    """Partitions of a table or a global index with these provisioned units; None or zeros: on demand."""
    if units is None or not units["WriteCapacityUnits"]:
        return PARTITIONS_ON_DEMAND
    return partitions_for(units["ReadCapacityUnits"], units["WriteCapacityUnits"])


def partitions_for(read_units: int, write_units: int) -> int:
    """How many partitions carry a provisioned table: no partition over 1,000 WCU or 3,000 RCU [P22 §4]."""
    needed = max(-(-read_units // PARTITION_RCU_MAX), -(-write_units // PARTITION_WCU_MAX), 1)
    return min(needed, PARTITIONS_MAX)


def _skeleton(body: dict[str, Any]) -> dict[str, Any]:
    return {
        "TableName": body["TableName"],
        "TableStatus": "CREATING",
        "AttributeDefinitions": [
            {"AttributeName": entry["AttributeName"], "AttributeType": entry["AttributeType"]}
            for entry in sorted(body["AttributeDefinitions"], key=lambda entry: str(entry["AttributeName"]))
        ],
        "KeySchema": [
            {"AttributeName": entry["AttributeName"], "KeyType": entry["KeyType"]} for entry in body["KeySchema"]
        ],
        "TableSizeBytes": 0,
        "ItemCount": 0,
        **throughput.described(body),
        **index_schemas.described(body),
    }


def describe(
    request: dict[str, Any], *, table_id: str, region: str, now: float, account: str = ACCOUNT
) -> dict[str, Any]:
    """The description of a table that begins to exist: what :func:`check_request` gave, its identity and its date.

    ``now`` is wall time in seconds; ``table_id`` a UUID in text.
    """
    description = dict(request["description"])
    description["TableId"] = table_id
    description["TableArn"] = f"arn:aws:dynamodb:{region}:{account}:table/{request['name']}"
    description["CreationDateTime"] = round(now, 3)
    encryption = throughput.encryption(request["encryption"], description["TableArn"])
    if encryption is not None:
        description["SSEDescription"] = encryption
    for summary in ("BillingModeSummary", "TableThroughputModeSummary"):
        if summary in description:
            description[summary] = {**description[summary], "LastUpdateToPayPerRequestDateTime": round(now, 3)}
    return index_schemas.with_arns(description)


def respond(answer: dict[str, Any]) -> bytes:
    """From ``{"description"}``."""
    return encode({"TableDescription": answer["description"]})


OPERATION = ControlOperation("CreateTable", check_request, respond)
