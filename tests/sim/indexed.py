"""A simulated database whose table has local and global indexes, random writes to it, and what the indexes must hold.

Writes go to the leaders as routers send them. Nothing of what the API says of an index is believed: rows are read from
the nodes, and compared with what the table's items say by :mod:`reports.checkers.indexes`.
"""

from __future__ import annotations

from typing import Any

from chaos.engine.indexdump import Dumper
from cluster.api import OPERATIONS
from cluster.api.operation import DataOperation
from cluster.core.errors import ApiError
from cluster.node.config import NodeConfig
from cluster.node.dispatch import Dispatch
from cluster.node.routes import MapUnavailable, Routes
from cluster.node.rpc import Rpc, RpcError
from cluster.sim.world import SimWorld
from reports.checkers import indexes
from reports.rundir import CheckResult
from tests.sim.database import Install, SimDatabase

NAME = "indexed"
KEYS = 60
BODY: dict[str, Any] = {
    "TableName": NAME,
    "BillingMode": "PAY_PER_REQUEST",
    "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk", "g", "h", "l")],
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
    "LocalSecondaryIndexes": [
        {
            "IndexName": "by-l",
            "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "l", "KeyType": "RANGE"}],
            "Projection": {"ProjectionType": "ALL"},
        }
    ],
    "GlobalSecondaryIndexes": [
        {
            "IndexName": "by-g",
            "KeySchema": [{"AttributeName": "g", "KeyType": "HASH"}],
            "Projection": {"ProjectionType": "ALL"},
        },
        {
            "IndexName": "by-h",
            "KeySchema": [{"AttributeName": "h", "KeyType": "HASH"}, {"AttributeName": "g", "KeyType": "RANGE"}],
            "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["v"]},
        },
    ],
    "Tags": [{"Key": "blackstart:partitions", "Value": "2"}],
}
LATER = {
    "IndexName": "later",
    "KeySchema": [{"AttributeName": "h", "KeyType": "HASH"}],
    "Projection": {"ProjectionType": "ALL"},
}


class Writer:
    """Random writes from one zone: puts, updates and deletes of few keys, with index keys that come and go."""

    def __init__(self, database: IndexedDatabase, world: SimWorld, config: NodeConfig) -> None:
        self.database = database
        self.world = world
        rpc = Rpc(world)
        self.routes = Routes(world, config, rpc)
        self.dispatch = Dispatch(world, config, rpc, self.routes)
        self.count = 0

    async def run(self) -> None:
        while True:
            rate = self.database.rate
            await self.world.sleep(self.world.rng.uniform(0.2, 1.8) / rate if rate else 0.05)
            if self.database.rate:
                self.world.spawn(self.attempt(), "attempt")

    async def attempt(self) -> None:
        database, rng = self.database, self.world.rng
        self.count += 1
        key = {"pk": {"S": f"p{rng.randrange(0, 6)}"}, "sk": {"S": f"{rng.randrange(0, KEYS // 6)}"}}
        rest = {name: {"S": f"{name}{rng.randrange(0, 4)}"} for name in ("g", "h", "l") if rng.random() < 0.7}
        rest["v"] = {"S": f"{self.world.rng.getrandbits(32)}/{self.count}"}
        kind = rng.random()
        if kind < 0.15:
            await self.send("DeleteItem", {"TableName": NAME, "Key": key})
        elif kind < 0.6:
            await self.send("PutItem", {"TableName": NAME, "Item": {**key, **rest}})
        else:
            names = [name for name in ("g", "h", "l") if name not in rest]
            text = "SET " + ", ".join(f"{name} = :{name}" for name in rest)
            text += f" REMOVE {', '.join(names)}" if names else ""
            values = {f":{name}": value for name, value in rest.items()}
            body = {"TableName": NAME, "Key": key, "UpdateExpression": text, "ExpressionAttributeValues": values}
            await self.send("UpdateItem", body)
        database.attempts += 1

    async def send(self, name: str, body: dict[str, Any]) -> None:
        operation = OPERATIONS[name]
        assert isinstance(operation, DataOperation)
        try:
            table = self.routes.table(NAME) or await self.routes.fetch_table(NAME)
            assert table is not None
            command = operation.prepare(operation.check(body), table.schema)
            outcome = await self.dispatch.run(table, command)
        except MapUnavailable:
            return
        except ApiError as error:
            self.database.refusals[error.kind] = self.database.refusals.get(error.kind, 0) + 1
            return
        assert outcome.error in (None, "ProvisionedThroughputExceededException"), outcome
        if outcome.error is None:
            self.database.written += 1
        else:
            self.database.throttled += 1


class IndexedDatabase(SimDatabase):
    """See the module. ``body`` is the CreateTable request."""

    def __init__(
        self, seed: int, install: Install | None = None, *, body: dict[str, Any] = BODY, **deployment: Any
    ) -> None:
        self.body = body
        self.attempts = 0
        self.written = 0
        """Writes acknowledged."""
        self.refusals: dict[str, int] = {}
        self.throttled = 0
        super().__init__(seed, install, **deployment)

    def _client_factory(self, config: NodeConfig) -> Any:
        return lambda world: Writer(self, world, config).run()

    def _create_table(self, partitions: int) -> None:
        request = OPERATIONS["CreateTable"].check(self.body)
        self.until(lambda: self.ask_control("CreateTable", request), 20)
        self.until(lambda: self.described()["TableStatus"] == "ACTIVE", 30)

    def control(self, name: str, body: dict[str, Any]) -> Any:
        """Ask the control plane, as a router does. Raises ApiError."""
        request = OPERATIONS[name].check(body)
        answers: list[Any] = []

        def attempt() -> bool:
            for node in ("autoadmin-a", "autoadmin-b", "autoadmin-c"):
                try:
                    answers.append(self.sim.call(node, "control", (name, request)))
                    return True
                except RpcError as error:
                    if error.code == "api-error":
                        raise ApiError(*error.detail) from error
            return False

        self.until(attempt, 20)
        return answers[0]

    def described(self) -> dict[str, Any]:
        found: dict[str, Any] = self.control("DescribeTable", {"TableName": NAME})["description"]
        return found

    def index(self, name: str) -> dict[str, Any] | None:
        """An index's entry in the description."""
        entries = self.described().get("GlobalSecondaryIndexes") or []
        return next((entry for entry in entries if entry["IndexName"] == name), None)

    def judge(self, limit_s: float = 60.0) -> CheckResult:
        """Stop the writes, wait until all is well, and hold the indexes against the table."""
        self.settle(limit_s)
        self.sim.run_for(3)
        roles = {config.name: config.role for config in self.configs}
        return indexes.check(Dumper(self.sim, roles, self.sim.run_for).dump())
