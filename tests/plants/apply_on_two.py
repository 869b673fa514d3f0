"""Replicas in zone c skip every write of one key in three: three copies that are not the same."""

from __future__ import annotations

from cluster.core.side import is_side
from cluster.node.host import Host
from cluster.node.process import Node
from cluster.node.replica import Replica


def install(node: Node) -> None:
    host = getattr(node.role, "host", None)
    if isinstance(host, Host) and node.config.role == "storage" and node.config.az == "c":
        host.on_replica.append(_skip_some)


def _skip_some(replica: Replica) -> None:
    apply = replica.rows.apply
    met: dict[bytes, int] = {}

    def planted(position: int, key: bytes, image: bytes | None) -> None:
        if is_side(key) or met.setdefault(key, len(met)) % 3:
            apply(position, key, image)

    replica.rows.apply = planted  # type: ignore[method-assign]
