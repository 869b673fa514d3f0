"""The simulated disk forgets, tears and fails as asked; the simulated network loses, doubles, reorders and cuts."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from itertools import pairwise
from typing import Any

import pytest

from cluster.node.world import DiskFailed
from cluster.sim.client import NoAnswer, SimClient
from cluster.sim.deploy import configs, peers, zone_of
from cluster.sim.network import LinkProfile
from cluster.sim.simulation import Simulation
from cluster.sim.world import SimWorld


def recovered_after_crash(seed: int, lose_unsynced: bool) -> bytes:
    """What a log holds after a crash with 8 KiB synced and 8 KiB not."""

    async def main(world: SimWorld) -> None:
        if world.log.list():
            data.append(world.log.open("wal").read_all())
            return
        file = world.log.create("wal")
        file.append(b"s" * 8192)
        await file.sync()
        file.append(b"u" * 8192)
        await world.sleep(3600)

    data: list[bytes] = []
    with Simulation(seed) as sim:
        sim.add_node("storage-a1", main)
        sim.run_for(1)
        sim.crash("storage-a1", lose_unsynced=lose_unsynced)
        sim.restart("storage-a1")
        sim.run_for(1)
    return data[0]


def test_power_off_loses_or_tears_what_was_not_synced_and_nothing_else() -> None:
    outcomes = Counter[str]()
    for seed in range(30):
        data = recovered_after_crash(seed, lose_unsynced=True)
        assert data[:8192] == b"s" * 8192
        lost = data[8192:]
        outcomes["all" if not lost else "some" if b"\0" in lost or len(lost) < 8192 else "none"] += 1
    assert outcomes["all"] > 5
    assert outcomes["some"] > 5


def test_a_killed_process_loses_nothing_that_it_wrote() -> None:
    assert recovered_after_crash(1, lose_unsynced=False) == b"s" * 8192 + b"u" * 8192


def test_a_crash_during_an_fsync_makes_no_promise() -> None:
    synced: list[int] = []

    async def main(world: SimWorld) -> None:
        file = world.log.open("wal") if world.log.list() else world.log.create("wal")
        sizes.append(file.size)
        while True:
            file.append(b"r" * 512)
            await file.sync()
            synced.append(file.size)

    sizes: list[int] = []
    for seed in range(20):
        synced.clear()
        sizes.clear()
        with Simulation(seed) as sim:
            sim.add_node("storage-a1", main)
            sim.run_for(0.05 + seed / 1000)
            sim.crash("storage-a1")
            acknowledged = synced[-1]
            sim.restart("storage-a1")
            sim.run_for(0.0001)
            assert sizes[1] in (acknowledged, acknowledged + 512)


def test_a_failed_fsync_is_seen_by_the_node() -> None:
    async def main(world: SimWorld) -> None:
        file = world.log.create("wal")
        file.append(b"x")
        try:
            await file.sync()
        except DiskFailed as error:
            world.exit(str(error))

    with Simulation(1) as sim:
        node = sim.add_node("storage-a1", main, start=False)
        node.disk.memory.fail_syncs = True
        sim.restart("storage-a1")
        sim.run_for(1)
        assert node.state == "exited"


def test_a_lying_disk_loses_what_it_said_was_durable() -> None:
    async def main(world: SimWorld) -> None:
        if world.log.list():
            found.append(world.log.open("wal").read_all())
            return
        file = world.log.create("wal")
        for part in (b"first", b"second"):
            file.append(part)
            await file.sync()
            await world.sleep(1)
        world.log.create("later").close()

    found: list[bytes] = []
    with Simulation(1) as sim:
        node = sim.add_node("storage-a1", main)
        sim.run_for(0.5)
        node.disk.lie()
        sim.run_for(3)
        sim.crash("storage-a1")
        assert node.disk.memory.log.list() == ["wal"]
        sim.restart("storage-a1")
        sim.run_for(1)
    assert found == [b"first"]


def test_a_slow_disk_is_slow() -> None:
    async def main(world: SimWorld) -> None:
        file = world.log.create("wal")
        file.append(b"x")
        began = world.now()
        await file.sync()
        took.append(world.now() - began)
        began = world.now()
        await world.offload(page_work, world)
        took.append(world.now() - began)

    def page_work(world: SimWorld) -> None:
        file = world.pages.open("tree", create=True)
        file.write(0, b"x")
        file.sync()

    took: list[float] = []
    with Simulation(1) as sim:
        node = sim.add_node("storage-a1", main, start=False)
        node.disk.profile.sync_min_s = node.disk.profile.sync_max_s = 0.8
        sim.restart("storage-a1")
        sim.run_for(3)
    assert took == [pytest.approx(0.8, rel=0.1), pytest.approx(0.8, rel=0.1)]


def traffic(profile: LinkProfile, count: int = 2000) -> list[int]:
    """Numbers that b received, of those that a sent in order."""
    got: list[int] = []

    async def main(world: SimWorld) -> None:
        world.on_message(lambda sender, payload: got.append(int(payload)))
        if world.name == "a":
            for n in range(count):
                world.send("b", b"%d" % n)
                await world.sleep(0.001)

    with Simulation(5) as sim:
        sim.network.default = profile
        sim.add_node("b", main)
        sim.add_node("a", main)
        sim.run_for(count * 0.001 + 2)
    return got


def test_a_plain_link_keeps_order_and_loses_nothing() -> None:
    assert traffic(LinkProfile()) == list(range(2000))


def test_loss_duplication_and_reordering_happen_as_often_as_asked() -> None:
    lossy = traffic(LinkProfile(loss=0.1))
    assert 0.85 < len(lossy) / 2000 < 0.95
    assert lossy == sorted(lossy)
    doubled = traffic(LinkProfile(duplicate=0.1))
    assert 1.05 < len(doubled) / 2000 < 1.15
    shuffled = traffic(LinkProfile(reorder=0.2))
    assert sorted(shuffled) == list(range(2000))
    assert sum(a > b for a, b in pairwise(shuffled)) > 100


def test_a_slow_link_delays_one_direction_only() -> None:
    async def main(world: SimWorld) -> None:
        def answer(sender: str, payload: bytes) -> None:
            times[world.name] = world.loop.time()
            if world.name == "b":
                world.send("a", b"pong")

        world.on_message(answer)
        await world.sleep(0.1)
        if world.name == "a":
            times["sent"] = world.loop.time()
            world.send("b", b"ping")

    times: dict[str, float] = {}
    with Simulation(1) as sim:
        sim.network.shape("a", "b", LinkProfile(delay_s=0.5, jitter_s=0.0))
        sim.add_node("b", main)
        sim.add_node("a", main)
        sim.run_for(2)
    assert times["b"] - times["sent"] == pytest.approx(0.5)
    assert times["a"] - times["b"] < 0.01


class Recorder(asyncio.Protocol):
    def __init__(self) -> None:
        self.data = b""
        self.lost: list[Exception | None] = []

    def data_received(self, data: bytes) -> None:
        self.data += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)


def streaming(sim: Simulation) -> tuple[Any, Recorder, list[Recorder]]:
    """A stream from a client to node b, whose protocols are the second recorder's list."""
    accepted: list[Recorder] = []

    async def main(world: SimWorld) -> None:
        def factory() -> Recorder:
            accepted.append(Recorder())
            return accepted[-1]

        await world.listen(8000, factory)

    sim.add_node("b", main)
    sim.run_for(0.1)
    transport, protocol = sim.run(sim.streams.connect("client", None, "b", 8000, Recorder))
    return transport, protocol, accepted


