"""The simulator itself: virtual time, lives, cuts, disks, and the same bits for the same seed."""

from __future__ import annotations

import asyncio
import gc
import math
import os
import subprocess
import sys
import weakref
from random import Random
from typing import Any

import pytest

from cluster.node.rpc import Rpc, RpcError, RpcTimeout
from cluster.node.world import World
from cluster.sim.collector import RARER, rare_collections
from cluster.sim.loop import Livelock, Stalled
from cluster.sim.network import LinkProfile
from cluster.sim.simulation import ConditionNotMet, NodeBug, Simulation
from cluster.sim.world import SimWorld


class Chatter:
    """A node that logs what it hears durably, tells its peers, and answers the controller."""

    def __init__(self, peers: list[str]) -> None:
        self.peers = peers

    async def __call__(self, world: SimWorld) -> None:
        rpc = Rpc(world)
        names = world.log.list()
        file = world.log.open("heard") if names else world.log.create("heard")
        world.event("ready", recovered=file.size)

        async def hear(sender: str, params: Any) -> int:
            file.append(params.encode() + b"\n")
            await file.sync()
            return file.size

        rpc.register_async("hear", hear)
        rpc.register("status", lambda sender, params, responder: responder.reply({"now": world.now()}))
        while True:
            for peer in self.peers:
                if peer == world.name:
                    continue
                try:
                    size = await rpc.call(peer, "hear", f"{world.name} at {world.now():.3f}", 0.3)
                    world.event("heard", by=peer, size=size)
                except RpcTimeout:
                    world.event("unheard", by=peer)
            await world.sleep(world.rng.uniform(0.05, 0.15))


NAMES = ["storage-a1", "storage-b1", "storage-c1"]


def cluster(seed: int) -> Simulation:
    sim = Simulation(seed)
    for name in NAMES:
        sim.add_node(name, Chatter(NAMES))
    return sim


def eventful(seed: int) -> Simulation:
    """Everything that can be done to a cluster, in five virtual seconds."""
    sim = cluster(seed)
    sim.network.default = LinkProfile(loss=0.02, duplicate=0.05, reorder=0.1)
    sim.run_for(1)
    heal = sim.partition(["storage-a1"], one_way=True)
    sim.crash("storage-b1")
    sim.run_for(1)
    heal()
    sim.restart("storage-b1")
    sim.pause("storage-c1")
    sim.run_for(1)
    sim.resume("storage-c1")
    sim.crash("storage-a1", lose_unsynced=False)
    sim.restart("storage-a1", wipe=True)
    sim.nodes["storage-b1"].clock.jump_wall(-3600)
    sim.run_for(2)
    return sim


def test_virtual_time_costs_no_real_time_and_never_waits_in_vain() -> None:
    sim = Simulation(1)
    assert sim.run(asyncio.sleep(86_400, "a day"), limit_s=100_000) == "a day"
    with pytest.raises(Stalled):
        sim.run(sim.loop.create_future())
    sim.run_for(10)
    assert sim.now == pytest.approx(86_410)


def test_callbacks_of_one_instant_run_in_the_order_they_were_scheduled() -> None:
    sim = Simulation(1)
    order: list[int] = []
    for n in range(100):
        sim.loop.call_at(1.0, order.append, n)
    sim.run_for(2)
    assert order == list(range(100))


def test_timers_far_and_near_run_in_the_order_of_their_times_and_cancelled_ones_not_at_all() -> None:
    sim, rng = Simulation(1), Random(5)
    ran: list[tuple[float, int]] = []
    wanted: list[tuple[float, int]] = []

    def run(when: float, number: int) -> None:
        assert sim.now == when
        ran.append((when, number))
        for _ in range(2 if number < 3000 else 0):  # some in this very moment, some of the next slots, some far away
            schedule(sim.now + rng.choice((0.0, rng.random() / 1000, rng.random(), 100 * rng.random())))

    def schedule(when: float) -> None:
        number = len(wanted)
        timer = sim.loop.call_at(when, run, when, number)
        wanted.append((when, number))
        if rng.random() < 0.2:
            timer.cancel()
            wanted[-1] = (math.inf, number)

    for _ in range(100):
        schedule(10 * rng.random())
    sim.run_for(0.001)
    schedule(0.0015)  # before the slot that is being worked on, most likely
    sim.run_for(2000)
    assert ran == sorted(entry for entry in wanted if entry[0] < math.inf)
    assert len(ran) > 3000


