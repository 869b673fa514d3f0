"""Reading tables with secondary indexes, and these indexes, from the storage nodes, for the check ``indexes``.

The control plane says which tables there are; a partition's leader is asked for all its rows as they are stored. Waits
first until no partition has index changes on their way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from cluster.core.items import image_body
from cluster.core.keys import local_number
from cluster.core.shape import index_table, is_index_table
from cluster.core.side import OUTBOX, bounds, is_side

if TYPE_CHECKING:
    from reports.rundir import IndexDump, IndexRows, TableDump

CALL_TIMEOUT_S = 5.0
DRAIN_S = 20.0
RETRY_S = 0.3
TRIES = 20
ROWS_MAX = 200_000
"""Of one table with its indexes: more would not fit into a run directory sensibly."""

Row = tuple[bytes, bytes]


class Calls(Protocol):
    """How a node is asked: over the network, or in the simulator."""

    def call(self, node: str, method: str, params: Any = None, timeout_s: float = 1.0) -> Any: ...


class Unreadable(Exception):
    """Some rows could not be read; the text says which and why."""


class Dumper:
    """``sleep(seconds)`` lets time pass: real or virtual."""

    def __init__(self, calls: Calls, roles: Mapping[str, str], sleep: Callable[[float], object]) -> None:
        self._calls = calls
        self._storage = sorted(name for name, role in roles.items() if role == "storage")
        self._admins = sorted(name for name, role in roles.items() if role == "autoadmin")
        self._sleep = sleep

    def dump(self) -> IndexRows:
        """Everything that ``indexes.json`` holds."""
        from reports.rundir import IndexRows

        try:
            tables = {str(table[0]): table for table in self._tables()}
            own = [table for name, table in tables.items() if not is_index_table(name) and not name.startswith("!")]
            indexed = [table for table in own if _indexes(_description(table))]
            return IndexRows(looked_at=len(own), tables=[self._table(table, tables) for table in indexed])
        except Unreadable as error:
            return IndexRows(error=str(error))

    def _tables(self) -> list[Any]:
        why = "no control-plane node answered"
        for _ in range(TRIES):
            for node in self._admins:
                try:
                    _, tables = self._calls.call(node, "export", -1, CALL_TIMEOUT_S)
                    return list(tables or ())
                except Exception as error:
                    why = str(error)
            self._sleep(RETRY_S)
        raise Unreadable(why)

    def _table(self, table: Any, tables: Mapping[str, Any]) -> TableDump:
        from reports.rundir import TableDump

        description = _description(table)
        about: dict[str, Any] = {
            "name": str(table[0]),
            "key": [part["AttributeName"] for part in description["KeySchema"]],
            "types": {d["AttributeName"]: d["AttributeType"] for d in description["AttributeDefinitions"]},
        }
        try:
            waiting = self._drain(table)
            rows = [row for group in _groups(table) for row in self._rows(group, b"", b"") if not is_side(row[0])]
        except Unreadable as error:
            return TableDump(**about, error=str(error))
        items = [_item(image) for key, image in rows if local_number(key) < 0]
        indexes = []
        for number, (entry, local) in enumerate(_indexes(description)):
            if local:
                found = [_item(image) for key, image in rows if local_number(key) == number]
                indexes.append(_dump(entry, found, local=True))
            else:
                indexes.append(self._global(entry, tables.get(index_table(str(table[0]), entry["IndexName"]))))
        return TableDump(**about, items=items, indexes=indexes, waiting=waiting)

    def _global(self, entry: Mapping[str, Any], table: Any) -> IndexDump:
        if table is None:
            return _dump(entry, [], local=False, error="it has no partitions")
        try:
            rows = [row for group in _groups(table) for row in self._rows(group, b"", b"") if not is_side(row[0])]
        except Unreadable as error:
            return _dump(entry, [], local=False, error=str(error))
        return _dump(entry, [_item(image) for _, image in rows], local=False)

    def _drain(self, table: Any) -> int:
        """Wait until no partition of a table holds index changes back; how many there are in the end."""
        left, waited = 1, 0.0
        while left and waited < DRAIN_S:
            left = sum(len(self._rows(group, *bounds(OUTBOX))) for group in _groups(table))
            if left:
                self._sleep(RETRY_S)
                waited += RETRY_S
        return left

    def _rows(self, group: str, start: bytes, end: bytes) -> list[Row]:
        """All rows of a group in a range of keys, from whoever leads it."""
        why = "nobody leads it"
        for _ in range(TRIES):
            for node in self._storage:
                try:
                    answer = self._calls.call(node, "group-rows", (group, start, end), CALL_TIMEOUT_S)
                    rows = [(bytes(key), bytes(image)) for key, image in answer[0]]
                    while answer[1]:
                        answer = self._calls.call(node, "group-rows", (group, answer[1], end), CALL_TIMEOUT_S)
                        rows += [(bytes(key), bytes(image)) for key, image in answer[0]]
                        if len(rows) > ROWS_MAX:
                            raise Unreadable(f"group {group} has more than {ROWS_MAX} rows")
                    return rows
                except Unreadable:
                    raise
                except Exception as error:
                    if "no-replica" not in str(error):
                        why = str(error)
            self._sleep(RETRY_S)
        raise Unreadable(f"group {group}: {why}")


def _description(table: Any) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(table[3])
    return found


def _groups(table: Any) -> list[str]:
    return [str(partition[0]) for partition in table[4]]


def _indexes(description: Mapping[str, Any]) -> list[tuple[dict[str, Any], bool]]:
    """Entries of a description's indexes, and whether they are local; those come first, in the order of their numbers.
    An index that is being made or unmade promises nothing."""
    found = [(entry, True) for entry in description.get("LocalSecondaryIndexes") or ()]
    entries = description.get("GlobalSecondaryIndexes") or ()
    return found + [(entry, False) for entry in entries if entry["IndexStatus"] in ("ACTIVE", "UPDATING")]


def _dump(entry: Mapping[str, Any], items: list[dict[str, Any]], *, local: bool, error: str | None = None) -> IndexDump:
    from reports.rundir import IndexDump

    keys = entry["KeySchema"]
    return IndexDump(
        name=entry["IndexName"],
        local=local,
        hash=[part["AttributeName"] for part in keys if part["KeyType"] == "HASH"],
        sort=[part["AttributeName"] for part in keys if part["KeyType"] == "RANGE"],
        projection=entry["Projection"]["ProjectionType"],
        include=entry["Projection"].get("NonKeyAttributes") or [],
        status=entry.get("IndexStatus", "ACTIVE"),
        items=items,
        error=error,
    )


def _item(image: bytes) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(image_body(image))
    return found
