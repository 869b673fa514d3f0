"""Whom a router asks at once: the leader, or for an eventual read the nearest replica, unless that one is suspect."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.core.commands import Command, Outcome
from cluster.core.routing import Route
from cluster.node.config import NodeConfig, Peer
from cluster.node.dispatch import LEADER_TIMEOUT_S, REPLICA_TIMEOUT_S, Dispatch, Target
from cluster.node.rpc import TIMEOUT

PUT = Command("put", "t", b"k")
STRONG = Command("get", "t", b"k", consistent=True)
EVENTUAL = Command("get", "t", b"k")
ZONES = {"storage-a1": "a", "storage-b1": "b", "storage-c1": "c"}
GOOD = Outcome(b"{}")


class World:
    def now(self) -> float:
        return 100.0


class Calls:
    """What was asked, and how it is to be answered."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, float]] = []
        self.code = ""

    def ask(self, node: str, method: str, params: Any, timeout_s: float, answered: Any, decoder: Any) -> None:
        self.asked.append((node, timeout_s))
        answered(self.code, GOOD if not self.code else None)


class Map:
    """The leader of keys from ``m`` on is in zone c, that of others in zone a."""

    def look(self, table: object, key: bytes) -> Route:
        first = key < b"m"
        nodes = tuple(ZONES) if first else tuple(reversed(ZONES))
        return Route("g-1" if first else "g-2", b"", b"", nodes[0], nodes, 1, 1)


class Setting:
    def __init__(self) -> None:
        self.calls = Calls()
        peers = [Peer(name, "storage", az, "r1", "") for name, az in ZONES.items()]
        config = NodeConfig("c", "r", "router-b", "router", "b", "r1", "", "", "", "", peers)
        world: Any = World()
        routes: Any = Map()
        rpc: Any = self.calls
        self.dispatch = Dispatch(world, config, rpc, routes)
        self.outcomes: list[object] = []

    def target(self, command: Command) -> Target | None:
        table: Any = None
        return self.dispatch.at_hand(table, command)

    def send(self, command: Command, code: str = "") -> None:
        target = self.target(command) or Target("storage-b1", "g-1")
        self.calls.code = code
        self.dispatch.begin(target, command, lambda outcome, refused: self.outcomes.append(outcome or refused))


def test_a_write_and_a_strong_read_go_to_the_leader_and_an_eventual_read_to_the_own_zone() -> None:
    setting = Setting()
    for command in (PUT, STRONG, EVENTUAL):
        setting.send(command)
    assert setting.calls.asked == [
        ("storage-a1", LEADER_TIMEOUT_S),
        ("storage-a1", LEADER_TIMEOUT_S),
        ("storage-b1", REPLICA_TIMEOUT_S),
    ]
    assert setting.outcomes == [GOOD, GOOD, GOOD]


def test_a_silent_node_is_asked_no_more_at_once_and_the_others_are() -> None:
    setting = Setting()
    setting.send(PUT, TIMEOUT)
    assert setting.target(PUT) is None
    assert setting.target(STRONG) is None
    assert setting.target(EVENTUAL) == Target("storage-b1", "g-1")
    assert setting.target(Command("put", "t", b"z")) == Target("storage-c1", "g-2")


@pytest.mark.parametrize("code", ["", "not-serving"])
def test_a_suspect_that_answers_anything_is_asked_at_once_again(code: str) -> None:
    setting = Setting()
    setting.send(EVENTUAL, TIMEOUT)
    assert setting.target(EVENTUAL) is None
    setting.send(EVENTUAL, code)
    assert setting.target(EVENTUAL) is not None
