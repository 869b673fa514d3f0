"""UpdateTable's GlobalSecondaryIndexUpdates: create, change or delete a global index of a table that exists.

:func:`check` is all that needs no table; :func:`apply` says what the updates make of the table's description, the new
throughput of an index apart, which becomes true a moment later. The work behind an index's states is
:mod:`cluster.node.indexwork`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cluster.api import index_schemas, throughput
from cluster.api.fields import Field
from cluster.api.index_schemas import GLOBAL, GLOBALS_MAX, NAME, WRONG, names_of
from cluster.core.errors import ApiError, invalid

_ACTIONS = ("Update", "Create", "Delete")
FIELD = Field(
    "GlobalSecondaryIndexUpdates",
    "list",
    element=Field(
        "member",
        "struct",
        members=(
            Field(
                "Update",
                "struct",
                members=(NAME, throughput.THROUGHPUT, throughput.ON_DEMAND, throughput.WARM),
                shape="UpdateGlobalSecondaryIndexAction",
            ),
            Field("Create", "struct", members=GLOBAL, shape="CreateGlobalSecondaryIndexAction"),
            Field("Delete", "struct", members=(NAME,), shape="DeleteGlobalSecondaryIndexAction"),
        ),
    ),
)
DEFINITIONS = index_schemas.DEFINITIONS

ONE_AT_A_TIME = "Subscriber limit exceeded: Only 1 online index can be created or deleted simultaneously per table"
IN_USE = "Attempt to change a resource which is still in use: "

Entry = dict[str, Any]


class Changed(NamedTuple):
    """What updates make of a table."""

    members: dict[str, Any]
    """Of its description: the indexes, with those that begin to be created, deleted or updated, and the definitions of
    their keys."""
    later: dict[str, dict[str, Any]]
    """By index that is UPDATING: the members that its entry will have."""
    online: bool
    """Whether an index is created or deleted: the table is UPDATING meanwhile."""


def check(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The updates of a request, each with its one action. What may not be asked for together is refused here."""
    updates: list[dict[str, Any]] = body.get("GlobalSecondaryIndexUpdates") or []
    seen: list[str] = []
    for update in updates:
        given = [action for action in _ACTIONS if update.get(action) is not None]
        if not given:
            raise invalid(
                f"{WRONG}One of GlobalSecondaryIndexUpdate.Update, GlobalSecondaryIndexUpdate.Create, "
                "GlobalSecondaryIndexUpdate.Delete must not be null"
            )
        if len(given) > 1:
            raise invalid(
                f"{WRONG}Only one global secondary index action is allowed per GlobalSecondaryIndexUpdate object"
            )
        name = update[given[0]]["IndexName"]
        if name in seen:
            raise invalid(
                f"{WRONG}Only one global secondary index update per index is allowed simultaneously. Index: {name}"
            )
        seen.append(name)
        if given[0] == "Create":
            _check_create(update["Create"], body)
        throughput.check_units(update[given[0]].get("ProvisionedThroughput"), f" for index {name}")
    if any(update.get("Create") or update.get("Delete") for update in updates):
        _check_company(body)
    return updates


def _check_create(index: Mapping[str, Any], body: Mapping[str, Any]) -> None:
    if body.get("AttributeDefinitions") is None:
        raise invalid(f"{WRONG}AttributeDefinitions is not specified for index: {index['IndexName']}")
    defined, keys = names_of(body["AttributeDefinitions"]), names_of(index["KeySchema"])
    if any(key not in defined for key in keys):
        raise index_schemas.undefined(keys, defined)
    index_schemas.check_global(index)


def _check_company(body: Mapping[str, Any]) -> None:
    """What an index cannot be created or deleted together with."""
    if body.get("ProvisionedThroughput") is not None and body.get("BillingMode") is None:
        raise invalid(f"{WRONG}You cannot create or delete index while updating table IOPS")
    if body.get("StreamSpecification") is not None:
        raise invalid(f"{WRONG}You cannot create or delete index while changing stream status")


