"""The controller's way into a cluster: blocking calls to any node, over the nodes' own peer port.

It speaks the frames of :mod:`cluster.wire.frames` and the envelope of :mod:`cluster.node.rpc`, under a name
``controller:<random>`` that no node has; a node answers on the connection the controller opened.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from cluster.node.rpc import ANSWER, REQUEST
from cluster.wire.frames import (
    HANDSHAKE_BYTES_MAX,
    MESSAGE,
    Frame,
    FrameError,
    FrameReader,
    Handshake,
    HandshakeError,
    Identity,
    encode,
)

PEER_PORT: Final = 7000
_RECEIVE_BYTES: Final = 256 * 1024

_encode = msgspec.msgpack.Encoder().encode
_answer = msgspec.msgpack.Decoder(tuple[int, int, str, msgspec.Raw])
_plain = msgspec.msgpack.Decoder()


class ControlError(Exception):
    """A call to a node did not yield a result."""


class Unreachable(ControlError):
    """No answer in time, no connection, or not the node it should be. The call may or may not have been carried out."""


class RemoteError(ControlError):
    """The node refused. ``code`` is its word for why, ``detail`` whatever came with it."""

    def __init__(self, node: str, method: str, code: str, detail: Any) -> None:
        super().__init__(f"{node} refused {method}: {code}" + (f": {detail}" if detail is not None else ""))
        self.node = node
        self.code = code
        self.detail = detail


class _Connection:
    """One authenticated connection to one node. Any failure leaves it closed."""

    def __init__(self, me: Identity, key: bytes, node: str, address: tuple[str, int], deadline: float) -> None:
        self._reader = FrameReader(HANDSHAKE_BYTES_MAX, single=True)
        self._frames: list[Frame] = []
        self._socket = socket.create_connection(address, timeout=_remaining(deadline))
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            handshake = Handshake(me, key, node)
            self._send(handshake.start(), deadline)
            while handshake.peer is None:
                self._send(handshake.receive(self._next(deadline)), deadline)
            self._reader.trust()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._socket.close()

    def call(self, call_id: int, method: str, params: Any, deadline: float) -> tuple[str, Any]:
        """The node's error code (empty for success) and result. Answers to earlier calls are passed over."""
        self._send(encode(MESSAGE, _encode((REQUEST, call_id, method, params))), deadline)
        while True:
            frame = self._next(deadline)
            kind, answered, code, body = _answer.decode(frame.payload)
            if kind == ANSWER and answered == call_id:
                return code, _plain.decode(body)

    def _send(self, data: bytes, deadline: float) -> None:
        if data:
            self._socket.settimeout(_remaining(deadline))
            self._socket.sendall(data)

    def _next(self, deadline: float) -> Frame:
        while not self._frames:
            self._socket.settimeout(_remaining(deadline))
            data = self._socket.recv(_RECEIVE_BYTES)
            if not data:
                raise ConnectionError("the node closed the connection (is it the right cluster and key?)")
            self._frames = self._reader.feed(data)
        return self._frames.pop(0)


def _remaining(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("no answer in time")
    return left


class Control:
    """Calls any node of one cluster. Safe to use from several threads: calls to one node take turns."""

    def __init__(
        self, peers: Mapping[str, str | tuple[str, int]], key: bytes, cluster: str = "", name: str | None = None
    ) -> None:
        """``peers`` maps node names to addresses, with a port where it is not the usual one; ``key`` is the cluster's
        own key; ``cluster`` its id, for clearer errors."""
        self._addresses = {
            node: (address, PEER_PORT) if isinstance(address, str) else address for node, address in peers.items()
        }
        self._key = key
        self._me = Identity(cluster, f"controller:{name or os.urandom(6).hex()}", time.time_ns())
        self._connections: dict[str, _Connection] = {}
        self._locks = {node: threading.Lock() for node in self._addresses}
        self._guard = threading.Lock()
        self._last_id = 0

    def __enter__(self) -> Control:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection. The next call opens its own again."""
        with self._guard:
            connections, self._connections = self._connections, {}
        for connection in connections.values():
            connection.close()

    def call(self, node: str, method: str, params: Mapping[str, Any] | None = None, timeout_s: float = 2.0) -> Any:
        """Carry out ``method`` on ``node``; raises :class:`Unreachable` or :class:`RemoteError`.

        A connection that turns out to be dead is replaced, but a request is never sent twice: what it asks may have
        happened.
        """
        if node not in self._addresses:
            known = ", ".join(sorted(self._addresses))
            raise ValueError(f"no node {node!r} in this cluster; there are: {known}")
        deadline = time.monotonic() + timeout_s
        lock = self._locks[node]
        if not lock.acquire(timeout=timeout_s):
            raise Unreachable(f"{node}: {method}: other calls to it took all of {timeout_s} s")
        try:
            code, result = self._call(node, method, params or {}, deadline)
        except (OSError, FrameError, HandshakeError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            with self._guard:
                broken = self._connections.pop(node, None)
            if broken is not None:
                broken.close()
            raise Unreachable(f"{node}: {method}: {error or type(error).__name__}") from error
        finally:
            lock.release()
        if code:
            raise RemoteError(node, method, code, result)
        return result

    def _call(self, node: str, method: str, params: Mapping[str, Any], deadline: float) -> tuple[str, Any]:
        with self._guard:
            self._last_id += 1
            call_id = self._last_id
            connection = self._connections.get(node)
        if connection is not None and _is_dead(connection):
            connection.close()
            connection = None
        if connection is None:
            connection = _Connection(self._me, self._key, node, self._addresses[node], deadline)
            with self._guard:
                self._connections[node] = connection
        return connection.call(call_id, method, params, deadline)


def _is_dead(connection: _Connection) -> bool:
    """Whether the node has closed the connection since the last call (it restarted, say)."""
    sock = connection._socket
    try:
        sock.setblocking(False)
        return sock.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
