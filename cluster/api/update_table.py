"""UpdateTable: billing, throughput, class and protection of a table; one that exists and is ACTIVE.

What changes the table's rates goes through UPDATING: until every router can know, the description shows what was.
"""

from __future__ import annotations

import time
from copy import deepcopy
from typing import Any, NamedTuple

from cluster.api import index_updates, throughput
from cluster.api.fields import TABLE_NAME, Field, Table, check_control_name
from cluster.api.operation import ControlOperation
from cluster.core.errors import ApiError, invalid
from cluster.wire.json import encode

FREE_DECREASES = 4
"""Decreases of provisioned throughput a UTC day begins with; after them one an hour [DG]."""

DECREASE_INTERVAL_S = 3600
DAY_S = 86_400

FIELDS = Table(
    TABLE_NAME,
    *throughput.SHARED,
    index_updates.DEFINITIONS,
    index_updates.FIELD,
    Field("ReplicaUpdates", "list"),
)
_CHANGES = tuple(field.name for field in throughput.SHARED)


class Change(NamedTuple):
    """What an update makes of a description."""

    shown: dict[str, Any]
    """As it is while the table is UPDATING."""
    after: dict[str, Any]
    """As it is when the table is ACTIVE again."""


def check_request(body: dict[str, Any]) -> dict[str, Any]:
    """``{"name", "change", "indexes", "definitions"}``: the members that say what is to change."""
    check_control_name(body, FIELDS)
    FIELDS.check(body)
    throughput.check_units(body.get("ProvisionedThroughput"))
    change = {member: body[member] for member in _CHANGES if body.get(member) is not None}
    if body.get("ReplicaUpdates"):
        raise invalid("One or more parameter values were invalid: ReplicaUpdates are not supported by this database")
    if not change and not body.get("GlobalSecondaryIndexUpdates"):
        raise invalid(
            "At least one of ProvisionedThroughput, BillingMode, UpdateStreamEnabled, GlobalSecondaryIndexUpdates or "
            "SSESpecification or ReplicaUpdates is required"
        )
    if body.get("GlobalSecondaryIndexUpdates") == []:
        raise invalid("One or more parameter values were invalid: List of GlobalSecondaryIndexUpdates is empty")
    indexes = index_updates.check(body)
    throughput.check_members(body)
    _check_alone({**change, "GlobalSecondaryIndexUpdates": indexes} if indexes else change)
    if body.get("BillingMode") == "PAY_PER_REQUEST" and body.get("ProvisionedThroughput") is not None:
        raise _no_units_on_demand()
    definitions = body.get("AttributeDefinitions") or []
    return {"name": body["TableName"], "change": change, "indexes": indexes, "definitions": definitions}


def _check_alone(change: dict[str, Any]) -> None:
    """Some changes go by themselves."""
    if len(change) == 1:
        return
    for member, text in (
        ("SSESpecification", "Server-Side Encryption modification must be the only operation in the request"),
        ("TableClass", "TableClass modification must be the only operation in the request"),
        ("DeletionProtectionEnabled", "DeletionProtection modification must be the only operation in the request"),
        ("WarmThroughput", "WarmThroughput must be the only operation in the request"),
    ):
        if member in change:
            raise invalid(f"One or more parameter values were invalid: {text}")
    if "OnDemandThroughput" in change and set(change) != {"OnDemandThroughput", "BillingMode"}:
        raise invalid(
            "One or more parameter values were invalid: OnDemandThroughput can only be combined with BillingMode in an "
            "UpdateTable request"
        )


def apply(change: dict[str, Any], description: dict[str, Any], now: float) -> Change:
    """What the members of an update make of a table's description. Raises :class:`ApiError`; ``now`` is wall time in
    seconds."""
    shown, after = deepcopy(description), deepcopy(description)
    _change_throughput(change, shown, after, now)
    _change_on_demand(change, after)
    if change.get("SSESpecification") is not None:
        _change_encryption(change["SSESpecification"], after)
    if (change.get("StreamSpecification") or {}).get("StreamEnabled") is False:
        raise invalid(f"Table has no stream to disable: TableName: {description['TableName']}")
    if change.get("TableClass") is not None:
        after["TableClassSummary"] = {"TableClass": change["TableClass"], "LastUpdateDateTime": round(now, 3)}
    if change.get("DeletionProtectionEnabled") is not None:
        shown["DeletionProtectionEnabled"] = after["DeletionProtectionEnabled"] = change["DeletionProtectionEnabled"]
    return Change(shown, after)


