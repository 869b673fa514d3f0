"""Recovery ignores the log's entries: a restarted node has forgotten everything but its promises."""

from __future__ import annotations

from cluster.core.messages import Installed, Promised
from cluster.node import codec
from cluster.node.host import Host
from cluster.node.process import Node
from cluster.store.btree import Replica as Tree


def install(node: Node) -> None:
    host = getattr(node.role, "host", None)
    if not isinstance(host, Host) or node.config.role != "storage":
        return
    restore = host._restore

    async def planted(group: str, bodies: list[bytes], quarantined: bool) -> None:
        history = codec.decode_history(bodies)
        if history is not None:
            spec, records = history
            kept = [record for record in records if isinstance(record, (Installed, Promised))]
            bodies = [codec.encode_statement(spec, kept)]
        await restore(group, bodies, quarantined)

    async def empty(group: str) -> tuple[Tree, None]:
        return await host.upkeep.new_tree(group), None

    host._restore = planted  # type: ignore[method-assign]
    host.upkeep.open_tree = empty  # type: ignore[method-assign]
