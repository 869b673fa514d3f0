"""Messages between nodes over TCP: one outgoing connection to each peer, an inbound one from each.

A link carries messages one way only, so that a one-way cut is one-way here as well; answers travel on the answerer's
own link. The exception is a controller (name ``controller:<random>``): it listens nowhere, so it is answered on the
connection it opened.

Nothing here waits for a peer. A queue holds what a slow or absent peer has not taken; over its bound, or over its age
while there is no connection, the oldest message is dropped: every protocol above resends what matters, and what is
newest is worth most. Messages of one turn of the event loop leave in one write.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol, cast

from cluster.node.world import Handle, MessageHandler
from cluster.wire.frames import (
    HANDSHAKE_BYTES_MAX,
    MESSAGE,
    Frame,
    FrameError,
    FrameReader,
    Handshake,
    HandshakeError,
    Identity,
    encode_header,
)

CONTROLLER_PREFIX: Final = "controller:"
QUEUE_MESSAGES_MAX: Final = 8192
QUEUE_BYTES_MAX: Final = 64 * 1024 * 1024
WRITE_BUFFER_BYTES_MAX: Final = 1024 * 1024
BACKOFF_MIN_S: Final = 0.05
BACKOFF_MAX_S: Final = 0.5
CONNECTIONS_MAX: Final = 1024
"""Connections open at once; more are closed, so that a flood of strangers costs no more than this."""


@dataclass(frozen=True, slots=True)
class PeerOptions:
    """Times in seconds. The defaults suit one region and leases of one to two seconds."""

    connect_timeout_s: float = 0.5
    handshake_timeout_s: float = 5.0
    silence_timeout_s: float = 1.5
    """Unacknowledged data for this long ends a connection (TCP_USER_TIMEOUT): after a cut, TCP's own backoff would keep
    the link silent long after the network is well again."""
    queue_age_s: float = 1.0
    """How old a message may be when a connection finally opens. What is older has been given up on by its sender."""


@dataclass(slots=True)
class PeerCounters:
    """Totals since the node started."""

    sent: int = 0
    received: int = 0
    dropped: int = 0
    """Messages given up: queue full, too old, peer unknown or connection lost before they were written."""
    connects: int = 0
    refused: int = 0
    """Connections closed for garbage, a failed handshake or a broken frame."""
    last_refusal: str = ""


class Hub(Protocol):
    """What links need of the network they belong to."""

    loop: asyncio.AbstractEventLoop
    me: Identity
    key: bytes
    options: PeerOptions
    counters: PeerCounters

    def jitter(self) -> float:
        """A number in [0, 1)."""
        ...

    def deliver(self, sender: str, payload: bytes) -> None: ...

    def register(self, connection: PeerConnection) -> None: ...

    def unregister(self, connection: PeerConnection) -> None: ...


def tune_socket(sock: socket.socket, silence_timeout_s: float) -> None:
    """Send at once, and notice a dead peer soon, both with data under way and with none."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(silence_timeout_s * 1000))


class SendQueue:
    """Frames waiting for a transport, bounded; the oldest go first when it is full."""

    __slots__ = ("_bytes", "_counters", "_frames", "_loop", "_scheduled", "_transport", "paused")

    def __init__(self, loop: asyncio.AbstractEventLoop, counters: PeerCounters) -> None:
        self._loop = loop
        self._counters = counters
        self._frames: deque[tuple[bytes, bytes, float]] = deque()
        self._bytes = 0
        self._scheduled = False
        self._transport: asyncio.Transport | None = None
        self.paused = False

    def put(self, payload: bytes) -> None:
        """Queue a message; it leaves when this turn of the event loop is over, if there is a connection."""
        transport = self._transport
        # The age matters only while nothing can leave; the clock is not read for a message that leaves at once.
        since = 0.0 if transport is not None else self._loop.time()
        self._frames.append((encode_header(MESSAGE, payload), payload, since))
        self._bytes += len(payload)
        while (self._bytes > QUEUE_BYTES_MAX or len(self._frames) > QUEUE_MESSAGES_MAX) and len(self._frames) > 1:
            self._drop_oldest()
        if transport is not None and not self._scheduled and not self.paused:
            self._scheduled = True
            self._loop.call_soon(self.flush)

    def _drop_oldest(self) -> None:
        _, payload, _ = self._frames.popleft()
        self._bytes -= len(payload)
        self._counters.dropped += 1

    def attach(self, transport: asyncio.Transport, age_max_s: float) -> None:
        """A connection is there: send what is young enough."""
        self.drop_older(age_max_s)
        self._transport = transport
        self.paused = False
        self.flush()

    def drop_older(self, age_max_s: float) -> None:
        """Give up on messages that have waited for a connection longer than this."""
        oldest = self._loop.time() - age_max_s
        while self._frames and self._frames[0][2] < oldest:
            self._drop_oldest()

    def __len__(self) -> int:
        return len(self._frames)

    def detach(self, transport: asyncio.Transport | None) -> None:
        """The connection is gone. What it had not taken waits from now on, as if just sent."""
        if transport is not self._transport:
            return
        self._transport = None
        self.paused = False
        now = self._loop.time()
        self._frames = deque((header, payload, now) for header, payload, _ in self._frames)

    def resume(self) -> None:
        self.paused = False
        self.flush()

    def flush(self) -> None:
        self._scheduled = False
        transport = self._transport
        if transport is None or self.paused or not self._frames:
            return
        frames, self._frames = self._frames, deque()
        self._bytes = 0
        parts: list[bytes] = []
        for header, payload, _ in frames:
            parts.append(header)
            parts.append(payload)
        self._counters.sent += len(frames)
        transport.write(b"".join(parts))


