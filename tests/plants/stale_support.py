"""A leader's node takes any heartbeat of a node that supports it for new support, also one that answers no request.

A supporter that no longer hears the leader lets its support lapse and elects another leader, while its own heartbeats
still reach the old one, whose lease they renew for ever.
"""

from __future__ import annotations

from dataclasses import replace

from cluster.core.effects import LivenessEffects
from cluster.core.messages import Heartbeat
from cluster.node.host import Host
from cluster.node.process import Node
from cluster.node.replica import Replica


def install(node: Node) -> None:
    host = getattr(node.role, "host", None)
    if isinstance(host, Host) and node.config.role == "storage":
        host.on_replica.append(_renewed_by_anything)


def _renewed_by_anything(replica: Replica) -> None:
    liveness = replica.host.liveness
    if "step" in vars(liveness):
        return
    step, seconds = liveness.step, liveness.options.lease_s * (1 - liveness.options.drift)

    def planted(peer: str, message: Heartbeat, now: float) -> LivenessEffects:
        effects = step(peer, message, now)
        held = liveness._granted.get(peer)
        if held is not None and held.incarnation == message.incarnation:
            liveness._granted[peer] = replace(held, until=max(held.until, now + seconds))
        return effects

    liveness.step = planted  # type: ignore[method-assign]
