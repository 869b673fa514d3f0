"""What drivers may count on, the same in both worlds: a driver cannot tell which one it is in."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from abc import abstractmethod
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Protocol, cast

import pytest

from cluster.node.config import NodeConfig, Peer
from cluster.node.realworld import EXIT_STATUS, RealWorld
from cluster.node.world import World
from cluster.sim.simulation import NodeBug, Simulation
from cluster.sim.world import SimWorld

A, B = "storage-a1", "storage-b1"
ADDRESSES = {A: "127.0.0.1", B: "127.0.0.2"}
Body = Callable[["Bench"], Coroutine[Any, Any, None]]


class Bench(Protocol):
    """Two nodes of either kind."""

    a: World
    b: World

    @abstractmethod
    async def connect(self, port: int, factory: Callable[[], asyncio.Protocol]) -> asyncio.Transport:
        """Open a byte stream to node b."""
        ...

    @abstractmethod
    def events(self) -> list[dict[str, Any]]: ...


class RealBench(Bench):
    def __init__(self, directory: Path, port: int) -> None:
        worlds = {name: RealWorld(config(directory, name), port=port) for name in ADDRESSES}
        self.a, self.b = worlds[A], worlds[B]
        self.worlds = worlds
        self._directory = directory

    async def connect(self, port: int, factory: Callable[[], asyncio.Protocol]) -> asyncio.Transport:
        transport, _ = await asyncio.get_running_loop().create_connection(factory, ADDRESSES[B], port)
        return transport

    def events(self) -> list[dict[str, Any]]:
        files = sorted(self._directory.glob("*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]


class SimBench(Bench):
    def __init__(self, simulation: Simulation) -> None:
        async def main(world: SimWorld) -> None:
            await world.sleep(0)

        self.simulation = simulation
        for name in ADDRESSES:
            simulation.add_node(name, main)
        worlds = [node.world for node in simulation.nodes.values()]
        assert worlds[0] is not None
        assert worlds[1] is not None
        self.a, self.b = worlds[0], worlds[1]

    async def connect(self, port: int, factory: Callable[[], asyncio.Protocol]) -> asyncio.Transport:
        transport, _ = await self.simulation.streams.connect("client-a", None, B, port, factory)
        return transport

    def events(self) -> list[dict[str, Any]]:
        return [event for event in self.simulation.events if event["event"] not in ("start", "crash")]


def config(directory: Path, name: str) -> NodeConfig:
    peers = [Peer(peer, "storage", peer[-2], peer[-2:], address) for peer, address in ADDRESSES.items()]
    return NodeConfig(
        cluster="bs000001",
        region="local-1",
        name=name,
        role="storage",
        az=name[-2],
        rack=name[-2:],
        listen=ADDRESSES[name],
        data=str(directory / name),
        events=str(directory / f"{name}.jsonl"),
        key=bytes(range(32)).hex(),
        peers=peers,
    )


def free_port() -> int:
    with socket.create_server((ADDRESSES[A], 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture(params=["real", "real-uvloop", "simulated"])
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Body], None]:
    """Run a test's coroutine against two fresh nodes."""

    def simulated(body: Body) -> None:
        with Simulation(1) as simulation:
            bench = SimBench(simulation)
            simulation.run(body(bench))

    def real(body: Body) -> None:
        async def main() -> None:
            bench = RealBench(tmp_path, free_port())
            for world in bench.worlds.values():
                await world.start()
            try:
                await asyncio.wait_for(body(bench), 20)
            finally:
                for world in bench.worlds.values():
                    world.stop()

        if request.param == "real":
            asyncio.run(main())
        else:
            uvloop = pytest.importorskip("uvloop")
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(main())

    return simulated if request.param == "simulated" else real


async def until(world: World, condition: Callable[[], bool]) -> None:
    deadline = world.now() + 10
    while not condition():
        assert world.now() < deadline, "the condition did not come true in time"
        await world.sleep(0.002)


