"""Changes of a table that exists: what UpdateTable, tags and time to live make of its row in the catalog.

Each request is one commit. A change that takes time leaves the table UPDATING with the description that is to come
(``pending``); the control plane's loop makes that one true, so that its successor does so too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from cluster.api import (
    describe_continuous_backups,
    describe_time_to_live,
    index_updates,
    tags,
    time_to_live,
    update_table,
)
from cluster.api.tables import table_busy, table_not_found
from cluster.core.errors import ApiError
from cluster.core.shape import Shape, is_index_table, key_of, types_of
from cluster.node.catalog import TableRecord
from cluster.node.counts import described
from cluster.node.indexwork import entries, with_entries
from cluster.node.shapework import next_version

if TYPE_CHECKING:
    from cluster.node.autoadmin import AutoAdmin


class TableChanges:
    """The control plane's answers to changes of tables."""

    def __init__(self, admin: AutoAdmin) -> None:
        self._admin = admin
        self._serves = {
            "UpdateTable": self._update,
            "TagResource": self._tag,
            "UntagResource": self._untag,
            "ListTagsOfResource": self._list_tags,
            "UpdateTimeToLive": self._update_ttl,
            "DescribeTimeToLive": self._describe_ttl,
            "DescribeContinuousBackups": self._describe_backups,
        }

    def serves(self, name: str) -> bool:
        return name in self._serves

    async def serve(self, name: str, request: dict[str, Any]) -> dict[str, Any]:
        """Answer an operation. Raises :class:`ApiError` or NotActing."""
        return await self._serves[name](request)

    def _find(self, name: str, missing: ApiError) -> TableRecord:
        record = self._admin.acting().tables.get(name)
        if record is None or is_index_table(name):
            raise missing
        return record

    async def _update(self, request: dict[str, Any]) -> dict[str, Any]:
        name, wanted = request["name"], request["change"]

        def change(record: TableRecord | None) -> TableRecord:
            if record is None:
                raise table_not_found(name)
            if record.status != "ACTIVE":
                raise table_busy(name, record.status)
            made = update_table.apply(wanted, record.description, self._admin.world.wall())
            indexes = index_updates.apply(request["indexes"], request["definitions"], record.description, made.after)
            shown, after = ({**description, **indexes.members} for description in made)
            record = msgspec.structs.replace(
                record, description=shown, index_changes={**record.index_changes, **indexes.later}
            )
            if wanted and not update_table.needs_time(wanted):
                return msgspec.structs.replace(record, description=after)
            if wanted:
                return msgspec.structs.replace(record, status="UPDATING", pending=after)
            return msgspec.structs.replace(record, status="UPDATING" if indexes.online else "ACTIVE")

        record = await self._admin.alter(name, change)
        self._admin.world.event("table-updating", table=name, members=sorted(wanted))
        return {"description": described(record, self._admin)}

    # --- tags ---

    async def _tag(self, request: dict[str, Any]) -> dict[str, Any]:
        return await self._retag(request, lambda before: tags.tagged(before, request["tags"]))

    async def _untag(self, request: dict[str, Any]) -> dict[str, Any]:
        gone = request["keys"]
        return await self._retag(request, lambda before: {k: v for k, v in before.items() if k not in gone})

    async def _retag(
        self, request: dict[str, Any], become: Callable[[dict[str, str]], dict[str, str]]
    ) -> dict[str, Any]:
        def change(record: TableRecord | None) -> TableRecord:
            if record is None:
                raise tags.not_found(request["arn"])
            if record.status in ("CREATING", "DELETING"):
                raise table_busy(record.name, record.status)
            return msgspec.structs.replace(record, tags=become(record.tags))

        await self._admin.alter(request["name"], change)
        return {}

    async def _list_tags(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"tags": self._find(request["name"], tags.not_found(request["arn"])).tags}

    # --- time to live ---

    async def _update_ttl(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request["name"]

        def change(record: TableRecord | None) -> TableRecord:
            if record is None:
                raise table_not_found(name)
            if record.status in ("CREATING", "DELETING"):
                raise table_busy(name, record.status)
            setting = time_to_live.change(record.ttl, request["attribute"], request["enabled"])
            shape = record.shape
            if shape is None:
                description = record.description
                shape = Shape(0, name, key_of(description["KeySchema"], types_of(description)))
            version = next_version(self._admin.acting())
            shape = shape._replace(version=version, ttl=setting.attribute if setting.enabled else "")
            return msgspec.structs.replace(record, ttl=setting, shape=shape)

        await self._admin.alter(name, change)
        self._admin.world.event("ttl-changing", table=name, enabled=request["enabled"], attribute=request["attribute"])
        return request

    async def _describe_ttl(self, request: dict[str, Any]) -> dict[str, Any]:
        record = self._find(request["name"], table_not_found(request["name"]))
        if record.status in ("CREATING", "DELETING"):
            raise describe_time_to_live.in_transition(record.status)
        return {"description": time_to_live.describe(record.ttl)}

    async def _describe_backups(self, request: dict[str, Any]) -> dict[str, Any]:
        self._find(request["name"], describe_continuous_backups.not_found(request["name"]))
        return {}

    # --- work ---

    async def step(self) -> None:
        """Make true what was promised: descriptions of tables that are UPDATING, time to live once every leader has
        it."""
        records = list(self._admin.acting().tables.values())
        updated = [record.name for record in records if record.status == "UPDATING" and record.pending is not None]
        for name in updated:
            await self._admin.alter(name, _finished)
        if updated:
            await self._admin.push_map()
            for name in updated:
                self._admin.world.event("table-updated", table=name)
        for record in records:
            if record.ttl is not None and not record.ttl.settled and self._admin.shapes.installed(record):
                await self._settle(record.name, record.ttl)

    async def _settle(self, name: str, setting: time_to_live.Setting) -> None:
        def change(record: TableRecord | None) -> TableRecord:
            assert record is not None, "tables go only in the loop that this is part of"
            same = record.ttl == setting
            return msgspec.structs.replace(record, ttl=setting._replace(settled=True)) if same else record

        await self._admin.alter(name, change)


def _finished(record: TableRecord | None) -> TableRecord:
    assert record is not None, "tables go only in the loop that this is part of"
    if record.pending is None:
        return record
    description = with_entries(record.pending, entries(record.description))  # indexes have states of their own
    return msgspec.structs.replace(record, status="ACTIVE", description=description, pending=None)
