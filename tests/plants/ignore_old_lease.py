"""A member promises a new ballot whatever lease it backs: a leader that still counts on it serves on."""

from __future__ import annotations

from typing import Any

from cluster.core.group import Group
from cluster.core.messages import Ask, Prepare
from cluster.node.host import Host
from cluster.node.process import Node


class Faithless(Group):
    """Forgets whom it backs as soon as anybody else asks."""

    __slots__ = ()

    def step(self, sender: int, message: Any, now: float) -> None:
        if isinstance(message, Ask | Prepare):
            self._state.obligation = None
        super().step(sender, message, now)


def install(node: Node) -> None:
    host = getattr(node.role, "host", None)
    if isinstance(host, Host) and node.config.role == "storage":
        host.on_replica.append(lambda replica: setattr(replica.group, "__class__", Faithless))
