"""A window for plants of leaders: followers are sent their entries late."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cluster.core.messages import Accept
from cluster.node.host import Host
from cluster.node.replica import Replica


def hold_back_entries(host: Host, seconds: float, when: Callable[[Replica], bool] = lambda replica: True) -> None:
    """Have the entries of groups that ``host`` leads leave it only after some time."""
    send = host.outbox

    def outbox(to_node: str, replica: Replica, to: int, message: Any) -> None:
        if isinstance(message, Accept) and message.entries and replica.leading and when(replica):
            host.world.call_at(host.world.now() + seconds, lambda: late(to_node, replica, to, message))
        else:
            send(to_node, replica, to, message)

    def late(to_node: str, replica: Replica, to: int, message: Any) -> None:
        send(to_node, replica, to, message)
        host._send_outbox()

    host.outbox = outbox  # type: ignore[method-assign,assignment]
