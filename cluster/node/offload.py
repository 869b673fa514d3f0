"""Threads for work that blocks, with as little between them and the event loop as can be.

asyncio's own executors chain two futures and their callbacks for every call; here a call is one queue entry out and one
callback back. A log sync is paid for on every commit, so what surrounds it counts.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any

Job = tuple[asyncio.Future[Any], Callable[..., Any], tuple[Any, ...]]


class OffloadThreads:
    """At most ``threads_max`` threads, started as they are needed. Used from the event loop's thread only.

    Each thread has a queue of its own, and the one that was busy last is busy next: threads that share a queue wake
    each other up for nothing.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, threads_max: int) -> None:
        self._loop = loop
        self._threads_max = threads_max
        self._threads = 0
        self._idle: list[SimpleQueue[Job | None]] = []
        self._waiting: deque[Job] = deque()
        self._stopped = False

    def run(self, function: Callable[..., Any], args: tuple[Any, ...]) -> asyncio.Future[Any]:
        """Call ``function(*args)`` in a thread. Cancelling the future forgets the result; the call itself goes on."""
        future: asyncio.Future[Any] = self._loop.create_future()
        job = (future, function, args)
        if self._idle:
            self._idle.pop().put(job)
        elif self._threads < self._threads_max:
            self._threads += 1
            jobs: SimpleQueue[Job | None] = SimpleQueue()
            jobs.put(job)
            # Daemons: a process that has to end does not wait for a disk.
            Thread(target=self._work, args=(jobs,), name=f"offload-{self._threads}", daemon=True).start()
        else:
            self._waiting.append(job)
        return future

    def stop(self) -> None:
        """Drop what has not begun and let the threads end."""
        self._stopped = True
        self._waiting.clear()
        while self._idle:
            self._idle.pop().put(None)

    def _work(self, jobs: SimpleQueue[Job | None]) -> None:
        while (job := jobs.get()) is not None:
            future, function, args = job
            result, error = None, None
            try:
                result = function(*args)
            except BaseException as raised:
                error = raised
            try:
                self._loop.call_soon_threadsafe(self._settle, jobs, future, result, error)
            except RuntimeError:
                return  # the loop is closed: nobody waits any more
            del job, future, function, args, result, error  # an idle thread keeps nothing alive

    def _settle(
        self, jobs: SimpleQueue[Job | None], future: asyncio.Future[Any], result: Any, error: BaseException | None
    ) -> None:
        if self._waiting:
            jobs.put(self._waiting.popleft())
        elif self._stopped:
            jobs.put(None)
        else:
            self._idle.append(jobs)
        if future.done():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
