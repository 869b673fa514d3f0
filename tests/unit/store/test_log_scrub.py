"""A log that rots while its writer lives: found by reading it anew, mended by stating everything again elsewhere."""

from __future__ import annotations

import asyncio

import pytest
from test_wal import Node, bodies

from cluster.store.batch import HARD_STATE
from cluster.store.memory import MemoryLogFile
from cluster.store.recovery import STRETCH_BYTES, segment_number
from cluster.store.wal import Wal


def segment_names(node: Node) -> list[str]:
    return [name for name in node.disk.log.list() if segment_number(name) is not None]


async def written(node: Node) -> Wal:
    wal, _ = node.open()
    wal.restate_with(lambda: [("g", b"all of g")])
    for slot in range(6):
        wal.append("g", slot, b"entry %d " % slot * 300)
        await wal.sync()
    return wal


async def examined(wal: Wal) -> list[tuple[int, str]]:
    return [place for segment in wal.segments() for place in await wal.examine(segment)]


def test_a_sound_log_is_found_sound_also_while_it_is_written() -> None:
    async def main() -> None:
        node = Node()
        wal = await written(node)
        wal.append("g", 6, b"not written yet")
        assert await examined(wal) == []

    asyncio.run(main())


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_any_flipped_byte_is_found(share: float) -> None:
    async def main() -> None:
        node = Node()
        wal = await written(node)
        data = node.disk.log.contents[segment_names(node)[0]].data
        at = min(round(share * len(data)), len(data) - 1)
        data[at] ^= 4
        ((offset, why),) = await examined(wal)
        assert offset <= at < offset + 8192
        assert why

    asyncio.run(main())


@pytest.mark.parametrize("share", [0.3, 0.5, 0.99])
def test_a_batch_longer_than_what_is_read_at_a_time_is_found_sound_or_not(share: float) -> None:
    async def main() -> None:
        node = Node()
        wal = await written(node)
        for slot in range(6, 9):
            wal.append("g", slot, b"long" * STRETCH_BYTES)
            await wal.sync()
        assert await examined(wal) == []
        data = node.disk.log.contents[segment_names(node)[0]].data
        at = round(share * len(data))
        data[at] ^= 4
        ((offset, _),) = await examined(wal)
        assert offset <= at < offset + 5 * STRETCH_BYTES

    asyncio.run(main())


def test_what_was_not_sound_once_is_told_even_where_it_reads_right_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        wal = await written(Node())
        monkeypatch.setattr(MemoryLogFile, "read", lambda file, offset, length: bytes(length))
        ((offset, why),) = await examined(wal)
        assert offset == 0
        assert "read first" in why

    asyncio.run(main())


def test_a_file_that_ends_early_is_found() -> None:
    async def main() -> None:
        node = Node()
        wal = await written(node)
        data = node.disk.log.contents[segment_names(node)[0]].data
        del data[-4096:]
        found = await examined(wal)
        assert "ends 4096 bytes early" in found[0][1]

    asyncio.run(main())


def test_renewing_leaves_a_log_that_recovers_to_what_was_in_memory() -> None:
    async def main() -> None:
        node = Node()
        wal = await written(node)
        old = segment_names(node)
        node.disk.log.contents[old[0]].data[5000] ^= 1
        node.disk.log.contents[old[0]].durable[5000] ^= 1
        assert await wal.renew() == len(old)
        assert not set(old) & set(segment_names(node))
        assert await examined(wal) == []
        wal.append("g", 7, b"after")
        await wal.sync()
        await wal.mark()
        node.disk.crash()
        _, recovery = node.open()
        assert not recovery.quarantined("g"), "no vote was lost"
        assert bodies(recovery) == [b"all of g", b"after"]
        assert recovery.records[0].slot == HARD_STATE

    asyncio.run(main())


def test_renewing_waits_for_its_turn_among_those_who_sync() -> None:
    async def main() -> None:
        async def slowly() -> None:
            await asyncio.sleep(0.001)

        node = Node(sync_time=slowly)
        wal = await written(node)

        async def write(slot: int) -> None:
            for n in range(20):
                wal.append("g", slot * 100 + n, b"x")
                await wal.sync()

        writers = [asyncio.ensure_future(write(slot)) for slot in range(1, 4)]
        await asyncio.sleep(0.005)
        assert await wal.renew() >= 1
        for writer in writers:
            await writer
        assert await examined(wal) == []
        assert not wal.failed

    asyncio.run(main())
