"""A leader acknowledges what only it has: its followers are sent the entries two seconds later."""

from __future__ import annotations

from late import hold_back_entries

from cluster.node.host import Host
from cluster.node.machine import Machine
from cluster.node.process import Node
from cluster.node.replica import Replica

HELD_BACK_S = 2.0
HONEST_SLOTS = 60
"""The bug sleeps until a group has taken this many entries: followers that lag from the start would never be whole, and
the game day would not begin."""


class Eager(Machine):
    """Does not wait for entries under way: what it acknowledges in two seconds is more than a pipeline holds."""

    @property
    def batch_due(self) -> bool:
        return bool(self._batch.writes)


def install(node: Node) -> None:
    host = getattr(node.role, "host", None)
    if isinstance(host, Host) and node.config.role == "storage":
        host.on_replica.append(_acknowledge_early)
        hold_back_entries(host, HELD_BACK_S, awake)


def awake(replica: Replica) -> bool:
    return replica.group.last_slot >= HONEST_SLOTS


def _acknowledge_early(replica: Replica) -> None:
    persisted = replica.persisted

    def planted(log_sequence: int, now: float) -> None:
        persisted(log_sequence, now)
        if awake(replica):
            replica.machine.__class__ = Eager
            for batch in list(replica.machine._in_flight.values()):
                batch.finish("")

    replica.persisted = planted  # type: ignore[method-assign]
