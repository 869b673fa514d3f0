"""Byte streams for HTTP in the simulator: an ordered, reliable stream that a cut holds up and a crash breaks.

Only what drivers use of ``asyncio.Transport`` is there. A stream whose link stays cut for ``SILENCE_S`` is broken on
the side that has something to send, as TCP_USER_TIMEOUT would; a node that lost its power says nothing before it is up
again, one whose process died resets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from cluster.sim.loop import Life, SimLoop
from cluster.sim.network import SimNetwork

SILENCE_S: Final = 1.5
RETRY_S: Final = 0.1


class SimServer:
    """A listening port of one life."""

    def __init__(self, hub: StreamHub, node: str, life: Life, port: int, factory: Callable[[], Any]) -> None:
        self._hub = hub
        self.node = node
        self.life = life
        self.port = port
        self.factory = factory

    def close(self) -> None:
        self._hub.unlisten(self)


class SimTransport(asyncio.Transport):
    """One end of a stream."""

    def __init__(self, hub: StreamHub, local: str, life: Life | None, protocol: asyncio.BaseProtocol) -> None:
        super().__init__({"peername": ("simulated", 0), "sockname": (local, 0)})
        self._hub = hub
        self.local = local
        self._life = life
        self.context = life.context if life is not None else hub.loop.harness
        """Of whom this end belongs to."""
        self._protocol: Any = protocol
        self._closing = False
        self._lost = False
        self._reading = True
        self._held: list[bytes] = []
        self._outgoing: list[bytes | None] = []
        self._held_up = False
        self._silent_since: float | None = None
        self.other: SimTransport | None = None

    def get_protocol(self) -> asyncio.BaseProtocol:
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def is_closing(self) -> bool:
        return self._closing

    def is_reading(self) -> bool:
        return self._reading

    def get_write_buffer_size(self) -> int:
        return sum(len(data) for data in self._outgoing if data is not None)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        return None

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        held, self._held = self._held, []
        for data in held:
            self._call(self.receive, data)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing or not data:
            return
        other = self.other
        if other is not None and not self._outgoing and not self._lost and not other.is_gone():
            hub = self._hub
            delay = hub.network.delay(self.local, other.local)
            if delay is not None:  # as nearly always: straight on its way
                self._silent_since = None
                hub.loop.post(hub.loop.now_s + delay, (other.receive, bytes(data)), other.context)
                return
        self._outgoing.append(bytes(data))
        if not self._held_up:
            self._flush()

    def close(self) -> None:
        """Send what was written, then the end of the stream."""
        if not self._closing:
            self._closing = True
            self._outgoing.append(None)
            self._pump()

    def can_write_eof(self) -> bool:
        return False

    def abort(self) -> None:
        self._closing = True
        self._outgoing.clear()
        self._lose(None)
        if self.other is not None:
            self._hub.after_delay(self.local, self.other, self.other.reset)

    def _call(self, function: Callable[..., Any], *args: Any) -> None:
        """Run something in the context of whom this end belongs to."""
        self._hub.loop.call_soon(function, *args, context=self.context)

    def _pump(self) -> None:
        """Send what was written. Data that the link holds up is tried again by a timer, and later data with it."""
        if not self._held_up:
            self._flush()

    def _flush(self) -> None:
        self._held_up = False
        other, hub = self.other, self._hub
        if self._lost or other is None or not self._outgoing:
            return
        delay = hub.network.delay(self.local, other.local)
        now = hub.loop.now_s
        gone = other.is_gone()
        if delay is not None and gone and hub.network.is_attached(other.local):
            # The machine is up again and knows nothing of this connection.
            self._call(self.reset)
            return
        if delay is None or gone:
            self._silent_since = now if self._silent_since is None else self._silent_since
            if now - self._silent_since >= SILENCE_S:
                self._call(self._lose, TimeoutError("the peer is silent"))
                return
            self._held_up = True
            hub.loop.call_later(RETRY_S, self._flush, context=hub.loop.harness)
            return
        self._silent_since = None
        outgoing, self._outgoing = self._outgoing, []
        data = outgoing[0] if len(outgoing) == 1 else b"".join(part for part in outgoing if part is not None)
        if data:
            hub.loop.post(now + delay, (other.receive, data), other.context)
        if outgoing[-1] is None:
            hub.loop.post(now + delay, (other.receive, None), other.context)
            self._call(self._lose, None)

    def is_gone(self) -> bool:
        """Whether the node at this end has stopped for good."""
        return self._life is not None and self._life.over

    def belongs_to(self, life: Life) -> bool:
        return self._life is life

    def receive(self, data: bytes | None) -> None:
        """Data has arrived, or the end of the stream. Called in the context of whom this end belongs to."""
        if self._lost:
            return
        if not self._reading and data is not None:
            self._held.append(data)
        elif data is None:
            if not self._protocol.eof_received():
                self.close()
        else:
            self._protocol.data_received(data)

    def reset(self) -> None:
        self._lose(ConnectionResetError("connection reset by peer"))

    def _lose(self, error: Exception | None) -> None:
        if not self._lost:
            self._lost = True
            self._closing = True
            self._hub.forget(self)
            self._call(self._protocol.connection_lost, error)


class StreamHub:
    """Every listening port and every open stream."""

    def __init__(self, loop: SimLoop, network: SimNetwork) -> None:
        self.loop = loop
        self.network = network
        self._servers: dict[tuple[str, int], SimServer] = {}
        self._open: dict[SimTransport, None] = {}

    def listen(self, node: str, life: Life, port: int, factory: Callable[[], Any]) -> SimServer:
        """Raises ``OSError`` where the port is taken by the same life."""
        earlier = self._servers.get((node, port))
        if earlier is not None and not earlier.life.over:
            raise OSError(f"{node}: port {port} is in use")
        server = self._servers[(node, port)] = SimServer(self, node, life, port, factory)
        return server

    def unlisten(self, server: SimServer) -> None:
        if self._servers.get((server.node, server.port)) is server:
            del self._servers[(server.node, server.port)]

    async def connect(
        self, source: str, life: Life | None, target: str, port: int, factory: Callable[[], Any]
    ) -> tuple[SimTransport, Any]:
        """Open a stream; raises ``ConnectionRefusedError`` or ``TimeoutError`` as a socket would."""
        delay = self.network.delay(source, target)
        back = self.network.delay(target, source)
        server = self._servers.get((target, port))
        if delay is None or back is None:
            await asyncio.sleep(SILENCE_S)
            raise TimeoutError(f"{target} does not answer")
        await asyncio.sleep(delay + back)
        if server is None or server.life.over:
            raise ConnectionRefusedError(f"nothing listens on port {port} of {target}")
        client = SimTransport(self, source, life, factory())
        accepted = SimTransport(self, target, server.life, server.life.context.copy().run(server.factory))
        client.other, accepted.other = accepted, client
        self._open[client] = None
        self._open[accepted] = None
        self.loop.call_soon(
            accepted.get_protocol().connection_made,
            accepted,
            context=server.life.context,
        )
        client.get_protocol().connection_made(client)
        return client, client.get_protocol()

    def after_delay(self, source: str, target: SimTransport, function: Callable[[], None]) -> None:
        delay = self.network.delay(source, target.local)
        if delay is not None and not target.is_gone():
            self.loop.call_later(delay, function, context=self.loop.harness)

    def forget(self, transport: SimTransport) -> None:
        self._open.pop(transport, None)

    def process_died(self, life: Life) -> None:
        """The kernel of a machine whose process died resets its connections; a machine without power does not."""
        for transport in list(self._open):
            other = transport.other
            if transport.belongs_to(life) and other is not None:
                self.forget(transport)
                self.after_delay(transport.local, other, other.reset)
