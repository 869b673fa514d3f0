"""Time to live, changes of tables and statements in the whole cluster, also with a zone away."""

from __future__ import annotations

import asyncio
from typing import Any

from cluster.node.config import NodeConfig
from cluster.node.process import Node
from cluster.sim.client import NoAnswer, NotSent, Refused, SimClient
from cluster.sim.deploy import deploy, zone_of
from cluster.sim.simulation import Simulation
from cluster.sim.world import SimWorld

TABLE: dict[str, Any] = {
    "TableName": "sessions",
    "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
    "ProvisionedThroughput": {"ReadCapacityUnits": 500, "WriteCapacityUnits": 500},
}
SETTING = {"AttributeName": "expires", "Enabled": True}


class Scene:
    """A cluster with one table and a client that repeats what was not carried out."""

    def __init__(self, seed: int) -> None:
        self.sim = Simulation(seed)
        self.nodes: dict[str, Node] = {}
        self.configs = deploy(self.sim, self._run)
        self.sim.run_until(lambda: self.sim.count("ready") == 21, limit_s=10)
        self.client = SimClient(self.sim, "client-a", "router-a")
        self.sim.run(self._create())

    async def _run(self, world: SimWorld, config: NodeConfig) -> None:
        node = self.nodes[config.name] = Node(world, config)
        await node.run()

    async def call(self, operation: str, **members: Any) -> dict[str, Any]:
        while True:
            try:
                answer: dict[str, Any] = await self.client.call(
                    operation, {"TableName": "sessions", **members}, timeout_s=10
                )
                return answer
            except (NoAnswer, NotSent):
                await asyncio.sleep(0.1)
            except Refused as refused:
                if refused.status < 500:
                    raise
                await asyncio.sleep(0.1)

    async def _create(self) -> None:
        await self.call("CreateTable", **TABLE)
        await self.wait("DescribeTable", lambda answer: answer["Table"]["TableStatus"] == "ACTIVE")

    async def wait(self, operation: str, until: Any) -> dict[str, Any]:
        while True:
            answer = await self.call(operation)
            if until(answer):
                return answer
            await asyncio.sleep(0.1)

    async def put(self, name: str, expires: dict[str, str] | None) -> None:
        item = {"pk": {"S": name}, **({"expires": expires} if expires is not None else {})}
        await self.call("PutItem", Item=item)

    async def there(self, name: str) -> bool:
        return "Item" in await self.call("GetItem", Key={"pk": {"S": name}}, ConsistentRead=True)

    async def gone(self, name: str) -> None:
        while True:
            if not await self.there(name):
                return
            await asyncio.sleep(0.2)

    def wall(self) -> int:
        return int(next(iter(self.nodes.values())).world.wall())


def test_expired_items_go_and_others_stay() -> None:
    scene = Scene(5)

    async def play() -> None:
        now = scene.wall()
        past, future, ancient = str(now - 60), str(now + 86_400), str(now - 6 * 366 * 86_400)
        await scene.put("before", {"N": past})
        await scene.call("UpdateTimeToLive", TimeToLiveSpecification=SETTING)
        await scene.wait("DescribeTimeToLive", lambda a: a["TimeToLiveDescription"]["TimeToLiveStatus"] == "ENABLED")
        await scene.put("past", {"N": past})
        await scene.put("future", {"N": future})
        await scene.put("ancient", {"N": ancient})
        await scene.put("text", {"S": past})
        await scene.put("none", None)
        await scene.gone("before")
        await scene.gone("past")
        await asyncio.sleep(5)
        for name in ("future", "ancient", "text", "none"):
            assert await scene.there(name), name
        await scene.call("UpdateTimeToLive", TimeToLiveSpecification={**SETTING, "Enabled": False})
        await scene.wait("DescribeTimeToLive", lambda a: a["TimeToLiveDescription"]["TimeToLiveStatus"] == "DISABLED")
        await scene.put("kept", {"N": past})
        await asyncio.sleep(5)
        assert await scene.there("kept")

    scene.sim.run(play(), limit_s=200)


def test_the_sweep_goes_on_where_leaders_moved_to() -> None:
    scene = Scene(6)

    async def enable() -> None:
        await scene.call("UpdateTimeToLive", TimeToLiveSpecification=SETTING)
        await scene.wait("DescribeTimeToLive", lambda a: a["TimeToLiveDescription"]["TimeToLiveStatus"] == "ENABLED")

    scene.sim.run(enable(), limit_s=60)
    for name in zone_of(scene.configs, "b"):
        scene.sim.crash(name)

    async def expire() -> None:
        for number in range(12):
            await scene.put(f"item-{number}", {"N": str(scene.wall() - 10)})
        for number in range(12):
            await scene.gone(f"item-{number}")

    scene.sim.run(expire(), limit_s=120)


