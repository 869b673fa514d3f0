"""A restarted node has forgotten its promises: ballots, and the leases it backed. It answers candidates at once."""

from __future__ import annotations

from sticky import keep_routes

from cluster.core.messages import Promised
from cluster.node import codec
from cluster.node.host import Host
from cluster.node.process import Node
from cluster.node.router import Router


def install(node: Node) -> None:
    if isinstance(node.role, Router):
        keep_routes(node.role.dispatch)
    host = getattr(node.role, "host", None)
    if not isinstance(host, Host) or node.config.role != "storage":
        return
    restore = host._restore

    async def planted(group: str, bodies: list[bytes], quarantined: bool) -> None:
        host.liveness.quiet_until = host.world.now()
        history = codec.decode_history(bodies)
        if history is not None:
            spec, records = history
            bodies = [codec.encode_statement(spec, [r for r in records if not isinstance(r, Promised)])]
        await restore(group, bodies, quarantined)

    host._restore = planted  # type: ignore[method-assign]