class PeerConnection(asyncio.Protocol):
    """One TCP connection, either end: a handshake, then messages until the first wrong byte."""

    def __init__(
        self, hub: Hub, expected: str | None, queue: SendQueue | None, closed: Callable[[], None] | None
    ) -> None:
        self._hub = hub
        self._handshake: Handshake | None = Handshake(hub.me, hub.key, expected)
        self._is_client = expected is not None
        self._reader = FrameReader(HANDSHAKE_BYTES_MAX, single=True)
        self._closed = closed
        self._deadline: Handle | None = None
        self.queue = queue
        self.peer: Identity | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        hub, handshake = self._hub, self._handshake
        assert handshake is not None
        # uvloop's transports are no subclass of asyncio's.
        self.transport = transport = cast(asyncio.Transport, transport)
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES_MAX)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            tune_socket(sock, hub.options.silence_timeout_s)
        self._deadline = hub.loop.call_later(hub.options.handshake_timeout_s, self._too_slow)
        hub.register(self)
        if self._is_client:
            transport.write(handshake.start())

    def _too_slow(self) -> None:
        self.refuse("no handshake in time")

    def data_received(self, data: bytes) -> None:
        try:
            frames = self._reader.feed(data)
            if self._handshake is not None:
                frames = self._shake(self._handshake, frames)
        except (FrameError, HandshakeError) as error:
            self.refuse(str(error))
            return
        if not frames:
            return
        hub, peer = self._hub, self.peer
        assert peer is not None
        hub.counters.received += len(frames)
        name, deliver = peer.name, hub.deliver
        for kind, payload in frames:
            if kind != MESSAGE:
                self.refuse(f"frame of kind {kind} among messages")
                return
            deliver(name, payload)

    def _shake(self, handshake: Handshake, frames: list[Frame]) -> list[Frame]:
        """Consume handshake frames, one at a time; returns the messages that came right behind them."""
        transport = self.transport
        assert transport is not None
        while frames:
            answer = handshake.receive(frames[0])
            if answer:
                transport.write(answer)
            if handshake.peer is not None:
                self._established(handshake.peer, transport)
                return [] if transport.is_closing() else self._reader.feed(b"")
            frames = self._reader.feed(b"")
        return frames

    def _established(self, peer: Identity, transport: asyncio.Transport) -> None:
        hub = self._hub
        self.peer = peer
        self._handshake = None
        self._reader.trust()
        self._cancel_deadline()
        hub.counters.connects += 1
        if self.queue is None and peer.name.startswith(CONTROLLER_PREFIX):
            self.queue = SendQueue(hub.loop, hub.counters)
        hub.register(self)
        if self.queue is not None:
            self.queue.attach(transport, hub.options.queue_age_s)

    def refuse(self, why: str) -> None:
        """Close at once: what comes from here is no use, or worse."""
        self._hub.counters.refused += 1
        self._hub.counters.last_refusal = why
        if self.transport is not None:
            self.transport.abort()

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def pause_writing(self) -> None:
        if self.queue is not None:
            self.queue.paused = True

    def resume_writing(self) -> None:
        if self.queue is not None:
            self.queue.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_deadline()
        if self.queue is not None:
            self.queue.detach(self.transport)
        self._hub.unregister(self)
        if self._closed is not None:
            self._closed()


