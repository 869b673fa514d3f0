"""Ranges against a dumb oracle: a dict, sorted. Rows are spread over memory generations and a real B-tree, and over
partitions; pages are read with small limits, forwards and backwards, and must come to exactly what the oracle holds."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.core.commands import Clause
from cluster.core.expressions.legacy import Comparison, Expected
from cluster.core.items import item_size, pack_image
from cluster.core.keys import below, encode_hash, encode_value, local_number
from cluster.core.ranges import ITEMS, RangePage, RangeRead
from cluster.core.side import META, OUTBOX
from cluster.node import rangereads
from cluster.node.codec import Spec
from cluster.node.rows import Rows
from cluster.node.rpc import RpcError
from cluster.store.btree import Pool, Replica
from cluster.store.memory import MemoryDisk
from cluster.wire.json import CODEC

Op = tuple[str, int, int]

KEYS = [b"%02d" % number + b"\xff" * 15 for number in range(40)]
"""None of them looks like a side row or a local index's."""

ops = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 39), st.integers(0, 9)),
        st.tuples(st.just("delete"), st.integers(0, 39), st.just(0)),
        st.tuples(st.sampled_from(("seal", "flush")), st.just(0), st.just(0)),
    ),
    max_size=60,
)
bound = st.sampled_from([b"", *KEYS, *(key + b"\0" for key in KEYS)])


def image_of(number: int) -> bytes:
    item = {"n": {"N": str(number)}, "text": {"S": "x" * number}}
    return pack_image(item_size(item), CODEC.encode(item))


class Store:
    """One replica's rows as a node keeps them, with as much of the node around them as ranges need."""

    def __init__(self, start: bytes, end: bytes) -> None:
        self.disk = MemoryDisk()
        self.tree = Replica.open(Pool(self.disk.pages), "g")
        self.rows = Rows(1000)
        self.spec = Spec("g", "t", start, end, 1, None)
        self.position = 0
        self.damaged = ""
        self.caught_up = self.serving = True
        self.group = SimpleNamespace(leader=None)
        self.upkeep = self

    def run(self, op: Op) -> None:
        kind, key, number = op
        if kind in ("put", "delete"):
            self.position += 1
            self.rows.apply(self.position, KEYS[key], image_of(number) if kind == "put" else None)
        else:
            self.rows.seal()
            generation = self.rows.oldest_sealed()
            if kind == "flush" and generation is not None:
                self.tree.apply(generation.upto, list(generation.rows.items()))
                self.rows.written(generation)

    async def read_range(
        self, replica: Any, start: bytes, end: bytes, reverse: bool, rows_max: int, bytes_max: int
    ) -> tuple[list[tuple[bytes, bytes]], bool]:
        return self.tree.read_range(start, end, reverse, rows_max, bytes_max)

    def page(self, read: RangeRead) -> RangePage:
        return asyncio.run(rangereads.read_range(self, self, read))  # type: ignore[arg-type]


def pages(stores: list[Store], read: RangeRead) -> list[RangePage]:
    """All pages of a range: each from the partition in which what is left begins, as a router asks."""
    found: list[RangePage] = []
    rest: tuple[bytes, bytes] | None = (read.start, read.end)
    if read.start and read.end and read.start >= read.end:
        return []
    while rest is not None and not (rest[1] and rest[0] >= rest[1]):
        part = read._replace(start=rest[0], end=rest[1])
        at = below(part.end) if part.reverse else part.start
        store = next(s for s in stores if s.spec.holds(at))
        found.append(store.page(part))
        rest = found[-1].rest
        assert len(found) < 500
    return found


@settings(max_examples=60)
@given(ops, bound, bound, st.booleans(), st.integers(0, 5), st.integers(1, 60), st.data())
def test_pages_come_to_what_a_sorted_dict_holds(
    script: list[Op], start: bytes, end: bytes, reverse: bool, limit: int, bytes_max: int, data: st.DataObject
) -> None:
    cut = data.draw(st.sampled_from(KEYS[1:]))
    low, high = Store(b"", cut), Store(cut, b"")
    oracle: dict[bytes, bytes] = {}
    for op in script:
        for store in (low, high) if op[0] in ("seal", "flush") else (low if KEYS[op[1]] < cut else high,):
            store.run(op)
        if op[0] == "put":
            oracle[KEYS[op[1]]] = image_of(op[2])
        elif op[0] == "delete":
            oracle.pop(KEYS[op[1]], None)
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        patch.setattr(rangereads, "PIECE_BYTES", data.draw(st.integers(1, 200)))
        patch.setattr(rangereads, "PIECE_ROWS_MIN", 1)
        read = RangeRead(start, end, reverse, limit, bytes_max, raw=True)
        found = pages([low, high], read)
    expected = sorted((k, v) for k, v in oracle.items() if start <= k and (not end or k < end))
    if reverse:
        expected.reverse()
    assert [row for page in found for row in page.rows] == expected
    for page in found:
        assert page.scanned == len(page.rows)
        if limit:
            assert page.scanned <= limit
        assert sum(len(image) for _, image in page.rows[:-1]) < bytes_max, "a page ends with the row that fills it"


