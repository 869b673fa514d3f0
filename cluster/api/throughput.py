"""How a table is billed, throttled, kept and encrypted: the members that CreateTable and UpdateTable share.

Checked here, and laid out as DescribeTable shows them. What this database cannot do is refused by name: encryption with
a customer's key is a promise about disks that nobody here keeps.
"""

from __future__ import annotations

from typing import Any

from cluster.api.fields import Field
from cluster.core.errors import invalid

TABLE_UNITS_MAX = 40_000
"""Provisioned units a table may have of each kind [DG]."""

WARM_READ_UNITS = 12_000
WARM_WRITE_UNITS = 4_000
"""What a new on-demand table sustains at once [DG]."""

OWN_KEY = "00000000-0000-4000-8000-0000000000d1"
"""The name of the key that tables are said to be encrypted with whose owner names none."""

UNLIMITED = -1
"""OnDemandThroughput: no maximum."""

_UNITS_MAX = 1_000_000_000_000
_LONG_MAX = (1 << 63) - 1
_MAXIMA = ("MaxReadRequestUnits", "MaxWriteRequestUnits")
TABLE_CLASSES = ("STANDARD", "STANDARD_INFREQUENT_ACCESS")

BILLING_MODE = Field("BillingMode", "str", enum=("PROVISIONED", "PAY_PER_REQUEST"))
THROUGHPUT = Field(
    "ProvisionedThroughput",
    "struct",
    members=(
        Field("WriteCapacityUnits", "int", required=True, value=(1, _LONG_MAX), shape="Long"),
        Field("ReadCapacityUnits", "int", required=True, value=(1, _LONG_MAX), shape="Long"),
    ),
)
ON_DEMAND = Field(
    "OnDemandThroughput",
    "struct",
    members=(Field("MaxReadRequestUnits", "int", shape="Long"), Field("MaxWriteRequestUnits", "int", shape="Long")),
)
WARM = Field(
    "WarmThroughput",
    "struct",
    members=(Field("ReadUnitsPerSecond", "int", shape="Long"), Field("WriteUnitsPerSecond", "int", shape="Long")),
)
SSE = Field(
    "SSESpecification",
    "struct",
    members=(
        Field("Enabled", "bool"),
        Field("SSEType", "str", enum=("AES256", "KMS")),
        Field("KMSMasterKeyId", "str"),
    ),
)
STREAM = Field(
    "StreamSpecification",
    "struct",
    members=(
        Field("StreamEnabled", "bool", required=True),
        Field("StreamViewType", "str", enum=("NEW_IMAGE", "OLD_IMAGE", "NEW_AND_OLD_IMAGES", "KEYS_ONLY")),
    ),
)
TABLE_CLASS = Field("TableClass", "str")
"""Its values have a text of their own: see :func:`check_members`."""

SHARED = (
    BILLING_MODE,
    THROUGHPUT,
    ON_DEMAND,
    WARM,
    SSE,
    STREAM,
    TABLE_CLASS,
    Field("DeletionProtectionEnabled", "bool"),
)


def check_units(throughput: dict[str, Any] | None, where: str = "") -> None:
    """Refuse provisioned units out of bounds; ``where`` is added to the refusal."""
    if throughput is None:
        return
    for member in ("ReadCapacityUnits", "WriteCapacityUnits"):
        if throughput[member] > _UNITS_MAX:
            raise invalid(f"Given value {throughput[member]} for {member} is out of bounds{where}")


def check_quota(throughput: dict[str, Any] | None) -> None:
    """Refuse provisioned units over the table's quota."""
    if throughput is None:
        return
    for member in ("ReadCapacityUnits", "WriteCapacityUnits"):
        if throughput[member] > TABLE_UNITS_MAX:
            raise invalid(
                f"One or more parameter values were invalid: {member} {throughput[member]} exceeds the per-table "
                f"maximum of {TABLE_UNITS_MAX}"
            )


def check_members(body: dict[str, Any]) -> None:
    """Rules of members that need no table: classes, maxima on demand, encryption, streams."""
    if body.get("TableClass") not in (None, *TABLE_CLASSES):
        raise invalid(
            "Invalid table-class parameter provided. Please try again with a valid table-class value: "
            f"[{', '.join(TABLE_CLASSES)}]."
        )
    for member, units in (body.get("OnDemandThroughput") or {}).items():
        if member in _MAXIMA and units is not None and units != UNLIMITED and units < 1:
            raise invalid(
                f"One or more parameter values were invalid: Requested {member} for OnDemandThroughput for table is "
                "outside of valid range"
            )
    _check_encryption(body.get("SSESpecification") or {})
    stream = body.get("StreamSpecification") or {}
    if stream.get("StreamEnabled"):
        raise invalid("One or more parameter values were invalid: Streams are not supported by this database")
    if stream.get("StreamViewType") is not None:
        raise invalid(
            "One or more parameter values were invalid: StreamViewType can not be specified when StreamEnabled is false"
        )


