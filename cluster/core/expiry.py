"""Time to live: which items have expired, and the command that removes one only while that is still so [DG].

An item expires when its table's TTL attribute is a Number of epoch seconds that has passed, though not by more than
five years: older ones are taken for a mistake of units, not for a wish.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from cluster.core.commands import Clause, Command

TOO_OLD_S = 5 * 366 * 86_400

_UNCHANGED = "#expires = :then"


class Setting(NamedTuple):
    """A table's expiry of items."""

    attribute: str
    enabled: bool
    """What was asked for last."""
    settled: bool = False
    """Whether the leader of every partition acts on it by now."""


def expiry_of(item: Mapping[str, Any], attribute: str, now: float) -> str | None:
    """The canonical number in an item's TTL attribute if it says that the item has expired; ``now`` in seconds since
    the epoch."""
    value = item.get(attribute)
    text: str | None = value.get("N") if value is not None else None
    if text is None:
        return None
    at = Decimal(text)
    return text if Decimal(now) - TOO_OLD_S <= at <= Decimal(now) else None


def removal(table: str, key: bytes, attribute: str, expiry: str) -> Command:
    """Delete an item unless its expiry was changed, or it was written anew without one, since it was looked at. Time
    only makes an expiry truer, so that nothing else need be asked again."""
    return Command(
        "delete",
        table,
        key,
        condition=Clause(_UNCHANGED, {"#expires": attribute}, {":then": {"N": expiry}}),
    )
