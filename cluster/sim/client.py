"""A DynamoDB client inside a simulation: signed HTTP over simulated streams, from a client's place in a zone.

It keeps one connection for each call under way, as load generators do, never retries, and tells apart what certainly
did not happen from what may have.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final

import msgspec

from cluster.sim.deploy import ACCESS_KEY, SECRET_KEY
from cluster.sim.loop import SimLoop
from cluster.sim.simulation import EPOCH_S, Simulation
from cluster.sim.streams import SimTransport
from cluster.wire.http_client import BadResponse, Response, ResponseParser
from cluster.wire.sigv4 import Signer

HTTP_PORT: Final = 8000
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class NotSent(Exception):
    """No connection: the operation certainly did not happen."""


class NoAnswer(Exception):
    """The answer never came: the operation may have happened."""


class Refused(Exception):
    """An answer other than 200. ``kind`` is DynamoDB's error name without its prefix."""

    def __init__(self, status: int, kind: str, message: str, body: dict[str, Any]) -> None:
        super().__init__(f"{status} {kind}: {message}")
        self.status = status
        self.kind = kind
        self.body = body


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self.parser = ResponseParser()
        self.transport: SimTransport | None = None
        self.answer: asyncio.Future[Response] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, SimTransport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            responses = self.parser.feed(data)
        except BadResponse as error:
            self._fail(error)
            return
        for response in responses:
            if self.answer is not None and not self.answer.done():
                self.answer.set_result(response)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc or ConnectionError("closed before the answer came"))

    def _fail(self, error: Exception) -> None:
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(NoAnswer(str(error)))


class _Deadlines:
    """Ends what waits for longer than one length of time, with a timer for all of it and not for each."""

    def __init__(self, loop: SimLoop, after_s: float) -> None:
        self._loop = loop
        self._after_s = after_s
        self._waiting: deque[tuple[float, asyncio.Future[Response]]] = deque()
        self._armed = False

    def watch(self, answer: asyncio.Future[Response]) -> None:
        """Let a future that nobody completes in time fail with ``TimeoutError``."""
        due = self._loop.now_s + self._after_s
        self._waiting.append((due, answer))
        if not self._armed:
            self._arm(due)

    def _arm(self, due: float) -> None:
        self._armed = True
        self._loop.post(due, (self._fire,), self._loop.harness)

    def _fire(self) -> None:
        self._armed = False
        waiting = self._waiting
        while waiting:
            due, answer = waiting[0]
            if not answer.done():
                if due > self._loop.now_s:
                    self._arm(due)
                    return
                answer.set_exception(TimeoutError())
            waiting.popleft()


class SimClient:
    """Calls one router. ``name`` is where the client stands: cuts apply to it as to any node."""

    def __init__(self, simulation: Simulation, name: str, router: str, region: str = "simulated-1") -> None:
        self._simulation = simulation
        self._name = name
        self._router = router
        self._signer = Signer(ACCESS_KEY, SECRET_KEY, region, router)
        self._idle: list[_Connection] = []
        self._deadlines: dict[float, _Deadlines] = {}

    async def call(self, operation: str, body: dict[str, Any], timeout_s: float = 5.0) -> dict[str, Any]:
        """Carry out a DynamoDB operation; raises :class:`Refused`, :class:`NotSent` or :class:`NoAnswer`."""
        return _result(await self.exchange(operation, _encode(body), timeout_s))

    async def exchange(self, operation: str, body: bytes, timeout_s: float = 5.0) -> Response:
        """The same with the body as bytes and the answer as it came; raises :class:`NotSent` or :class:`NoAnswer`."""
        connection = self._idle.pop() if self._idle else None
        if connection is None or connection.transport is None or connection.transport.is_closing():
            connection = await self._connection(timeout_s)
        assert connection.transport is not None
        loop = self._simulation.loop
        connection.answer = answer = loop.create_future()
        connection.transport.write(self._signer.request(operation, body, EPOCH_S + loop.now_s))
        deadlines = self._deadlines.get(timeout_s)
        if deadlines is None:
            deadlines = self._deadlines[timeout_s] = _Deadlines(loop, timeout_s)
        deadlines.watch(answer)
        try:
            response: Response = await answer
        except TimeoutError:
            connection.transport.abort()
            raise NoAnswer(f"no answer within {timeout_s} s") from None
        if response.keep_alive:
            self._idle.append(connection)
        else:
            connection.transport.close()
        return response

    async def _connection(self, timeout_s: float) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.transport is not None and not connection.transport.is_closing():
                return connection
        streams = self._simulation.streams
        try:
            async with asyncio.timeout(timeout_s):
                _, made = await streams.connect(self._name, None, self._router, HTTP_PORT, _Connection)
        except (OSError, TimeoutError) as error:
            raise NotSent(str(error) or f"no connection within {timeout_s} s") from error
        connection = made
        assert isinstance(connection, _Connection)
        return connection


def _result(response: Response) -> dict[str, Any]:
    body: dict[str, Any] = _decode(response.body) if response.body else {}
    if response.status == 200:
        return body
    kind = str(body.get("__type", "")).rpartition("#")[2]
    raise Refused(response.status, kind, str(body.get("message", body.get("Message", ""))), body)