def _check_encryption(wanted: dict[str, Any]) -> None:
    if wanted.get("Enabled"):
        if wanted.get("SSEType") == "AES256":
            raise invalid("One or more parameter values were invalid: SSEType AES256 is not supported")
        if wanted.get("KMSMasterKeyId") is not None and wanted.get("SSEType") is None:
            raise invalid(
                "One or more parameter values were invalid: SSEType KMS is required if KMSMasterKeyId is specified"
            )
        return
    for member in ("SSEType", "KMSMasterKeyId"):
        if wanted.get(member) is not None:
            raise invalid(
                f"One or more parameter values were invalid: {member} can not be specified if Enabled is false"
            )


def encryption(wanted: dict[str, Any], table_arn: str) -> dict[str, Any] | None:
    """``SSEDescription`` as the service shows it: None for its own key, which needs no word.

    Nothing is encrypted here: there is no KMS. The setting is kept so that tools which insist on it find it again."""
    if not wanted.get("Enabled"):
        return None
    key = wanted.get("KMSMasterKeyId") or OWN_KEY
    if not key.startswith("arn:"):
        region, account = table_arn.split(":")[3:5]
        key = f"arn:aws:kms:{region}:{account}:key/{key}"
    return {"Status": "ENABLED", "SSEType": "KMS", "KMSMasterKeyArn": key}


def on_demand(body: dict[str, Any], before: dict[str, Any] | None = None) -> dict[str, int] | None:
    """``OnDemandThroughput`` as described: a member not given stays as it was, or is without a maximum."""
    wanted = body.get("OnDemandThroughput")
    if wanted is None:
        return before
    known = before or dict.fromkeys(_MAXIMA, UNLIMITED)
    return {member: known[member] if wanted.get(member) is None else wanted[member] for member in known}


def refuse_maxima(body: dict[str, Any]) -> None:
    """A provisioned table has no maxima on demand."""
    for member in _MAXIMA:
        if (body.get("OnDemandThroughput") or {}).get(member) is not None:
            raise invalid(
                f"One or more parameter values were invalid: {member} for OnDemandThroughput cannot be specified when "
                "the table BillingMode is PROVISIONED"
            )


def warm(body: dict[str, Any], base_read: int, base_write: int, floor: str) -> dict[str, Any]:
    """``WarmThroughput`` as described. It never falls: a request below what the table has, called ``floor``, is
    refused."""
    wanted = body.get("WarmThroughput") or {}
    chosen = {}
    for member, base in (("ReadUnitsPerSecond", base_read), ("WriteUnitsPerSecond", base_write)):
        units = wanted.get(member)
        if units is not None and units < base:
            raise invalid(
                f"One or more parameter values were invalid: Requested {member} for WarmThroughput for table is lower "
                f"than {floor}"
            )
        chosen[member] = base if units is None else units
    return {**chosen, "Status": "ACTIVE"}


def described(body: dict[str, Any]) -> dict[str, Any]:
    """The members of a new table's description that come from these parameters; :func:`check_members` went before."""
    throughput = body.get("ProvisionedThroughput")
    billing: dict[str, Any] = {}
    if body.get("BillingMode") == "PAY_PER_REQUEST":
        billing = {
            "BillingModeSummary": {"BillingMode": "PAY_PER_REQUEST"},
            "TableThroughputModeSummary": {"TableThroughputMode": "PAY_PER_REQUEST"},
        }
    else:
        refuse_maxima(body)
    units = throughput or {"ReadCapacityUnits": 0, "WriteCapacityUnits": 0}
    base = (units["ReadCapacityUnits"] or WARM_READ_UNITS, units["WriteCapacityUnits"] or WARM_WRITE_UNITS)
    floor = "initial throughput for OnDemand" if throughput is None else "the units of ProvisionedThroughput"
    members: dict[str, Any] = {
        "ProvisionedThroughput": {
            "NumberOfDecreasesToday": 0,
            "ReadCapacityUnits": units["ReadCapacityUnits"],
            "WriteCapacityUnits": units["WriteCapacityUnits"],
        },
        **billing,
        "WarmThroughput": warm(body, *base, floor),
        "DeletionProtectionEnabled": bool(body.get("DeletionProtectionEnabled")),
    }
    maxima = on_demand(body)
    if maxima is not None:
        members["OnDemandThroughput"] = maxima
    if body.get("TableClass") is not None:
        members["TableClassSummary"] = {"TableClass": body["TableClass"]}
    return members


def rates(description: dict[str, Any]) -> tuple[float, float]:
    """Reads and writes a second that a table is admitted: what is provisioned, else what an on-demand table sustains,
    at most the maxima its owner set."""
    provisioned = description.get("ProvisionedThroughput") or {}
    read = provisioned.get("ReadCapacityUnits") or 0
    write = provisioned.get("WriteCapacityUnits") or 0
    if read and write:  # zeros are what DescribeTable shows of an on-demand table
        return float(read), float(write)
    warmed = description.get("WarmThroughput") or {}
    maxima = description.get("OnDemandThroughput") or {}
    read = max(warmed.get("ReadUnitsPerSecond") or 0, WARM_READ_UNITS)
    write = max(warmed.get("WriteUnitsPerSecond") or 0, WARM_WRITE_UNITS)
    read_max = maxima.get("MaxReadRequestUnits", UNLIMITED)
    write_max = maxima.get("MaxWriteRequestUnits", UNLIMITED)
    return (
        float(min(read, read_max) if read_max != UNLIMITED else read),
        float(min(write, write_max) if write_max != UNLIMITED else write),
    )