def test_messages_arrive_whole_with_their_senders_name(play: Callable[[Body], None]) -> None:
    async def body(bench: Bench) -> None:
        got: list[tuple[str, bytes]] = []
        bench.b.on_message(lambda sender, payload: got.append((sender, payload)))
        payloads = [b"", b"x", bytes(1_000_000), "zoë".encode()]
        for payload in payloads:
            bench.a.send(B, payload)
        await until(bench.b, lambda: len(got) == 4)
        assert sorted(got) == sorted((A, payload) for payload in payloads)

    play(body)


def test_a_message_to_oneself_arrives_but_never_within_send(play: Callable[[Body], None]) -> None:
    async def body(bench: Bench) -> None:
        got: list[str] = []
        bench.a.on_message(lambda sender, payload: got.append(sender))
        bench.a.send(A, b"note to self")
        assert got == []
        await until(bench.a, lambda: got == [A])

    play(body)


def test_sending_to_nobody_is_no_error(play: Callable[[Body], None]) -> None:
    async def body(bench: Bench) -> None:
        bench.a.send("storage-z9", b"x")
        bench.a.send("controller:gone", b"x")
        await bench.a.sleep(0.01)

    play(body)


def test_timers_are_never_early_and_a_cancelled_one_never_fires(play: Callable[[Body], None]) -> None:
    async def body(bench: Bench) -> None:
        world, fired = bench.a, []
        start = world.now()

        def note(when: float) -> None:
            assert world.now() >= when
            fired.append(when)

        for when in (start + 0.03, start + 0.01, start + 0.0205, start - 1):
            world.call_at(when, lambda when=when: note(when))  # type: ignore[misc]
        world.call_at(start + 0.02, lambda: note(99.0)).cancel()
        assert fired == []
        await until(world, lambda: len(fired) == 4)
        assert fired == [start - 1, start + 0.01, start + 0.0205, start + 0.03]

    play(body)


def test_sleep_lasts_at_least_as_long_as_asked(play: Callable[[Body], None]) -> None:
    async def body(bench: Bench) -> None:
        for seconds in (0.0, 0.0004, 0.013):
            start = bench.a.now()
            await bench.a.sleep(seconds)
            assert bench.a.now() - start >= seconds - 1e-9

    play(body)


def test_log_files_keep_what_was_appended(play: Callable[[Body], None]) -> None:
    async def body(bench: Bench) -> None:
        log = bench.a.log
        assert log.list() == []
        file = log.create("00000002.wal")
        log.create("00000001.wal").close()
        file.append(b"one")
        file.append(b"two")
        await file.sync()
        assert (file.size, file.read_all()) == (6, b"onetwo")
        assert [file.read(*part) for part in ((0, 3), (2, 2), (1, 9), (6, 1), (9, 1))] == [
            b"one", b"et", b"netwo", b"", b"",
        ]  # fmt: skip
        file.truncate(3)
        file.append(b"three")
        await file.sync()
        file.close()
        again = log.open("00000002.wal")
        assert (again.size, again.read_all()) == (8, b"onethree")
        again.close()
        assert log.list() == ["00000001.wal", "00000002.wal"]
        log.remove("00000001.wal")
        assert log.read_small("superblock") is None
        log.write_small("superblock", b"first")
        log.write_small("superblock", b"second")
        assert log.read_small("superblock") == b"second"
        with pytest.raises(FileNotFoundError):
            log.open("absent")

    play(body)


def test_page_files_are_read_and_written_in_offload(play: Callable[[Body], None]) -> None:
    def work(world: World) -> None:
        file = world.pages.open("group-1", create=True)
        file.write(4096, b"page two")
        file.sync()
        assert file.size() == 4104
        assert file.read(0, 8) == bytes(8)
        assert file.read(4096, 100) == b"page two"
        file.truncate(4)
        assert file.size() == 4
        file.close()
        assert world.pages.exists("group-1")
        assert world.pages.list() == ["group-1"]
        world.pages.remove("group-1")
        assert not world.pages.exists("group-1")
        with pytest.raises(FileNotFoundError):
            world.pages.open("group-1", create=False)

    async def body(bench: Bench) -> None:
        await bench.a.offload(work, bench.a)

    play(body)


