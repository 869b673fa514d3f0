"""Links between nodes on real sockets: messages arrive whole, strangers and garbage harm nobody."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from cluster.control import Control, RemoteError, Unreachable
from cluster.node.netpeer import QUEUE_MESSAGES_MAX, PeerNetwork, PeerOptions
from cluster.wire.frames import MESSAGE, Identity, encode

KEY = bytes(range(32))
CLUSTER = "bs000001"


class Node:
    """A node's network with everything it received."""

    def __init__(self, name: str, ports: dict[str, int], incarnation: int = 1, key: bytes = KEY) -> None:
        addresses = {peer: ("127.0.0.1", port) for peer, port in ports.items()}
        options = PeerOptions(handshake_timeout_s=0.3)
        self.network = PeerNetwork(Identity(CLUSTER, name, incarnation), key, addresses, lambda: 0.5, options)
        self.got: list[tuple[str, bytes]] = []
        self.network.set_handler(lambda sender, payload: self.got.append((sender, payload)))

    async def start(self, port: int) -> None:
        await self.network.start("127.0.0.1", port)


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


async def until(condition: Callable[[], bool], limit_s: float = 5.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.005)


def run(body: Callable[[dict[str, int]], Awaitable[None]]) -> None:
    ports = dict(zip(("a", "b"), free_ports(2), strict=True))
    asyncio.run(body(ports))  # type: ignore[arg-type]


def test_messages_arrive_in_both_directions_and_from_oneself() -> None:
    async def body(ports: dict[str, int]) -> None:
        a, b = Node("a", ports), Node("b", ports)
        await a.start(ports["a"])
        await b.start(ports["b"])
        sent = [b"%d" % n * (n + 1) for n in range(200)]
        for payload in sent:
            a.network.send("b", payload)
            b.network.send("a", payload)
        a.network.send("a", b"myself")
        await until(lambda: len(b.got) == 200 and len(a.got) == 201)
        assert [p for _, p in b.got] == sent
        assert {s for s, _ in b.got} == {"a"}
        assert ("a", b"myself") in a.got
        a.network.stop()
        b.network.stop()

    run(body)


def test_a_peer_that_comes_late_gets_what_is_young_and_one_that_is_away_costs_a_bounded_queue() -> None:
    async def body(ports: dict[str, int]) -> None:
        a, b = Node("a", ports), Node("b", ports)
        for n in range(QUEUE_MESSAGES_MAX + 10):
            a.network.send("b", b"%d" % n)
        assert a.network.counters.dropped == 10
        await b.start(ports["b"])
        await until(lambda: len(b.got) == QUEUE_MESSAGES_MAX)
        assert b.got[0] == ("a", b"10")
        a.network.stop()
        b.network.stop()

    run(body)


def test_a_restarted_peer_is_reconnected() -> None:
    async def body(ports: dict[str, int]) -> None:
        a, b = Node("a", ports), Node("b", ports)
        await b.start(ports["b"])
        a.network.send("b", b"before")
        await until(lambda: bool(b.got))
        b.network.stop()
        again = Node("b", ports, incarnation=2)
        await again.start(ports["b"])

        def arrived() -> bool:
            a.network.send("b", b"after")
            return bool(again.got)

        await until(arrived)
        assert again.got[0] == ("a", b"after")
        a.network.stop()
        again.network.stop()

    run(body)


@pytest.mark.parametrize(
    "garbage", [b"GET / HTTP/1.1\r\n\r\n" * 4, bytes(64), b"\xff" * 64, encode(MESSAGE, b"no handshake"), b"\x00\x00"]
)
def test_garbage_on_the_port_is_counted_and_closed_and_peers_go_on(garbage: bytes) -> None:
    async def body(ports: dict[str, int]) -> None:
        a, b = Node("a", ports), Node("b", ports)
        await b.start(ports["b"])
        reader, writer = await asyncio.open_connection("127.0.0.1", ports["b"])
        writer.write(garbage)
        try:
            assert await asyncio.wait_for(reader.read(), 3) == b""
        except ConnectionResetError:
            pass
        assert b.network.counters.refused == 1
        assert b.network.counters.last_refusal
        a.network.send("b", b"fine")
        await until(lambda: b.got == [("a", b"fine")])
        writer.close()
        a.network.stop()
        b.network.stop()

    run(body)


