"""Index changes that were on their way when a leader went are thrown away by the next one."""

from __future__ import annotations

from cluster.core.side import OUTBOX, bounds
from cluster.node.outbox import Sent
from cluster.node.process import Node
from cluster.node.propagate import Sender
from cluster.node.rangereads import read_rows
from cluster.node.storage import StorageNode

HELD_BACK_S = 0.5
"""How long a window of changes is held back, so that a change of leaders meets some."""


class Forgetful(Sender):
    async def recover(self) -> bool:
        at: bytes | None
        at, end = bounds(OUTBOX)
        while at is not None and self.alive():
            page = await read_rows(self._host, self._replica, at, end)
            if page is None:
                return await super().recover()
            self.outbox.finished += [key for key, _ in page[0]]
            at = page[1]
        self.outbox.recovered([], self._bound)
        return self.alive()

    async def _deliver(self, target: str, window: list[Sent]) -> bool:
        await self._world.sleep(HELD_BACK_S)
        return await super()._deliver(target, window)


def install(node: Node) -> None:
    if isinstance(node.role, StorageNode):
        node.role.propagator.make = Forgetful
