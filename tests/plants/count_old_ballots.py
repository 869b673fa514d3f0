"""A new leader takes an older ballot's entry for decided because a majority holds it (figure 8 of the Raft paper)."""

from __future__ import annotations

from typing import Any

from cluster.core.group import Group
from cluster.node.host import Host
from cluster.node.process import Node


class Hasty(Group):
    """Counts what a quorum has, whoever proposed it."""

    __slots__ = ()

    def step(self, sender: int, message: Any, now: float) -> None:
        super().step(sender, message, now)
        self._count()

    def persisted(self, seq: int, now: float) -> None:
        super().persisted(seq, now)
        self._count()

    def _count(self) -> None:
        state = self._state
        if state.leading is not None:
            slot = state.quorum.decided(state.leading.acked)
            if state.commit < slot < state.leading.first_slot:
                state.commit_to(slot)


def install(node: Node) -> None:
    host = getattr(node.role, "host", None)
    if isinstance(host, Host) and node.config.role == "storage":
        host.on_replica.append(lambda replica: setattr(replica.group, "__class__", Hasty))