@settings(max_examples=30)
@given(ops, st.integers(0, 9), st.booleans(), st.integers(1, 7))
def test_a_filter_drops_rows_that_count_all_the_same(script: list[Op], least: int, reverse: bool, limit: int) -> None:
    store = Store(b"", b"")
    oracle: dict[bytes, int] = {}
    for op in script:
        store.run(op)
        if op[0] == "put":
            oracle[KEYS[op[1]]] = op[2]
        elif op[0] == "delete":
            oracle.pop(KEYS[op[1]], None)
    numbers = [number for _, number in sorted(oracle.items(), reverse=reverse)]
    values = {":n": {"N": str(least)}}
    for read in (
        RangeRead(reverse=reverse, limit=limit, filter=Clause("n >= :n", None, values), keys=("n",)),
        RangeRead(
            reverse=reverse, limit=limit, expected=Expected((Comparison("n", "GE", (values[":n"],)),)), keys=("n",)
        ),
    ):
        found = pages([store], read)
        got = [int(CODEC.decode(item)["n"]["N"]) for page in found for item in page.items]
        assert got == [number for number in numbers if number >= least]
        assert sum(page.scanned for page in found) == len(numbers)
        assert sum(page.matched for page in found) == len(got)
        sizes = [item_size({"n": {"N": str(number)}, "text": {"S": "x" * number}}) for number in numbers]
        assert sum(page.size for page in found) == sum(sizes)
        for page, last in zip(found, numbers[limit - 1 :: limit], strict=False):
            assert page.full
            assert CODEC.decode(page.last) == {"n": {"N": str(last)}}
        counted = pages([store], read._replace(content=False))
        assert sum(page.matched for page in counted) == len(got)
        assert not any(page.items for page in counted)


def test_only_items_are_evaluated() -> None:
    store = Store(b"", b"")
    prefix = encode_hash("S", "a\0b")
    local = prefix + b"\x80\x00" + encode_value("N", "1")
    item = prefix + encode_value("N", "-7")
    for position, key in enumerate((META + b"shape", OUTBOX + b"x", item, local), start=1):
        store.rows.apply(position, key, image_of(3))
    assert [local_number(key) for key in (prefix, item, local)] == [-1, -1, 0]
    assert store.page(RangeRead(local=ITEMS)).scanned == 1
    assert store.page(RangeRead(local=0)).scanned == 1
    assert store.page(RangeRead(local=1)).scanned == 0
    assert store.page(RangeRead()).scanned == 2
    assert len(store.page(RangeRead(raw=True)).rows) == 4


@given(st.sampled_from("SBN"), st.text(max_size=3), st.decimals(-1000, 1000, places=3))
def test_rows_of_local_indexes_are_told_from_items(kind: str, text: str, number: Any) -> None:
    from base64 import b64encode

    from cluster.core.numbers import normalise

    value = {"S": text, "B": b64encode(text.encode()).decode(), "N": normalise(str(number))}[kind]
    prefix = encode_hash(kind, value)
    assert local_number(prefix) == -1
    for sort in (("S", "\x00"), ("N", "-3"), ("B", "AA==")):
        assert local_number(prefix + encode_value(*sort)) == -1
    assert local_number(prefix + b"\x80\x01" + encode_value("S", "x")) == 1


def test_a_range_that_begins_elsewhere_or_a_lease_that_is_gone_is_refused() -> None:
    store = Store(b"b", b"d")
    for read in (RangeRead(b"a"), RangeRead(b"d"), RangeRead(b"a", b"b", reverse=True), RangeRead(b"a", b"e", True)):
        with pytest.raises(RpcError, match="no-replica"):
            store.page(read)
    assert store.page(RangeRead(b"b")).rest == (b"d", b"")
    assert store.page(RangeRead(b"", b"d", reverse=True)).rest == (b"", b"b")
    store.serving = False
    assert store.page(RangeRead(b"b")).scanned == 0, "an eventual read asks nobody's leave"
    with pytest.raises(RpcError, match="not-leader"):
        store.page(RangeRead(b"b", consistent=True))
    store.caught_up = False
    with pytest.raises(RpcError, match="not-serving"):
        store.page(RangeRead(b"b"))
