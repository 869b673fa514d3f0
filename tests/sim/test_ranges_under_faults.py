"""Strong Query and Scan while zones lose power and networks are cut: they see what was acknowledged before they were
asked, never what was not committed, and every item exactly once, over partitions and pages.

Each item has one writer, who lets its number only rise (by a condition). So a strong read must show at least the number
that was acknowledged, or read strongly, before it began, and at most one that was attempted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from cluster.node import rangereads
from cluster.node.config import NodeConfig
from cluster.node.process import Node
from cluster.node.router import Router
from cluster.sim.client import NoAnswer, NotSent, Refused, SimClient
from cluster.sim.deploy import deploy, zone_of
from cluster.sim.network import LinkProfile
from cluster.sim.simulation import Simulation
from cluster.sim.world import SimWorld
from tests.plants.sticky import keep_routes

COLLECTIONS, ITEMS, PARTITIONS = 6, 4, 3
TABLE: dict[str, Any] = {
    "TableName": "orders",
    "AttributeDefinitions": [
        {"AttributeName": "pk", "AttributeType": "S"},
        {"AttributeName": "sk", "AttributeType": "N"},
    ],
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
    "BillingMode": "PAY_PER_REQUEST",
    "Tags": [{"Key": "blackstart:partitions", "Value": str(PARTITIONS)}],
}
FAILED = (NoAnswer, NotSent, Refused)
Key = tuple[str, int]


class Scene:
    """A deployed cluster, writers and readers in every zone, and what they must see."""

    def __init__(self, seed: int, *, sticky: bool = False) -> None:
        """``sticky``: routers go on asking the first leader they knew of a group."""
        self.sticky = sticky
        self.sim = Simulation(seed)
        self.sim.network.default = LinkProfile(duplicate=0.01, reorder=0.05)
        self.nodes: dict[str, Node] = {}
        self.configs = deploy(self.sim, self._run_node)
        everything = [config.name for config in self.configs if config.role != "client"]
        self.sim.run_until(lambda: self.sim.count("ready") == len(everything), limit_s=10)
        self.clients = [SimClient(self.sim, f"client-{az}", f"router-{az}") for az in "abc"]
        self.floor: dict[Key, int] = {}
        self.attempted: dict[Key, int] = {}
        self.reads = 0
        self.wrong: list[str] = []
        self.stopped = False
        self.sim.run(self._create())

    async def _run_node(self, world: SimWorld, config: NodeConfig) -> None:
        self.nodes[config.name] = node = Node(world, config)
        if self.sticky and isinstance(node.role, Router):
            keep_routes(node.role.dispatch)
        await node.run()

    async def _create(self) -> None:
        await self.clients[0].call("CreateTable", TABLE, timeout_s=10)
        while True:
            table = await self.clients[0].call("DescribeTable", {"TableName": "orders"})
            if table["Table"]["TableStatus"] == "ACTIVE":
                return
            await asyncio.sleep(0.1)

    # --- load ---

    async def write(self, client: SimClient, keys: list[Key]) -> None:
        at = 0
        while not self.stopped:
            key = keys[at % len(keys)]
            at += 1
            self.attempted[key] = number = self.attempted.get(key, 0) + 1
            item = {"pk": {"S": key[0]}, "sk": {"N": str(key[1])}, "v": {"N": str(number)}, "pad": {"S": "x" * 100}}
            request = {
                "TableName": "orders",
                "Item": item,
                "ConditionExpression": "attribute_not_exists(v) OR v < :v",
                "ExpressionAttributeValues": {":v": {"N": str(number)}},
            }
            try:
                await client.call("PutItem", request, timeout_s=3)
                self.floor[key] = max(self.floor.get(key, 0), number)
            except FAILED:
                pass
            await asyncio.sleep(0.06)

    async def read(self, client: SimClient, collections: list[str]) -> None:
        at = 0
        while not self.stopped:
            at += 1
            reverse = at % 2 == 0
            floor = dict(self.floor)
            try:
                if at % 3:
                    pk = collections[at % len(collections)]
                    await self.judge(await self.query(client, pk, reverse), floor, pk, reverse)
                else:
                    await self.judge(await self.scan(client), floor, "", False)
            except FAILED:
                await asyncio.sleep(0.1)
            await asyncio.sleep(0.08)

    async def pages(self, client: SimClient, operation: str, request: dict[str, Any]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            page = await client.call(operation, request, timeout_s=5)
            found += page["Items"]
            if "LastEvaluatedKey" not in page:
                return found
            request = {**request, "ExclusiveStartKey": page["LastEvaluatedKey"]}

    async def query(self, client: SimClient, pk: str, reverse: bool) -> list[dict[str, Any]]:
        request = {
            "TableName": "orders",
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": {":pk": {"S": pk}},
            "ConsistentRead": True,
            "ScanIndexForward": not reverse,
            "Limit": 3,
        }
        return await self.pages(client, "Query", request)

    async def scan(self, client: SimClient) -> list[dict[str, Any]]:
        return await self.pages(client, "Scan", {"TableName": "orders", "ConsistentRead": True, "Limit": 9})

    async def judge(self, items: list[dict[str, Any]], floor: dict[Key, int], pk: str, reverse: bool) -> None:
        self.reads += 1
        keys = [(item["pk"]["S"], int(item["sk"]["N"])) for item in items]
        seen = {key: int(item["v"]["N"]) for key, item in zip(keys, items, strict=True)}
        if len(seen) != len(keys) or (pk and keys != sorted(keys, reverse=reverse)):
            self.wrong.append(f"order or doubles: {keys}")
        for key, least in floor.items():
            if (not pk or key[0] == pk) and seen.get(key, 0) < least:
                self.wrong.append(f"{key} shows {seen.get(key)}, after {least} was acknowledged")
        for key, number in seen.items():
            if number > self.attempted[key]:
                self.wrong.append(f"{key} shows {number}, nobody wrote more than {self.attempted[key]}")
            self.floor[key] = max(self.floor.get(key, 0), number)

    def run(self, faults: Callable[[Scene], None]) -> None:
        pks = [f"c{n}" for n in range(COLLECTIONS)]
        keys = [(pk, sk) for pk in pks for sk in range(ITEMS)]
        tasks: list[asyncio.Future[None]] = []

        async def begin() -> None:
            for at, client in enumerate(self.clients):
                tasks.append(asyncio.ensure_future(self.write(client, keys[at :: len(self.clients)])))
                tasks.append(asyncio.ensure_future(self.read(client, pks)))

        self.sim.run(begin())
        self.sim.run_for(2)
        faults(self)
        self.sim.run_for(2)
        self.stopped = True
        self.sim.run_until(lambda: all(task.done() for task in tasks), limit_s=20)
        for task in tasks:
            task.result()


def all_of_it(scene: Scene) -> None:
    """A zone without power, a zone cut off, and the whole region without power."""
    zone = zone_of(scene.configs, "a")
    for name in zone:
        scene.sim.crash(name)
    scene.sim.run_for(3)
    for name in zone:
        scene.sim.restart(name)
    scene.sim.run_for(2)
    others = [n for az in "bc" for n in zone_of(scene.configs, az)]
    heal = scene.sim.network.cut(zone, others)
    scene.sim.run_for(3)
    heal()
    scene.sim.run_for(2)
    everything = [config.name for config in scene.configs if config.role != "client"]
    for name in everything:
        scene.sim.crash(name)
    scene.sim.run_for(0.5)
    for name in everything:
        scene.sim.restart(name)
    scene.sim.run_for(6)


def leaders_cut_off(scene: Scene) -> None:
    """Every node that leads is cut off from the others that store, while routers still reach it."""
    storage = [config.name for config in scene.configs if config.role == "storage"]
    leading = {
        name: None
        for name in storage
        for replica in scene.nodes[name].role.host.replicas.values()  # type: ignore[attr-defined]
        if replica.serving
    }
    victim = next(iter(leading))
    heal = scene.sim.network.cut([victim], [name for name in storage if name != victim])
    scene.sim.run_for(5)
    heal()


def test_strong_pages_hold_what_was_acknowledged_and_nothing_uncommitted() -> None:
    scene = Scene(1)
    scene.run(all_of_it)
    assert scene.wrong == []
    assert scene.reads > 60
    assert sum(scene.floor.values()) > 150
    scene.sim.close()


def test_the_test_above_notices_a_deposed_leader_that_goes_on_serving(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Scene(3, sticky=True)
    honest.run(leaders_cut_off)
    assert honest.wrong == []
    honest.sim.close()
    monkeypatch.setattr(rangereads, "_check", lambda replica, read: None)
    planted = Scene(3, sticky=True)
    planted.run(leaders_cut_off)
    assert any("after" in what for what in planted.wrong)
    planted.sim.close()
