"""What lives where in the files of a data directory: for whoever damages them on purpose and must say what was hit.

Pure functions over bytes, beside the formats they read. An :class:`Extent` is *live* where the database would have to
read it to tell the truth (a page of the tree in its newest version, a batch of the log that was promised); everything
else is free space: pages on SQLite's free list, pages and frames that a newer one has replaced. Damage to live bytes
must be found, damage to free space need not be.

Layout of SQLite's files: https://www.sqlite.org/fileformat2.html (§1.5 the free list, §1.6 B-tree pages, §4 the WAL).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from struct import Struct
from typing import NamedTuple

from cluster.store.batch import ALIGN_BYTES, HEADER, MAGIC, Batch, parse
from cluster.store.pagevfs import FRAME_HEADER_BYTES, PAGE_BYTES, WAL_HEADER_BYTES, WAL_SUFFIX
from cluster.store.recovery import segment_number

FRAME = Struct(">IIII")
"""Of a -wal frame's header: page, size of the database after a commit (else 0), two salts."""
SALTS = Struct(">II")
WORD = Struct(">I")
TREE_PAGES = {
    2: "interior page of an index",
    5: "interior page of a table",
    10: "leaf of an index",
    13: "leaf of a table",
}


class Extent(NamedTuple):
    """A stretch of a file and what it holds."""

    file: str
    offset: int
    length: int
    what: str
    """For people: ``page 7: leaf of a table, 12 cells``."""
    live: bool
    groups: tuple[str, ...] = ()
    """Whose it is, where that is known; empty in a log batch that concerns nobody."""
    page: int = 0
    """Page number of a tree, from 1; 0 in a log."""
    older: int | None = None
    """Offset in the same file at which an earlier version of these bytes still stands."""


def tree_extents(group: str, main_name: str, main: bytes, wal: bytes) -> list[Extent]:
    """Every page of a B-tree's main file and every frame of its -wal."""
    newest, frames = wal_frames(wal)

    def page(number: int) -> bytes:
        if number in newest:
            at = newest[number]
            return wal[at : at + PAGE_BYTES]
        return main[(number - 1) * PAGE_BYTES : number * PAGE_BYTES]

    free = free_pages(page)
    found = []
    for number in range(1, len(main) // PAGE_BYTES + 1):
        at = (number - 1) * PAGE_BYTES
        if number in newest:
            what, live = "replaced by a newer version in the -wal", False
        else:
            what, live = describe(number, page(number), free)
        found.append(Extent(main_name, at, PAGE_BYTES, f"page {number}: {what}", live, (group,), number))
    earlier: dict[int, int] = {}
    for at, number in frames:
        if newest.get(number) == at:
            what, live = describe(number, page(number), free)
        else:
            what, live = "replaced by a newer frame, or never committed", False
        text = f"page {number} in the -wal: {what}"
        found.append(Extent(main_name + WAL_SUFFIX, at, PAGE_BYTES, text, live, (group,), number, earlier.get(number)))
        earlier[number] = at
    return found


def describe(number: int, page: bytes, free: frozenset[int]) -> tuple[str, bool]:
    """What a page is, and whether it is in use."""
    if number in free:
        return "on the free list", False
    start = 100 if number == 1 else 0
    kind = TREE_PAGES.get(page[start]) if len(page) > start else None
    if kind is None:
        return "overflow of a large item", True
    return f"{kind}, {int.from_bytes(page[start + 3 : start + 5], 'big')} cells", True


def wal_frames(wal: bytes) -> tuple[dict[int, int], list[tuple[int, int]]]:
    """Page number to the offset of its newest committed version, and (offset, page) of every frame of this life.

    Offsets are those of the page's bytes, behind the frame's header. Frames with other salts are of an earlier life.
    """
    newest: dict[int, int] = {}
    frames: list[tuple[int, int]] = []
    if len(wal) < WAL_HEADER_BYTES:
        return newest, frames
    salts = SALTS.unpack_from(wal, 16)
    pending: dict[int, int] = {}
    at = WAL_HEADER_BYTES
    while at + FRAME_HEADER_BYTES + PAGE_BYTES <= len(wal):
        number, committed, *of = FRAME.unpack_from(wal, at)
        if tuple(of) != salts:
            break
        frames.append((at + FRAME_HEADER_BYTES, number))
        pending[number] = at + FRAME_HEADER_BYTES
        if committed:
            newest.update(pending)
            pending.clear()
        at += FRAME_HEADER_BYTES + PAGE_BYTES
    return newest, frames


def free_pages(page: Callable[[int], bytes]) -> frozenset[int]:
    """Pages on SQLite's free list, the trunks of the list included. ``page(number)`` yields a page's newest bytes."""
    first = page(1)
    if len(first) < 100:
        return frozenset()
    found: set[int] = set()
    (trunk,) = WORD.unpack_from(first, 32)
    while trunk and trunk not in found:
        found.add(trunk)
        data = page(trunk)
        if len(data) < 8:
            break
        count = min(WORD.unpack_from(data, 4)[0], (PAGE_BYTES - 8) // 4)
        found.update(WORD.unpack_from(data, 8 + 4 * index)[0] for index in range(count))
        (trunk,) = WORD.unpack_from(data, 0)
    return frozenset(found)


def log_extents(name: str, data: bytes) -> list[Extent]:
    """Every batch of a log segment. Live are those that are known to have been synced: recovery reads all of it."""
    batches = list(log_batches(name, data))
    promised = max((batch.durable for batch in batches), default=0)
    found = []
    for batch in batches:
        groups = tuple(dict.fromkeys(record.group for record in batch.records))
        many = f"{len(batch.records)} records of {len(groups)} groups"
        live = batch.sequence <= promised
        what = f"batch {batch.sequence}: {many}" + ("" if live else ", not yet marked as synced")
        found.append(Extent(name, batch.offset, batch.end - batch.offset, what, live, groups))
    return found


def log_batches(name: str, data: bytes) -> Iterator[Batch]:
    """The sound batches of a segment, in order; the store is whatever the first batch says."""
    number = segment_number(name)
    if number is None or len(data) < HEADER.size or not data.startswith(MAGIC):
        return
    store = HEADER.unpack_from(data, 0)[2]
    offset = 0
    while offset < len(data):
        batch = parse(data, offset, store, number)
        if batch is not None and batch.intact:
            yield batch
        offset = batch.end if batch is not None else offset + ALIGN_BYTES
