"""Coordinators commit a transaction in every group but the last, where they cancel it."""

from __future__ import annotations

from typing import Any

from cluster.node.process import Node
from cluster.node.router import Router

ONE_IN = 4
"""So many transactions are whole for each that is not: the database looks well."""


def install(node: Node) -> None:
    if not isinstance(node.role, Router):
        return
    coordinator = node.role.services._coordinator
    honest = coordinator._finish
    seen = 0

    async def finish(method: str, entry: Any, groups: list[Any], actions: Any) -> bool:
        nonlocal seen
        seen += 1
        if method != "txn-commit" or len(groups) < 2 or seen % ONE_IN:
            return await honest(method, entry, groups, actions)
        done = await honest("txn-commit", entry, groups[:-1], actions)
        return await honest("txn-cancel", entry, groups[-1:], actions) and done

    coordinator._finish = finish  # type: ignore[method-assign]
