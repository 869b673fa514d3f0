"""The control plane's state: tables and where their groups live, kept as rows of the system group.

Every change is one log entry that also raises the catalog's version; every plan that goes out carries a version, and
receivers refuse an older one, so that a plan that was overtaken can never be applied over its successor.
"""

from __future__ import annotations

from typing import Any

import msgspec

from cluster.core.expiry import Setting
from cluster.core.placement import Candidate
from cluster.core.routing import MemberView, Partition, Table
from cluster.core.shape import Shape
from cluster.node.payload import Write

VERSION_KEY = b"version"
SYSTEM_GROUP = "system"


class Placed(msgspec.Struct, frozen=True):
    """A replica on a disk. A node that comes back with another disk does not hold it any more."""

    replica: int
    node: str
    az: str
    rack: str
    disk: str

    @property
    def candidate(self) -> Candidate:
        return Candidate(self.node, self.az, self.rack, self.disk)


class Swap(msgspec.Struct, frozen=True):
    """A replacement under way: ``add`` joins as a learner and takes the place of replica ``remove``."""

    add: Placed
    remove: int
    created: bool = False
    """Whether ``add`` exists, or did: it may have promised something, and is never created a second time."""


class GroupRecord(msgspec.Struct, frozen=True):
    """A replication group. ``next_replica`` is the first replica id never used in it."""

    group: str
    table: str
    start: bytes
    end: bytes
    members: tuple[Placed, ...]
    next_replica: int
    swap: Swap | None = None


class TableRecord(msgspec.Struct, frozen=True):
    """A table. ``description`` is what DescribeTable shows but for its status."""

    name: str
    id: str
    status: str
    description: dict[str, Any]
    groups: tuple[str, ...]
    pending: dict[str, Any] | None = None
    """The description that becomes true when an UPDATING table is ACTIVE again."""
    tags: dict[str, str] = {}
    ttl: Setting | None = None
    shape: Shape | None = None
    """What its groups are to be told beyond their key ranges, its version that of the change that made it."""
    index_changes: dict[str, dict[str, Any]] = {}
    """By global index that is UPDATING: the members of its entry that are to change."""


_table = msgspec.json.Decoder(TableRecord)
_group = msgspec.json.Decoder(GroupRecord)
_encode = msgspec.json.Encoder().encode


class Catalog:
    """An in-memory copy of the rows, valid while this node leads the system group."""

    def __init__(self, rows: list[tuple[bytes, bytes]]) -> None:
        self.version = 0
        self.tables: dict[str, TableRecord] = {}
        self.groups: dict[str, GroupRecord] = {}
        for key, image in rows:
            if key == VERSION_KEY:
                self.version = int(image)
            elif key.startswith(b"table/"):
                table = _table.decode(image)
                self.tables[table.name] = table
            elif key.startswith(b"group/"):
                group = _group.decode(image)
                self.groups[group.group] = group

    def writes(
        self,
        *,
        tables: tuple[TableRecord, ...] = (),
        groups: tuple[GroupRecord, ...] = (),
        drop_tables: tuple[str, ...] = (),
        drop_groups: tuple[str, ...] = (),
    ) -> list[Write]:
        """The rows of one change; :meth:`take` it once it is committed."""
        rows: list[Write] = [(VERSION_KEY, str(self.version + 1).encode())]
        rows += [(b"table/" + table.name.encode(), _encode(table)) for table in tables]
        rows += [(b"group/" + group.group.encode(), _encode(group)) for group in groups]
        rows += [(b"table/" + name.encode(), None) for name in drop_tables]
        rows += [(b"group/" + name.encode(), None) for name in drop_groups]
        return rows

    def take(self, rows: list[Write]) -> None:
        """Make a committed change true here too."""
        for key, image in rows:
            kind, _, name = key.decode().partition("/")
            if key == VERSION_KEY:
                self.version = int(image or b"0")
            elif kind == "table":
                if image is None:
                    self.tables.pop(name, None)
                else:
                    self.tables[name] = _table.decode(image)
            elif image is None:
                self.groups.pop(name, None)
            else:
                self.groups[name] = _group.decode(image)

    def load(self) -> dict[str, int]:
        """Replicas per node, those on their way included."""
        counts: dict[str, int] = {}
        for group in self.groups.values():
            for placed in [*group.members, *([group.swap.add] if group.swap else [])]:
                counts[placed.node] = counts.get(placed.node, 0) + 1
        return counts

    def export(self) -> list[Table]:
        """The map that MemDS serves."""
        tables = []
        for record in sorted(self.tables.values(), key=lambda t: t.name):
            groups = sorted((self.groups[g] for g in record.groups if g in self.groups), key=lambda g: g.start)
            partitions = tuple(Partition(g.group, g.start, g.end, _views(g.members)) for g in groups)
            tables.append(Table(record.name, record.id, record.status, _encode(record.description), partitions))
        return tables


def _views(members: tuple[Placed, ...]) -> tuple[MemberView, ...]:
    return tuple(MemberView(m.replica, m.node, m.az, m.rack, "voter") for m in members)