def test_limits_that_were_cancelled_do_not_pile_up() -> None:
    loop = Simulation(1).loop
    kept = loop.call_at(5000.0, print)
    loop.run(1.0)  # nothing is nearer than that one
    for number in range(50_000):
        loop.call_at(1000.0 + number / 10, print).cancel()
    assert len(loop._timers.near) + loop._timers._waiting < 10_000
    assert not kept.cancelled()
    loop.run(4999.0)  # which is not stalled, since one is left
    kept.cancel()
    with pytest.raises(Stalled):
        loop.run(5001.0)


def test_naps_leave_nothing_to_the_garbage_collector() -> None:
    loop = Simulation(1).loop

    async def naps() -> None:
        for _ in range(100):
            await loop.after(0.1)

    task = loop.create_task(naps())
    gc.collect()
    gc.disable()
    try:
        loop.run_until_complete(task)
        assert gc.collect() < 10  # of a hundred naps
    finally:
        gc.enable()


def test_a_loop_that_is_stopped_between_two_runs_lets_no_time_pass_in_the_next() -> None:
    sim = Simulation(1)
    ran: list[float] = []
    sim.loop.call_soon(ran.append, 0.0)
    sim.loop.call_at(1.0, ran.append, 1.0)
    sim.on_escape(None, ValueError("while nothing ran"))
    with pytest.raises(ValueError, match="while nothing ran"):
        sim.run_for(2)
    assert (ran, sim.now) == ([0.0], 0.0)
    sim.run_for(2)
    assert ran == [0.0, 1.0]


def test_an_endless_loop_is_found() -> None:
    async def main(world: SimWorld) -> None:
        while True:
            await world.sleep(0)

    sim = Simulation(1)
    sim.add_node("storage-a1", main)
    with pytest.raises(Livelock):
        sim.run_for(1)


def test_nodes_talk_and_answer_the_controller() -> None:
    sim = cluster(3)
    sim.run_until(lambda: sim.count("heard") > 20, limit_s=10)
    assert sim.call("storage-a1", "status")["now"] == pytest.approx(sim.nodes["storage-a1"].clock.boot(), abs=0.1)
    with pytest.raises(RpcError, match="no-method"):
        sim.call("storage-a1", "nonsense")
    sim.crash("storage-a1")
    with pytest.raises(RpcTimeout):
        sim.call("storage-a1", "status", timeout_s=0.5)
    with pytest.raises(ConditionNotMet):
        sim.run_until(lambda: False, limit_s=1)


@pytest.mark.parametrize("seed", range(5))
def test_a_crash_ends_everything_of_a_node_and_keeps_what_was_synced(seed: int) -> None:
    sim = cluster(seed)
    sim.run_for(1)
    before = max(e["size"] for e in sim.events if e["event"] == "heard" and e["by"] == "storage-b1")
    sim.crash("storage-b1")
    mark = len(sim.events)
    sim.run_for(2)
    assert not [e for e in sim.events[mark:] if e["node"] == "storage-b1" and e["event"] != "crash"]
    sim.restart("storage-b1")
    sim.run_until(lambda: sim.count("ready", node="storage-b1") == 2)
    recovered = [e for e in sim.events if e["event"] == "ready" and e["node"] == "storage-b1"][-1]["recovered"]
    assert recovered >= before
    sim.run_for(1)
    assert sim.count("unheard", by="storage-b1") > 0


def test_finally_blocks_of_a_dead_node_reach_nothing() -> None:
    reached: list[str] = []

    async def main(world: SimWorld) -> None:
        try:
            await world.sleep(3600)
        finally:
            world.send("storage-b1", b"from the grave")
            reached.append("never")

    sim = Simulation(1)
    sim.add_node("storage-a1", main)
    sim.run_for(1)
    sim.crash("storage-a1")
    sim.run_for(1)
    assert reached == []
    assert sim.network.counters.sent == 0


