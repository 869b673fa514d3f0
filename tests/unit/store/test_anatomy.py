"""What is said to be live must be found when it is damaged; what is said to be free must not matter."""

from __future__ import annotations

import asyncio

import pytest
from test_btree import items
from test_wal import STORE, Node

from cluster.store.anatomy import Extent, log_extents, tree_extents
from cluster.store.btree import Pool, Replica
from cluster.store.memory import Content, MemoryDisk
from cluster.store.pagevfs import WAL_SUFFIX, ImageDamaged

ROWS = items(400)
MAIN = "g.db"


def disk_with_everything() -> MemoryDisk:
    """A checkpointed main file with free pages, newer pages in the -wal, and frames there that newer ones replaced."""
    disk = MemoryDisk()
    replica = Replica.open(Pool(disk.pages), "g")
    replica.apply(1, ROWS)
    replica.apply(2, [(key, None) for key, _ in ROWS[100:300]])
    replica.checkpoint()
    for position in (3, 4):
        replica.apply(position, [(key, value[::-1]) for key, value in ROWS[:5]])
    for content in disk.pages.contents.values():
        content.sync(len(content.pending))
    disk.life += 1
    return disk


def extents(disk: MemoryDisk) -> list[Extent]:
    contents = disk.pages.contents
    return tree_extents("g", MAIN, bytes(contents[MAIN].data), bytes(contents[MAIN + WAL_SUFFIX].data))


def flipped(disk: MemoryDisk, extent: Extent) -> MemoryDisk:
    other = MemoryDisk()
    for name, content in disk.pages.contents.items():
        data = bytearray(content.durable)
        if name == extent.file:
            data[extent.offset + extent.length // 2] ^= 1
        other.pages.contents[name] = Content(bytearray(data), bytearray(data))
    return other


def read_all(disk: MemoryDisk) -> tuple[int, list[tuple[bytes, bytes]]]:
    replica = Replica.open(Pool(disk.pages), "g")
    return replica.position, replica.scan()


def test_a_tree_has_live_pages_free_pages_and_replaced_ones() -> None:
    found = extents(disk_with_everything())
    words = {extent.what.partition(": ")[2].partition(",")[0] for extent in found}
    assert {"leaf of a table", "leaf of an index", "on the free list"} <= words
    assert any("replaced by a newer version in the -wal" in extent.what for extent in found)
    assert any(extent.older is not None for extent in found if extent.live)
    assert {extent.file for extent in found} == {MAIN, MAIN + WAL_SUFFIX}
    assert all(extent.groups == ("g",) for extent in found)


def test_damage_to_live_pages_is_found_and_to_free_ones_it_changes_nothing() -> None:
    disk = disk_with_everything()
    position, rows = read_all(disk)
    assert position == 4
    for extent in extents(disk):
        damaged = flipped(disk, extent)
        if extent.file.endswith(WAL_SUFFIX):
            # SQLite discards a -wal from its first bad frame on: the image is an older one then, the log has the rest
            seen, _ = read_all(damaged)
            assert seen <= position
        elif extent.live:
            with pytest.raises(ImageDamaged):
                read_all(damaged)
        else:
            assert read_all(damaged) == (position, rows), extent.what


def test_an_open_image_that_is_scrubbed_finds_every_live_page() -> None:
    """While the node runs, frames too are held against what was written."""
    for number, extent in enumerate(extents(disk_with_everything())):
        if not extent.live or number % 3:
            continue
        disk = disk_with_everything()
        replica = Replica.open(Pool(disk.pages), "g")
        assert replica.scrub_some(0, 1000) == ([], None)
        content = disk.pages.contents[extent.file]
        content.data[extent.offset + 7] ^= 1
        found, at = [], 0
        while at is not None:
            some, at = replica.scrub_some(at, 3)
            found += some
        assert [(error.file, error.offset) for error in found] == [(extent.file, extent.offset)], extent.what


def test_a_log_says_which_batches_hold_whose_records_and_which_were_promised() -> None:
    async def main() -> None:
        node = Node()
        wal, _ = node.open()
        for slot in range(3):
            wal.append("one", slot, b"x" * 100)
            if slot == 1:
                wal.append("two", 0, b"y" * 9000)
            await wal.sync()
        (name,) = [n for n in node.disk.log.list() if n.startswith("wal-0")]
        data = bytes(node.disk.log.contents[name].data)
        found = log_extents(name, data)
        assert [extent.groups for extent in found] == [("one",), ("one", "two"), ("one",)]
        assert [extent.live for extent in found] == [True, True, False], "the last one's mark is not on the disk yet"
        assert sum(extent.length for extent in found) == len(data)
        for extent in found[:2]:
            damaged = bytearray(data)
            damaged[extent.offset + extent.length - 1] ^= 1
            assert extent.offset not in {e.offset for e in log_extents(name, bytes(damaged))}
        assert STORE  # the store's id is taken from the log itself

    asyncio.run(main())
