"""What the two transactional operations share: reasons of cancellation, and capacity over tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from cluster.api.answers import throttled
from cluster.core.errors import ApiError, invalid
from cluster.core.transactions import ONGOING, Vote

FACTOR = 2.0
"""A transaction reads or writes each item twice, to prepare and to commit, and both are counted [DG]. Indexes change
once, at the commit, and cost what they cost outside of a transaction."""

_EMPTY_KEY = "One or more parameter values are not valid."
"""How the texts about empty key values begin: those refuse the whole request, where others cancel the transaction."""


class Refusal(NamedTuple):
    """Why one item cancels a transaction; an empty ``code`` is no reason."""

    code: str = ""
    message: str = ""
    item: bytes | None = None


FINE = Refusal()
IN_THE_WAY = Refusal("TransactionConflict", ONGOING)


def refusal_of(error: ApiError) -> Refusal:
    """An item that its table cannot hold, or a key that is not the table's, as a reason; what refuses the whole request
    is raised again."""
    if error.kind != "ValidationException" or error.message.startswith(_EMPTY_KEY):
        raise error
    return Refusal("ValidationError", error.message)


def first_of(reasons: Sequence[Refusal]) -> list[Refusal]:
    """AWS checks items against their tables one after another and tells the first that does not fit, no other."""
    first = next(at for at, reason in enumerate(reasons) if reason.code)
    return [reason if at == first else FINE for at, reason in enumerate(reasons)]


def over_budget() -> Refusal:
    return Refusal("ProvisionedThroughputExceeded", throttled().message)


def refusals(votes: Iterable[Vote]) -> list[Refusal]:
    return [Refusal(vote.code, vote.message, vote.item) for vote in votes]


def refuse_empty_keys(votes: Iterable[Vote]) -> None:
    """An update that would empty an index key refuses the whole request, like an empty key in it."""
    for vote in votes:
        if vote.code == "ValidationError" and vote.message.startswith(_EMPTY_KEY):
            raise invalid(vote.message)


def cancelled(reasons: Sequence[Refusal]) -> ApiError:
    """``TransactionCanceledException``, its reasons in the order of the request's items."""
    shown: list[dict[str, Any]] = []
    for reason in reasons:
        entry: dict[str, Any] = {"Code": reason.code or "None"}
        if reason.code:
            entry["Message"] = reason.message
        if reason.item is not None:
            entry["Item"] = msgspec.Raw(reason.item)
        shown.append(entry)
    codes = ", ".join(str(entry["Code"]) for entry in shown)
    return ApiError(
        "TransactionCanceledException",
        f"Transaction cancelled, please refer cancellation reasons for specific reasons [{codes}]",
        {"CancellationReasons": shown},
    )


def refuse_doubles(places: Iterable[tuple[str, bytes]]) -> None:
    """Each item may be mentioned once."""
    seen = set()
    for place in places:
        if place in seen:
            raise invalid("Transaction request cannot include multiple operations on one item")
        seen.add(place)


class Spent(NamedTuple):
    """Units that one item of a transaction cost."""

    table: str
    units: float
    """The table's own."""
    local_units: Mapping[str, float] | None = None
    global_units: Mapping[str, float] | None = None
    """By index."""


def consumed(spent: Iterable[Spent], kind: str, shape: str) -> list[dict[str, Any]]:
    """``ConsumedCapacity``, an entry a table. ``kind`` is ``Read`` or ``Write``, ``shape`` TOTAL or INDEXES."""
    tables: dict[str, dict[str, dict[str, float]]] = {}
    for one in spent:
        parts = tables.setdefault(one.table, {"Table": {}, "LocalSecondaryIndexes": {}, "GlobalSecondaryIndexes": {}})
        for part, units in (
            ("Table", {"": one.units}),
            ("LocalSecondaryIndexes", one.local_units or {}),
            ("GlobalSecondaryIndexes", one.global_units or {}),
        ):
            for name, number in units.items():
                parts[part][name] = parts[part].get(name, 0.0) + number
    entries: list[dict[str, Any]] = []
    for table, parts in tables.items():
        entry = {"TableName": table, **_units(sum(sum(part.values()) for part in parts.values()), kind)}
        if shape == "INDEXES":
            entry["Table"] = _units(parts.pop("Table")[""], kind)
            for part, by_name in parts.items():
                if by_name:
                    entry[part] = {name: _units(number, kind) for name, number in by_name.items()}
        entries.append(entry)
    return entries


def _units(number: float, kind: str) -> dict[str, Any]:
    return {"CapacityUnits": number, f"{kind}CapacityUnits": number}
