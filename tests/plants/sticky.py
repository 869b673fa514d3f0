"""A window for plants that need an old leader to be asked: routers that never learn of a new one by themselves.

Writes still find the new leader, by being refused by the old one or left without an answer.
"""

from __future__ import annotations

from typing import Any

from cluster.core.routing import Route
from cluster.node.dispatch import Dispatch


def keep_routes(dispatch: Dispatch) -> None:
    """Stay with the first leader that was named for each group."""
    find = dispatch._route
    first: dict[str, Route] = {}

    async def planted(table: Any, key: bytes) -> Route:
        route = await find(table, key)
        return first.setdefault(route.group, route) if route.leader else route

    dispatch._route = planted  # type: ignore[method-assign]
