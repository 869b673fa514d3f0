"""Reading many rows in key order: what Query, Scan, index reads and back-fills ask of a replica.

A :class:`RangeRead` is one page's worth of a key range ``[start, end)``, forwards or backwards. It ends at the end of
the range (or of the partition that holds it), after ``limit`` rows, or once ``bytes_max`` bytes of rows have been
*evaluated*: filters run where the rows are, and what they drop counts all the same, in bytes and in rows.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import NamedTuple

from cluster.core.commands import Clause
from cluster.core.expressions import conditions, legacy
from cluster.core.expressions.legacy import Expected
from cluster.core.items import Codec, image_body, image_size
from cluster.core.keys import local_number
from cluster.core.side import SIDE

PAGE_BYTES = 1024 * 1024
"""Bytes that one page evaluates [DG]."""

ANY, ITEMS = -2, -1
"""Which of a table's own rows are wanted, where no local index's are."""


class RangeRead(NamedTuple):
    """What is asked for. Keys are storage keys."""

    start: bytes = b""
    """The first key."""
    end: bytes = b""
    """The first key beyond; ``b""`` is the end of the key space."""
    reverse: bool = False
    """From ``end`` backwards."""
    limit: int = 0
    """Rows to evaluate at most; 0: as many as fit."""
    bytes_max: int = PAGE_BYTES
    consistent: bool = False
    """Only the leader's committed state, under its lease, will do."""
    filter: Clause | None = None
    """A condition that dropped rows do not meet."""
    expected: Expected | None = None
    """The same from before there were expressions."""
    content: bool = True
    """Whether items are wanted, or only their count."""
    keys: tuple[str, ...] = ()
    """Names of the attributes of the last row evaluated that tell where to go on (``LastEvaluatedKey``)."""
    local: int = ANY
    """A table that has local indexes keeps their rows among its items: :data:`ITEMS` leaves them out, an index's number
    leaves out all but that index's."""
    raw: bool = False
    """Rows as they are stored, of any kind, in ``rows``: for those who copy and repair. No filter."""


class RangePage(NamedTuple):
    """What was found. Bytes are DynamoDB's item sizes."""

    items: tuple[bytes, ...] = ()
    """JSON of the items, in order."""
    rows: tuple[tuple[bytes, bytes], ...] = ()
    """``raw``: keys and images."""
    matched: int = 0
    scanned: int = 0
    """Rows that the filter kept, and rows evaluated."""
    size: int = 0
    full: bool = False
    """A limit ended the page; there may be more in the range."""
    last: bytes = b""
    """JSON of ``keys`` of the last row evaluated; only where the page is full."""
    rest: tuple[bytes, bytes] | None = None
    """``(start, end)`` of what was not looked at, None at the end of the range."""


Row = tuple[bytes, bytes]
"""A storage key and what is stored under it."""

Layer = Iterable[tuple[bytes, bytes | None]]
"""Rows in key order, forwards or backwards; None: deleted."""


def clip(read: RangeRead, start: bytes, end: bytes) -> RangeRead | None:
    """The part of a range with which a partition ``[start, end)`` must begin; None where it is another one's turn."""
    if read.reverse:
        if read.end and read.end <= start:
            return None
        if end and (not read.end or read.end > end):
            return None
        return read._replace(start=max(read.start, start))
    if read.start < start or (end and read.start >= end):
        return None
    return read._replace(end=_lower_end(read.end, end))


def _lower_end(one: bytes, other: bytes) -> bytes:
    if not one or not other:
        return one or other
    return min(one, other)


def rest_of(read: RangeRead, part: RangeRead) -> tuple[bytes, bytes] | None:
    """What is left of a range once ``part``, its first part, was looked at as a whole."""
    if read.reverse:
        return (read.start, part.start) if part.start > read.start else None
    return (part.end, read.end) if part.end and part.end != read.end else None


def after(read: RangeRead, key: bytes) -> tuple[bytes, bytes]:
    """``(start, end)`` of what is left of a range behind one of its keys."""
    return (read.start, key) if read.reverse else (key + b"\0", read.end)


def overlay(layers: Iterable[Layer], *, reverse: bool = False) -> Iterator[Row]:
    """One sequence out of several, newest first: the newest layer that has a key decides it."""
    last: bytes | None = None
    for key, image in heapq.merge(*layers, key=itemgetter(0), reverse=reverse):
        if key != last:
            last = key
            if image is not None:
                yield key, image


class Gathering:
    """A page in the making: rows in, until a limit ends it."""

    def __init__(self, read: RangeRead, codec: Codec) -> None:
        self.read = read
        self.full = False
        self.scanned = 0
        self._codec = codec
        self._size = 0
        self._matched = 0
        self._items: list[bytes] = []
        self._rows: list[Row] = []
        self._last: Row | None = None

    def take(self, key: bytes, image: bytes) -> bool:
        """Evaluate a row; False once the page is full, this row included."""
        read = self.read
        if read.raw:
            self._rows.append((key, image))
            self._size += len(image)
        elif key.startswith(SIDE) or (read.local != ANY and local_number(key) != read.local):
            return True
        else:
            self._evaluate(image)
        self.scanned += 1
        self._last = (key, image)
        self.full = self.scanned == read.limit or self._size >= read.bytes_max
        return not self.full

    def _evaluate(self, image: bytes) -> None:
        read = self.read
        self._size += image_size(image)
        body = image_body(image)
        if read.filter is not None and not conditions.holds(read.filter, self._codec.decode(body)):
            return
        if read.expected is not None and not legacy.holds(read.expected, self._codec.decode(body)):
            return
        self._matched += 1
        if read.content:
            self._items.append(body)

    def page(self, rest: tuple[bytes, bytes] | None) -> RangePage:
        """What was gathered. ``rest`` is what remains where the page is not full."""
        last = b""
        if self.full:
            assert self._last is not None
            rest = after(self.read, self._last[0])
            if self.read.keys:
                item = self._codec.decode(image_body(self._last[1]))
                last = self._codec.encode({name: item[name] for name in self.read.keys})
        return RangePage(
            tuple(self._items), tuple(self._rows), self._matched, self.scanned, self._size, self.full, last, rest
        )