class PeerLink:
    """The outgoing link to one peer: connects when there is something to send, with backoff."""

    def __init__(self, hub: Hub, name: str, address: str, port: int) -> None:
        self._hub = hub
        self._name = name
        self._address = address
        self._port = port
        self._queue = SendQueue(hub.loop, hub.counters)
        self._backoff_s = BACKOFF_MIN_S
        self._busy = False
        self._connecting: asyncio.Task[None] | None = None
        self._retry: Handle | None = None
        self._stopped = False

    def send(self, payload: bytes) -> None:
        self._queue.put(payload)
        if not self._busy:
            self._busy = True
            self._connect()

    def _connect(self) -> None:
        self._connecting = self._hub.loop.create_task(self._try(), name=f"connect-{self._name}")

    async def _try(self) -> None:
        hub = self._hub

        def factory() -> PeerConnection:
            return PeerConnection(hub, self._name, self._queue, self._on_closed)

        try:
            async with asyncio.timeout(hub.options.connect_timeout_s):
                await hub.loop.create_connection(factory, self._address, self._port)
        except (OSError, TimeoutError):
            self._on_closed()

    def _on_closed(self) -> None:
        """No connection, or no longer: try again after a pause, at once if someone is waiting by then."""
        if self._stopped or self._retry is not None:
            return
        pause = self._backoff_s * (0.5 + self._hub.jitter())
        self._backoff_s = min(self._backoff_s * 2, BACKOFF_MAX_S)
        self._retry = self._hub.loop.call_later(pause, self._retry_if_wanted)

    def _retry_if_wanted(self) -> None:
        self._retry = None
        self._queue.drop_older(self._hub.options.queue_age_s)
        if self._queue:
            self._connect()
        else:
            # An idle peer is not called; the next message does it.
            self._busy = False

    def established(self) -> None:
        self._backoff_s = BACKOFF_MIN_S

    def stop(self) -> None:
        self._stopped = True
        if self._retry is not None:
            self._retry.cancel()
        if self._connecting is not None:
            self._connecting.cancel()


class PeerNetwork:
    """All of a node's links, and the port on which it is reached."""

    def __init__(
        self,
        me: Identity,
        key: bytes,
        addresses: Mapping[str, tuple[str, int]],
        jitter: Callable[[], float],
        options: PeerOptions | None = None,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.me = me
        self.key = key
        self.options = options or PeerOptions()
        self.counters = PeerCounters()
        self.jitter = jitter
        self._links = {
            name: PeerLink(self, name, address, port) for name, (address, port) in addresses.items() if name != me.name
        }
        self._handler: MessageHandler | None = None
        self._server: asyncio.Server | None = None
        self._connections: dict[PeerConnection, None] = {}
        self._inbound: dict[str, PeerConnection] = {}

    @property
    def connections(self) -> int:
        """How many are open, in either direction, proved or not."""
        return len(self._connections)

    def set_handler(self, handler: MessageHandler) -> None:
        self._handler = handler

    async def start(self, address: str, port: int) -> int:
        """Listen for peers; returns the port (a free one when asked for 0)."""
        self._server = await self.loop.create_server(self._accept, address, port, backlog=256)
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    def _accept(self) -> PeerConnection:
        return PeerConnection(self, None, None, None)

    def send(self, peer: str, payload: bytes) -> None:
        """See :meth:`cluster.node.world.World.send`. Raises ``ValueError`` for a payload no frame can hold."""
        link = self._links.get(peer)
        if link is not None:
            link.send(payload)
        elif peer == self.me.name:
            self.loop.call_soon(self.deliver, peer, payload)
        else:
            connection = self._inbound.get(peer)
            if connection is not None and connection.queue is not None:
                connection.queue.put(payload)
            else:
                self.counters.dropped += 1

    def deliver(self, sender: str, payload: bytes) -> None:
        if self._handler is not None:
            self._handler(sender, payload)

    def register(self, connection: PeerConnection) -> None:
        """A connection was opened (no peer yet) or has proved who it is."""
        peer = connection.peer
        if peer is None:
            self._connections[connection] = None
            if len(self._connections) > CONNECTIONS_MAX:
                connection.refuse("too many connections")
            return
        link = self._links.get(peer.name)
        if connection.queue is not None and link is not None:
            link.established()
            return
        if link is None and not peer.name.startswith(CONTROLLER_PREFIX):
            connection.refuse(f"{peer.name!r} is no node of this cluster")
            return
        earlier = self._inbound.get(peer.name)
        if earlier is not None and earlier.transport is not None:
            # A node that lost power leaves a half-open connection behind; the next one replaces it. Whoever proved
            # itself last is alive, whatever the incarnations say: they are as good as the clock they were read from.
            earlier.transport.abort()
        self._inbound[peer.name] = connection

    def unregister(self, connection: PeerConnection) -> None:
        self._connections.pop(connection, None)
        if connection.peer is not None and self._inbound.get(connection.peer.name) is connection:
            del self._inbound[connection.peer.name]

    def stop(self) -> None:
        """Close every connection and the port."""
        if self._server is not None:
            self._server.close()
        for link in self._links.values():
            link.stop()
        for connection in list(self._connections):
            if connection.transport is not None:
                connection.transport.abort()
