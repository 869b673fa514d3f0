"""The control plane's hands for shapes: every group of a table that has one is told it, until it has it durably.

Whoever changes a table's shape commits the record with :func:`next_version` as its version, and takes the change as
made once :meth:`ShapeWork.installed` says so: from then on every write that any of its groups decides follows it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from cluster.core.shape import Shape
from cluster.node.catalog import Catalog, TableRecord
from cluster.node.rpc import RpcError

if TYPE_CHECKING:
    from cluster.node.autoadmin import AutoAdmin

SET_TIMEOUT_S = 2.0


def next_version(catalog: Catalog) -> int:
    """The version of a shape that goes out with the catalog's next change."""
    return catalog.version + 1


class ShapeWork:
    """One step at a time over all tables."""

    def __init__(self, admin: AutoAdmin) -> None:
        self._admin = admin
        self._confirmed: dict[str, int] = {}
        """By group: the version it has confirmed to this node. A successor asks again; asking costs a group nothing."""

    def installed(self, record: TableRecord) -> bool:
        """Whether every group of the table has confirmed its shape."""
        return not any(self._wanting(record))

    async def step(self) -> None:
        """Tell every group that lacks its table's shape, all at once; those that cannot be reached are told again."""
        catalog = self._admin.acting()
        wanted = [(g, r.shape) for r in catalog.tables.values() if r.shape is not None for g in self._wanting(r)]
        if wanted:
            confirmed = await asyncio.gather(*(self._tell(group, shape) for group, shape in wanted))
            if any(confirmed):
                self._admin.kick()
        for group in [group for group in self._confirmed if group not in catalog.groups]:
            del self._confirmed[group]

    def _wanting(self, record: TableRecord) -> list[str]:
        shape = record.shape
        if shape is None or record.status == "DELETING":
            return []
        return [group for group in record.groups if self._confirmed.get(group, 0) < shape.version]

    async def _tell(self, group: str, shape: Shape) -> bool:
        leader = self._admin.fleet.leader_of(group)
        if not leader:
            return False
        try:
            self._confirmed[group] = await self._admin.rpc.call(leader, "set-shape", (group, shape), SET_TIMEOUT_S)
        except RpcError as error:
            if error.code not in ("timeout", "not-leader", "not-yet"):
                self._admin.world.event("shape-refused", group=group, node=leader, why=str(error))
            return False
        return True