def test_a_one_way_cut_is_one_way_and_healing_takes_back_only_its_own() -> None:
    got: list[tuple[str, str]] = []

    async def main(world: SimWorld) -> None:
        world.on_message(lambda sender, payload: got.append((sender, world.name)))
        while True:
            world.send("a" if world.name == "b" else "b", b"x")
            await world.sleep(0.1)

    sim = Simulation(1)
    for name in ("a", "b"):
        sim.add_node(name, main)
    sim.run_for(1)
    heal_one = sim.partition(["a"], ["b"], one_way=True)
    heal_both = sim.partition(["a"], ["b"])
    got.clear()
    sim.run_for(1)
    assert got == []
    heal_both()
    sim.run_for(1)
    assert got
    assert {*got} == {("b", "a")}
    heal_one()
    sim.run_for(1)
    assert {*got} == {("b", "a"), ("a", "b")}


def test_a_paused_node_catches_up_when_it_goes_on() -> None:
    ticks: list[float] = []

    async def main(world: SimWorld) -> None:
        while True:
            await world.sleep(0.1)
            ticks.append(world.now())

    sim = Simulation(1)
    sim.add_node("a", main)
    sim.run_for(1)
    sim.pause("a")
    count = len(ticks)
    sim.run_for(5)
    assert len(ticks) == count
    sim.resume("a")
    sim.run_for(0.5)
    assert len(ticks) > count
    assert ticks[count] - ticks[count - 1] > 4.9


def test_an_escaped_exception_is_a_bug_that_names_node_and_seed() -> None:
    async def main(world: SimWorld) -> None:
        await world.sleep(1)
        raise KeyError("a bug")

    sim = Simulation(42)
    sim.add_node("storage-a1", main)
    with pytest.raises(NodeBug, match=r"storage-a1: KeyError: 'a bug' \(seed 42, at ") as found:
        sim.run_for(2)
    assert isinstance(found.value.__cause__, KeyError)

    def decode(sender: str, payload: bytes) -> None:
        payload.decode("ascii")

    async def deaf(world: SimWorld) -> None:
        world.on_message(decode)
        world.call_at(world.now() + 1, lambda: world.send("b", b"\xff"))

    sim = Simulation(43)
    sim.add_node("a", deaf)
    sim.add_node("b", deaf)
    with pytest.raises(NodeBug, match="b: UnicodeDecodeError"):
        sim.run_for(2)


def test_a_node_that_exits_runs_no_further_and_can_be_restarted() -> None:
    after: list[int] = []

    async def main(world: World) -> None:
        await world.sleep(0.5)
        world.exit("fsync failed")
        after.append(1)

    sim = Simulation(1)
    sim.add_node("a", main)
    sim.run_for(1)
    assert (sim.nodes["a"].state, after) == ("exited", [])
    assert sim.count("exit", reason="fsync failed") == 1
    sim.restart("a")
    sim.run_for(1)
    assert sim.count("exit") == 2


@pytest.mark.parametrize("seed", [1, 2])
def test_one_seed_gives_one_history_to_the_bit(seed: int) -> None:
    first, second, other = eventful(seed), eventful(seed), eventful(seed + 100)
    assert first.log_lines() == second.log_lines()
    assert first.fingerprint == second.fingerprint
    assert first.fingerprint != other.fingerprint


def test_the_history_does_not_depend_on_hash_seed_addresses_or_the_collector() -> None:
    program = (
        "import gc, sys; ballast = [object() for _ in range(int(sys.argv[1]))]; gc.set_threshold(int(sys.argv[2]))\n"
        "from tests.sim.test_simulation import eventful; print(eventful(7).fingerprint)"
    )
    found = []
    for hash_seed, ballast, threshold in (("0", "10", "700"), ("1", "100003", "7"), ("4711", "5", "100000")):
        environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.getcwd()}
        command = [sys.executable, "-c", program, ballast, threshold]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        found.append(done.stdout)
    assert len({*found}) == 1
    assert found[0] == f"{eventful(7).fingerprint}\n"


def test_rare_collections_last_as_long_as_asked_even_where_the_run_fails() -> None:
    before = gc.get_threshold()
    with rare_collections():
        assert gc.get_threshold()[0] == before[0] * RARER
    assert gc.get_threshold() == before
    with pytest.raises(KeyError), rare_collections():
        {}["nothing"]
    assert gc.get_threshold() == before


def test_what_a_test_forgets_to_close_is_closed_for_it(
    closed_simulations: list[weakref.ref[Simulation]],
) -> None:
    forgotten = Simulation(1)
    assert [made() for made in closed_simulations] == [forgotten]
    forgotten.close()
    forgotten.close()  # as the fixture does after a test that closed its own
    assert forgotten.loop.is_closed()
