"""An asyncio event loop on virtual time.

Time stands still while callbacks run and jumps to the next timer when none is left. Callbacks that are due at the same
instant run in the order in which they were scheduled. There is no selector, no thread and no signal; when nothing is
left that could ever run, :class:`Stalled` is raised instead of waiting for ever.

Every callback belongs to the :class:`Life` of a node, or to the harness. Whose it is travels in a context variable,
and asyncio carries contexts from a task to everything it starts, so that ending a life stops all of it, wherever in
asyncio's machinery it waits.
"""

from __future__ import annotations

import asyncio
import contextvars
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from heapq import heappop, heappush
from typing import Any, Final, NoReturn, TypeVar

import msgspec

from cluster.sim.timers import Timers

T = TypeVar("T")

CALLBACKS_PER_INSTANT_MAX: Final = 300_000
INSTANT_S: Final = 1e-6
"""More callbacks than that without more time than this passing is taken for an endless loop."""
_PRUNE_MIN: Final = 64


class Stalled(Exception):
    """What is waited for can never happen: no callback is ready and no timer is set."""


class Livelock(Exception):
    """Callbacks go on for ever at one instant of virtual time."""


class NodeEnded(BaseException):
    """Unwinds the code of a node whose life is over. Not an ``Exception``, so that drivers do not catch it."""


class Life:
    """One life of a node, from start to crash. Its callbacks run while it is neither over nor paused."""

    __slots__ = ("_tasks", "_tasks_max", "backlog", "context", "halted", "over", "owner")

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.over = False
        self.halted = False
        """Over or paused: callbacks are not to run now."""
        self.backlog: list[SimHandle] = []
        self._tasks: list[asyncio.Task[Any]] = []
        self._tasks_max = _PRUNE_MIN
        self.context = contextvars.copy_context()
        self.context.run(_life.set, self)

    def adopt(self, task: asyncio.Task[Any]) -> None:
        """Remember a task of this life, to be ended with it."""
        self._tasks.append(task)
        if len(self._tasks) > self._tasks_max:
            self._tasks = [t for t in self._tasks if not t.done()]
            self._tasks_max = 2 * len(self._tasks) + _PRUNE_MIN

    def pause(self) -> None:
        if not self.over:
            self.halted = True

    def end(self) -> None:
        """No callback of this life runs from now on."""
        self.over = True
        self.halted = True
        self.backlog.clear()

    def close_tasks(self) -> None:
        """Throw away the coroutines, oldest first, here and not when the garbage collector comes by.

        Their ``finally`` blocks do run, against a World that refuses everything.
        """
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            if task.done():
                continue
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            coroutine = task.get_coro()
            try:
                self.context.copy().run(coroutine.close)
            except (Exception, NodeEnded):  # what a dead node's clean-up raises is nobody's concern
                continue


_life: contextvars.ContextVar[Life | None] = contextvars.ContextVar("simulated_life", default=None)


class SimHandle(msgspec.Struct, eq=False):
    """A scheduled callback; quacks like ``asyncio.TimerHandle``. A struct, since those are made without a call."""

    call: tuple[Any, ...]
    """The callback and its arguments; empty once it is cancelled."""
    context: contextvars.Context
    life: Life | None
    _when: float

    def cancel(self) -> None:
        self.call = ()

    def cancelled(self) -> bool:
        return not self.call

    def when(self) -> float:
        return self._when


class Nap:
    """What a task waits for that only lets time pass: as much of a future as a task asks for. The timer wakes the task
    itself, where it would end a future, which would have the task woken."""

    __slots__ = ("_asyncio_future_blocking", "_cancelled", "_handle", "_loop", "_when")

    def __init__(self, loop: SimLoop, when: float) -> None:
        self._loop = loop
        self._when = when
        self._cancelled = False
        self._handle: SimHandle | None = None

    def __await__(self) -> Generator[Any, None, None]:
        self._asyncio_future_blocking = True
        yield self
        if self._cancelled:
            raise asyncio.CancelledError

    def get_loop(self) -> SimLoop:
        return self._loop

    def add_done_callback(self, wake: Callable[[Nap], None], *, context: contextvars.Context) -> None:
        self._handle = self._loop.post(self._when, (wake, self), context)

    def result(self) -> None:
        self._handle = None  # which holds this nap, and both would wait for the garbage collector
        if self._cancelled:
            raise asyncio.CancelledError

    def cancel(self, msg: Any = None) -> bool:
        """The task that waits is cancelled: it goes on at once, by an exception."""
        handle = self._handle
        if handle is None or not handle.call or self._cancelled:
            return False
        self._cancelled = True
        self._loop.call_soon(*handle.call, context=handle.context)
        handle.cancel()
        return True


