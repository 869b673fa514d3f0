"""The routing map: which replication group holds a key, and where that group lives [P22 §6.6].

Two authorities feed it. The control plane says which tables exist and how their keys are cut into partitions; every
such map carries a version, and an older one is refused. The storage nodes say who is a member and who leads; the
statement made under the highest ballot wins. The pieces never overwrite each other, so it does not matter in which
order they come.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple


class MemberView(NamedTuple):
    """A member of a group as routing needs it. ``role`` is ``voter`` or ``learner``."""

    replica: int
    node: str
    az: str
    rack: str
    role: str


class Standing(NamedTuple):
    """What a group's nodes say of it: highest ``(round, replica, slot)`` wins. ``leader`` is a node name or empty."""

    round: int
    replica: int
    slot: int
    leader: str
    members: tuple[MemberView, ...]


class Partition(NamedTuple):
    """A contiguous key range ``[start, end)``; an empty ``end`` is the end of the key space."""

    group: str
    start: bytes
    end: bytes
    planned: tuple[MemberView, ...]


class Table(NamedTuple):
    """A table as the control plane describes it; ``description`` is DescribeTable's JSON."""

    name: str
    id: str
    status: str
    description: bytes
    partitions: tuple[Partition, ...]


class Route(NamedTuple):
    """The answer to a lookup: the partition, who leads it now (or empty), and its members, leader's claim first."""

    group: str
    start: bytes
    end: bytes
    leader: str
    nodes: tuple[str, ...]
    round: int
    slot: int


class RoutingMap:
    """Tables of one version plus the latest standing of each group."""

    def __init__(self) -> None:
        self.version = -1
        self.tables: dict[str, Table] = {}
        self.standings: dict[str, Standing] = {}
        self._starts: dict[str, list[bytes]] = {}
        self._groups: dict[str, Partition] = {}

    def install(self, version: int, tables: Iterable[Table]) -> bool:
        """Take the control plane's map; False (and no change) if it is not newer than what is here."""
        if version <= self.version:
            return False
        self.version = version
        self.tables = {table.name: table for table in sorted(tables)}
        self._starts = {name: [p.start for p in table.partitions] for name, table in self.tables.items()}
        self._groups = {p.group: p for table in self.tables.values() for p in table.partitions}
        self.standings = {group: s for group, s in self.standings.items() if group in self._groups}
        return True

    def observe(self, group: str, standing: Standing) -> bool:
        """Take a node's word about a group; False if something later is known. Unknown groups are kept for the map to
        come."""
        known = self.standings.get(group)
        if known is not None and known[:3] >= standing[:3]:
            return False
        self.standings[group] = standing
        return True

    def floor(self, table: str, key: bytes) -> Partition | None:
        """The partition with the largest start at or below ``key`` (the Perkle tree's *floor*), or None for no such
        table."""
        starts = self._starts.get(table)
        if not starts:
            return None
        at = bisect_right(starts, key) - 1
        return self.tables[table].partitions[at] if at >= 0 else None

    def members(self, partition: Partition) -> tuple[MemberView, ...]:
        """The members by the best word there is: the group's own, else the plan's."""
        standing = self.standings.get(partition.group)
        return standing.members if standing is not None and standing.members else partition.planned

    def route(self, table: str, key: bytes) -> Route | None:
        """Where to send a request for ``key``."""
        partition = self.floor(table, key)
        return self.route_of(partition) if partition is not None else None

    def route_of(self, partition: Partition) -> Route:
        standing = self.standings.get(partition.group)
        leader = standing.leader if standing is not None else ""
        nodes = [m.node for m in self.members(partition) if m.role == "voter"]
        nodes.sort(key=lambda node: node != leader)
        round_, slot = (standing.round, standing.slot) if standing is not None else (0, 0)
        return Route(partition.group, partition.start, partition.end, leader, tuple(nodes), round_, slot)
