"""What nodes that hold replicas tell the control plane, once a second and when something changes.

Every node reports to every control-plane node, so that a new acting one knows the fleet at once.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from cluster.core.census import Counted
from cluster.core.config import Member
from cluster.node.catalog import Placed
from cluster.node.world import World

REPORT_INTERVAL_S = 1.0
SILENT_AFTER_S = 3.5
"""A node not heard from for this long is not given new replicas."""
SETTLED_AFTER_S = 2.5
"""Whoever has not reported by then is away: two turns of a report and some; less than routers wait for an answer."""


class ReplicaReport(NamedTuple):
    """One replica as its node sees it. ``leading`` includes a valid lease. Members are replica ids."""

    group: str
    replica: int
    leading: bool
    round: int
    commit: int
    applied: int
    voters: tuple[int, ...]
    learners: tuple[int, ...]
    joint: bool
    counted: Counted | None = None
    """What it found when it last counted its rows, as leader, in this life."""


class Report(NamedTuple):
    """One node. ``disk`` identifies the life of its data volume."""

    node: str
    role: str
    az: str
    rack: str
    disk: str
    incarnation: int
    replicas: tuple[ReplicaReport, ...]


class Fleet:
    """The last report of every node."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._reports: dict[str, tuple[float, Report]] = {}
        self._started = world.now()

    def heard(self, report: Report) -> bool:
        """Take a report; True if it says something worth acting on at once: a new node, disk or life."""
        known = self._reports.get(report.node)
        if known is not None and known[1].disk == report.disk and known[1].incarnation > report.incarnation:
            return False  # a message from an earlier life that was long under way
        self._reports[report.node] = (self._world.now(), report)
        return known is None or known[1].disk != report.disk or known[1].incarnation != report.incarnation

    def settled(self, expected: Collection[str]) -> bool:
        """Whether who has not reported is away, rather than not heard yet by a control plane that has just started."""
        listened_s = self._world.now() - self._started
        return listened_s >= SETTLED_AFTER_S or all(node in self._reports for node in expected)

    def names(self) -> list[str]:
        return [report.node for report in self.alive()]

    def alive(self) -> list[Report]:
        """Reports of nodes heard from lately, by name."""
        oldest = self._world.now() - SILENT_AFTER_S
        return [report for _, (at, report) in sorted(self._reports.items()) if at >= oldest]

    def report(self, node: str) -> Report | None:
        """A node's report if it was heard from lately."""
        at, report = self._reports.get(node, (float("-inf"), None))
        return report if at >= self._world.now() - SILENT_AFTER_S else None

    def silent_s(self, node: str) -> float:
        """Seconds since a node was last heard from, or since this control-plane node began to listen."""
        at = self._reports[node][0] if node in self._reports else self._started
        return self._world.now() - at

    def replica(self, node: str, group: str) -> ReplicaReport | None:
        """A replica as its live node reports it."""
        report = self.report(node)
        return next((r for r in report.replicas if r.group == group), None) if report is not None else None

    def leading(self, group: str) -> tuple[Report, ReplicaReport] | None:
        """Who says to lead a group; under the highest ballot where two do (the lower one has just not heard yet)."""
        claims = [(r, q) for r in self.alive() for q in r.replicas if q.group == group and q.leading]
        return max(claims, key=lambda claim: claim[1].round, default=None)

    def leader_of(self, group: str) -> str:
        claim = self.leading(group)
        return claim[0].node if claim is not None else ""

    def counted(self, groups: Collection[str]) -> dict[str, Counted]:
        """What was last counted of these groups, whoever led then, by nodes that may be away by now."""
        found: dict[str, Counted] = {}
        for _, report in self._reports.values():
            for replica in report.replicas:
                if replica.counted is not None and replica.group in groups:
                    known = found.get(replica.group)
                    if known is None or known.slot < replica.counted.slot:
                        found[replica.group] = replica.counted
        return found

    def placed(self, group: str, member: Member) -> Placed | None:
        """A member with the disk its node reports now; with none where the node does not hold that replica, so that it
        is taken for lost. None while the node has not reported."""
        report = self.report(member.node)
        if report is None:
            return None
        held = any(r.group == group and r.replica == member.replica for r in report.replicas)
        return Placed(member.replica, member.node, member.zone, member.rack, report.disk if held else "")
