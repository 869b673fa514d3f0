"""The log says "durable" at once and is synced two seconds later: a power cut takes away acknowledged writes."""

from __future__ import annotations

from cluster.node.host import Host
from cluster.node.process import Node

HELD_BACK_S = 2.0


def install(node: Node) -> None:
    host = getattr(node.role, "host", None)
    if isinstance(host, Host) and node.config.role == "storage":
        host._sync_forever = lambda: _say_durable(host)  # type: ignore[method-assign]
        host._mark_forever = _never  # type: ignore[method-assign]


async def _never() -> None:
    """The durable mark would be honest."""


async def _say_durable(host: Host) -> None:
    syncing = False

    async def sync_later() -> None:
        nonlocal syncing
        await host.world.sleep(HELD_BACK_S)
        syncing = False
        await host.wal.sync()

    while True:
        waiting = await host._to_sync()
        now = host.world.now()
        for replica in waiting.values():
            replica.persisted(replica.persisting[-1][0] if replica.persisting else 0, now)
        host._turns()
        if not syncing:
            syncing = True
            host.world.spawn(sync_later(), "planted-sync")
