"""Group commit, segments and trimming: what the log promises while it runs."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from cluster.node.world import DiskFailed
from cluster.store.batch import HARD_STATE
from cluster.store.memory import MemoryDisk
from cluster.store.recovery import DamageKind, Recovery
from cluster.store.wal import Wal

STORE = 0x1234


class Node:
    """A disk and the incarnations of a log on it."""

    def __init__(self, sync_time: Callable[[], Awaitable[None]] | None = None, segment_bytes: int = 1 << 26) -> None:
        self.disk = MemoryDisk(sync_time=sync_time)
        self.incarnation = 0
        self.segment_bytes = segment_bytes

    def open(self) -> tuple[Wal, Recovery]:
        self.incarnation += 1
        return Wal.open(
            self.disk.log,
            store_id=STORE,
            incarnation=self.incarnation,
            fresh=self.incarnation == 1,
            segment_bytes=self.segment_bytes,
        )


def run(main: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(main, 20))


def bodies(recovery: Recovery) -> list[bytes | None]:
    return [record.body for record in recovery.records]


async def yield_a_few_times() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def until_quiet() -> None:
    for _ in range(300):
        await asyncio.sleep(0)


def test_records_come_back_in_order_after_a_crash() -> None:
    async def main() -> None:
        node = Node()
        wal, recovery = node.open()
        assert recovery.records == []
        assert recovery.damage == []
        wal.append("g1", 0, b"one")
        wal.append("g2", 0, b"two")
        await wal.sync()
        wal.append("g1", 1, b"three")
        await wal.sync()
        wal.append("g1", 2, b"never synced")
        node.disk.crash()
        _, recovery = node.open()
        assert [(r.group, r.slot, r.begins, r.body) for r in recovery.records] == [
            ("g1", 0, True, b"one"),
            ("g2", 0, True, b"two"),
            ("g1", 1, False, b"three"),
        ]
        assert not recovery.quarantined("g1")
        assert recovery.damage == []

    run(main())


def test_what_recovery_finds_after_a_killed_process_survives_a_power_failure_right_after() -> None:
    """A killed process leaves unsynced batches in the cache; whoever reads them may speak of them."""

    async def main() -> None:
        for rng in (None, random.Random(1), random.Random(2)):
            node = Node()
            wal, _ = node.open()
            wal.append("g", 0, b"synced")
            await wal.sync()
            wal.append("g", 1, b"in the cache only")
            wal._write()
            node.disk.life += 1  # the process is gone, the machine is not
            _, recovery = node.open()
            assert bodies(recovery) == [b"synced", b"in the cache only"]
            node.disk.crash(rng)
            _, again = node.open()
            assert bodies(again) == bodies(recovery)
            assert again.damage == []

    run(main())


def test_concurrent_callers_share_one_sync() -> None:
    async def main() -> None:
        node = Node(sync_time=yield_a_few_times)
        wal, _ = node.open()
        before = node.disk.syncs

        async def write(n: int) -> None:
            sequence = wal.append("g", n, b"x" * n)
            await wal.sync()
            assert wal.durable >= sequence

        await asyncio.gather(*(write(n) for n in range(100)))
        assert node.disk.syncs - before <= 2

    run(main())


def test_sync_covers_only_what_was_appended_before_its_fdatasync_began() -> None:
    async def main() -> None:
        gates = [asyncio.Event(), asyncio.Event()]
        waiting = iter(gates)
        node = Node()
        wal, _ = node.open()

        async def slow() -> None:
            await next(waiting).wait()

        node.disk.sync_time = slow
        first = wal.append("g", 0, b"first")
        pilot = asyncio.create_task(wal.sync())
        await asyncio.sleep(0)
        second = wal.append("g", 1, b"second")
        follower = asyncio.create_task(wal.sync())
        await asyncio.sleep(0)
        gates[0].set()
        await pilot
        assert first <= wal.durable < second
        assert not follower.done()
        gates[1].set()
        await follower
        assert wal.durable >= second

    run(main())


@pytest.mark.parametrize("what", ["fail_writes", "fail_syncs"])
def test_a_failed_write_or_sync_kills_the_log_for_ever(what: str) -> None:
    async def main() -> None:
        node = Node(sync_time=yield_a_few_times)
        wal, _ = node.open()
        setattr(node.disk, what, True)
        wal.append("g", 0, b"lost")
        results = await asyncio.gather(*(wal.sync() for _ in range(5)), return_exceptions=True)
        assert all(isinstance(result, DiskFailed) for result in results)
        setattr(node.disk, what, False)
        with pytest.raises(DiskFailed, match="dead"):
            await wal.sync()
        with pytest.raises(DiskFailed, match="dead"):
            wal.append("g", 1, b"no")
        assert wal.failed
        assert wal.durable == 0

    run(main())


def test_cancelling_the_caller_that_flies_strands_nobody() -> None:
    async def main() -> None:
        gate = asyncio.Event()
        node = Node()
        wal, _ = node.open()

        async def slow() -> None:
            await gate.wait()

        node.disk.sync_time = slow
        wal.append("g", 0, b"a")
        pilot = asyncio.create_task(wal.sync())
        await asyncio.sleep(0)
        wal.append("g", 1, b"b")
        followers = [asyncio.create_task(wal.sync()) for _ in range(3)]
        await asyncio.sleep(0)
        pilot.cancel()
        await asyncio.sleep(0)
        followers[0].cancel()  # chosen to fly next, or about to be
        gate.set()
        await asyncio.gather(*followers[1:])
        assert wal.durable == 2
        node.disk.crash()
        _, recovery = node.open()
        assert bodies(recovery) == [b"a", b"b"]

    run(main())


def test_random_cancellations_never_hang_or_lose() -> None:
    async def main() -> None:
        rng = random.Random(7)
        node = Node(sync_time=yield_a_few_times, segment_bytes=3 * 4096)
        wal, _ = node.open()
        acknowledged: list[int] = []

        async def write(n: int) -> None:
            wal.append("g", n, b"%d" % n)
            await wal.sync()
            acknowledged.append(n)

        tasks: list[asyncio.Task[None]] = []
        for n in range(300):
            tasks.append(asyncio.create_task(write(n)))
            if rng.random() < 0.3:
                await asyncio.sleep(0)
            if rng.random() < 0.3:
                rng.choice(tasks).cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        node.disk.crash(rng)
        _, recovery = node.open()
        found = {record.slot for record in recovery.records}
        assert set(acknowledged) <= found
        assert len(acknowledged) > 100
        assert not recovery.lost_votes

    run(main())


def test_segments_roll_restate_and_trim() -> None:
    async def main() -> None:
        node = Node(segment_bytes=3 * 4096)
        wal, _ = node.open()
        states = {"g": b"promise 7", "h": b"promise 9"}
        wal.restate_with(lambda: states.items())
        for slot in range(12):
            wal.append("g", slot, b"x" * 3000)
            await wal.sync()
        wal.append("h", 0, b"old but needed")
        await wal.sync()
        assert len(wal.segments()) > 3
        assert await wal.trim(lambda group: 12 if group == "g" else 0) >= 2
        names = [segment.name for segment in wal.segments()]
        assert [name for name in node.disk.log.list() if name.startswith("wal-0")] == names
        node.disk.crash()
        _, recovery = node.open()
        assert recovery.damage == []
        groups = recovery.by_group()
        assert [r.body for r in groups["h"] if r.slot == 0] == [b"old but needed"]
        for group, state in states.items():
            assert [r.body for r in groups[group] if r.slot == HARD_STATE][-1] == state

    run(main())


def test_trim_keeps_what_is_needed_and_whatever_has_no_durable_restatement() -> None:
    async def main() -> None:
        node = Node(segment_bytes=4096)
        wal, _ = node.open()
        for slot in range(4):
            wal.append("g", slot, b"x")
            await wal.sync()
        assert await wal.trim(lambda _: 100) == 0, "no statement of hard state exists yet"
        wal.restate_with(lambda: [("g", b"state")])
        assert await wal.trim(lambda _: 100) == 0, "the statement is not durable yet"
        await wal.sync()
        assert await wal.trim(lambda _: 2) == 2, "slots 2 and 3 are still needed"
        await wal.trim(lambda _: None)
        assert len(wal.segments()) == 1, "a group that is gone holds nothing"

    run(main())


def test_a_group_that_begins_anew_voids_its_earlier_records() -> None:
    async def main() -> None:
        node = Node()
        wal, _ = node.open()
        wal.append("g", 0, b"old life")
        wal.append("h", 0, b"other")
        wal.begin("g")
        wal.append("g", 0, b"new life")
        await wal.sync()
        _, recovery = node.open()
        assert [(r.group, r.body) for r in recovery.records] == [("h", b"other"), ("g", b"new life")]

    run(main())


def test_names_and_limits_are_checked() -> None:
    async def main() -> None:
        wal, _ = Node().open()
        with pytest.raises(ValueError, match="1 to 255 bytes"):
            wal.append("", 0, b"")
        with pytest.raises(ValueError, match="1 to 255 bytes"):
            wal.append("g" * 256, 0, b"")

    run(main())


def test_marks_follow_a_pause_at_once_and_steady_writing_now_and_then() -> None:
    async def main() -> None:
        node = Node()
        wal, _ = node.open()
        marked_at: list[int] = []
        last = node.disk.log.read_small("wal-state")
        ticks = 0

        async def write() -> None:
            wal.append("g", ticks, b"x")
            await wal.sync()

        async def sleep(_: float) -> None:
            nonlocal ticks
            ticks += 1
            if ticks < 20:
                await write()

        mark = wal.mark

        async def watched() -> None:
            nonlocal last
            await mark()
            state = node.disk.log.read_small("wal-state")
            if state != last:
                marked_at.append(ticks)
                last = state
            if ticks < 20:
                await write()

        wal.mark = watched  # type: ignore[method-assign]
        keeping = asyncio.create_task(wal.keep_marked(sleep))
        await yield_a_few_times()
        assert ticks == 0, "nothing was written, and it looks all the same"
        await write()
        await until_quiet()
        assert marked_at == [8, 16, 20]
        await until_quiet()
        assert ticks == 20, "everything is marked, and it goes on looking"
        await write()
        await until_quiet()
        assert marked_at == [8, 16, 20, 21]
        keeping.cancel()

    run(main())


def test_what_is_synced_while_a_mark_is_written_is_marked_as_well() -> None:
    async def main() -> None:
        node = Node()
        wal, _ = node.open()
        offload = wal._offload

        async def slowly(function: Callable[..., Any], *args: Any) -> Any:
            if wal._appended == 1:
                wal.append("g", 1, b"late")
                await wal.sync()
            return await offload(function, *args)

        wal._offload = slowly
        keeping = asyncio.create_task(wal.keep_marked(asyncio.sleep, 0.0))
        wal.append("g", 0, b"x")
        await wal.sync()
        await until_quiet()
        assert wal._marked == wal._state()
        assert wal._marked.durable == 2
        keeping.cancel()

    run(main())


def test_retained_bytes_is_what_the_files_hold() -> None:
    async def main() -> None:
        node = Node(segment_bytes=8192)
        wal, _ = node.open()
        for slot in range(7):
            wal.append("g", slot, b"x" * 1000)
            await wal.sync()
        wal, _ = node.open()
        wal.append("g", 7, b"x" * 5000)
        await wal.sync()
        contents = node.disk.log.contents
        assert wal.retained_bytes == sum(len(contents[s.name].data) for s in wal.segments()) == 7 * 4096 + 8192

    run(main())


def test_marks_are_written_once_and_survive() -> None:
    async def main() -> None:
        node = Node()
        wal, _ = node.open()
        wal.append("g", 0, b"x")
        await wal.sync()
        before = node.disk.syncs
        await asyncio.gather(wal.mark(), wal.mark())
        await wal.mark()
        assert node.disk.syncs - before == 1
        await wal.close()
        with pytest.raises(DiskFailed, match="closed"):
            await wal.sync()
        name = wal.segments()[-1].name
        node.disk.log.contents[name].replace(b"")
        _, recovery = node.open()
        assert [damage.kind for damage in recovery.damage] == [DamageKind.LOST]

    run(main())


def test_a_statement_larger_than_a_segment_does_not_begin_one_with_every_batch() -> None:
    """While followers or the archive are away a node keeps much log, and states all of it at the head of a segment."""

    async def main() -> None:
        node = Node(segment_bytes=4 * 4096)
        wal, _ = node.open()
        wal.restate_with(lambda: [("g", bytes(16 * 4096))])
        for slot in range(24):
            wal.append("g", slot, bytes(1000))
            await wal.sync()
        # 24 batches of a page each, four of them to a segment beside its statement.
        assert len(wal.segments()) <= 1 + 24 // 3
        _, recovery = node.open()
        assert [r.slot for r in recovery.records if r.slot != HARD_STATE] == list(range(24))

    run(main())
