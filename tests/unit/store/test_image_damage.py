"""No damage to an image is ever served, and none reaches another replica.

What may happen after any one flipped byte: the call (or the opening) raises ImageDamaged; or the image comes back at
an earlier position, not below its last checkpoint, with exactly the contents of that position, and the log replays the
rest.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from test_btree import items, runs_within

from cluster.node.world import DiskFailed
from cluster.store.btree import Pool, Replica
from cluster.store.image import Image
from cluster.store.label import SLOT_BYTES
from cluster.store.memory import Content, MemoryDisk
from cluster.store.pagevfs import PAGE_BYTES, ImageDamaged, PageCorrupt, check_page, page_trailer

ROWS = items(60)
STATES = {0: [], 1: ROWS[:20], 2: ROWS[:40], 3: ROWS}
"""Contents by position; 2 is checkpointed, 3 is in the -wal."""


def whole_disk() -> MemoryDisk:
    disk = MemoryDisk()
    pool = Pool(disk.pages)
    replica, other = Replica.open(pool, "g"), Replica.open(pool, "other")
    for position, (start, end) in enumerate([(0, 20), (20, 40), (40, 60)], 1):
        if position == 3:
            replica.checkpoint()
        for one in (replica, other):
            one.apply(position, ROWS[start:end])
    for content in disk.pages.contents.values():
        content.sync(len(content.pending))
    return disk


def cut_short_checkpoint() -> MemoryDisk:
    """The power failed after some pages of the main file were overwritten: only its -wal makes it whole."""
    disk = whole_disk()
    replica = Replica.open(Pool(disk.pages), "g")
    assert not runs_within(disk, 12, replica.checkpoint)
    for content in disk.pages.contents.values():
        content.sync(len(content.pending))
    disk.life += 1
    return disk


def copy(disk: MemoryDisk) -> MemoryDisk:
    other = MemoryDisk()
    for name, content in disk.pages.contents.items():
        other.pages.contents[name] = Content(bytearray(content.durable), bytearray(content.durable))
    return other


def assert_never_served(disk: MemoryDisk, floor: int) -> bool:
    """Read everything; True if the damage made the image refuse."""
    pool = Pool(disk.pages)
    refused = False
    try:
        replica = Replica.open(pool, "g")
        assert replica.position >= floor
        assert replica.scan() == STATES[replica.position]
        assert [replica.get(key) for key, _ in ROWS[:20]] == [value for _, value in ROWS[:20]]
        assert replica.digest().items == len(STATES[replica.position])
        assert replica.scrub() == []
    except ImageDamaged:
        refused = True
    other = Replica.open(pool, "other")
    assert other.scan() == STATES[other.position]
    return refused


def places(size: int, block: int, rng: Random) -> list[int]:
    """Every byte of the first block's headers, and a sample of everywhere else."""
    return [
        *range(min(size, 120)),
        *(offset + rng.randrange(block) for offset in range(0, size - block, block // 4)),
    ]


@pytest.mark.parametrize("make", [whole_disk, cut_short_checkpoint])
@pytest.mark.parametrize("file", ["g.db", "g.db-wal", "g.label"])
def test_a_flipped_byte_anywhere_is_never_served(make: Callable[[], MemoryDisk], file: str) -> None:
    rng = Random(3)
    disk = make()
    original = bytes(disk.pages.contents[file].durable)
    assert not assert_never_served(copy(disk), 3)
    offsets = sorted({min(at, len(original) - 1) for at in places(len(original), PAGE_BYTES, rng)})
    refusals = 0
    for offset in offsets:
        hurt = copy(disk)
        data = bytearray(original)
        data[offset] ^= 1 << rng.randrange(8)
        hurt.pages.contents[file].replace(bytes(data))
        refused = assert_never_served(hurt, 2)
        refusals += refused
        if make is cut_short_checkpoint and file == "g.db-wal":
            assert refused, f"a mixture of old and new pages was accepted (flip at {offset})"
    assert refusals or file != "g.db"


@pytest.mark.parametrize("make", [whole_disk, cut_short_checkpoint])
@pytest.mark.parametrize("file", ["g.db", "g.db-wal", "g.label"])
def test_a_truncated_or_missing_file_is_never_served(make: Callable[[], MemoryDisk], file: str) -> None:
    disk = make()
    original = bytes(disk.pages.contents[file].durable)
    for size in [*range(0, len(original), 1111), *range(0, len(original), PAGE_BYTES)]:
        hurt = copy(disk)
        hurt.pages.contents[file].replace(original[:size])
        assert_never_served(hurt, 2)
    hurt = copy(disk)
    hurt.pages.remove(file)
    assert assert_never_served(hurt, 2) or (make is whole_disk and file == "g.db-wal")


def test_every_byte_of_a_page_and_its_number_is_under_the_checksum() -> None:
    content = Random(1).randbytes(PAGE_BYTES - 8)
    page = content + page_trailer(7, content)
    check_page(7, page, "f")
    for wrong in (8, 6, 7 + (1 << 32)):
        with pytest.raises(PageCorrupt):
            check_page(wrong, page, "f")
    for offset in range(PAGE_BYTES):
        data = bytearray(page)
        data[offset] ^= 0x40
        with pytest.raises(PageCorrupt, match="page 7 of f"):
            check_page(7, bytes(data), "f")


@pytest.mark.parametrize("file", ["g.db", "g.db-wal"])
def test_damage_while_the_image_is_open_is_found_at_the_next_read_from_the_disk(file: str) -> None:
    disk = MemoryDisk()
    pool = Pool(disk.pages)
    replica = Replica.open(pool, "g")
    for at in range(0, 8000, 500):
        replica.apply(at, items(500, 900, at))  # several times the cache
    if file == "g.db":
        replica.checkpoint()
    content = disk.pages.contents[file]
    for block in range(0, len(content.data), 512):
        content.data[block + 100] ^= 1
    with pytest.raises(PageCorrupt) as caught:
        replica.digest()
    assert caught.value.file == file
    with pytest.raises(PageCorrupt):
        replica.get(b"x")
    with pytest.raises(PageCorrupt):
        replica.apply(10_000, [])


def test_scrub_reads_the_disk_and_names_every_corrupt_page() -> None:
    disk = MemoryDisk()
    replica = Replica.open(Pool(disk.pages), "g")
    replica.apply(1, items(100))
    assert replica.scrub() == []
    for page in (3, 9):
        disk.pages.contents["g.db"].data[(page - 1) * PAGE_BYTES + 77] ^= 1
    assert [(error.page, error.file) for error in replica.scrub()] == [(3, "g.db"), (9, "g.db")]


@pytest.mark.parametrize("fault", ["lost", "misdirected"])
def test_a_checkpoint_does_not_believe_a_disk_that_loses_or_misdirects_writes(fault: str) -> None:
    disk = MemoryDisk()
    replica = Replica.open(Pool(disk.pages), "g")
    replica.apply(1, items(30))
    replica.checkpoint()
    replica.apply(2, [(key, b"new") for key, _ in items(30)])
    content = disk.pages.contents["g.db"]
    write = Content.write
    count = 0

    def deceive(self: Content, offset: int, data: bytes) -> None:
        nonlocal count
        count += self is content
        if self is content and count == 2:
            if fault == "misdirected":
                write(self, offset + PAGE_BYTES, data)
            return
        write(self, offset, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Content, "write", deceive)
        with pytest.raises(PageCorrupt):
            replica.checkpoint()
    assert replica.checkpointed == 1


def test_a_page_the_disk_cannot_read_is_corrupt_not_fatal_to_others() -> None:
    disk = whole_disk()
    pool = Pool(disk.pages)
    replica, other = Replica.open(pool, "g"), Replica.open(pool, "other")
    image = replica._image
    assert image is not None

    def unreadable(offset: int, length: int) -> bytes:
        raise DiskFailed("Input/output error")

    image._main.file.read = unreadable  # type: ignore[method-assign]
    with pytest.raises(PageCorrupt, match="Input/output error"):
        replica.checkpoint()
    assert len(other.scan()) == 60


def test_a_damaged_label_falls_back_to_the_older_statement_which_is_at_worst_too_strict() -> None:
    disk = whole_disk()
    disk.pages.contents["g.label"].durable[SLOT_BYTES + 20] ^= 1  # the older slot
    assert not assert_never_served(copy(disk), 3)
    disk = whole_disk()
    disk.pages.contents["g.label"].durable[20] ^= 1  # the newer: the older one knows of a checkpoint not yet finished
    assert assert_never_served(copy(disk), 2)


def overwritten(position: int) -> list[tuple[bytes, bytes]]:
    """Contents at a position of an image whose items are all overwritten in place at each."""
    return [(key, b"%d" % position * 900) for key, _ in ROWS]


@pytest.mark.parametrize("guarded", [True, False])
def test_a_cut_short_checkpoint_with_a_damaged_wal_is_refused_and_would_be_served_without_the_label(
    guarded: bool,
) -> None:
    """SQLite's own journal is no protection: it drops the damaged frames and serves the half-copied main file."""
    disk = MemoryDisk()
    replica = Replica.open(Pool(disk.pages), "g")
    replica.apply(1, overwritten(1))
    replica.checkpoint()
    replica.apply(2, overwritten(2))
    assert not runs_within(disk, 14, replica.checkpoint)
    for content in disk.pages.contents.values():
        content.sync(len(content.pending))
    original = bytes(disk.pages.contents["g.db-wal"].durable)
    refused = mixed = 0
    with pytest.MonkeyPatch.context() as patch:
        if not guarded:
            patch.setattr(Image, "_verify_wal", lambda *_: None)
        for offset in range(40, len(original), PAGE_BYTES + 24):
            hurt = copy(disk)
            data = bytearray(original)
            data[offset] ^= 1
            hurt.pages.contents["g.db-wal"].replace(bytes(data))
            try:
                found = Replica.open(Pool(hurt.pages), "g")
                mixed += found.scan() != overwritten(found.position)
            except ImageDamaged:
                refused += 1
    if guarded:
        assert (mixed, refused) == (0, len(original) // (PAGE_BYTES + 24))
    else:
        assert mixed