def test_a_short_cut_holds_a_stream_up_and_a_long_one_breaks_it() -> None:
    with Simulation(1) as sim:
        transport, client, accepted = streaming(sim)
        heal = sim.partition(["client"], ["b"])
        transport.write(b"late")
        sim.run_for(0.5)
        assert accepted[0].data == b""
        heal()
        sim.run_for(0.5)
        assert accepted[0].data == b"late"
        sim.partition(["client"], ["b"])
        transport.write(b"never")
        sim.run_for(5)
        assert accepted[0].data == b"late"
        assert isinstance(client.lost[0], TimeoutError)


def test_a_killed_process_resets_its_streams_and_a_powerless_node_is_silent() -> None:
    with Simulation(1) as sim:
        _, client, _ = streaming(sim)
        sim.crash("b", lose_unsynced=False)
        sim.run_for(0.1)
        assert isinstance(client.lost[0], ConnectionResetError)
    with Simulation(1) as sim:
        transport, client, _ = streaming(sim)
        sim.crash("b")
        sim.run_for(0.1)
        assert client.lost == []
        transport.write(b"anyone?")
        sim.run_for(5)
        assert isinstance(client.lost[0], TimeoutError)
    with Simulation(1) as sim:
        transport, client, _ = streaming(sim)
        sim.crash("b")
        sim.restart("b")
        sim.run_for(1)
        transport.write(b"remember me?")
        sim.run_for(0.1)
        assert isinstance(client.lost[0], ConnectionResetError)


def test_each_call_of_a_client_waits_for_its_own_time() -> None:
    ended: list[tuple[str, float]] = []

    async def call(sim: Simulation, client: SimClient, name: str, after_s: float, timeout_s: float) -> None:
        await asyncio.sleep(after_s)
        began = sim.now
        with pytest.raises(NoAnswer):
            await client.exchange("GetItem", b"{}", timeout_s)
        ended.append((name, round(sim.now - began, 2)))

    with Simulation(1) as sim:
        streaming(sim)
        client = SimClient(sim, "client", "b")
        calls = (("first", 0.0, 1.0), ("later", 0.4, 1.0), ("short", 0.5, 0.2), ("again", 3.0, 1.0))
        work = [call(sim, client, *one) for one in calls]
        sim.run(asyncio.wait_for(_all(work), 10))
    assert ended == [("short", 0.2), ("first", 1.0), ("later", 1.0), ("again", 1.0)]


async def _all(work: list[Coroutine[Any, Any, None]]) -> None:
    await asyncio.gather(*work)


def test_clocks_start_anew_with_the_machine_and_leap_but_never_go_back() -> None:
    async def main(world: SimWorld) -> None:
        await world.sleep(0)

    with Simulation(1) as sim:
        clock = sim.add_node("a", main).clock
        sim.run_for(1)
        wall = clock.wall()
        sim.crash("a")
        assert clock.wall() == pytest.approx(wall)
        before = clock.boot()
        clock.leap_boot(100)
        assert clock.boot() == pytest.approx(before + 100)
        with pytest.raises(ValueError, match="never goes back"):
            clock.leap_boot(-1)
        clock.jump_wall(-7200)
        assert clock.wall() == pytest.approx(wall + 100 - 7200)
        clock.set_rate(2.0)
        before = clock.boot()
        sim.run_for(10)
        assert clock.boot() == pytest.approx(before + 20)


def test_a_deployed_cluster_has_the_small_topologys_nodes() -> None:
    made = configs(7, peers())
    assert len([c for c in made if c.role != "client"]) == 21
    assert zone_of(made, "b") == [
        "storage-b1",
        "storage-b2",
        "router-b",
        "memds-b",
        "identity-b",
        "autoadmin-b",
        "gac-b",
    ]
    assert {c.rack for c in made if c.role == "storage"} == {"a1", "a2", "b1", "b2", "c1", "c2"}
    assert all((c.identity is not None) == (c.role == "identity") for c in made)