def test_offload_gives_back_results_and_exceptions(play: Callable[[Body], None]) -> None:
    async def body(bench: Bench) -> None:
        assert await bench.a.offload(divmod, 7, 2) == (3, 1)
        with pytest.raises(ZeroDivisionError):
            await bench.a.offload(divmod, 7, 0)

    play(body)


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data.upper())
        if data.endswith(b"bye"):
            self.transport.close()


class Collector(asyncio.Protocol):
    def __init__(self) -> None:
        self.data = b""
        self.lost = False

    def data_received(self, data: bytes) -> None:
        self.data += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True


def test_byte_streams(play: Callable[[Body], None]) -> None:
    async def body(bench: Bench) -> None:
        port = free_port()
        server = await bench.b.listen(port, Echo)
        collector = Collector()
        transport = await bench.connect(port, lambda: collector)
        transport.write(b"hello, ")
        transport.write(b"bye")
        await until(bench.a, lambda: collector.lost)
        assert collector.data == b"HELLO, BYE"
        server.close()
        with pytest.raises(ConnectionRefusedError):
            await bench.connect(port, Collector)

    play(body)


def test_events_are_recorded_with_name_and_both_clocks(play: Callable[[Body], None]) -> None:
    async def body(bench: Bench) -> None:
        before = bench.a.now(), bench.a.wall()
        bench.a.event("leader", group="g1", ballot=[3, 1])
        (event,) = bench.events()
        assert (event["node"], event["event"], event["group"]) == (A, "leader", "g1")
        assert list(event["ballot"]) == [3, 1]
        assert 0 <= event["boot"] - before[0] < 1
        assert 0 <= event["wall"] - before[1] < 1

    play(body)


def test_spawn_gives_back_a_task_that_can_be_cancelled(play: Callable[[Body], None]) -> None:
    async def body(bench: Bench) -> None:
        async def answer() -> int:
            await bench.a.sleep(0.001)
            return 42

        assert await bench.a.spawn(answer(), "answer") == 42
        task = bench.a.spawn(bench.a.sleep(3600), "sleeper")
        await bench.a.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    play(body)


FATAL = {
    "task": "async def bug(): raise KeyError('planted')\nworld.spawn(bug(), 'worker')",
    "timer": "world.call_at(world.now(), lambda: {}['planted'])",
    "message": "world.on_message(lambda sender, payload: {}['planted']); world.send(world.config.name, b'x')",
    "exit": "world.exit('fsync failed: planted')",
}


@pytest.mark.parametrize("how", sorted(FATAL))
def test_a_bug_ends_a_real_node_and_its_record_says_where(how: str, tmp_path: Path) -> None:
    program = f"""
import asyncio, sys
from pathlib import Path
from tests.unit.world.test_conformance import A, config
from cluster.node.realworld import RealWorld
async def main():
    world = RealWorld(config(Path(sys.argv[1]), A))
{"".join("    " + line + chr(10) for line in FATAL[how].splitlines())}
    await world.sleep(60)
asyncio.run(main())
"""
    command = [sys.executable, "-c", program, str(tmp_path)]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == EXIT_STATUS, done.stderr
    assert time.monotonic() - began < 30
    event = json.loads((tmp_path / f"{A}.jsonl").read_text().splitlines()[-1])
    if how == "exit":
        assert (event["event"], event["reason"]) == ("exit", "fsync failed: planted")
    else:
        assert event["event"] == "crash"
        assert how in event["where"]
        assert "KeyError: 'planted'" in event["trace"]


@pytest.mark.parametrize("how", ["task", "timer", "message"])
def test_the_same_bug_ends_a_simulation(how: str) -> None:
    async def main(world: Any) -> None:
        world.config = world
        exec(FATAL[how], {"world": world})

    with Simulation(1) as simulation:
        simulation.add_node(A, main)
        with pytest.raises(NodeBug, match="storage-a1: KeyError: 'planted'"):
            simulation.run_for(1)


def test_a_skewed_clock_runs_faster_and_its_timers_with_it(tmp_path: Path) -> None:
    async def main() -> None:
        world = RealWorld(config(tmp_path, A), clock_rate=10.0)
        began, real = world.now(), time.monotonic()
        await world.sleep(0.5)
        assert world.now() - began >= 0.5
        assert 0.05 <= time.monotonic() - real < 0.45
        world.stop()

    asyncio.run(main())
