"""What an index has had of its table's changes: one number for each part of the table's key space.

The changes that a partition sends to one group of an index are numbered (by the partition's clock, which only rises)
and sent in order, none before its predecessors were acknowledged. So the group need remember only the last number it
applied, its *mark*: whatever bears a number up to the mark is there already, and is passed over. That makes every
repetition harmless, however late it comes and whoever sends it (a new leader begins anew with all that is in its
outbox), and no trace of deleted rows need be kept to tell an old change from a new one.

Marks are kept by ranges of the *table's* keys rather than by partition, because partitions split: the children go on
with higher numbers than their parent ever had, each for its own range.

=================  =====================================================================
row                ``META "mark/"`` and the range's first key; its mark and its end
=================  =====================================================================
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from cluster.core.side import META

MARK = META + b"mark/"
MARK_END = META + b"mark0"
"""The first key beyond."""

MARK_BYTES = 8

Rows = list[tuple[bytes, bytes | None]]
Segment = tuple[bytes, int]
"""``(end, mark)``; an empty end is the end of the key space."""


class Marks:
    """The marks of one group of an index. Keys without one are at zero."""

    def __init__(self, rows: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """From the group's rows as they are stored."""
        self._segments: dict[bytes, Segment] = {
            key[len(MARK) :]: (value[MARK_BYTES:], int.from_bytes(value[:MARK_BYTES], "big")) for key, value in rows
        }
        self._starts = sorted(self._segments)

    def of(self, key: bytes) -> int:
        """The mark that counts for an item's changes."""
        at = bisect_right(self._starts, key) - 1
        if at < 0:
            return 0
        end, mark = self._segments[self._starts[at]]
        return mark if not end or key < end else 0

    def row(self, start: bytes) -> tuple[bytes, bytes | None]:
        """The row of the range that begins at ``start``, as it is."""
        return _row(start, self._segments[start])

    def raise_to(self, start: bytes, end: bytes, mark: int) -> Rows:
        """Lift every part of a range to at least ``mark``; the rows that change thereby."""
        known = self._segments.get(start)
        if known is not None and known[0] == end:  # the same partition as ever
            if known[1] >= mark:
                return []
            self._segments[start] = (end, mark)
            return [_row(start, (end, mark))]
        return self._recut(start, end, mark)

    def _recut(self, start: bytes, end: bytes, mark: int) -> Rows:
        """Cut all segments at all edges, and lift those inside the range."""
        before = self._segments
        edges = {start, end, *before, *(segment[0] for segment in before.values())}
        lows = sorted(edges - {b""}) if start else [b"", *sorted(edges - {b""})]
        if b"" in before and start:
            lows.insert(0, b"")
        after: dict[bytes, Segment] = {}
        for low, high in zip(lows, [*lows[1:], b""], strict=True):
            lifted = mark if start <= low and (not end or low < end) else 0
            value = max(self.of(low), lifted)
            if value:
                after[low] = (high, value)
        self._segments, self._starts = after, sorted(after)
        rows: Rows = [_row(low, segment) for low, segment in after.items() if before.get(low) != segment]
        return rows + [(MARK + low, None) for low in before if low not in after]


def _row(start: bytes, segment: Segment) -> tuple[bytes, bytes]:
    end, mark = segment
    return MARK + start, mark.to_bytes(MARK_BYTES, "big") + end
