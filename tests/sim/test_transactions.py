"""Transactions over the whole cluster in the simulator: what they promise, and what is left when a coordinator dies."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cluster.core.side import TXN
from cluster.core.transactions import LEDGER
from cluster.node import transacting
from cluster.node.config import NodeConfig
from cluster.node.host import Host
from cluster.node.process import Node
from cluster.node.router import Router
from cluster.sim.client import NoAnswer, Refused, SimClient
from cluster.sim.deploy import deploy
from cluster.sim.invariants import ATOMIC, Invariants, Violation
from cluster.sim.simulation import Simulation
from cluster.sim.world import SimWorld

TABLE: dict[str, Any] = {
    "TableName": "accounts",
    "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
    "BillingMode": "PAY_PER_REQUEST",
    "Tags": [{"Key": "blackstart:partitions", "Value": "4"}],
}
KEYS = [f"k{n}" for n in range(8)]
"""Enough to lie in several of four partitions."""


async def until(condition: Callable[[], bool]) -> None:
    """Virtual time passes in small steps until the condition holds: the moment in between is the point."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.0002)


class Scene:
    """A cluster with the table and a client of one router."""

    def __init__(self, seed: int = 0, plant: Callable[[Node], None] = lambda node: None) -> None:
        self.sim = Simulation(seed)
        self.nodes: dict[str, Node] = {}
        self.watch = Invariants(self.sim)
        self._plant = plant
        self.configs = deploy(self.sim, self._run_node)
        ready = sum(1 for config in self.configs if config.role != "client")
        self.sim.run_until(lambda: self.sim.count("ready") >= ready, limit_s=10)
        self.client = SimClient(self.sim, "client-a", "router-a")
        self.other = SimClient(self.sim, "client-b", "router-b")
        self.sim.run(self._create())

    async def _run_node(self, world: SimWorld, config: NodeConfig) -> None:
        node = self.nodes[config.name] = Node(world, config)
        host = getattr(node.role, "host", None)
        if isinstance(host, Host):
            self.watch.attach(host)
        self._plant(node)
        await node.run()

    async def _create(self) -> None:
        await self.client.call("CreateTable", TABLE, timeout_s=10)
        while True:
            table = await self.client.call("DescribeTable", {"TableName": "accounts"})
            if table["Table"]["TableStatus"] == "ACTIVE":
                return
            await asyncio.sleep(0.1)

    def call(self, operation: str, body: dict[str, Any], client: SimClient | None = None) -> dict[str, Any]:
        """An operation by itself, to its end."""
        result: dict[str, Any] = self.sim.run((client or self.client).call(operation, body, 10), limit_s=30)
        return result

    def refused(self, operation: str, body: dict[str, Any], client: SimClient | None = None) -> Refused:
        with pytest.raises(Refused) as caught:
            self.call(operation, body, client)
        return caught.value

    def put(self, key: str, value: int) -> None:
        self.call("PutItem", {"TableName": "accounts", "Item": item(key, value)})

    def get(self, key: str) -> int | None:
        body = {"TableName": "accounts", "Key": {"pk": {"S": key}}, "ConsistentRead": True}
        found = self.call("GetItem", body).get("Item")
        return int(found["v"]["N"]) if found else None

    def write(self, *actions: dict[str, Any], **more: Any) -> dict[str, Any]:
        return self.call("TransactWriteItems", {"TransactItems": list(actions), **more})

    def replicas(self) -> list[Any]:
        hosts = [getattr(self.nodes[name].role, "host", None) for name in self.sim.running() if name in self.nodes]
        return [replica for host in hosts if host is not None for replica in host.replicas.values()]

    def held(self) -> int:
        """Items on which some transaction is in progress, as the leaders have it."""
        return sum(len(replica.machine.held) for replica in self.replicas() if replica.serving)


def item(key: str, value: int) -> dict[str, Any]:
    return {"pk": {"S": key}, "v": {"N": str(value)}}


def put(key: str, value: int, **more: Any) -> dict[str, Any]:
    return {"Put": {"TableName": "accounts", "Item": item(key, value), **more}}


def check(key: str, condition: str, **more: Any) -> dict[str, Any]:
    return {
        "ConditionCheck": {"TableName": "accounts", "Key": {"pk": {"S": key}}, "ConditionExpression": condition, **more}
    }


def add(key: str, amount: int) -> dict[str, Any]:
    return {
        "Update": {
            "TableName": "accounts",
            "Key": {"pk": {"S": key}},
            "UpdateExpression": "ADD v :n",
            "ExpressionAttributeValues": {":n": {"N": str(amount)}},
        }
    }


def delete(key: str) -> dict[str, Any]:
    return {"Delete": {"TableName": "accounts", "Key": {"pk": {"S": key}}}}


