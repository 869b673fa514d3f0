"""The outbox of a group's leader: lanes in order, rows deleted when all are done, writes throttled when one is not."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.core.errors import ApiError
from cluster.core.indexes import Change
from cluster.core.keys import KeyAttribute, KeySchema
from cluster.core.shape import IndexShape, Shape
from cluster.node.machine import Batch
from cluster.node.outbox import HELD_BYTES_MAX, Outbox, row_key

KEY = KeySchema(KeyAttribute("pk", "S"), None)
ONE = IndexShape("one", "1", 0, (KeyAttribute("a", "S"),), ())
TWO = IndexShape("two", "2", 0, (KeyAttribute("b", "S"),), ())
SHAPE = Shape(1, "t", KEY, (), (ONE, TWO))


def written(outbox: Outbox, position: int, *targets: str, size: int = 10, code: str = "") -> tuple[bytes, Any]:
    """A write of item ``x`` that changes some indexes, committed (or what else ``code`` says); its outbox row."""
    batch = Batch()
    outbox.put(batch, position, b"x", [Change(target, b"k", b"i" * size) for target in targets])
    (row,) = batch.writes
    batch.finish(code)
    return row


def leading(shape: Shape = SHAPE) -> Outbox:
    outbox = Outbox(shape)
    outbox.begin()
    outbox.recovered([], 0)
    return outbox


def positions(outbox: Outbox, target: str) -> list[int]:
    return [sent.position for sent in outbox.window(target, 100, 1 << 20)]


def test_a_row_goes_when_every_lane_it_is_in_is_done() -> None:
    outbox = leading()
    written(outbox, 1, "1", "2")
    written(outbox, 2, "1")
    outbox.acknowledged("1", 2)
    assert outbox.finished == [row_key(2, b"x")]
    outbox.acknowledged("2", 1)
    assert outbox.finished == [row_key(2, b"x"), row_key(1, b"x")]
    assert outbox.held_bytes == 0


def test_what_predecessors_left_goes_before_what_came_since() -> None:
    before = leading()
    rows = [written(before, 1, "1"), written(before, 2, "1")]
    outbox = Outbox(SHAPE)
    outbox.begin()
    late = written(outbox, 7, "1")
    assert positions(outbox, "1") == []
    outbox.recovered([*rows, late], 5)
    assert positions(outbox, "1") == [1, 2, 7]
    assert not outbox.caught_up("1", 2)
    outbox.acknowledged("1", 2)
    assert outbox.caught_up("1", 2)


def test_what_was_not_committed_is_not_sent() -> None:
    outbox = leading()
    written(outbox, 1, "1", code="not-leader")
    written(outbox, 2, "1", code="unknown")
    assert positions(outbox, "1") == []


def test_nothing_of_an_earlier_life_is_sent() -> None:
    outbox = leading()
    batch = Batch()
    outbox.put(batch, 1, b"x", [Change("1", b"k", None)])
    outbox.end()
    outbox.recovered([], 9)
    batch.finish("")  # committed after all: the row is there, and found by whoever leads
    assert positions(outbox, "1") == []


def test_windows_are_bounded_and_never_empty() -> None:
    outbox = leading()
    for position in range(1, 6):
        written(outbox, position, "1", size=1000)
    assert [sent.position for sent in outbox.window("1", 2, 1 << 20)] == [1, 2]
    assert [sent.position for sent in outbox.window("1", 9, 2500)] == [1, 2]
    assert [sent.position for sent in outbox.window("1", 9, 1)] == [1]


def test_an_index_that_goes_takes_its_changes_along() -> None:
    outbox = leading()
    written(outbox, 1, "1", "2")
    written(outbox, 2, "2")
    outbox.reshape(SHAPE._replace(globals=(ONE,)))
    assert outbox.finished == [row_key(2, b"x")]
    outbox.acknowledged("1", 1)
    assert sorted(outbox.finished) == [row_key(1, b"x"), row_key(2, b"x")]


def test_a_slow_index_throttles_the_tables_writes() -> None:
    outbox = leading(SHAPE._replace(globals=(ONE._replace(write_rate=1.0), TWO)))
    for position in range(1, 31):
        written(outbox, position, "1")
    outbox.check(None, updating=False)
    written(outbox, 31, "1")
    with pytest.raises(ApiError) as refused:
        outbox.check(None, updating=False)
    assert refused.value.kind == "ProvisionedThroughputExceededException"
    assert "one or more global secondary indexes" in refused.value.message
    outbox.acknowledged("1", 1)
    outbox.check(None, updating=False)


def test_too_many_bytes_throttle_too() -> None:
    outbox = leading()
    written(outbox, 1, "2", size=HELD_BYTES_MAX)
    assert outbox.full
    outbox.acknowledged("2", 1)
    assert not outbox.full


def test_the_changes_of_one_write_are_never_parted_by_the_end_of_a_window() -> None:
    outbox = leading()
    written(outbox, 1, "1")
    written(outbox, 2, "1", "1")  # an item that moves within an index: away there, and here it is
    written(outbox, 3, "1")
    assert [sent.position for sent in outbox.window("1", 2, 1 << 20)] == [1, 2, 2]
    assert [sent.position for sent in outbox.window("1", 100, outbox.held_bytes // 2)] == [1, 2, 2]
