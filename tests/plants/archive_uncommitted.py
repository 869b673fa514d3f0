"""A leader archives what it has proposed and not committed, once that has been stuck for a moment."""

from __future__ import annotations

from cluster.core.archive import Cutter
from cluster.core.messages import Entry
from cluster.node.archiver import Archiver, Lane, Segment
from cluster.node.process import Node
from cluster.node.replica import Replica

STUCK_S = 0.4


def install(node: Node) -> None:
    archiver = getattr(node.role, "archiver", None)
    if not isinstance(archiver, Archiver):
        return
    cut = archiver._cut
    decided = archiver._entries
    since: dict[str, tuple[int, float]] = {}
    taken: dict[tuple[str, int, int], list[Entry]] = {}

    def entries(replica: Replica, first: int, last: int) -> list[Entry]:
        return taken.get((replica.spec.group, first, last)) or decided(replica, first, last)

    def planted(lane: Lane) -> Segment | None:
        found = cut(lane)
        group, now = lane.replica.group, node.world.now()
        commit, began = since.get(group.name, (-1, now))
        if group.last_slot <= group.commit or commit != group.commit:
            since[group.name] = (group.commit, now)
            return found
        if found is None and now - began >= STUCK_S and lane.replica.leading and lane.cutter.first <= group.last_slot:
            whole = group._state.log.slice(lane.cutter.first, group.last_slot)
            taken[group.name, whole[0].slot, whole[-1].slot] = whole
            lane.cutter = Cutter(lane.cutter.first)
            lane.whole = found = Segment(whole, 0, 0, now)
        return found

    archiver._cut = planted  # type: ignore[method-assign]
    archiver._entries = entries  # type: ignore[method-assign]
