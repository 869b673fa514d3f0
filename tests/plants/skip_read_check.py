"""Leaders vote yes to a transaction's condition checks without looking: what it read may have changed (write skew)."""

from __future__ import annotations

from typing import Any

from cluster.core.transactions import Prepare
from cluster.node.host import Host
from cluster.node.process import Node
from cluster.node.rpc import Responder


def install(node: Node) -> None:
    if not isinstance(getattr(node.role, "host", None), Host) or node.config.role != "storage":
        return
    for method in ("txn-prepare", "txn-whole"):
        _blind(node, method)


def _blind(node: Node, method: str) -> None:
    honest, _ = node.rpc._methods[method]

    def vote(sender: str, params: tuple[str, Prepare], responder: Responder) -> Any:
        group, request = params
        blind = tuple(c._replace(condition=None) if c.kind == "check" else c for c in request.commands)
        honest(sender, (group, request._replace(commands=blind)), responder)

    node.rpc.register(method, vote, tuple[str, Prepare])
