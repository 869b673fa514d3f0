"""Voters are swapped in one step: the quorums before and after it need not share a member."""

from __future__ import annotations

from cluster.core import membership
from cluster.core.config import Change, ChangeVoters, left, successor
from cluster.core.group import Group
from cluster.node.host import Host
from cluster.node.process import Node


class OneStep(Group):
    """Goes from the old voters to the new ones without a joint configuration between."""

    __slots__ = ()

    def propose_config(self, change: Change, now: float) -> int:
        state = self._state
        if not isinstance(change, ChangeVoters) or state.leading is None or not self.ready_to_serve:
            return super().propose_config(change, now)
        if not self.config_committed or self.config.joint:
            return super().propose_config(change, now)
        state.now = now
        return membership._append(state, state.leading, left(successor(self.config, change)))


def install(node: Node) -> None:
    host = getattr(node.role, "host", None)
    if isinstance(host, Host):
        host.on_replica.append(lambda replica: setattr(replica.group, "__class__", OneStep))
