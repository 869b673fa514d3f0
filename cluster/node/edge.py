"""The HTTP edge of a router: connections, their deadlines, and answers in the order of the requests."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import cast

from cluster.node.pace import until_next_turn
from cluster.node.world import World
from cluster.wire.http import HttpConnection, Request, failure_response

REQUEST_TIMEOUT_S = 10.0
"""How long a request may take to arrive, once it has begun (slow loris)."""

ANSWER_TIMEOUT_S = 30.0
"""How long a request may go without its answer: longer than any operation's own deadlines, less than SDKs wait. Only a
defect of ours, or a node that hardly runs, gets that far; the client is told, so that it need not hang."""

IDLE_TIMEOUT_S = 300.0
EXPIRE_INTERVAL_S = 2.0
"""How often connections are held against these limits."""

PIPELINE_MAX = 64
"""Requests of one connection under way at once; beyond it we stop reading until some are answered."""

CONNECTIONS_MAX = 4096

DRAIN_S = 2.0
DRAIN_BYTES_MAX = 32 * 1024 * 1024
"""How much longer a client is listened to, unheard, whose request was refused before its end."""

Serve = Callable[[Request, Callable[[bytes], None]], None]
"""``serve(request, answer)``: ``answer(response_bytes)`` must be called once, at any later time."""

GiveUp = Callable[[Request], bytes]
"""The answer to a request that got none in :data:`ANSWER_TIMEOUT_S`."""


class Slot:
    """A place in a connection's queue of answers. ``request`` is None where the answer is there already."""

    __slots__ = ("answer", "began_at", "keep_alive", "request")

    def __init__(self, request: Request | None, began_at: float) -> None:
        self.answer: bytes | None = None
        self.request = request
        self.began_at = began_at
        self.keep_alive = request is not None and request.keep_alive


class Connection(asyncio.Protocol):
    """One client connection."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._http = HttpConnection()
        self._queue: deque[Slot] = deque()
        self._transport: asyncio.Transport | None = None
        self._paused = False
        self._choked = False  # the client does not read what it is sent
        self._closing = False
        self._draining = False
        self._drained = 0
        self._buffered = 0
        self._progress_at = 0.0
        self._half_closed = False
        self.active_at = edge.world.now()
        self._began_at = self.active_at

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but ancestry
        if not self._edge.admit(self):
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._edge.forget(self)

    def eof_received(self) -> bool:
        """A half-closed client still gets what it asked for."""
        self._closing = True
        self._half_closed = True
        if self._draining:
            return False
        self._flush()
        return bool(self._queue)

    def pause_writing(self) -> None:
        """The client does not read: nothing more is read from it, so that answers cannot pile up here."""
        self._choked = True
        self._buffered = sys.maxsize
        self._progress_at = self._edge.world.now()
        self._hold()

    def resume_writing(self) -> None:
        self._choked = False
        self._release()

    def _hold(self) -> None:
        if not self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def _release(self) -> None:
        if self._paused and not self._choked and len(self._queue) < PIPELINE_MAX // 2:
            transport = self._transport
            if transport is not None and not transport.is_closing():
                self._paused = False
                transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if self._draining:
            self._drained += len(data)
            if self._drained > DRAIN_BYTES_MAX and self._transport is not None:
                self._transport.abort()
            return
        self.active_at = self._edge.world.now()
        was_mid_request = self._http.mid_request
        requests = self._http.feed(data)
        if requests or not was_mid_request:
            self._began_at = self.active_at
        interim = self._http.take_outgoing()
        if interim and self._transport is not None and not self._queue:
            self._transport.write(interim)
        for request in requests:
            slot = Slot(request, self.active_at)
            self._queue.append(slot)
            self._edge.serve(request, partial(self._answered, slot))
        if self._http.failure is not None:
            slot = Slot(None, self.active_at)
            self._queue.append(slot)
            self._answered(slot, failure_response(self._http.failure))
        if len(self._queue) >= PIPELINE_MAX:
            self._hold()

    def _answered(self, slot: Slot, answer: bytes) -> None:
        if slot.answer is not None:
            return  # it was given up before
        slot.answer = answer
        if self._queue and self._queue[0] is slot:
            self._flush()

    def _flush(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            self._queue.clear()
            return
        while self._queue and self._queue[0].answer is not None:
            slot = self._queue.popleft()
            transport.write(slot.answer or b"")
            if not slot.keep_alive:
                self._queue.clear()
                self._closing = True
        if not self._closing or self._queue:
            self._release()
        elif self._http.failure is not None and not self._half_closed and transport.can_write_eof():
            # What the client is still sending would make the kernel reset the connection and lose our answer.
            transport.write_eof()
            self._draining = True
        else:
            transport.close()

    def _is_deaf(self, now: float) -> bool:
        """Whether nothing of what waits to be sent has gone for long."""
        size = self._transport.get_write_buffer_size() if self._transport is not None else 0
        if size < self._buffered:
            self._buffered, self._progress_at = size, now
        return now - self._progress_at > REQUEST_TIMEOUT_S

    def expire(self, now: float) -> bool:
        """Close a connection whose request does not arrive, or that has been idle for long; answer what nobody did.
        Whether the rest of a request is waited for no more."""
        for slot in list(self._queue):
            if slot.answer is None and slot.request is not None and now - slot.began_at > ANSWER_TIMEOUT_S:
                self._answered(slot, self._edge.give_up(slot.request))
        # A client that sends a byte now and then is never idle: what counts is when its request began.
        stuck = self._http.mid_request and now - self._began_at > REQUEST_TIMEOUT_S
        idle = now - self.active_at > IDLE_TIMEOUT_S
        drained = self._draining and now - self.active_at > DRAIN_S
        deaf = self._choked and self._is_deaf(now)
        if self._transport is not None and (deaf or drained or (not self._queue and (stuck or idle))):
            self._transport.abort()  # a close would wait for what the client does not read
            return stuck
        return False


class Edge:
    """All client connections of a router."""

    def __init__(self, world: World, serve: Serve, give_up: GiveUp) -> None:
        self.world = world
        self.serve = serve
        self.give_up = give_up
        self.refused = 0
        self._connections: dict[int, Connection] = {}

    @property
    def open_connections(self) -> int:
        return len(self._connections)

    async def start(self, port: int) -> None:
        await self.world.listen(port, lambda: Connection(self))
        self.world.spawn(self._expire_forever(), "edge-expire")

    def admit(self, connection: Connection) -> bool:
        if len(self._connections) >= CONNECTIONS_MAX:
            self.refused += 1
            return False
        self._connections[id(connection)] = connection
        return True

    def forget(self, connection: Connection) -> None:
        self._connections.pop(id(connection), None)

    async def _expire_forever(self) -> None:
        while True:
            await until_next_turn(self.world, EXPIRE_INTERVAL_S)
            now = self.world.now()
            cut_off = [connection.expire(now) for connection in list(self._connections.values())].count(True)
            if cut_off:
                self.world.event("requests-cut-off", count=cut_off)
