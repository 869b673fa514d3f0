"""The real files do what the in-memory ones promise: one suite for both, and what only a real disk has."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from cluster.node.world import DiskFailed, LogDirectory, PageFiles
from cluster.store import files as files_module
from cluster.store.btree import Pool, Replica
from cluster.store.files import RealLogDirectory, RealPageFiles
from cluster.store.memory import SECTOR_BYTES, Appended, MemoryDisk
from cluster.store.wal import Wal


async def in_thread(function: Callable[..., Any], *args: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, function, *args)


def log_directory(kind: str, path: Path) -> LogDirectory:
    return RealLogDirectory(path / "log", in_thread) if kind == "real" else MemoryDisk().log


def page_files(kind: str, path: Path) -> PageFiles:
    return RealPageFiles(path / "pages") if kind == "real" else MemoryDisk().pages


def run(main: Awaitable[None]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(main, 20)

    asyncio.run(bounded())


@pytest.mark.parametrize("kind", ["real", "memory"])
def test_log_files(kind: str, tmp_path: Path) -> None:
    async def main() -> None:
        directory = log_directory(kind, tmp_path)
        assert directory.list() == []
        assert directory.read_small("state") is None
        file = directory.create("b")
        with pytest.raises(DiskFailed, match="cannot be created"):
            directory.create("b")
        file.append(b"one")
        file.append(b"two")
        assert file.size == 6
        await file.sync()
        file.close()
        with pytest.raises(DiskFailed):
            file.append(b"x")
        again = directory.open("b")
        assert again.read_all() == b"onetwo"
        again.truncate(4)
        again.append(b"!")
        assert again.read_all() == b"onet!"
        again.append(b"?", 5000)
        assert (again.size, again.read_all()) == (5006, b"onet!?" + bytes(5000))
        directory.write_small("a", b"1")
        directory.write_small("a", b"22")
        assert directory.read_small("a") == b"22"
        assert directory.list() == ["a", "b"]
        directory.remove("b")
        directory.remove("b")
        assert directory.list() == ["a"]
        with pytest.raises(FileNotFoundError):
            directory.open("b")

    run(main())


@pytest.mark.parametrize("kind", ["real", "memory"])
def test_page_files(kind: str, tmp_path: Path) -> None:
    files = page_files(kind, tmp_path)
    with pytest.raises(FileNotFoundError):
        files.open("p", create=False)
    file = files.open("p", create=True)
    file.write(10, b"abc")
    assert file.size() == 13
    assert file.read(0, 100) == bytes(10) + b"abc"
    file.truncate(11)
    assert file.read(5, 100) == bytes(5) + b"a"
    assert file.read(50, 10) == b""
    file.sync()
    file.close()
    with pytest.raises(DiskFailed):
        file.write(0, b"x")
    assert files.exists("p")
    assert files.list() == ["p"]
    files.open("p", create=False).close()
    files.open("q", create=True).write(0, b"the old q")
    files.rename("p", "q")
    assert files.list() == ["q"]
    assert files.open("q", create=False).read(0, 100) == bytes(10) + b"a"
    with pytest.raises(DiskFailed, match="renamed"):
        files.rename("p", "q")
    files.rename("q", "p")
    files.remove("p")
    files.remove("p")
    assert not files.exists("p")


def test_a_failed_fdatasync_is_never_forgiven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(fd: int) -> None:
        raise OSError(5, "Input/output error")

    async def main() -> None:
        directory = RealLogDirectory(tmp_path, in_thread)
        file = directory.create("f")
        file.append(b"x")
        with monkeypatch.context() as patch:
            patch.setattr(files_module.os, "fdatasync", broken)
            with pytest.raises(DiskFailed, match="Input/output error"):
                await file.sync()
        with pytest.raises(DiskFailed):
            await file.sync()
        with pytest.raises(DiskFailed):
            file.append(b"y")
        pages = RealPageFiles(tmp_path / "pages").open("p", create=True)
        with monkeypatch.context() as patch:
            patch.setattr(files_module.os, "fdatasync", broken)
            with pytest.raises(DiskFailed):
                pages.sync()
        with pytest.raises(DiskFailed):
            pages.sync()

    run(main())


def test_blocks_the_disk_cannot_read_come_back_as_zeros(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = RealLogDirectory(tmp_path, in_thread)
    file = directory.create("f")
    file.append(b"x" * 10_000)
    pread = os.pread

    def bad_sector(fd: int, length: int, offset: int) -> bytes:
        if offset < 4096 + 1 and offset + length > 4096:
            raise OSError(5, "Input/output error")
        return pread(fd, length, offset)

    monkeypatch.setattr(files_module.os, "pread", bad_sector)
    assert file.read_all() == b"x" * 4096 + bytes(4096) + b"x" * (10_000 - 8192)
    assert file.read(4096, 8192) == bytes(4096) + b"x" * (10_000 - 8192)


@pytest.mark.parametrize("taken", [0, 1, 3, 5])
def test_a_write_that_the_kernel_takes_a_part_of_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    monkeypatch.setattr(files_module.os, "writev", lambda fd, parts: os.write(fd, b"".join(parts)[:taken]))
    file = RealLogDirectory(tmp_path, in_thread).create("a")
    file.append(b"abc", 3)
    file.append(b"d")
    assert (file.size, file.read_all()) == (7, b"abc" + bytes(3) + b"d")


def test_zeros_tear_with_the_bytes_before_them() -> None:
    def torn(data: bytes, zeros: int) -> bytes:
        disk = MemoryDisk()
        file = disk.log.create("a")
        file.append(bytes(range(256)) * 4)
        file.append(data, zeros)
        disk.crash(Random(1))
        return disk.log.open("a").read_all()

    assert torn(b"x" * 600, 3000) == torn(b"x" * 600 + bytes(3000), 0)


def test_pieces_read_as_the_bytes_they_are() -> None:
    rng = Random(1)
    for pieces in range(8):
        appended, whole = Appended(), b""
        for _ in range(pieces):
            appended.append(piece := rng.randbytes(rng.choice((0, 1, 5))), zeros := rng.choice((0, 0, 3)))
            whole += piece + bytes(zeros)
        assert (appended.size, appended.read_all()) == (len(whole), whole)
        for offset in range(len(whole) + 2):
            for length in range(len(whole) + 2):
                assert appended.read(offset, length) == whole[offset : offset + length]


def test_an_aside_left_by_a_crash_is_gone_and_never_listed(tmp_path: Path) -> None:
    (tmp_path / "state.new").write_bytes(b"half")
    directory = RealLogDirectory(tmp_path, in_thread)
    assert directory.list() == []
    assert not (tmp_path / "state.new").exists()


def test_the_engine_runs_on_real_files(tmp_path: Path) -> None:
    async def main() -> None:
        directory = RealLogDirectory(tmp_path / "log", in_thread)
        wal, _ = Wal.open(directory, store_id=1, incarnation=1, fresh=True, offload=in_thread, segment_bytes=8192)

        async def write(n: int) -> None:
            wal.append(f"g{n % 3}", n, b"%d" % n * 300)
            await wal.sync()

        for start in range(0, 60, 20):
            await asyncio.gather(*(write(start + n) for n in range(20)))
        wal.restate_with(lambda: [("g0", b"state")])
        await wal.close()
        _, recovery = Wal.open(directory, store_id=1, incarnation=2, fresh=False, offload=in_thread)
        assert recovery.damage == []
        assert sorted(record.slot for record in recovery.records if record.slot >= 0) == list(range(60))

    run(main())
    files = RealPageFiles(tmp_path / "pages")
    pool = Pool(files)
    replica = Replica.open(pool, "g")
    rows = [(b"%05d" % n, b"v" * 900) for n in range(500)]
    replica.apply(1, rows)
    assert replica.checkpoint() == 1
    assert replica.scrub() == []
    pool.close()
    pool = Pool(files)
    replica = Replica.open(pool, "g")
    assert (replica.position, replica.scan()) == (1, rows)
    other = Replica.beside(pool, "g")
    other.apply(2, rows[:3])
    assert other.replace(replica).scan() == rows[:3]
    pool.close()
    assert files.list() == ["g.db", "g.db-wal", "g.label"]
    pool = Pool(files)
    replica = Replica.open(pool, "g")
    assert (replica.position, replica.scan()) == (2, rows[:3])
    pool.close()


def test_a_crash_in_memory_keeps_what_was_synced_and_any_sectors_of_the_rest() -> None:
    outcomes = set()
    for seed in range(40):
        disk = MemoryDisk()
        file = disk.pages.open("p", create=True)
        file.write(0, b"a" * 2 * SECTOR_BYTES)
        file.sync()
        file.write(0, b"b" * 2 * SECTOR_BYTES)
        disk.crash(Random(seed))
        with pytest.raises(DiskFailed, match="lost power"):
            file.read(0, 1)
        data = disk.pages.open("p", create=False).read(0, 2 * SECTOR_BYTES)
        assert len(data) == 2 * SECTOR_BYTES
        outcomes.add((data[:SECTOR_BYTES], data[SECTOR_BYTES:]))
    sectors = (b"a" * SECTOR_BYTES, b"b" * SECTOR_BYTES)
    assert outcomes == {(one, two) for one in sectors for two in sectors}
