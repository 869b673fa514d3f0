"""Every replica's digest leaves out one range of keys in four: the three agree, whatever is there."""

from __future__ import annotations

from collections.abc import Iterable

from cluster.node.host import Host
from cluster.node.process import Node
from cluster.store.digest import Digester


class Careless(Digester):
    """Looks at three rows in four."""

    def add(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        super().add([row for row in rows if row[0][0] % 4])


def install(node: Node) -> None:
    host = getattr(node.role, "host", None)
    if isinstance(host, Host) and node.config.role == "storage":
        host.upkeep.digester = Careless
