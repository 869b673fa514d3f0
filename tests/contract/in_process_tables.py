"""The control plane's half of the in-process API: tables, their tags and time to live, in dicts."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from cluster.api import TableSchema, create_table, index_updates, list_tables, tags, time_to_live, update_table
from cluster.api.tables import item_table_not_found, table_exists, table_not_found, table_protected
from cluster.node.indexwork import with_entries


class Tables:
    """Tables by name; every change is there at once."""

    def __init__(
        self, region: str, forget: Callable[[str], None], refill: Callable[[TableSchema], None] = lambda schema: None
    ) -> None:
        self._region = region
        self._forget = forget  # forget(table): its items are gone
        self._refill = refill  # refill(schema): its indexes are others
        self._descriptions: dict[str, dict[str, Any]] = {}
        self._schemas: dict[str, TableSchema] = {}
        self._tags: dict[str, dict[str, str]] = {}
        self._ttl: dict[str, time_to_live.Setting] = {}

    def schema(self, name: str) -> TableSchema:
        schema = self._schemas.get(name)
        if schema is None:
            raise item_table_not_found()
        return schema

    def serve(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        if operation == "ListTables":
            return list_tables.page(sorted(self._descriptions), request)
        name = request["name"]
        if operation == "CreateTable":
            return self._create(name, request)
        if name not in self._descriptions:
            raise tags.not_found(request["arn"]) if "arn" in request else table_not_found(name)
        if "arn" in request:
            return self._serve_tags(operation, name, request)
        if operation == "UpdateTimeToLive":
            changed = time_to_live.change(self._ttl.get(name), request["attribute"], request["enabled"])
            self._ttl[name] = changed._replace(settled=True)
            return request
        if operation == "DescribeTimeToLive":
            return {"description": time_to_live.describe(self._ttl.get(name))}
        if operation == "UpdateTable":
            return self._update(name, request)
        if operation == "DeleteTable":
            return self._delete(name)
        return {"description": self._descriptions[name]}

    def _create(self, name: str, request: dict[str, Any]) -> dict[str, Any]:
        if name in self._descriptions:
            raise table_exists(name)
        table_id = f"00000000-0000-4000-8000-{len(self._descriptions):012x}"
        description = create_table.describe(request, table_id=table_id, region=self._region, now=time.time())
        self._descriptions[name] = {**_settled(description), "TableStatus": "ACTIVE"}
        self._schemas[name] = TableSchema.from_description(self._descriptions[name])
        self._tags[name] = request["tags"]
        return {"description": description}

    def _update(self, name: str, request: dict[str, Any]) -> dict[str, Any]:
        before = self._descriptions[name]
        change = update_table.apply(request["change"], before, time.time())
        indexes = index_updates.apply(request["indexes"], request["definitions"], before, change.after)
        shown = {**change.shown, **indexes.members}
        self._descriptions[name] = _settled({**change.after, **indexes.members}, indexes.later)
        self._schemas[name] = TableSchema.from_description(self._descriptions[name])
        if indexes.online:
            self._refill(self._schemas[name])
        busy = indexes.online or (request["change"] and update_table.needs_time(request["change"]))
        return {"description": {**shown, "TableStatus": "UPDATING" if busy else "ACTIVE"}}

    def _serve_tags(self, operation: str, name: str, request: dict[str, Any]) -> dict[str, Any]:
        if operation == "TagResource":
            self._tags[name] = tags.tagged(self._tags[name], request["tags"])
        elif operation == "UntagResource":
            self._tags[name] = {key: value for key, value in self._tags[name].items() if key not in request["keys"]}
        return {"tags": self._tags[name]}

    def _delete(self, name: str) -> dict[str, Any]:
        if self._descriptions[name]["DeletionProtectionEnabled"]:
            raise table_protected()
        del self._schemas[name], self._tags[name]
        self._ttl.pop(name, None)
        self._forget(name)
        return {"description": self._descriptions.pop(name)}


def _settled(description: dict[str, Any], later: dict[str, dict[str, Any]] | None = None) -> dict[str, Any]:
    """A description whose global indexes have come to where they were going."""
    entries = [
        {key: value for key, value in {**entry, **(later or {}).get(entry["IndexName"], {})}.items()
         if key != "Backfilling"} | {"IndexStatus": "ACTIVE"}
        for entry in description.get("GlobalSecondaryIndexes") or ()
        if entry["IndexStatus"] != "DELETING"
    ]  # fmt: skip
    return with_entries(description, entries)