def get(key: str) -> dict[str, Any]:
    return {"Get": {"TableName": "accounts", "Key": {"pk": {"S": key}}}}


ONCE = {"TransactItems": [add("k0", 1)], "ClientRequestToken": "once"}


def test_all_or_nothing_over_several_groups() -> None:
    scene = Scene()
    assert scene.write(*[put(key, 1) for key in KEYS]) == {}
    assert [scene.get(key) for key in KEYS] == [1] * len(KEYS)
    changed = [add(KEYS[0], 4), delete(KEYS[1]), check(KEYS[2], "attribute_exists(pk)"), put(KEYS[3], 9)]
    answer = scene.write(*changed, ReturnConsumedCapacity="TOTAL")
    assert answer["ConsumedCapacity"] == [{"TableName": "accounts", "CapacityUnits": 8.0, "WriteCapacityUnits": 8.0}]
    assert [scene.get(key) for key in KEYS[:4]] == [5, None, 1, 9]
    failed = scene.refused(
        "TransactWriteItems",
        {
            "TransactItems": [
                put(KEYS[0], 100),
                put(KEYS[2], 100, ConditionExpression="attribute_not_exists(pk)",
                    ReturnValuesOnConditionCheckFailure="ALL_OLD"),
                check(KEYS[1], "attribute_exists(pk)"),
            ]
        },
    )  # fmt: skip
    assert failed.kind == "TransactionCanceledException"
    reasons = failed.body["CancellationReasons"]
    assert [reason["Code"] for reason in reasons] == ["None", "ConditionalCheckFailed", "ConditionalCheckFailed"]
    assert reasons[0] == {"Code": "None"}
    assert reasons[1]["Item"] == item(KEYS[2], 1)
    assert "Item" not in reasons[2]
    assert [scene.get(key) for key in KEYS[:4]] == [5, None, 1, 9]
    scene.sim.run_for(2)
    assert scene.held() == 0


def test_reads_are_of_one_moment_and_refused_where_a_write_is_under_way() -> None:
    scene = Scene()
    scene.write(*[put(key, 7) for key in KEYS[:4]])
    wanted = {"TransactItems": [get(key) for key in [*KEYS[:4], "missing"]], "ReturnConsumedCapacity": "INDEXES"}
    answer = scene.call("TransactGetItems", wanted)
    assert answer["Responses"] == [{"Item": item(key, 7)} for key in KEYS[:4]] + [{}]
    assert answer["ConsumedCapacity"] == [
        {
            "TableName": "accounts", "CapacityUnits": 10.0, "ReadCapacityUnits": 10.0,
            "Table": {"CapacityUnits": 10.0, "ReadCapacityUnits": 10.0},
        }
    ]  # fmt: skip


def test_a_token_makes_it_happen_once() -> None:
    scene = Scene()
    scene.put("k0", 1)
    token = {"ClientRequestToken": "one-and-only", "ReturnConsumedCapacity": "TOTAL"}
    first = scene.write(add("k0", 5), **token)
    assert "WriteCapacityUnits" in first["ConsumedCapacity"][0]
    again = scene.call("TransactWriteItems", {"TransactItems": [add("k0", 5)], **token}, scene.other)
    assert again["ConsumedCapacity"] == [{"TableName": "accounts", "CapacityUnits": 2.0, "ReadCapacityUnits": 2.0}]
    assert scene.get("k0") == 6
    other = scene.refused("TransactWriteItems", {"TransactItems": [add("k0", 6)], **token}, scene.other)
    assert other.kind == "IdempotentParameterMismatchException"


def test_a_token_whose_transaction_was_cancelled_may_be_used_again() -> None:
    scene = Scene()
    body = {"TransactItems": [check("k0", "attribute_exists(pk)"), put("k1", 1)], "ClientRequestToken": "again"}
    assert scene.refused("TransactWriteItems", body).kind == "TransactionCanceledException"
    scene.sim.run_for(1)
    scene.put("k0", 1)
    assert scene.call("TransactWriteItems", body, scene.other) == {}
    assert scene.get("k1") == 1


def test_what_one_group_decides_needs_no_ledger_unless_a_token_may_be_used_again() -> None:
    scene = Scene()
    assert scene.write(put("k0", 1)) == {}
    refused = scene.refused("TransactWriteItems", {"TransactItems": [check("k0", "attribute_not_exists(pk)")]})
    assert [reason["Code"] for reason in refused.body["CancellationReasons"]] == ["ConditionalCheckFailed"]
    assert not any(replica.spec.table == LEDGER for replica in scene.replicas())
    assert scene.write(add("k0", 1), ClientRequestToken="token") == {}
    assert any(replica.spec.table == LEDGER for replica in scene.replicas())
    scene.sim.run_for(1)
    assert scene.get("k0") == 2
    assert not scene.held(), "the record has gone"


