"""A restarted node answers candidates, and stands itself, at once: what it granted in its last life may still hold."""

from __future__ import annotations

from cluster.node.host import Host
from cluster.node.process import Node


def install(node: Node) -> None:
    host = getattr(node.role, "host", None)
    if not isinstance(host, Host) or node.config.role != "storage":
        return
    restore = host._restore

    async def planted(group: str, bodies: list[bytes], quarantined: bool) -> None:
        host.liveness.quiet_until = host.world.now()
        await restore(group, bodies, quarantined)

    host._restore = planted  # type: ignore[method-assign]
