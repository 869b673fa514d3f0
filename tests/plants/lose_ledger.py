"""Recovery managers take over with an empty ledger: whatever they meet they believe to have come to nothing.

A coordinator that dies between its decision and its last commit is what it takes to see it, so some die there.
"""

from __future__ import annotations

from typing import Any

from cluster.node.process import Node
from cluster.node.router import Router

ONE_IN = 25
"""Of so many transactions one loses its coordinator in the middle of its commits."""

NEVER_S = 3600.0


def install(node: Node) -> None:
    if not isinstance(node.role, Router):
        return
    role, world = node.role, node.world
    coordinator, recovery = role.services._coordinator, role.recovery
    honest = coordinator._finish
    seen = 0

    async def finish(method: str, entry: Any, groups: list[Any], actions: Any) -> bool:
        nonlocal seen
        seen += 1
        if method != "txn-commit" or len(groups) < 2 or seen % ONE_IN:
            return await honest(method, entry, groups, actions)
        await honest(method, entry, groups[:1], actions)
        await world.sleep(NEVER_S)
        return False

    class Empty:
        async def get(self, id_: str) -> None:
            """No transaction was ever heard of."""

        async def known(self) -> None:
            """There is no ledger to scan."""

    coordinator._finish = finish  # type: ignore[method-assign]
    recovery._ledger = Empty()  # type: ignore[assignment]
