"""A back-fill sends each item as it was when it was read, although writes have come in between."""

from __future__ import annotations

from typing import Any

from cluster.node.process import Node
from cluster.node.storage import StorageNode

HELD_BACK_S = 1.5
"""Between reading an item and sending it on."""


def install(node: Node) -> None:
    if not isinstance(node.role, StorageNode):
        return
    world = node.world

    async def send(work: Any, key: bytes, image: bytes) -> None:
        await world.sleep(HELD_BACK_S)
        if work.outbox.life != work.life or not work.replica.serving or work.target not in work.outbox.lanes:
            return
        changes = work.outbox.indexes.backfill(work.target, key, image)
        if changes:
            work.replica.machine.send_to_indexes(key, changes)
            work.replica.host.touch(work.replica)

    async def planted(work: Any, key: bytes) -> bool:
        images = work.replica.machine.gather([key], lambda: None)
        while images is None:
            await world.sleep(0.001)
            images = work.replica.machine.gather([key], lambda: None)
        if images[0] is not None:
            world.spawn(send(work, key, images[0]), "stale-backfill")
        return bool(work.wanted and work.replica.serving)

    node.role.backfills.bring = planted  # type: ignore[method-assign]
