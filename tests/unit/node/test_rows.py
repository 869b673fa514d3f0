"""Rows: what is in memory must never be older than what the log said last."""

from __future__ import annotations

from cluster.node.rows import MISS, Rows


def test_newest_generation_wins_and_absence_is_an_answer() -> None:
    rows = Rows(cache_bytes=10_000)
    assert rows.get(b"k") is MISS
    rows.apply(1, b"k", b"one")
    rows.seal()
    rows.apply(2, b"k", None)
    assert rows.get(b"k") is None
    first = rows.oldest_sealed()
    assert first is not None
    assert first.upto == 1
    assert first.rows == {b"k": b"one"}
    rows.written(first)
    assert rows.get(b"k") is None, "the clean row must not hide the dirty one"


def test_a_read_that_was_overtaken_by_a_write_is_not_believed() -> None:
    rows = Rows(cache_bytes=10_000)
    assert rows.will_load(b"k")
    assert not rows.will_load(b"k")
    rows.apply(1, b"k", b"new")
    rows.seal()
    generation = rows.oldest_sealed()
    assert generation is not None
    rows.written(generation)
    rows.load(b"k", b"old")
    assert rows.get(b"k") == b"new"


def test_the_cache_is_bounded_and_forgets_the_oldest() -> None:
    rows = Rows(cache_bytes=2_000)
    for n in range(100):
        rows.will_load(b"%d" % n)
        rows.load(b"%d" % n, bytes(100))
    assert rows.get(b"99") == bytes(100)
    assert rows.get(b"0") is MISS
    assert rows._cache_bytes <= 2_000


def test_a_barrier_seals_even_an_empty_generation_at_its_position() -> None:
    rows = Rows(cache_bytes=1_000)
    rows.apply(3, b"k", b"v")
    rows.advance(4)
    rows.seal(barrier=True)
    generation = rows.oldest_sealed()
    assert generation is not None
    assert generation.barrier
    assert generation.upto == 4
    rows.written(generation)
    rows.advance(5)
    rows.seal(barrier=True)
    empty = rows.oldest_sealed()
    assert empty is not None
    assert empty.upto == 5
    assert not empty.rows
    rows.written(empty)
    assert rows.get(b"k") == b"v"
    assert rows.dirty == 0


def test_clear_forgets_rows_and_reads_under_way() -> None:
    rows = Rows(cache_bytes=1_000)
    rows.apply(1, b"k", b"v")
    rows.will_load(b"other")
    rows.clear(9)
    rows.load(b"other", b"stale")
    assert rows.get(b"k") is MISS
    assert rows.get(b"other") is MISS
