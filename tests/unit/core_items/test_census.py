"""Counting a group's rows as they come by in a scrub."""

from __future__ import annotations

from cluster.core.census import ITEMS, Census, Counted, Part
from cluster.core.indexes import local_prefix
from cluster.core.items import pack_image, stamped
from cluster.core.keys import KeyAttribute, KeySchema, encode_hash, encode_key
from cluster.core.side import CLOCK, TXN

KEY = KeySchema(KeyAttribute("pk", "S"), KeyAttribute("sk", "N"))


def image(size: int) -> bytes:
    return stamped(pack_image(size, b"{}"), 7)


def item(name: str, sort: int) -> bytes:
    return encode_key(KEY, {"pk": {"S": name}, "sk": {"N": str(sort)}})


def test_items_and_rows_of_local_indexes_are_told_apart_and_the_rest_is_no_item() -> None:
    census = Census(locals=True)
    near = local_prefix(encode_hash("S", "a"), 3) + b"v"
    census.add([(TXN + item("a", 1), b"held"), (CLOCK, b"8 bytes!"), (item("a", 1), image(100))])
    census.add([(item("a", 2), image(20)), (near, image(5))])
    assert census.counted(9) == Counted(9, (Part(ITEMS, 2, 120), Part(3, 1, 5)))


def test_nothing_is_nothing() -> None:
    assert Census(locals=False).counted(1) == Counted(1, ())


def test_a_row_that_cannot_be_understood_ends_the_count_and_nothing_else() -> None:
    for row in ((item("a", 1), b""), (item("a", 1), b"\x09"), (item("a", 1), b"\x09" * 40), (b"\x01" * 17, image(1))):
        census = Census(locals=True)
        census.add([(item("b", 1), image(1)), row])
        census.add([(item("c", 1), image(1))])
        assert census.counted(1) is None
