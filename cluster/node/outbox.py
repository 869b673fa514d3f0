"""The leader's side of asynchronous indexes, for one group: what its writes do to them, and what is still to be sent.

Every write's changes to global indexes stand in the group's OUTBOX rows, in the same log entry as the write, numbered
by the group's clock: so no leader change can lose one. In memory there is a *lane* for each index, the committed
changes in order. :class:`~cluster.node.propagate.Propagator` empties the lanes; a row is deleted once every lane it is
in has been acknowledged. Whoever begins to lead starts with the rows its predecessors left.

A lane that grows is a slow index, and makes the table's writes slow down: beyond a limit they are refused as throttled,
as DynamoDB does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from cluster.core.errors import ApiError
from cluster.core.indexes import Change, Indexes
from cluster.core.shape import IndexShape, Shape
from cluster.core.side import OUTBOX, rest
from cluster.wire.json import CODEC

if TYPE_CHECKING:
    from cluster.node.machine import Batch

HELD_BYTES_MAX = 8 * 1024 * 1024
"""Changes waiting in one group, beyond which its writes are throttled."""

BACKLOG_S = 5.0
BACKLOG_UNITS = 25.0
"""An index with provisioned units may be so many seconds of its rate, and so many units, behind."""

POSITION_BYTES = 8
WRITE_UNIT_BYTES = 1024

THROTTLED = (
    "The level of configured provisioned throughput for one or more global secondary indexes of the table was "
    "exceeded. Consider increasing your provisioning level for the under-provisioned global secondary indexes with the "
    "UpdateTable API"
)

_changes = msgspec.msgpack.Decoder(list[Change])
_encode = msgspec.msgpack.Encoder().encode


class Sent(NamedTuple):
    """One change on its way to an index, as the index's group is told it."""

    position: int
    item: bytes
    """The key of the item whose write made it."""
    key: bytes
    image: bytes | None

    @property
    def units(self) -> float:
        return float(max(1, -(-len(self.image or b"") // WRITE_UNIT_BYTES)))

    @property
    def weight(self) -> int:
        """Bytes that it takes to hold or to send it."""
        return len(self.item) + len(self.key) + len(self.image or b"") + 64


def row_key(position: int, item: bytes) -> bytes:
    """Where an outbox row stands: in the order of the changes."""
    return OUTBOX + position.to_bytes(POSITION_BYTES, "big") + item


class Lane:
    """What one index has yet to be told, in order."""

    __slots__ = ("backlog", "index", "waiting")

    def __init__(self, index: IndexShape) -> None:
        self.index = index
        self.waiting: deque[Sent] = deque()
        self.backlog = 0.0
        """Units waiting."""

    @property
    def behind(self) -> bool:
        """Whether the index cannot keep up with its provisioned units."""
        rate = self.index.write_rate
        return rate > 0 and self.backlog > rate * BACKLOG_S + BACKLOG_UNITS


class Outbox:
    """Changes of one group's leader to its table's global indexes, and the maker of them."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.indexes = Indexes(shape, CODEC)
        self.lanes = {index.id: Lane(index) for index in shape.globals}
        self.held_bytes = 0
        """Of changes committed and not acknowledged."""
        self.full = False
        """Whether writes are to be throttled."""
        self.life = 0
        """Rises whenever what is in memory here is void: with every beginning and end of leading."""
        self.finished: list[bytes] = []
        """Outbox rows that all lanes are done with."""
        self.wake: Callable[[], None] = lambda: None
        """Called when there may be something to send or to delete."""
        self._open: dict[bytes, int] = {}  # row -> lanes that are not done with it
        self._later: list[tuple[int, bytes, list[Change]]] | None = []  # committed before the predecessors' rows are in

    def reshape(self, shape: Shape) -> None:
        """The table's indexes changed: lanes of indexes that are gone are dropped, with what was in them."""
        for gone in [target for target in self.lanes if all(index.id != target for index in shape.globals)]:
            self._done(self.lanes.pop(gone).waiting)
        for index in shape.globals:
            self.lanes.setdefault(index.id, Lane(index)).index = index
        self.shape = shape
        self.indexes = Indexes(shape, CODEC)
        self._judge()
        self.wake()

    # --- the machine's side ---

    def check(self, after: bytes | None, *, updating: bool) -> None:
        """Raise ApiError where a write cannot be taken: an index cannot hold the item, or is too far behind."""
        if self.full:
            raise ApiError("ProvisionedThroughputExceededException", THROTTLED)
        if after is not None:
            self.indexes.check(after, updating=updating)

    def put(self, batch: Batch, position: int, item: bytes, changes: list[Change]) -> None:
        """Put changes into the batch of the write that made them."""
        batch.add(row_key(position, item), _encode(changes))
        life = self.life
        batch.waiters.append(lambda code: self._decided(code, life, position, item, changes))

    def _decided(self, code: str, life: int, position: int, item: bytes, changes: list[Change]) -> None:
        if code or life != self.life:
            return  # nobody knows, or another life's: whoever leads finds the row, if there is one
        if self._later is not None:
            self._later.append((position, item, changes))
        else:
            self._enqueue(position, item, changes)
            self._judge()
            self.wake()

    # --- leading ---

    def begin(self) -> int:
        """This replica begins to lead; the number of this life. :meth:`recovered` completes it."""
        self.end()
        return self.life

    def end(self) -> None:
        """It does not lead any more, or begins anew: what is in memory is void."""
        self.life += 1
        for lane in self.lanes.values():
            lane.waiting.clear()
            lane.backlog = 0.0
        self._open.clear()
        self.finished = []
        self.held_bytes = 0
        self._later = []
        self._judge()
        self.wake()

    def recovered(self, rows: Iterable[tuple[bytes, bytes]], bound: int) -> None:
        """The rows found when this life began, which go before everything since; those beyond ``bound`` came later."""
        for key, value in rows:
            tail = rest(key)
            position, item = int.from_bytes(tail[:POSITION_BYTES], "big"), tail[POSITION_BYTES:]
            if position <= bound:
                self._enqueue(position, item, _changes.decode(value))
        later, self._later = self._later or [], None
        for position, item, changes in later:
            self._enqueue(position, item, changes)
        self._judge()
        self.wake()

    def _enqueue(self, position: int, item: bytes, changes: list[Change]) -> None:
        row = row_key(position, item)
        lanes = 0
        for change in changes:
            lane = self.lanes.get(change.target)
            if lane is None:
                continue  # the index is gone
            sent = Sent(position, item, change.key, change.image)
            lane.waiting.append(sent)
            lane.backlog += sent.units
            self.held_bytes += sent.weight
            lanes += 1
        if lanes:
            self._open[row] = lanes
        else:
            self.finished.append(row)

    # --- the sender's side ---

    def window(self, target: str, rows_max: int, bytes_max: int) -> list[Sent]:
        """What is to be sent to an index next, in order; it stays until it is acknowledged.

        The changes of one write are never parted: they bear one number, and once some of them were applied the others
        would pass for applied, too.
        """
        lane = self.lanes.get(target)
        found: list[Sent] = []
        size = 0
        for sent in lane.waiting if lane is not None else ():
            full = len(found) >= rows_max or size + sent.weight > bytes_max
            if found and full and sent.position != found[-1].position:
                break
            found.append(sent)
            size += sent.weight
        return found

    def acknowledged(self, target: str, count: int) -> None:
        """The first ``count`` changes of a lane are in the index."""
        lane = self.lanes.get(target)
        if lane is None:
            return
        done = [lane.waiting.popleft() for _ in range(min(count, len(lane.waiting)))]
        lane.backlog -= sum(sent.units for sent in done)
        self._done(done)
        self._judge()

    def _done(self, changes: Iterable[Sent]) -> None:
        for sent in changes:
            self.held_bytes -= sent.weight
            row = row_key(sent.position, sent.item)
            left = self._open.get(row, 0) - 1
            if left > 0:
                self._open[row] = left
            elif self._open.pop(row, None) is not None:
                self.finished.append(row)

    def caught_up(self, target: str, position: int) -> bool:
        """Whether an index has everything up to a position."""
        lane = self.lanes.get(target)
        if self._later is not None or lane is None:
            return False
        return not lane.waiting or lane.waiting[0].position > position

    def _judge(self) -> None:
        self.full = self.held_bytes > HELD_BYTES_MAX or any(lane.behind for lane in self.lanes.values())