def test_a_table_is_updated_while_it_serves() -> None:
    scene = Scene(7)
    name = "sessions"

    async def play() -> None:
        units = {"ReadCapacityUnits": 900, "WriteCapacityUnits": 40}
        answer = await scene.call("UpdateTable", ProvisionedThroughput=units)
        assert answer["TableDescription"]["TableStatus"] == "UPDATING"
        assert answer["TableDescription"]["ProvisionedThroughput"]["WriteCapacityUnits"] == 500
        await scene.put("meanwhile", None)
        table = (await scene.wait("DescribeTable", lambda a: a["Table"]["TableStatus"] == "ACTIVE"))["Table"]
        assert table["ProvisionedThroughput"]["WriteCapacityUnits"] == 40
        assert await scene.there("meanwhile")
        # Routers take the new rates with the next map they see.
        router: Any = scene.nodes["router-a"].role
        while router.routes.table(name).write_rate != 40.0:
            await scene.put("again", None)
            await asyncio.sleep(0.1)
        assert router.routes.table(name).read_rate == 900.0

    scene.sim.run(play(), limit_s=60)


def test_a_table_whose_place_goes_dark_while_it_is_made_is_placed_again() -> None:
    scene = Scene(7)
    dark = [name for name in scene.nodes if name.startswith("storage-b")]

    async def play() -> None:
        for name in dark:
            scene.sim.crash(name)
        answer = await scene.client.call("CreateTable", {**TABLE, "TableName": "late"}, timeout_s=10)
        assert answer["TableDescription"]["TableStatus"] == "CREATING"
        while True:
            described = await scene.client.call("DescribeTable", {"TableName": "late"}, timeout_s=10)
            if described["Table"]["TableStatus"] == "ACTIVE":
                break
            await asyncio.sleep(0.2)
        item = {"pk": {"S": "x"}}
        await scene.client.call("PutItem", {"TableName": "late", "Item": item}, timeout_s=10)

    scene.sim.run(play(), limit_s=30)
    assert scene.sim.count("table-placed-again") >= 1


def test_tags_added_at_the_same_time_all_stay() -> None:
    scene = Scene(8)

    async def play() -> None:
        table = (await scene.call("DescribeTable"))["Table"]
        arn = table["TableArn"]
        await asyncio.gather(
            *(scene.call("TagResource", ResourceArn=arn, Tags=[{"Key": f"k{n}", "Value": "v"}]) for n in range(8))
        )
        listed = await scene.call("ListTagsOfResource", ResourceArn=arn)
        assert sorted(tag["Key"] for tag in listed["Tags"]) == [f"k{n}" for n in range(8)]

    scene.sim.run(play(), limit_s=60)


def test_statements_are_carried_out_by_a_router() -> None:
    scene = Scene(9)
    table = '"sessions"'

    async def run(statement: str, **members: Any) -> Any:
        return (await scene.call("ExecuteStatement", Statement=statement, **members))["Items"]

    async def play() -> None:
        for number in range(6):
            await run(f"INSERT INTO {table} VALUE {{'pk': 'item-{number}', 'n': {number}}}")
        assert await run(f"SELECT n FROM {table} WHERE pk = 'item-3'", ConsistentRead=True) == [{"n": {"N": "3"}}]
        found: list[Any] = []
        more: dict[str, Any] = {}
        while True:  # the walk crosses every partition
            page = await scene.call(
                "ExecuteStatement", Statement=f"SELECT n FROM {table} WHERE n > 1", ConsistentRead=True, Limit=2, **more
            )
            found += page["Items"]
            if "NextToken" not in page:
                break
            more = {"NextToken": page["NextToken"]}
        assert sorted(item["n"]["N"] for item in found) == ["2", "3", "4", "5"]
        several = await run(f"SELECT n FROM {table} WHERE pk IN ['item-5', 'item-0', 'none']", ConsistentRead=True)
        assert [item["n"]["N"] for item in several] == ["5", "0"]
        await scene.call(
            "ExecuteTransaction",
            TransactStatements=[
                {"Statement": f"UPDATE {table} SET n = n + 10 WHERE pk = 'item-{number}' AND n = {number}"}
                for number in (0, 5)
            ],
        )
        read = await scene.call(
            "ExecuteTransaction",
            TransactStatements=[{"Statement": f"SELECT n FROM {table} WHERE pk = 'item-{n}'"} for n in (0, 5)],
        )
        assert [one["Item"]["n"]["N"] for one in read["Responses"]] == ["10", "15"]

    scene.sim.run(play(), limit_s=120)
