"""The HTTP edge over real sockets: clients that are slow, deaf, hasty, half gone or malicious."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, cast

import pytest

from cluster.node import edge as edges
from cluster.node.edge import Edge
from cluster.node.world import World
from cluster.wire.http import BODY_BYTES_MAX, Request, dynamodb_response


class FakeWorld:
    """The part of a World that an edge uses, with a clock that tests move."""

    def __init__(self) -> None:
        self.clock = 0.0
        self.port = 0
        self.tasks: list[asyncio.Task[Any]] = []
        self.server: asyncio.Server | None = None
        self.events: list[tuple[str, dict[str, Any]]] = []

    def event(self, event: str, **fields: Any) -> None:
        self.events.append((event, fields))

    def now(self) -> float:
        return self.clock

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> None:
        self.tasks.append(asyncio.create_task(work, name=name))

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0.01)  # time passes when the test says so

    async def listen(self, port: int, factory: Callable[[], asyncio.Protocol]) -> None:
        self.server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]


class Scene:
    """An edge that answers each request with its body, at once or when told to."""

    def __init__(self) -> None:
        self.world = FakeWorld()
        self.served: list[Request] = []
        self.held: list[tuple[Request, Callable[[bytes], None]]] = []
        self.hold = False
        self.answer_bytes = 0
        self.edge = Edge(cast(World, self.world), self.serve, self.give_up)

    def serve(self, request: Request, answer: Callable[[bytes], None]) -> None:
        self.served.append(request)
        if self.hold:
            self.held.append((request, answer))
        else:
            answer(self.echo(request))

    def give_up(self, request: Request) -> bytes:
        return dynamodb_response(500, b"given up", "R" * 52, keep_alive=request.keep_alive)

    def echo(self, request: Request) -> bytes:
        body = request.body + b"." * self.answer_bytes
        return dynamodb_response(200, body, "R" * 52, keep_alive=request.keep_alive)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.world.port)

    async def until(self, condition: Callable[[], bool]) -> None:
        for _ in range(500):
            if condition():
                return
            await asyncio.sleep(0.01)
        raise AssertionError("not in time")


def play(story: Callable[[Scene], Awaitable[None]]) -> None:
    async def run() -> None:
        scene = Scene()
        await scene.edge.start(0)
        try:
            await asyncio.wait_for(story(scene), 20)
        finally:
            for task in scene.world.tasks:
                task.cancel()
            assert scene.world.server is not None
            scene.world.server.close()

    asyncio.run(run())


def post(body: bytes, *more: str) -> bytes:
    head = "\r\n".join(["POST / HTTP/1.1", "Host: h", f"Content-Length: {len(body)}", *more, "", ""])
    return head.encode() + body


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    return int(head.split()[1]), await reader.readexactly(length)


def test_pipelined_requests_are_answered_in_their_order() -> None:
    async def story(scene: Scene) -> None:
        scene.hold = True
        reader, writer = await scene.connect()
        writer.write(b"".join(post(b"%d" % number) for number in range(10)))
        await scene.until(lambda: len(scene.held) == 10)
        for request, answer in reversed(scene.held):
            answer(scene.echo(request))
        assert [await read_answer(reader) for _ in range(10)] == [(200, b"%d" % number) for number in range(10)]
        writer.close()
        await scene.until(lambda: scene.edge.open_connections == 0)

    play(story)


def test_a_request_that_nobody_answers_is_given_up_and_the_next_one_is_served() -> None:
    async def story(scene: Scene) -> None:
        scene.hold = True
        reader, writer = await scene.connect()
        writer.write(post(b"lost"))
        await scene.until(lambda: bool(scene.held))
        scene.world.clock += edges.ANSWER_TIMEOUT_S + 1
        assert await read_answer(reader) == (500, b"given up")
        request, answer = scene.held[0]
        answer(scene.echo(request))  # too late: it must not be taken for the next one's
        scene.hold = False
        writer.write(post(b"next"))
        assert await read_answer(reader) == (200, b"next")
        writer.close()

    play(story)


def test_a_request_may_come_byte_by_byte_or_in_chunks() -> None:
    async def story(scene: Scene) -> None:
        reader, writer = await scene.connect()
        for byte in post(b"slow"):
            writer.write(bytes((byte,)))
            await writer.drain()
        assert await read_answer(reader) == (200, b"slow")
        writer.write(
            b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        )
        assert await read_answer(reader) == (200, b"abcde")
        writer.close()

    play(story)


def test_a_half_closed_client_gets_its_answer() -> None:
    async def story(scene: Scene) -> None:
        scene.hold = True
        reader, writer = await scene.connect()
        writer.write(post(b"last words"))
        writer.write_eof()
        await scene.until(lambda: bool(scene.held))
        request, answer = scene.held[0]
        answer(scene.echo(request))
        assert await read_answer(reader) == (200, b"last words")
        assert await reader.read() == b""
        await scene.until(lambda: scene.edge.open_connections == 0)

    play(story)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\n" + b"X-Long: " + b"a" * 20_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: a\r\n" % n for n in range(200)) + b"\r\n", 431),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n", 431),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % (BODY_BYTES_MAX + 1), 413),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: nan\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    ],
)
def test_what_cannot_be_read_is_refused_and_the_connection_ends(sent: bytes, status: int) -> None:
    async def story(scene: Scene) -> None:
        reader, writer = await scene.connect()
        writer.write(sent)
        assert (await read_answer(reader))[0] == status
        assert await reader.read() == b""
        assert scene.served == []
        writer.close()
        await scene.until(lambda: scene.edge.open_connections == 0)

    play(story)


def test_a_client_that_goes_on_sending_a_refused_body_still_reads_why() -> None:
    async def story(scene: Scene) -> None:
        reader, writer = await scene.connect()
        writer.write(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % (BODY_BYTES_MAX + 1))
        for _ in range(64):
            writer.write(b"x" * 65_536)
            await writer.drain()
        assert (await read_answer(reader))[0] == 413
        scene.world.clock = edges.DRAIN_S + 1
        await scene.until(lambda: scene.edge.open_connections == 0)
        writer.close()

    play(story)


def test_a_request_that_never_ends_is_cut_off() -> None:
    async def story(scene: Scene) -> None:
        reader, writer = await scene.connect()
        idle_reader, idle_writer = await scene.connect()
        writer.write(b"POST / HTTP/1.1\r\nHost: h\r\n")
        await scene.until(lambda: scene.edge.open_connections == 2)
        for second in range(int(edges.REQUEST_TIMEOUT_S) + 2):
            scene.world.clock = float(second)
            with contextlib.suppress(ConnectionError):
                writer.write(b"X-%d: still here\r\n" % second)
                await writer.drain()
            await asyncio.sleep(0.02)
        await scene.until(lambda: scene.edge.open_connections == 1)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        assert scene.world.events == [("requests-cut-off", {"count": 1})]
        scene.world.clock = edges.IDLE_TIMEOUT_S + 20
        await scene.until(lambda: scene.edge.open_connections == 0)
        assert len(scene.world.events) == 1, "nobody waited for the rest of anything"
        with contextlib.suppress(ConnectionError):
            assert await idle_reader.read() == b""
        writer.close()
        idle_writer.close()

    play(story)


def test_answers_do_not_pile_up_for_a_client_that_does_not_read() -> None:
    async def story(scene: Scene) -> None:
        scene.answer_bytes = 100_000
        reader, writer = await scene.connect()
        many = post(b"again") * 200
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 4000:
                writer.write(many)
                sent += 200
                await asyncio.wait_for(writer.drain(), 0.3)
        served = len(scene.served)
        await asyncio.sleep(0.2)
        assert len(scene.served) == served, "it goes on serving who does not read"
        assert served < sent, "everything was served, though nothing was read"
        scene.world.clock = edges.REQUEST_TIMEOUT_S * 2
        await asyncio.sleep(0.1)
        scene.world.clock = edges.REQUEST_TIMEOUT_S * 4
        await scene.until(lambda: scene.edge.open_connections == 0)
        writer.transport.abort()
        reader.feed_eof()

    play(story)


def test_a_slow_reader_gets_all_of_it() -> None:
    async def story(scene: Scene) -> None:
        scene.answer_bytes = 1_000_000
        reader, writer = await scene.connect()
        writer.write(post(b"a") * 8)
        for step in range(8):
            scene.world.clock += edges.REQUEST_TIMEOUT_S * 0.25
            await asyncio.sleep(0.05)
            status, body = await read_answer(reader)
            assert (status, len(body)) == (200, 1_000_001), step
        writer.close()

    play(story)


def test_there_is_an_end_to_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edges, "CONNECTIONS_MAX", 3)

    async def story(scene: Scene) -> None:
        clients = [await scene.connect() for _ in range(4)]
        await scene.until(lambda: scene.edge.refused == 1)
        assert await clients[3][0].read() == b""
        clients[0][1].close()
        await scene.until(lambda: scene.edge.open_connections == 2)
        reader, writer = await scene.connect()
        writer.write(post(b"room again"))
        assert await read_answer(reader) == (200, b"room again")
        for _, other in clients[1:]:
            other.close()
        writer.close()

    play(story)
