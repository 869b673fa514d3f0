"""Bugs that exploring found in the drivers, each reduced to the smallest scene that showed it."""

from __future__ import annotations

from typing import Any

from cluster.core.config import Configuration, Member
from cluster.node.codec import Spec
from cluster.node.config import NodeConfig
from cluster.node.process import Node
from cluster.node.rpc import TAKEN_MAX, Rpc
from cluster.sim.deploy import deploy, peers
from cluster.sim.network import LinkProfile
from cluster.sim.simulation import Simulation
from cluster.sim.world import SimWorld


def test_a_request_that_the_network_doubles_is_carried_out_once() -> None:
    """Seed 126: an update came twice, the second time on top of what others had written since."""
    done: list[int] = []

    async def server(world: SimWorld) -> None:
        Rpc(world).register("add", lambda sender, number, responder: (done.append(number), responder.reply(number)))

    async def client(world: SimWorld) -> None:
        rpc = Rpc(world)
        for number in range(TAKEN_MAX + 300):
            assert await rpc.call("server", "add", number) == number

    sim = Simulation(1)
    sim.network.default = LinkProfile(duplicate=0.5)
    sim.add_node("server", server)
    sim.add_node("client", client)
    sim.run_for(60)
    assert sim.network.counters.duplicated > 1000
    assert done == list(range(TAKEN_MAX + 300))


def one_storage_node(sim: Simulation, found: list[Node]) -> None:
    async def run_node(world: SimWorld, config: NodeConfig) -> None:
        node = Node(world, config)
        found.append(node)
        await node.run()

    deploy(sim, run_node, peers(["a"], storage_per_zone=1, roles=(), clients=False))
    sim.run_until(lambda: sim.count("ready") == 1, 5)


SPEC = Spec("g", "t", b"", b"", 1, Configuration((Member(1, "storage-a1", "a", "a1"),)))


def test_a_plan_that_comes_again_while_it_is_carried_out_waits_for_it() -> None:
    """Seed 6: over a slow network the control plane repeated itself, and the B-tree was opened twice."""
    sim = Simulation(1)
    nodes: list[Node] = []
    one_storage_node(sim, nodes)
    host = nodes[0].role.host  # type: ignore[attr-defined]
    ended: list[float] = []

    async def create() -> None:
        await host.create(SPEC)
        ended.append(sim.now)

    for _ in range(3):
        nodes[0].world.spawn(create(), "create")
    sim.run_until(lambda: len(ended) == 3, 5)
    assert sim.count("replica-created") == 1
    assert host.wal.durable > 0


def test_a_disk_that_fails_while_a_replica_is_placed_ends_the_node_and_is_no_bug() -> None:
    """Seed 90."""
    sim = Simulation(1)
    nodes: list[Node] = []
    one_storage_node(sim, nodes)
    sim.nodes["storage-a1"].disk.memory.fail_syncs = True
    host: Any = nodes[0].role.host  # type: ignore[attr-defined]
    nodes[0].world.spawn(host.create(SPEC), "create")
    sim.run_until(lambda: sim.nodes["storage-a1"].state == "exited", 5)
    assert sim.count("exit") == 1


def test_a_disk_that_fails_at_the_start_ends_the_node_and_is_no_bug() -> None:
    """Seeds 199 and 496: restarted on a disk that still failed."""
    sim = Simulation(1)
    one_storage_node(sim, [])
    sim.crash("storage-a1")
    sim.nodes["storage-a1"].disk.memory.fail_syncs = True
    sim.restart("storage-a1")
    sim.run_until(lambda: sim.nodes["storage-a1"].state == "exited", 5)
    assert sim.count("ready") == 1
