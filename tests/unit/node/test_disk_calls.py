"""Syncs through the kernel's asynchronous I/O, and threads for what blocks."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Callable, Coroutine, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import pytest

from cluster.node.kernelsync import IN_FLIGHT_MAX, KernelSync
from cluster.node.offload import OffloadThreads
from cluster.node.world import DiskFailed
from cluster.store.files import RealLogDirectory


def on_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test on an event loop of its own."""

    @wraps(test)
    def run(**fixtures: Any) -> None:
        asyncio.run(test(**fixtures))

    return run


async def no_thread(function: Any, *args: Any) -> Any:
    raise AssertionError(f"{function} was sent to a thread")


async def inline(function: Any, *args: Any) -> Any:
    return function(*args)


async def kernel() -> KernelSync:
    sync = KernelSync.open(asyncio.get_running_loop())
    if sync is None:
        pytest.skip("this kernel, or a filter of its calls, offers no asynchronous I/O")
    return sync


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    os.write(fd, b"x" * 4096)
    yield fd
    os.close(fd)


@on_loop
async def test_syncs_end_each_once_and_as_many_as_are_allowed(descriptor: int) -> None:
    sync = await kernel()
    ended: asyncio.Queue[OSError | None] = asyncio.Queue()
    begun = [sync.begin(descriptor, ended.put_nowait) for _ in range(IN_FLIGHT_MAX + 1)]
    assert begun == [True] * IN_FLIGHT_MAX + [False]
    for _ in range(IN_FLIGHT_MAX):
        assert await asyncio.wait_for(ended.get(), 10) is None
    assert ended.empty()
    assert sync.begin(descriptor, ended.put_nowait)
    assert await asyncio.wait_for(ended.get(), 10) is None
    sync.close()


@on_loop
async def test_what_cannot_be_synced_is_not_begun() -> None:
    sync = await kernel()
    reader, writer = os.pipe()
    ended: list[OSError | None] = []
    assert not sync.begin(writer, ended.append)
    os.close(reader)
    os.close(writer)
    assert not sync.begin(writer, ended.append)
    assert ended == []
    sync.close()


@on_loop
async def test_a_failed_sync_kills_the_log_file_even_if_its_caller_is_gone(tmp_path: Path) -> None:
    begun: list[Any] = []

    def begin(fd: int, done: Any) -> bool:
        begun.append(done)
        return True

    file = RealLogDirectory(tmp_path, inline, begin).create("a")
    file.append(b"record")
    caller = asyncio.ensure_future(file.sync())
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    begun[0](OSError(errno.EIO, "I/O error"))
    with pytest.raises(DiskFailed):
        file.append(b"more")
    with pytest.raises(DiskFailed):
        await file.sync()
    assert len(begun) == 1, "a failed sync was tried again"


@on_loop
async def test_the_kernels_error_numbers_are_told(descriptor: int) -> None:
    sync = await kernel()
    ended: list[OSError | None] = []
    sync._under_way[77] = ended.append
    sync.ended(77, -errno.EIO)
    assert ended[0] is not None
    assert ended[0].errno == errno.EIO
    sync.close()


@on_loop
async def test_log_files_sync_without_a_thread_where_the_kernel_helps(tmp_path: Path) -> None:
    sync = await kernel()
    file = RealLogDirectory(tmp_path, no_thread, sync.begin).create("a")
    file.append(b"record")
    await asyncio.wait_for(file.sync(), 10)
    sync.close()


@on_loop
async def test_and_with_one_where_it_does_not(tmp_path: Path) -> None:
    file = RealLogDirectory(tmp_path, inline, lambda fd, done: False).create("a")
    file.append(b"record")
    await file.sync()


@on_loop
async def test_threads_return_results_and_errors_and_are_used_again() -> None:
    threads = OffloadThreads(asyncio.get_running_loop(), 2)
    seen = [await threads.run(threading.get_ident, ()) for _ in range(5)]
    assert len(set(seen)) == 1
    assert seen[0] != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        await threads.run(divmod, (1, 0))
    threads.stop()


@on_loop
async def test_calls_beyond_the_threads_wait_their_turn() -> None:
    threads = OffloadThreads(asyncio.get_running_loop(), 2)
    gate = threading.Event()
    held = [threads.run(gate.wait, (10,)) for _ in range(2)]
    later = [threads.run(lambda n: n, (n,)) for n in range(5)]
    await asyncio.sleep(0.01)
    assert not any(future.done() for future in later)
    held[0].cancel()  # the call goes on; only its result is forgotten
    gate.set()
    assert [await future for future in later] == [0, 1, 2, 3, 4]
    assert await held[1] is True
    threads.stop()