def apply(
    updates: Sequence[Mapping[str, Any]],
    definitions: Sequence[Mapping[str, str]],
    before: Mapping[str, Any],
    after: Mapping[str, Any],
) -> Changed:
    """What the updates make of a table whose description, but for its indexes, goes from ``before`` to ``after``.
    Raises :class:`ApiError`."""
    entries: list[Entry] = list(before.get("GlobalSecondaryIndexes") or ())
    online = [update for update in updates if not update.get("Update")]
    if len(online) > 1:
        raise ApiError("LimitExceededException", ONE_AT_A_TIME)
    later: dict[str, dict[str, Any]] = {}
    shown = dict(after)
    if _on_demand(before) and not _on_demand(after):
        _check_switch(updates, entries)
    elif _on_demand(after) and not _on_demand(before):
        entries = _to_on_demand(entries, later)
    for update in updates:
        if update.get("Create"):
            entries = _create(update["Create"], definitions, shown, entries)
        elif update.get("Delete"):
            entries = _delete(update["Delete"]["IndexName"], shown, entries)
        else:
            entries = _update(update["Update"], shown, entries, later)
    members: dict[str, Any] = {"AttributeDefinitions": shown["AttributeDefinitions"]}
    if entries:
        members["GlobalSecondaryIndexes"] = entries
    return Changed(members, later, bool(online))


def _create(
    index: Mapping[str, Any], definitions: Sequence[Mapping[str, str]], shown: dict[str, Any], entries: list[Entry]
) -> list[Entry]:
    name = index["IndexName"]
    others = [*entries, *(shown.get("LocalSecondaryIndexes") or ())]
    if any(entry["IndexName"] == name for entry in others):
        raise invalid("Attempting to create an index which already exists")
    _one_at_a_time(entries)
    if len(entries) >= GLOBALS_MAX:
        raise ApiError(
            "LimitExceededException",
            f"Subscriber limit exceeded: Number of global secondary indexes exceeds per-table limit of {GLOBALS_MAX}",
        )
    _check_units(index, shown)
    index_schemas.check_total([*others, index])
    known = {entry["AttributeName"]: entry["AttributeType"] for entry in shown["AttributeDefinitions"]}
    wanted = {entry["AttributeName"]: entry["AttributeType"] for entry in definitions}
    for key in index["KeySchema"]:
        attribute, kind = key["AttributeName"], wanted[key["AttributeName"]]
        if known.setdefault(attribute, kind) != kind:
            raise invalid(
                f"{WRONG}Attributes cannot be redefined. Please check that your attribute has the same type as "
                f"previously defined. Existing schema: Schema:[SchemaElement: key{{{attribute}:{known[attribute]}:"
                f"{key['KeyType']}}}] New schema: Schema:[SchemaElement: key{{{attribute}:{kind}:{key['KeyType']}}}]"
            )
    shown["AttributeDefinitions"] = [{"AttributeName": n, "AttributeType": known[n]} for n in sorted(known)]
    entry = {**index_schemas.describe_global(index), "Backfilling": False}
    return [*entries, {**entry, "IndexArn": f"{shown['TableArn']}/index/{name}"}]


def _check_units(index: Mapping[str, Any], shown: Mapping[str, Any]) -> None:
    name, units, on_demand = index["IndexName"], index.get("ProvisionedThroughput"), _on_demand(shown)
    if on_demand and units is not None:
        raise invalid(
            f"{WRONG}Neither ReadCapacityUnits nor WriteCapacityUnits can be specified for index: {name} when "
            "BillingMode is PAY_PER_REQUEST"
        )
    if not on_demand and units is None:
        raise invalid(f"{WRONG}Both ReadCapacityUnits and WriteCapacityUnits must be specified for index: {name}")
    throughput.check_quota(units)
    index_schemas.check_maxima(index, on_demand=on_demand)


def _delete(name: str, shown: Mapping[str, Any], entries: list[Entry]) -> list[Entry]:
    entry = _find(name, shown, entries, "delete")
    if entry.get("Backfilling") is False:
        raise ApiError(
            "ResourceInUseException",
            f"{IN_USE}Index creation is in resource allocation phase. Retry deletion during backfilling phase or when "
            f"the index is active. Table: {shown['TableName']} Index: {name}",
        )
    _refuse_busy(entry, shown, "DELETING", "deleted")
    _one_at_a_time([other for other in entries if other is not entry])
    gone = {member: value for member, value in entry.items() if member != "Backfilling"}
    return [{**gone, "IndexStatus": "DELETING"} if other is entry else other for other in entries]


