"""A leader counts on a member although that member's node has restarted since, and has forgotten what it confirmed."""

from __future__ import annotations

from dataclasses import replace

from cluster.core.lease import Granted
from cluster.node.host import Host
from cluster.node.process import Node
from cluster.node.replica import Replica


def install(node: Node) -> None:
    host = getattr(node.role, "host", None)
    if isinstance(host, Host) and node.config.role == "storage":
        host.on_replica.append(_trusting)


def _trusting(replica: Replica) -> None:
    liveness = replica.host.liveness
    if "granted" in vars(liveness):
        return
    granted = liveness.granted
    first: dict[tuple[str, int], int] = {}

    def planted(peer: str, now: float) -> Granted | None:
        found = granted(peer, now)
        if found is None:
            return None
        return replace(found, incarnation=first.setdefault((peer, found.epoch), found.incarnation))

    liveness.granted = planted  # type: ignore[method-assign]
