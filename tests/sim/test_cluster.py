"""The whole cluster, every role, in the simulator: it serves, survives a zone and a region, and repeats itself."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import Any

from cluster.node.config import NodeConfig
from cluster.node.process import Node
from cluster.sim.client import NoAnswer, NotSent, Refused, SimClient
from cluster.sim.deploy import deploy, zone_of
from cluster.sim.network import LinkProfile
from cluster.sim.simulation import Simulation
from cluster.sim.world import SimWorld
from tests.sim.database import SimDatabase

TABLE: dict[str, Any] = {
    "TableName": "orders",
    "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
    "BillingMode": "PAY_PER_REQUEST",
}


async def run_node(world: SimWorld, config: NodeConfig) -> None:
    await Node(world, config).run()


class Scene:
    """A deployed cluster with a table, a client in zone a, and everything that was acknowledged to it."""

    def __init__(self, seed: int) -> None:
        self.sim = Simulation(seed)
        self.configs = deploy(self.sim, run_node)
        self.sim.run_until(lambda: self.sim.count("ready") == 21, limit_s=10)
        self.client = SimClient(self.sim, "client-a", "router-a")
        self.acknowledged: dict[str, int] = {}
        self.attempted: dict[str, list[int]] = {}
        self.failed = 0
        self.sim.run(self._create())

    async def _create(self) -> None:
        await self.client.call("CreateTable", TABLE, timeout_s=10)
        while True:
            table = await self.client.call("DescribeTable", {"TableName": "orders"})
            if table["Table"]["TableStatus"] == "ACTIVE":
                return
            await asyncio.sleep(0.1)

    async def _put(self, key: str, value: int) -> None:
        self.attempted.setdefault(key, []).append(value)
        item = {"pk": {"S": key}, "v": {"N": str(value)}, "pad": {"S": "x" * 200}}
        try:
            await self.client.call("PutItem", {"TableName": "orders", "Item": item})
            self.acknowledged[key] = value
        except (NoAnswer, NotSent, Refused):
            self.failed += 1

    async def _load(self, seconds: float, first: int) -> None:
        """Fifty puts a second over a hundred keys, never two to one key at once."""
        under_way = []
        for n in range(int(seconds * 50)):
            under_way.append(asyncio.ensure_future(self._put(f"k{n % 100}", first + n)))
            await asyncio.sleep(0.02)
        for task in under_way:
            await task

    def load(self, seconds: float, first: int) -> int:
        """Returns how many of the puts failed."""
        self.failed = 0
        self.sim.run(self._load(seconds, first), limit_s=seconds + 30)
        return self.failed

    def power_off(self, names: list[str]) -> None:
        for name in names:
            self.sim.crash(name)

    def power_on(self, names: list[str]) -> None:
        for name in names:
            self.sim.restart(name)

    def lost(self) -> list[str]:
        """Keys whose strong read is neither what was acknowledged last nor something written after it."""
        return [key for key in sorted(self.acknowledged) if not self.sim.run(self._holds(key))]

    async def _holds(self, key: str) -> bool:
        request = {"TableName": "orders", "Key": {"pk": {"S": key}}, "ConsistentRead": True}
        for _ in range(40):
            try:
                answer = await self.client.call("GetItem", request)
                break
            except (NoAnswer, NotSent, Refused):
                await asyncio.sleep(0.25)
        else:
            raise AssertionError(f"{key} cannot be read")
        found = int(answer["Item"]["v"]["N"]) if "Item" in answer else -1
        return found in [v for v in self.attempted[key] if v >= self.acknowledged[key]]


def game_day(seed: int) -> Scene:
    """A zone loses power under load, comes back, and then the whole region does the same."""
    scene = Scene(seed)
    scene.sim.network.default = LinkProfile(duplicate=0.01, reorder=0.05)
    assert scene.load(2, 0) == 0
    zone = zone_of(scene.configs, "b")
    scene.power_off(zone)
    scene.load(4, 1000)
    assert scene.load(2, 2000) == 0, "writes go on without the zone"
    scene.power_on(zone)
    assert scene.load(2, 3000) == 0
    everything = [config.name for config in scene.configs if config.role != "client"]
    scene.power_off(everything)
    scene.sim.run_for(1)
    scene.power_on(everything)
    scene.sim.run_for(8)
    assert scene.load(2, 4000) < 40, "only connections from before the outage fail"
    return scene


def test_no_acknowledged_write_is_lost_when_a_zone_and_then_the_region_lose_power() -> None:
    for seed in range(2):
        scene = game_day(seed)
        assert len(scene.acknowledged) == 100
        assert scene.lost() == []
        scene.sim.close()


def test_the_test_above_notices_a_node_that_forgets_what_it_acknowledged() -> None:
    scene = Scene(1)
    scene.load(2, 0)
    everything = [config.name for config in scene.configs if config.role != "client"]
    for name in everything:
        scene.sim.nodes[name].disk.lie()
    scene.load(2, 1000)
    scene.power_off(everything)
    scene.sim.run_for(1)
    scene.power_on(everything)
    scene.sim.run_for(8)
    assert scene.lost()


def test_a_game_day_repeats_itself_to_the_bit() -> None:
    program = "from tests.sim.test_cluster import game_day; print(game_day(11).sim.fingerprint)"
    found = []
    for hash_seed in ("0", "12345"):
        environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.getcwd()}
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        found.append(done.stdout)
    assert found[0] == found[1]


def test_a_table_made_before_every_node_was_heard_of_is_not_crowded_onto_the_quick_ones() -> None:
    """On a busy machine one storage node may report a second after the others: its zone's replicas all came onto the
    other one."""

    def one_is_slow(database: SimDatabase) -> None:
        names = [config.name for config in database.configs if config.role != "client"]
        acting = database.sim.count("control-plane-acting")
        database.power_off(names)
        database.sim.run_for(1.0)  # what it said before is under way no more
        database.power_on([name for name in names if name != "storage-a1"])
        database.sim.run_until(lambda: database.sim.count("control-plane-acting") > acting, 10)
        database.sim.loop.call_later(1.0, database.power_on, ["storage-a1"], context=database.sim.loop.harness)

    database = SimDatabase(5, before_table=one_is_slow, partitions=4)
    database.settle()
    held = {name: len(database.replicas(name)) for name in database.sim.running() if name.startswith("storage-")}
    assert held == dict.fromkeys(held, 2)
    assert len(held) == 6