def needs_time(change: dict[str, Any]) -> bool:
    """Whether the table goes through UPDATING; protection is there at once."""
    return set(change) != {"DeletionProtectionEnabled"}


def is_on_demand(description: dict[str, Any]) -> bool:
    """Whether a table is billed per request."""
    return bool((description.get("BillingModeSummary") or {}).get("BillingMode") == "PAY_PER_REQUEST")


def _no_units_on_demand() -> ApiError:
    return invalid(
        "One or more parameter values were invalid: Neither ReadCapacityUnits nor WriteCapacityUnits can be specified "
        "when BillingMode is PAY_PER_REQUEST"
    )


def _change_throughput(change: dict[str, Any], shown: dict[str, Any], after: dict[str, Any], now: float) -> None:
    before = shown["ProvisionedThroughput"]
    on_demand = is_on_demand(shown)
    mode = change.get("BillingMode")
    wanted = change.get("ProvisionedThroughput")
    if mode == "PAY_PER_REQUEST":
        if not on_demand:
            _to_on_demand(shown, after, now)
        return
    if mode == "PROVISIONED" and wanted is None and on_demand:
        raise invalid(
            "One or more parameter values were invalid: ProvisionedThroughput must be specified when BillingMode is "
            "PROVISIONED"
        )
    if wanted is None:
        return
    if on_demand and mode is None:
        raise _no_units_on_demand()
    throughput.check_quota(wanted)
    read, write = wanted["ReadCapacityUnits"], wanted["WriteCapacityUnits"]
    if on_demand:
        _to_provisioned(shown, after, read, write)
        return
    if (read, write) == (before["ReadCapacityUnits"], before["WriteCapacityUnits"]):
        raise _unchanged(before, wanted)
    units = _adjusted(before, read, write, now)
    shown["ProvisionedThroughput"] = {
        **before,
        **{name: units[name] for name in ("LastIncreaseDateTime", "LastDecreaseDateTime") if name in units},
        "NumberOfDecreasesToday": _decreases_today(before, now),
    }
    after["ProvisionedThroughput"] = units
    _raise_warmth(after, read, write)


def _adjusted(before: dict[str, Any], read: int, write: int, now: float) -> dict[str, Any]:
    """The units after an increase, a decrease or both, with their dates and the day's count of decreases."""
    units = {**before, "ReadCapacityUnits": read, "WriteCapacityUnits": write}
    units["NumberOfDecreasesToday"] = _decreases_today(before, now)
    if read > before["ReadCapacityUnits"] or write > before["WriteCapacityUnits"]:
        units["LastIncreaseDateTime"] = round(now, 3)
    if read < before["ReadCapacityUnits"] or write < before["WriteCapacityUnits"]:
        _check_decrease(units, before, now)
        units["LastDecreaseDateTime"] = round(now, 3)
        units["NumberOfDecreasesToday"] += 1
    return units


def _decreases_today(units: dict[str, Any], now: float) -> int:
    same_day = int(units.get("LastDecreaseDateTime", 0)) // DAY_S == int(now) // DAY_S
    return int(units["NumberOfDecreasesToday"]) if same_day else 0


def _check_decrease(units: dict[str, Any], before: dict[str, Any], now: float) -> None:
    count, last = units["NumberOfDecreasesToday"], before.get("LastDecreaseDateTime", 0)
    if count < FREE_DECREASES or now >= last + DECREASE_INTERVAL_S:
        return
    raise ApiError(
        "LimitExceededException",
        "Subscriber limit exceeded: Provisioned throughput decreases are limited within a given UTC day. After the "
        f"first {FREE_DECREASES} decreases, each subsequent decrease in the same UTC day can be performed at most once "
        f"every {DECREASE_INTERVAL_S} seconds. Number of decreases today: {count}. Last decrease at {_shown(last)}. "
        f"Next decrease can be made at {_shown(last + DECREASE_INTERVAL_S)}",
    )


