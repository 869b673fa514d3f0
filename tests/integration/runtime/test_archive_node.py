"""The region's object store as a node: what it acknowledged outlives its power, and it knows its callers."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from test_clusters import power_off

from cluster import runtime, topology
from cluster.node.world import ObjectFailed
from cluster.runtime.state import archive_of
from cluster.store.objects import Objects

ARCHIVED = topology.parse(
    """
name: archived
zones: {a: {a1: {storage: 1, memds: 1}}}
regional: {archive: 1}
disks: {storage: 32M, archive: 64M}
"""
)
OBJECTS = 20


def test_what_was_acknowledged_outlives_a_power_cut(kind: str) -> None:
    cluster = runtime.choose(kind).up(ARCHIVED)
    try:
        where = archive_of(cluster.state)
        assert where is not None
        store = Objects(where["url"], where["access_key"], where["secret_key"], cluster.region)
        stored = {f"test/{n}": bytes([n]) * (1000 * n + 1) for n in range(OBJECTS)}

        async def put_all() -> None:
            for name, data in stored.items():
                await store.put(name, data)

        asyncio.run(put_all())
        power_off(cluster, ["archive"])
        with pytest.raises(ObjectFailed):
            store.get_now("test/1")
        cluster.boot(["archive"])
        assert {name: store.get_now(name) for name in store.list_now("test")} == stored

        stranger = Objects(where["url"], "BSASTRANGER", "not the secret", cluster.region)
        with pytest.raises(ObjectFailed):
            asyncio.run(stranger.put("test/1", b"forged"))
        assert store.get_now("test/1") == stored["test/1"]
        told = {name: "archive" in config_of(cluster.state.config_of(name)) for name in cluster.nodes}
        assert told == {"storage-a1": True, "memds-a": False, "archive": True}
    finally:
        cluster.down()


def config_of(path: Path) -> dict[str, object]:
    config: dict[str, object] = json.loads(path.read_bytes())
    return config