class SimLoop(asyncio.AbstractEventLoop):
    """See the module. Only what pure asyncio code needs is there; the rest raises ``NotImplementedError``."""

    def __init__(self) -> None:
        self.now_s = 0.0
        """:meth:`time`, without the call."""
        self.harness = contextvars.Context()
        """For callbacks that belong to no node: what is under way in the network outlives its sender."""
        self._sequence = 0
        self._ready: deque[SimHandle] = deque()
        self._timers: Timers[SimHandle] = Timers(_is_dead)
        self._running = False
        self._closed = False
        self._stop = False
        self.watchers: list[Callable[[], None]] = []
        """Called whenever time is about to pass: checkers that look inside and raise."""
        self._instant = 0.0
        self._callbacks_max = CALLBACKS_PER_INSTANT_MAX
        self.callbacks = 0
        """Callbacks run so far."""
        self.on_error: Callable[[Life | None, BaseException], None] = self._raise
        """What to do with an exception that escapes a callback."""

    @staticmethod
    def _raise(life: Life | None, error: BaseException) -> None:
        raise error

    def time(self) -> float:
        """True simulated time in seconds since the beginning. Nodes have clocks of their own, which drift from it."""
        return self.now_s

    def call_soon(  # type: ignore[override]
        self, *call: Any, context: contextvars.Context | None = None
    ) -> SimHandle:
        if context is None:
            context = contextvars.copy_context()
        handle = SimHandle(call, context, context.get(_life), self.now_s)
        self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, *call: Any, context: contextvars.Context | None = None
    ) -> SimHandle:
        when = self.now_s + max(0.0, delay)
        return self.post(when, call, context if context is not None else contextvars.copy_context())

    def call_at(  # type: ignore[override]
        self, when: float, *call: Any, context: contextvars.Context | None = None
    ) -> SimHandle:
        if when < self.now_s:
            when = self.now_s
        return self.post(when, call, context if context is not None else contextvars.copy_context())

    def post(self, when: float, call: tuple[Any, ...], context: contextvars.Context) -> SimHandle:
        """:meth:`call_at` for what is called for every message: no time before now, nothing optional."""
        handle = SimHandle(call, context, None if context is self.harness else context.get(_life), when)
        self._sequence = sequence = self._sequence + 1
        timers = self._timers
        if when < timers.until:
            heappush(timers.near, (when, sequence, handle))
        else:
            timers.put_later((when, sequence, handle))
        return handle

    def post_again(self, when: float, handle: SimHandle) -> None:
        """Call once more what was just called, at a later time."""
        handle._when = when
        self._sequence += 1
        self._timers.put((when, self._sequence, handle))

    def soon(self, call: tuple[Any, ...], life: Life) -> None:
        """:meth:`call_soon` into a node, for what is called with every turn of it."""
        self._ready.append(SimHandle(call, life.context, life, self.now_s))

    def after(self, seconds: float) -> Nap:
        """To be awaited at once, by a task, which goes on so much later: ``asyncio.sleep`` in one callback."""
        return Nap(self, self.now_s + seconds)

    def hold_back(self, life: Life, *call: Any) -> None:
        """Something of a node's that falls due while its life is halted: it runs when a paused node goes on."""
        if not life.over:
            life.backlog.append(SimHandle(call, life.context, life, self.now_s))

    def run(self, until: float, done: Callable[[], bool] | None = None, *, idle: bool = False) -> bool:
        """Run until ``done`` (looked at whenever time is about to pass), until the time is reached, or :meth:`stop`.

        Returns whether ``done`` came true. Raises :class:`Stalled` where nothing can ever run again before either,
        unless ``idle`` says that time may pass over a simulation in which nothing happens.
        """
        if self._running:
            raise RuntimeError("the simulation is already running; await inside it instead")
        self._running = True
        events._set_running_loop(self)
        try:
            return self._run(until, done, idle)
        finally:
            events._set_running_loop(None)
            self._running = False
            self._stop = False

    def _run(self, until: float, done: Callable[[], bool] | None, idle: bool) -> bool:
        ready, timers, near, watchers = self._ready, self._timers, self._timers.near, self.watchers
        while True:
            if ready:
                handle = ready.popleft()
            else:  # time is about to pass
                if self._stop:
                    return False
                for watcher in watchers:
                    watcher()
                if done is not None and done():
                    return True
                while near or timers.advance():
                    when, _, handle = near[0]
                    life = handle.life
                    if handle.call and (life is None or not life.over):
                        break
                    heappop(near)
                else:
                    if not idle:
                        raise Stalled(
                            f"nothing can ever run after {self.now_s:.6f} s, and what is waited for is not there"
                        )
                    self.now_s = until
                    return False
                if when > until:
                    self.now_s = until
                    timers.retreat(until)
                    return False
                self.now_s = when
                if when - self._instant > INSTANT_S:
                    self._instant = when
                    self._callbacks_max = self.callbacks + CALLBACKS_PER_INSTANT_MAX
                heappop(near)
                while near and near[0][0] == when:
                    ready.append(heappop(near)[2])
            call = handle.call
            if not call:
                continue
            life = handle.life
            if life is not None and life.halted:
                if not life.over:
                    life.backlog.append(handle)
                continue
            self.callbacks = callbacks = self.callbacks + 1
            if callbacks > self._callbacks_max:
                raise Livelock(f"over {CALLBACKS_PER_INSTANT_MAX} callbacks at {self.now_s:.6f} s; last: {call[0]!r}")
            try:
                handle.context.run(*call)
            except NodeEnded:
                continue
            except Exception as error:
                self.on_error(life, error)

    def resume(self, life: Life) -> None:
        """Let a paused life go on with everything that fell due meanwhile."""
        if life.over or not life.halted:
            return
        life.halted = False
        self._ready.extend(life.backlog)
        life.backlog.clear()

    def run_until_complete(self, future: Any) -> Any:
        """Run the harness's coroutine or future to its end and return its result."""
        task = asyncio.ensure_future(future, loop=self)
        self.run(float("inf"), task.done)
        return task.result()

    def run_forever(self) -> None:
        self.run(float("inf"))

    def stop(self) -> None:
        """Let no time pass any more: the run that goes on ends, or else the next one, once nothing is ready."""
        self._stop = True

    def is_running(self) -> bool:
        return self._running

    def is_closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        """Forget everything that was scheduled."""
        self._closed = True
        self._ready.clear()
        self._timers.clear()

    async def shutdown_asyncgens(self) -> None:
        return None

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[T]:
        task: asyncio.Task[T] = asyncio.Task(coro, loop=self, name=name, context=context)
        life = context.get(_life) if context is not None else _life.get()
        if life is not None:
            life.adopt(task)
        return task

    def call_soon_threadsafe(self, callback: Callable[..., Any], *args: Any, context: Any = None) -> NoReturn:  # type: ignore[override]
        raise NotImplementedError("there are no threads in a simulation: use World.offload")

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> NoReturn:  # type: ignore[override]
        raise NotImplementedError("there are no threads in a simulation: use World.offload")

    def get_debug(self) -> bool:
        return False

    def set_debug(self, enabled: bool) -> None:
        return None

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        return None

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Called by asyncio from destructors, whenever the garbage collector pleases: it must not influence anything.

        Exceptions of tasks that matter reach :attr:`on_error` through ``World.spawn``.
        """


def finish(future: asyncio.Future[None]) -> None:
    """End somebody's waiting, unless it has ended already."""
    if not future.done():
        future.set_result(None)


def _is_dead(handle: SimHandle) -> bool:
    """Whether it will never run: it was cancelled, or whose it is has ended."""
    life = handle.life
    return not handle.call or (life is not None and life.over)
