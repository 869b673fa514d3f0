"""When a router may use a secret it has, and when it must ask identity first."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cluster.node.config import NodeConfig, Peer
from cluster.node.credentials import (
    KEEP_FOR_S,
    REFRESH_AFTER_S,
    UNKNOWN_FOR_S,
    Credentials,
    IdentityUnavailable,
    NotAtHand,
)
from cluster.node.rpc import TIMEOUT, RpcError


class World:
    def __init__(self) -> None:
        self.time_s = 100.0
        self.spawned: list[str] = []

    def now(self) -> float:
        return self.time_s

    def spawn(self, work: Any, name: str) -> None:
        work.close()
        self.spawned.append(name)


class Identity:
    """Knows one key."""

    away = False

    async def call(self, node: str, method: str, access_key: str, timeout_s: float) -> str | None:
        if self.away:
            raise RpcError(TIMEOUT, None)
        return "secret" if access_key == "known" else None


class Setting:
    def __init__(self) -> None:
        self.world, self.identity = World(), Identity()
        peers = [Peer("identity-a", "identity", "a", "r1", "")]
        config = NodeConfig("c", "r", "router-b", "router", "b", "r1", "", "", "", "", peers)
        world: Any = self.world
        rpc: Any = self.identity
        self.credentials = Credentials(world, config, rpc)

    def must_ask(self, access_key: str) -> bool:
        try:
            self.credentials.at_hand(access_key)
        except NotAtHand as missing:
            return missing.access_key == access_key
        return False


def test_a_secret_is_at_hand_once_it_was_fetched_and_for_hours() -> None:
    it = Setting()
    assert it.must_ask("known")
    asyncio.run(it.credentials.fetch("known"))
    assert it.credentials.at_hand("known") == "secret"
    assert it.world.spawned == []
    it.world.time_s += REFRESH_AFTER_S + 1
    assert [it.credentials.at_hand("known") for _ in range(2)] == ["secret", "secret"]
    assert it.world.spawned == ["credentials-refresh"]
    it.world.time_s += KEEP_FOR_S
    assert it.must_ask("known")


def test_that_nobody_has_a_key_is_believed_for_seconds() -> None:
    it = Setting()
    asyncio.run(it.credentials.fetch("wrong"))
    assert it.credentials.at_hand("wrong") is None
    it.world.time_s += UNKNOWN_FOR_S
    assert it.must_ask("wrong")
    assert it.world.spawned == []


def test_a_key_never_seen_needs_identity() -> None:
    it = Setting()
    it.identity.away = True
    with pytest.raises(IdentityUnavailable):
        asyncio.run(it.credentials.fetch("known"))
    assert it.must_ask("known")