def _update(
    wanted: Mapping[str, Any], shown: Mapping[str, Any], entries: list[Entry], later: dict[str, dict[str, Any]]
) -> list[Entry]:
    name = wanted["IndexName"]
    entry = _find(name, shown, entries, "update")
    _refuse_busy(entry, shown, "DELETING", "deleted")
    _refuse_busy(entry, shown, "UPDATING", "updated")
    _refuse_busy(entry, shown, "CREATING", "created")
    units = wanted.get("ProvisionedThroughput")
    nothing = units is None and wanted.get("OnDemandThroughput") is None and wanted.get("WarmThroughput") is None
    if not _on_demand(shown) and nothing:
        raise invalid(f"{WRONG}Both ReadCapacityUnits and WriteCapacityUnits must be specified for index: {name}")
    if _on_demand(shown) and (nothing or units is not None):
        raise invalid(
            f"{WRONG}The only Updates for index: {name} when TableThroughputMode is PAY_PER_REQUEST can be to "
            "OnDemandThroughput, WarmThroughput"
        )
    throughput.check_quota(units)
    warm = dict(entry["WarmThroughput"])
    lowest = {member: warm[member] for member in ("ReadUnitsPerSecond", "WriteUnitsPerSecond")}
    index_schemas.check_maxima(wanted, on_demand=_on_demand(shown), lowest=lowest)
    change: dict[str, Any] = {}
    if units is not None:
        change["ProvisionedThroughput"] = _new_units(name, entry["ProvisionedThroughput"], units)
        warm["ReadUnitsPerSecond"] = max(warm["ReadUnitsPerSecond"], units["ReadCapacityUnits"])
        warm["WriteUnitsPerSecond"] = max(warm["WriteUnitsPerSecond"], units["WriteCapacityUnits"])
    warm |= {member: value for member, value in (wanted.get("WarmThroughput") or {}).items() if value is not None}
    change["WarmThroughput"] = warm
    if wanted.get("OnDemandThroughput") is not None:
        change["OnDemandThroughput"] = throughput.on_demand(dict(wanted), entry.get("OnDemandThroughput"))
    later[name] = change
    return [{**entry, "IndexStatus": "UPDATING"} if other is entry else other for other in entries]


def _new_units(name: str, before: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    members = ("ReadCapacityUnits", "WriteCapacityUnits")
    if all(before[member] == wanted[member] for member in members):
        parts = [
            f"Current {member} provisioned for index {name}: {before[member]}. Requested {member}: {wanted[member]}. "
            for member in members
        ]
        raise invalid(
            f"The provisioned throughput for the index {name} will not change. The requested value equals the current "
            f"value. {''.join(parts)}Refer to the Amazon DynamoDB Developer Guide for current limits and how to "
            "request higher limits."
        )
    return {**before, **{member: wanted[member] for member in members}}


def _find(name: str, shown: Mapping[str, Any], entries: list[Entry], verb: str) -> Entry:
    entry = next((entry for entry in entries if entry["IndexName"] == name), None)
    if entry is not None:
        return entry
    if any(index["IndexName"] == name for index in shown.get("LocalSecondaryIndexes") or ()):
        raise invalid(f"Cannot {verb} an index that is not a GlobalSecondaryIndex: {name}")
    raise ApiError(
        "ResourceNotFoundException", f"Requested resource not found: Index {name} for table {shown['TableName']}"
    )


def _refuse_busy(entry: Entry, shown: Mapping[str, Any], status: str, verb: str) -> None:
    if entry["IndexStatus"] == status:
        raise ApiError(
            "ResourceInUseException",
            f"{IN_USE}Index is being {verb}. Table: {shown['TableName']} Index: {entry['IndexName']}",
        )


def _one_at_a_time(entries: Sequence[Entry]) -> None:
    if any(entry["IndexStatus"] in ("CREATING", "DELETING") for entry in entries):
        raise ApiError("LimitExceededException", ONE_AT_A_TIME)


def _on_demand(shown: Mapping[str, Any]) -> bool:
    return bool((shown.get("BillingModeSummary") or {}).get("BillingMode") == "PAY_PER_REQUEST")


# --- a table's billing changes ---


def _check_switch(updates: Sequence[Mapping[str, Any]], entries: Sequence[Entry]) -> None:
    """A table that becomes provisioned needs units for each of its indexes."""
    given = [u["Update"]["IndexName"] for u in updates if u.get("Update") and u["Update"].get("ProvisionedThroughput")]
    for entry in entries:
        if entry["IndexName"] not in given:
            raise invalid(f"{WRONG}ProvisionedThroughput must be specified for index: {entry['IndexName']}")


def _to_on_demand(entries: Sequence[Entry], later: dict[str, dict[str, Any]]) -> list[Entry]:
    """The indexes of a table that is billed per request from now on."""
    for entry in entries:
        units = {**entry["ProvisionedThroughput"], "ReadCapacityUnits": 0, "WriteCapacityUnits": 0}
        later[entry["IndexName"]] = {"ProvisionedThroughput": units}
    return [{**entry, "IndexStatus": "UPDATING"} if entry["IndexStatus"] == "ACTIVE" else entry for entry in entries]
