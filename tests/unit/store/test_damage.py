"""No damage goes unnoticed, none is taken for something else, and none harms more groups than it must.

Each property is tried at every place it can happen in a small log, not at random ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from random import Random

import pytest

from cluster.store.batch import ALIGN_BYTES, HEADER
from cluster.store.memory import Content, MemoryDisk
from cluster.store.recovery import STATE_NAME, DamageKind, Recovery
from cluster.store.wal import Wal

STORE = 0xBEEF
WRITES = [("g", 0), ("h", 0), ("g", 1), ("g", 2), ("h", 1), ("g", 3)]
"""One batch each."""


def open_log(disk: MemoryDisk, incarnation: int, store: int = STORE) -> tuple[Wal, Recovery]:
    return Wal.open(disk.log, store_id=store, incarnation=incarnation, fresh=incarnation == 1)


def body(group: str, slot: int) -> bytes:
    return b"%s-%d" % (group.encode(), slot)


def small_log(*, marked: bool, store: int = STORE, segment_bytes: int = 1 << 20) -> MemoryDisk:
    disk = MemoryDisk()

    async def main() -> None:
        wal, _ = Wal.open(disk.log, store_id=store, incarnation=1, fresh=True, segment_bytes=segment_bytes)
        for group, slot in WRITES:
            wal.append(group, slot, body(group, slot))
            await wal.sync()
        if marked:
            await wal.mark()

    asyncio.run(main())
    return disk


def copy(disk: MemoryDisk) -> MemoryDisk:
    other = MemoryDisk()
    for name, content in disk.log.contents.items():
        other.log.contents[name] = Content(bytearray(content.data), bytearray(content.durable))
    return other


def batches(disk: MemoryDisk) -> Iterator[tuple[str, int]]:
    """(file, offset) of every batch; each is one block in these logs."""
    for name in disk.log.list():
        if name.startswith("wal-0"):
            for offset in range(0, len(disk.log.contents[name].data), ALIGN_BYTES):
                yield name, offset


def patched(disk: MemoryDisk, name: str, data: bytes) -> tuple[Recovery, MemoryDisk]:
    hurt = copy(disk)
    hurt.log.contents[name].replace(data)
    return open_log(hurt, 2)[1], hurt


def kept(recovery: Recovery) -> list[tuple[str, int, bytes | None]]:
    return [(record.group, record.slot, record.body) for record in recovery.records]


ALL = [(group, slot, body(group, slot)) for group, slot in WRITES]


def assert_only_truth(recovery: Recovery) -> None:
    """Nothing that comes back differs from what was written, and whoever lost anything is quarantined."""
    found = kept(recovery)
    assert [entry for entry in ALL if entry in found] == found
    for group, slot, data in ALL:
        if (group, slot, data) not in found:
            assert recovery.quarantined(group), f"{group} lost slot {slot} and may still vote"


def test_every_flipped_byte_of_a_marked_log_is_detected_and_quarantines_who_lost_something() -> None:
    disk = small_log(marked=True)
    for name, content in disk.log.contents.items():
        original = bytes(content.data)
        # Every byte of headers, directories, bodies and the state file; of the padding a sample.
        for offset in range(len(original)):
            if offset % ALIGN_BYTES > HEADER.size + 40 and offset % 97:
                continue
            data = bytearray(original)
            data[offset] ^= 1 << (offset % 8)
            recovery, _ = patched(disk, name, bytes(data))
            assert recovery.damage, f"a flip at {name}:{offset} went unnoticed"
            if name == STATE_NAME:
                assert kept(recovery) == ALL
                assert not recovery.lost_votes
            else:
                assert recovery.lost_votes, f"a flip at {name}:{offset} passed for a torn tail"
            assert_only_truth(recovery)


def test_damaged_bodies_harm_exactly_the_groups_in_that_batch() -> None:
    disk = small_log(marked=True)
    for (name, offset), (group, slot) in zip(batches(disk), WRITES, strict=True):
        data = bytearray(disk.log.contents[name].data)
        data[offset + 200] ^= 0x10
        recovery, _ = patched(disk, name, bytes(data))
        assert [(damage.kind, damage.groups) for damage in recovery.damage] == [(DamageKind.LOST, (group,))]
        other = "h" if group == "g" else "g"
        assert recovery.quarantined(group)
        assert not recovery.quarantined(other)
        assert not recovery.quarantined("unheard-of")
        assert kept(recovery) == [entry for entry in ALL if entry[:2] != (group, slot)]


def test_an_unreadable_batch_quarantines_all_but_those_whose_ordinals_prove_them_whole() -> None:
    disk = small_log(marked=True)
    name, offset = list(batches(disk))[3]  # g's slot 2; h and g both follow
    data = bytearray(disk.log.contents[name].data)
    data[offset : offset + ALIGN_BYTES] = bytes(ALIGN_BYTES)
    recovery, _ = patched(disk, name, bytes(data))
    assert recovery.lost_votes
    assert recovery.quarantined("g"), "its ordinals have a gap"
    assert not recovery.quarantined("h"), "its ordinals go on without a gap"
    assert recovery.quarantined("unheard-of"), "its only records may have been there"


@pytest.mark.parametrize("segment_bytes", [1 << 20, 2 * ALIGN_BYTES])
def test_every_truncation_of_a_marked_log_is_a_loss(segment_bytes: int) -> None:
    disk = small_log(marked=True, segment_bytes=segment_bytes)
    for name in [name for name in disk.log.list() if name != STATE_NAME]:
        original = bytes(disk.log.contents[name].data)
        for size in range(0, len(original), 512):
            recovery, _ = patched(disk, name, original[:size])
            assert recovery.lost_votes, f"{name} cut to {size} bytes"
            assert_only_truth(recovery)


def test_every_missing_file_is_detected() -> None:
    disk = small_log(marked=True, segment_bytes=2 * ALIGN_BYTES)
    assert len(disk.log.list()) > 3
    for name in disk.log.list():
        hurt = copy(disk)
        hurt.log.remove(name)
        recovery = open_log(hurt, 2)[1]
        assert recovery.damage
        assert recovery.lost_votes == (name != STATE_NAME)
        assert_only_truth(recovery)
    empty = MemoryDisk()
    recovery = open_log(empty, 2)[1]
    assert recovery.lost_votes, "a store that ran before cannot rightly have nothing"
    assert recovery.quarantined("g")


def test_every_pair_of_swapped_batches_and_every_copied_batch_is_detected() -> None:
    disk = small_log(marked=True)
    places = list(batches(disk))
    name = places[0][0]
    original = bytes(disk.log.contents[name].data)
    for _, a in places:
        for _, b in places:
            if a == b:
                continue
            block_a, block_b = original[a : a + ALIGN_BYTES], original[b : b + ALIGN_BYTES]
            swapped, copied = bytearray(original), bytearray(original)
            swapped[a : a + ALIGN_BYTES], swapped[b : b + ALIGN_BYTES] = block_b, block_a
            copied[a : a + ALIGN_BYTES] = block_b
            for data in (swapped, copied):
                recovery, _ = patched(disk, name, bytes(data))
                assert recovery.lost_votes
                assert_only_truth(recovery)


def test_a_batch_of_another_store_or_another_life_of_the_file_is_not_believed() -> None:
    disk = small_log(marked=True)
    places = list(batches(disk))
    name = places[0][0]
    original = bytes(disk.log.contents[name].data)
    strangers = [small_log(marked=True, store=STORE + 1)]
    other_life = MemoryDisk()

    async def main() -> None:
        wal, _ = open_log(other_life, 1)
        for n in range(len(WRITES)):
            wal.append("g", n, b"from another history")
            await wal.sync()

    asyncio.run(main())
    strangers.append(other_life)
    for stranger in strangers:
        foreign = bytes(stranger.log.contents[name].data)
        for _, offset in places[:-1]:
            data = bytearray(original)
            data[offset : offset + ALIGN_BYTES] = foreign[offset : offset + ALIGN_BYTES]
            recovery, _ = patched(disk, name, bytes(data))
            assert recovery.lost_votes
            found = [entry for entry in kept(recovery) if not recovery.quarantined(entry[0])]
            assert [entry for entry in ALL if entry in found] == found
            assert all(entry in found or recovery.quarantined(entry[0]) for entry in ALL)
            assert stranger is not other_life or recovery.quarantined("g")


def test_an_unmarked_last_batch_is_a_torn_tail_and_recovery_leaves_no_trace_of_it() -> None:
    disk = small_log(marked=False)
    name, offset = list(batches(disk))[-1]
    original = bytes(disk.log.contents[name].data)
    for at in [*range(offset, offset + HEADER.size + 40), offset + 3000]:
        data = bytearray(original)
        data[at] ^= 1
        recovery, hurt = patched(disk, name, bytes(data))
        assert [damage.kind for damage in recovery.damage] == [DamageKind.TORN]
        assert kept(recovery) == ALL[:-1]
        assert not recovery.quarantined("g")
        again = open_log(hurt, 3)[1]
        assert again.damage == []
        assert kept(again) == ALL[:-1]


def test_a_damaged_batch_before_the_last_is_a_loss_without_any_idle_mark() -> None:
    disk = small_log(marked=False)
    for name, offset in list(batches(disk))[:-1]:
        data = bytearray(disk.log.contents[name].data)
        data[offset + 50] ^= 1
        recovery, _ = patched(disk, name, bytes(data))
        assert recovery.lost_votes
        assert_only_truth(recovery)


async def live_and_lose_power(disk: MemoryDisk, incarnation: int, synced: list[tuple[str, int]], rng: Random) -> None:
    """One life of a log under random writes; ``synced`` is what must be found at its beginning, and grows."""
    fresh = incarnation == 1
    wal, recovery = Wal.open(
        disk.log, store_id=STORE, incarnation=incarnation, fresh=fresh, segment_bytes=8 * ALIGN_BYTES
    )
    assert not recovery.lost_votes
    assert not recovery.quarantined("g0")
    found = [(record.group, record.slot) for record in recovery.records]
    assert [entry for entry in found if entry in set(synced)] == synced
    synced[:] = found
    slot = len(found)
    for _ in range(rng.randrange(12)):
        wrote = []
        for _ in range(rng.randrange(1, 5)):
            group = f"g{rng.randrange(3)}"
            wal.append(group, slot, rng.randbytes(rng.choice((10, 900, 6000))))
            wrote.append((group, slot))
            slot += 1
        if rng.random() < 0.2:
            await wal.mark()
        if rng.random() < 0.1:
            wal._write()  # handed to the operating system, and then the power goes
            return
        await wal.sync()
        synced.extend(wrote)


@pytest.mark.parametrize("seed", range(100))
def test_power_failures_by_sector_never_lose_or_quarantine_anything(seed: int) -> None:
    rng = Random(seed)
    disk = MemoryDisk()
    synced: list[tuple[str, int]] = []
    for incarnation in range(1, 6):
        asyncio.run(live_and_lose_power(disk, incarnation, synced, rng))
        disk.crash(rng)


def test_a_quarantined_group_cannot_append_until_it_begins_anew_and_is_then_sound() -> None:
    disk = small_log(marked=True)
    name, offset = list(batches(disk))[-1]
    data = bytearray(disk.log.contents[name].data)
    data[offset] ^= 1
    disk.log.contents[name].replace(bytes(data))

    async def main() -> None:
        wal, recovery = open_log(disk, 2)
        assert recovery.quarantined("g")
        assert recovery.quarantined("h")
        for group in ("g", "h", "unheard-of"):
            with pytest.raises(ValueError, match="quarantined"):
                wal.append(group, 9, b"x")
        for group in ("g", "new"):
            wal.begin(group)
            wal.append(group, 0, b"learner")
        await wal.sync()
        wal, recovery = open_log(disk, 3)
        assert recovery.lost_votes, "the damage is still there until its segment is trimmed"
        assert not recovery.quarantined("g")
        assert not recovery.quarantined("new")
        assert recovery.quarantined("h")
        assert [r.body for r in recovery.records if r.group == "g"] == [b"learner"]
        wal.restate_with(lambda: [("g", b"state")])
        await wal.sync()
        await wal.trim(lambda group: 1 if group == "g" else None)
        assert open_log(disk, 4)[1].damage == []

    asyncio.run(main())