def test_a_node_with_another_key_or_an_unknown_name_is_not_heard() -> None:
    async def body(ports: dict[str, int]) -> None:
        b = Node("b", ports)
        await b.start(ports["b"])
        thief, stranger = Node("a", ports, key=bytes(32)), Node("nobody", ports)
        thief.network.send("b", b"x")
        stranger.network.send("b", b"x")
        await until(lambda: b.network.counters.refused >= 1 and thief.network.counters.refused >= 1)
        assert b.got == []
        for node in (b, thief, stranger):
            node.network.stop()

    run(body)


def test_a_new_connection_replaces_the_one_that_an_earlier_life_left_behind() -> None:
    async def body(ports: dict[str, int]) -> None:
        b = Node("b", ports)
        await b.start(ports["b"])
        lives = [Node("a", ports, incarnation=n) for n in (1, 2)]
        lives[0].network.send("b", b"first")
        await until(lambda: len(b.got) == 1)
        lives[1].network.send("b", b"second")
        await until(lambda: len(b.got) == 2)
        lives[0].network.send("b", b"lost")
        await until(lambda: b.network.connections == 1)
        assert [p for _, p in b.got] == [b"first", b"second"]
        for node in (b, *lives):
            node.network.stop()

    run(body)


def serve_calls(node: Node) -> None:
    """Answer in the envelope of cluster.node.rpc: ``echo`` its params, ``refuse`` with a code, else be silent."""

    def handler(sender: str, payload: bytes) -> None:
        _, call_id, method, params = msgspec.msgpack.decode(payload)
        if method == "echo":
            node.network.send(sender, msgspec.msgpack.encode((1, call_id, "", params)))
        elif method == "refuse":
            node.network.send(sender, msgspec.msgpack.encode((1, call_id, "not-leader", "storage-c1")))

    node.network.set_handler(handler)


def test_a_controller_calls_a_node() -> None:
    async def body(ports: dict[str, int]) -> None:
        b = Node("b", ports)
        serve_calls(b)
        await b.start(ports["b"])
        control = Control({name: ("127.0.0.1", port) for name, port in ports.items()}, KEY, CLUSTER)

        def calls() -> None:
            assert control.call("b", "echo", {"n": 1}) == {"n": 1}
            assert control.call("b", "echo", {"big": b"x" * 300_000}) == {"big": b"x" * 300_000}
            with pytest.raises(RemoteError, match="b refused refuse: not-leader: storage-c1") as refused:
                control.call("b", "refuse")
            assert refused.value.code == "not-leader"
            with pytest.raises(Unreachable, match=r"b: silent: .*"):
                control.call("b", "silent", timeout_s=0.1)
            assert control.call("b", "echo", {"after": "a timeout"}) == {"after": "a timeout"}
            with pytest.raises(Unreachable):
                control.call("a", "echo", timeout_s=0.2)
            with pytest.raises(ValueError, match="there are: a, b"):
                control.call("c", "echo")
            with pytest.raises(Unreachable, match="does not hold the cluster's key"):
                Control({"b": ("127.0.0.1", ports["b"])}, bytes(32), CLUSTER).call("b", "echo")

        with ThreadPoolExecutor(1) as pool:
            await asyncio.get_running_loop().run_in_executor(pool, calls)
            b.network.stop()
            again = Node("b", ports)
            serve_calls(again)
            await again.start(ports["b"])
            result = await asyncio.get_running_loop().run_in_executor(pool, control.call, "b", "echo", {"life": 2})
            assert result == {"life": 2}
        control.close()
        again.network.stop()

    run(body)
