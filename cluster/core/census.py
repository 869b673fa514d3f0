"""How many items a group holds, and of what size: counted by its leader when it reads all its rows for a scrub anyway.

So a table's counts are as old as the last comparison of its groups' replicas, and cost nothing where items are written.
AWS brings them up to date about every six hours [API].
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

from cluster.core.items import image_size
from cluster.core.keys import local_number
from cluster.core.side import SIDE

ITEMS = -1
"""Stands for the items themselves where a local index's number stands else (:attr:`IndexShape.number`)."""


class Part(NamedTuple):
    """A group's items, or its rows of one local index."""

    number: int
    """The index's, or :data:`ITEMS`."""
    items: int
    bytes: int
    """By DynamoDB's rules, names included."""


class Counted(NamedTuple):
    """A group's rows as of a position of its log; no part where there is no such row."""

    slot: int
    parts: tuple[Part, ...]


class Census:
    """Counts rows in whatever pieces they come. ``locals`` says whether the table has local indexes: telling their rows
    from items takes a look at each key."""

    def __init__(self, *, locals: bool) -> None:
        self._locals = locals
        self._items: dict[int, int] = {}
        self._bytes: dict[int, int] = {}
        self._void = False

    def add(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Count rows of items and indexes; other rows are passed over."""
        if self._void:
            return
        items, sizes, number = self._items, self._bytes, ITEMS
        try:
            for key, image in rows:
                if key.startswith(SIDE):
                    continue
                if self._locals:
                    number = local_number(key)
                items[number] = items.get(number, 0) + 1
                sizes[number] = sizes.get(number, 0) + image_size(image)
        except (ValueError, IndexError, struct.error):
            self._void = True  # no row that a leader wrote: to find it is the scrub's business, which goes on

    def counted(self, slot: int) -> Counted | None:
        """The counts, as of ``slot``; None where a row could not be understood."""
        if self._void:
            return None
        return Counted(
            slot, tuple(Part(number, self._items[number], self._bytes[number]) for number in sorted(self._items))
        )