def _shown(at: float) -> str:
    return time.strftime("%A, %B %d, %Y at %I:%M:%S %p Coordinated Universal Time", time.gmtime(at))


def _unchanged(before: dict[str, Any], wanted: dict[str, Any]) -> ApiError:
    parts = [
        f"Current {member} provisioned for the table: {before[member]}. Requested {member}: {wanted[member]}. "
        for member in ("ReadCapacityUnits", "WriteCapacityUnits")
    ]
    return invalid(
        "The provisioned throughput for the table will not change. The requested value equals the current value. "
        + "".join(parts)
        + "Refer to the Amazon DynamoDB Developer Guide for current limits and how to request higher limits."
    )


def _to_on_demand(shown: dict[str, Any], after: dict[str, Any], now: float) -> None:
    units = {**shown["ProvisionedThroughput"], "ReadCapacityUnits": 0, "WriteCapacityUnits": 0}
    for description in (shown, after):
        description["ProvisionedThroughput"] = dict(units)
        description["BillingModeSummary"] = {"BillingMode": "PAY_PER_REQUEST"}
        description["TableThroughputModeSummary"] = {"TableThroughputMode": "PAY_PER_REQUEST"}
    for summary in ("BillingModeSummary", "TableThroughputModeSummary"):
        after[summary]["LastUpdateToPayPerRequestDateTime"] = round(now, 3)
    _raise_warmth(after, throughput.WARM_READ_UNITS, throughput.WARM_WRITE_UNITS)


def _to_provisioned(shown: dict[str, Any], after: dict[str, Any], read: int, write: int) -> None:
    for description in (shown, after):
        units = description["ProvisionedThroughput"]
        description["ProvisionedThroughput"] = {**units, "ReadCapacityUnits": read, "WriteCapacityUnits": write}
        for summary, mode in (
            ("BillingModeSummary", "BillingMode"),
            ("TableThroughputModeSummary", "TableThroughputMode"),
        ):
            description[summary] = {**(description.get(summary) or {}), mode: "PROVISIONED"}
        description.pop("OnDemandThroughput", None)
    _raise_warmth(after, read, write)


def _raise_warmth(description: dict[str, Any], read: int, write: int) -> None:
    known = description.get("WarmThroughput") or {}
    description["WarmThroughput"] = {
        "ReadUnitsPerSecond": max(read, known.get("ReadUnitsPerSecond", 0)),
        "WriteUnitsPerSecond": max(write, known.get("WriteUnitsPerSecond", 0)),
        "Status": "ACTIVE",
    }


def _change_encryption(wanted: dict[str, Any], after: dict[str, Any]) -> None:
    before = after.pop("SSEDescription", None)
    encryption = throughput.encryption(wanted, after["TableArn"])
    if before is None and encryption is None:
        raise invalid("One or more parameter values were invalid: Table is already encrypted by default")
    if before is not None and before == encryption:
        raise invalid(
            "One or more parameter values were invalid: Table is already encrypted with given KMSMasterKeyId. Use "
            "KMSMasterKeyId parameter if you want to change Master Key"
        )
    if encryption is not None:
        after["SSEDescription"] = encryption


def _change_on_demand(change: dict[str, Any], after: dict[str, Any]) -> None:
    if change.get("OnDemandThroughput") is not None:
        if not is_on_demand(after):
            throughput.refuse_maxima(change)
        after["OnDemandThroughput"] = throughput.on_demand(change, after.get("OnDemandThroughput"))
    if change.get("WarmThroughput") is not None:
        known = after.get("WarmThroughput") or {}
        base = (known.get("ReadUnitsPerSecond", 0), known.get("WriteUnitsPerSecond", 0))
        after["WarmThroughput"] = throughput.warm(
            change, *base, "current WarmThroughput, decreasing WarmThroughput is not supported"
        )


def respond(answer: dict[str, Any]) -> bytes:
    """From ``{"description"}``."""
    return encode({"TableDescription": answer["description"]})


OPERATION = ControlOperation("UpdateTable", check_request, respond)