def test_what_one_group_carried_out_is_known_although_its_coordinator_died() -> None:
    scene = Scene()
    scene.write(put("k9", 1), ClientRequestToken="the ledger is made")

    async def carried_out() -> None:
        sending = asyncio.ensure_future(scene.client.call("TransactWriteItems", ONCE, 2))
        await until(lambda: scene.held() > 0)
        scene.sim.crash("router-a")
        with pytest.raises(NoAnswer):
            await sending

    scene.sim.run_for(1)
    scene.sim.run(carried_out(), limit_s=20)
    assert scene.refused("TransactWriteItems", ONCE, scene.other).kind == "TransactionInProgressException"
    scene.sim.run_until(lambda: not scene.held(), 30)
    assert scene.call("TransactWriteItems", ONCE, scene.other) == {}, "as it was, by its token"
    wanted = {"TableName": "accounts", "Key": {"pk": {"S": "k0"}}, "ConsistentRead": True}
    assert scene.call("GetItem", wanted, scene.other)["Item"] == item("k0", 1)


def hesitant(node: Node) -> None:
    """The first transaction of router-a that one group decides leaves for there 12 s after its row was in the ledger:
    all that long the router was frozen."""
    if node.config.name != "router-a" or not isinstance(node.role, Router):
        return
    coordinator, world = node.role.services._coordinator, node.world
    honest = coordinator._whole
    left = [12.0]

    async def whole(id_: str, *rest: Any) -> Any:
        if id_ and left:
            await world.sleep(left.pop())
        return await honest(id_, *rest)

    coordinator._whole = whole  # type: ignore[method-assign]


def taken_for_dead(scene: Scene) -> None:
    with pytest.raises(NoAnswer):
        scene.sim.run(scene.client.call("TransactWriteItems", ONCE, 1), limit_s=30)
    scene.sim.run_until(lambda: scene.sim.count("transaction-taken-over") > 0, 11)


def asked_again(scene: Scene) -> None:
    """The token is used again elsewhere, with success, before the first request comes after all."""
    taken_for_dead(scene)
    scene.sim.run_for(0.5)
    assert scene.call("TransactWriteItems", ONCE, scene.other) == {}
    scene.sim.run_for(15)


def left_alone(scene: Scene) -> None:
    """Nobody asks again, and the first request comes after all."""
    taken_for_dead(scene)
    scene.sim.run_for(15)


@pytest.mark.parametrize(("then", "value"), [(asked_again, 1), (left_alone, None)])
def test_an_attempt_that_was_taken_for_dead_does_not_happen_when_it_comes_after_all(
    then: Callable[[Scene], None], value: int | None
) -> None:
    scene = Scene(plant=hesitant)
    then(scene)
    assert scene.get("k0") == value
    assert not scene.held()


def no_bar(patch: pytest.MonkeyPatch) -> None:
    """Whoever asks in vain trusts that what has not come will not come."""
    patch.setattr(transacting, "bar", lambda *args: -1)


def no_record(patch: pytest.MonkeyPatch) -> None:
    """A group keeps no record of what it carried out."""
    patch.setattr(transacting, "pack_pending", lambda pending: None)


@pytest.mark.parametrize(("plant", "then"), [(no_bar, left_alone), (no_record, asked_again)])
def test_a_transaction_of_one_group_that_went_another_way_is_seen_from_inside(
    monkeypatch: pytest.MonkeyPatch, plant: Callable[[pytest.MonkeyPatch], None], then: Callable[[Scene], None]
) -> None:
    plant(monkeypatch)
    with pytest.raises(Violation) as caught:
        then(Scene(plant=hesitant))
    assert caught.value.prop == ATOMIC


def test_a_coordinator_that_dies_after_preparing_leaves_nothing_behind() -> None:
    scene = Scene()
    scene.write(*[put(key, 1) for key in KEYS])

    async def half() -> None:
        sending = asyncio.ensure_future(
            scene.client.call("TransactWriteItems", {"TransactItems": [put(key, 2) for key in KEYS]}, 2)
        )
        await until(lambda: scene.held() > 0)
        scene.sim.crash("router-a")
        with pytest.raises(NoAnswer):
            await sending

    scene.sim.run(half(), limit_s=20)
    assert scene.held()
    blocked = scene.refused("PutItem", {"TableName": "accounts", "Item": item(KEYS[0], 3)}, scene.other)
    assert blocked.kind == "TransactionConflictException"
    reading = scene.refused("TransactGetItems", {"TransactItems": [get(key) for key in KEYS]}, scene.other)
    assert {reason["Code"] for reason in reading.body["CancellationReasons"]} == {"TransactionConflict"}
    plain = scene.call("GetItem", {"TableName": "accounts", "Key": {"pk": {"S": KEYS[0]}}}, scene.other)
    assert plain["Item"] == item(KEYS[0], 1), "plain reads always succeed"
    scene.sim.run_until(lambda: not scene.held(), 30)
    answer = scene.call("TransactGetItems", {"TransactItems": [get(key) for key in KEYS]}, scene.other)
    assert answer["Responses"] == [{"Item": item(key, 1)} for key in KEYS]


def test_a_decision_to_commit_is_carried_out_although_its_coordinator_died() -> None:
    scene = Scene()
    scene.write(*[put(key, 1) for key in KEYS])

    async def decided() -> None:
        sending = asyncio.ensure_future(
            scene.client.call("TransactWriteItems", {"TransactItems": [put(key, 2) for key in KEYS]}, 2)
        )
        await until(lambda: scene.held() > 0)
        ledger = [replica for replica in scene.replicas() if replica.spec.table == LEDGER and replica.serving]
        assert ledger
        await until(lambda: any(b'"COMMITTING"' in (image or b"") for replica in ledger for image in _images(replica)))
        scene.sim.crash("router-a")
        with pytest.raises(NoAnswer):
            await sending

    scene.sim.run(decided(), limit_s=20)
    scene.sim.run_until(lambda: not scene.held(), 30)
    answer = scene.call("TransactGetItems", {"TransactItems": [get(key) for key in KEYS]}, scene.other)
    assert answer["Responses"] == [{"Item": item(key, 2)} for key in KEYS]


def _images(replica: Any) -> list[bytes | None]:
    return [image for generation in replica.rows._generations for image in generation.rows.values()]


def test_what_is_in_flight_survives_the_loss_of_every_node() -> None:
    scene = Scene()
    scene.write(*[put(key, 1) for key in KEYS])

    async def half() -> None:
        sending = asyncio.ensure_future(
            scene.client.call("TransactWriteItems", {"TransactItems": [put(key, 2) for key in KEYS]}, 2)
        )
        await until(lambda: sum(len(r.machine._applied_held) for r in scene.replicas()) >= 3 * len(KEYS) - 4)
        for name in list(scene.sim.running()):
            if name.startswith(("storage", "router")):
                scene.sim.crash(name)
        with pytest.raises(NoAnswer):
            await sending

    scene.sim.run(half(), limit_s=20)
    for config in scene.configs:
        if config.role in ("storage", "router"):
            scene.sim.restart(config.name)
    scene.sim.run_until(lambda: scene.held() > 0, 20)
    scene.sim.run_until(lambda: not scene.held(), 40)
    for key in KEYS:
        assert scene.get(key) in (1, 2)
    assert len({scene.get(key) for key in KEYS}) == 1


def test_replicas_agree_also_about_what_transactions_left() -> None:
    scene = Scene()
    for round_ in range(3):
        scene.write(*[put(key, round_) for key in KEYS[:5]])
    scene.sim.run_for(2)
    for replica in [replica for replica in scene.replicas() if replica.serving and replica.spec.table]:
        slot = scene.sim.call(replica.host.name, "barrier", {"group": replica.spec.group})["slot"]
        members = [member.node for member in replica.group.config.voters]
        digests = [
            scene.sim.call(node, "digest", {"group": replica.spec.group, "slot": slot}, 10)["digest"]
            for node in members
        ]
        assert len(set(digests)) == 1
        assert not any(key.startswith(TXN) for key, image in _rows(replica) if image is not None)


def _rows(replica: Any) -> list[tuple[bytes, bytes | None]]:
    return [row for generation in replica.rows._generations for row in generation.rows.items()]


@pytest.mark.parametrize("plant", ["commit_half", "lose_ledger"])
def test_half_a_transaction_is_seen_from_inside_at_once(monkeypatch: pytest.MonkeyPatch, plant: str) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "plants"))
    module = importlib.import_module(plant)
    monkeypatch.setattr(module, "ONE_IN", 1)
    scene = Scene(plant=module.install)
    with pytest.raises(Violation) as caught:
        struggle(scene)
    assert caught.value.prop == ATOMIC


def struggle(scene: Scene) -> None:
    """Two transactions, and somebody who is turned away for so long that others take over."""
    for letter in ("x", "y"):
        body = {"TransactItems": [put(f"{letter}{number}", 1) for number in range(8)]}
        with contextlib.suppress(NoAnswer):
            scene.sim.run(scene.client.call("TransactWriteItems", body, 2), limit_s=30)
        for _ in range(12):
            plain = {"TableName": "accounts", "Item": item(f"{letter}7", 2)}
            with contextlib.suppress(Refused):
                scene.sim.run(scene.other.call("PutItem", plain, 2), limit_s=30)
            scene.sim.run_for(0.4)
