"""Replacing replicas whose disk is gone, or whose node has been away too long.

A replica that lost its disk never votes again under its id: its successor joins under a new id as a learner, catches
up, and is swapped in by a joint configuration. Each step is recorded before it is taken, so that a successor of this
node goes on where it stopped. A successor is created once: if it is lost before it is in, it is given up, and the next
one has an id of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from cluster.core.placement import Candidate, replacement, spread
from cluster.node.catalog import SYSTEM_GROUP, GroupRecord, Placed, Swap
from cluster.node.reports import Report
from cluster.node.rpc import RpcError

if TYPE_CHECKING:
    from cluster.node.autoadmin import AutoAdmin

REPLACE_AFTER_S = 300.0
"""How long a silent node's replicas are waited for. A zone without power returns with its disks; copying all of them to
the survivors at once would be the larger outage."""

GIVEN_UP_AFTER_S = 5.0
CHANGE_TIMEOUT_S = 5.0
CREATE_TIMEOUT_S = 2.0
SWAPS_PER_STEP_MAX = 4


class Repair:
    """One step at a time over all groups."""

    def __init__(self, admin: AutoAdmin) -> None:
        self._admin = admin
        self._missing: dict[tuple[str, int], float] = {}  # since when a node reports without a replica it should hold

    async def step(self) -> None:
        catalog = self._admin.acting()
        moved = 0
        for name in sorted(catalog.groups):
            group = catalog.groups.get(name)
            if group is None or moved >= SWAPS_PER_STEP_MAX:
                continue
            if group.swap is not None:
                moved += 1
                await self._advance(group, group.swap)
            else:
                lost = self._lost(group)
                if lost is not None:
                    moved += await self._begin(group, lost, self._successor(group, lost))
                else:
                    moved += await self._spread(group)
        await self._clear_away()

    async def _clear_away(self) -> None:
        """Destroy replicas that the catalog does not know: left behind by a replacement, or by a table deleted
        meanwhile."""
        catalog = self._admin.acting()
        for report in self._admin.fleet.alive():
            for replica in report.replicas:
                group = catalog.groups.get(replica.group)
                known = {m.replica for m in group.members} if group is not None else set()
                if group is not None and group.swap is not None:
                    known.add(group.swap.add.replica)
                if replica.replica in known or replica.group == SYSTEM_GROUP:
                    continue
                plan = (catalog.version, replica.group, replica.replica)
                try:
                    await self._admin.rpc.call(report.node, "destroy-replica", plan, CREATE_TIMEOUT_S)
                except RpcError:
                    continue  # it is reported again

    def _lost(self, group: GroupRecord) -> Placed | None:
        """A member whose disk, node or replica is gone. One that its node quarantined is handed back without its disk:
        the successor may live on that same disk, under a new id."""
        fleet = self._admin.fleet
        for member in group.members:
            report = fleet.report(member.node)
            if report is not None and report.disk != member.disk:
                return member
            if report is None and fleet.silent_s(member.node) > REPLACE_AFTER_S:
                return member
            if report is not None and self._given_up(group, member, report):
                return msgspec.structs.replace(member, disk="")
        return None

    def _given_up(self, group: GroupRecord, member: Placed, report: Report) -> bool:
        """Whether a node that is well has gone on for a while without a replica that it should hold. A single report
        may be older than the replica."""
        table = self._admin.acting().tables.get(group.table)
        if table is not None and table.status != "ACTIVE":
            self._missing.pop((group.group, member.replica), None)
            return False
        return self._stays_away(group, member, report)

    def _stays_away(self, group: GroupRecord, placed: Placed, report: Report) -> bool:
        key = (group.group, placed.replica)
        if _reports(report, group, placed):
            self._missing.pop(key, None)
            return False
        now = self._admin.world.now()
        return now - self._missing.setdefault(key, now) > GIVEN_UP_AFTER_S

    def _successor(self, group: GroupRecord, lost: Placed) -> Candidate | None:
        role = "autoadmin" if group.group == SYSTEM_GROUP else "storage"
        keep = [m.candidate for m in group.members if m.replica != lost.replica]
        return replacement(self._admin.candidates(role), self._admin.acting().load(), keep, lost.candidate)

    async def _spread(self, group: GroupRecord) -> bool:
        """Move a replica out of a zone that holds two, once every member is well: one swap at a time."""
        if group.group == SYSTEM_GROUP or any(self._admin.fleet.report(m.node) is None for m in group.members):
            return False
        members = [m.candidate for m in group.members]
        move = spread(self._admin.candidates(), self._admin.acting().load(), members)
        if move is None:
            return False
        leaving = next(m for m in group.members if m.candidate == move[0])
        return await self._begin(group, leaving, move[1])

    async def _begin(self, group: GroupRecord, lost: Placed, chosen: Candidate | None) -> bool:
        """Record a replacement, then take its first step. False where there is nobody to come in."""
        if chosen is None:
            return False
        add = Placed(group.next_replica, chosen.node, chosen.az, chosen.rack, chosen.disk)
        swap = Swap(add, lost.replica)
        record = msgspec.structs.replace(group, swap=swap, next_replica=group.next_replica + 1)
        await self._admin.commit(groups=(record,))
        self._admin.world.event("replacement-began", group=group.group, lost=lost.node, replica=lost.replica,
                                successor=add.node, successor_replica=add.replica)  # fmt: skip
        await self._advance(record, swap)
        return True

    async def _advance(self, group: GroupRecord, swap: Swap) -> None:
        fleet = self._admin.fleet
        report = fleet.report(swap.add.node)
        if report is None or report.disk != swap.add.disk:
            if report is not None or fleet.silent_s(swap.add.node) > REPLACE_AFTER_S:
                await self._abandon(group, swap)  # the successor is gone too: choose another, under another id
            return
        if swap.created and self._stays_away(group, swap.add, report):
            await self._abandon(group, swap)  # its node is well without it: its votes are lost, as with a disk
            return
        claim = fleet.leading(group.group)
        if claim is None:
            return
        member = (swap.add.replica, swap.add.node, swap.add.az, swap.add.rack)
        try:
            if not swap.created:
                if not _reports(report, group, swap.add):
                    await self._create(group, swap.add)
                # Before the group hears of it: whoever acts next must not make it anew once it can have promised.
                group = msgspec.structs.replace(group, swap=msgspec.structs.replace(swap, created=True))
                await self._admin.commit(groups=(group,))
            await self._admin.rpc.call(claim[0].node, "swap", (group.group, member, swap.remove), CHANGE_TIMEOUT_S)
        except RpcError as error:
            if error.code == "lost-votes":
                await self._abandon(group, swap)  # made by a call whose answer did not come, and lost since
            return  # it goes on by itself, or is asked again at the next step
        members = (*(m for m in group.members if m.replica != swap.remove), swap.add)
        done = msgspec.structs.replace(group, members=members, swap=None)
        await self._admin.commit(groups=(done,))
        self._admin.world.event("replacement-done", group=group.group, node=swap.add.node, replica=swap.add.replica)
        await self._admin.push_map()

    async def _create(self, group: GroupRecord, placed: Placed) -> None:
        version = self._admin.acting().version
        plan = (version, placed.disk, group.group, group.table, group.start, group.end, placed.replica, None)
        await self._admin.rpc.call(placed.node, "create-replica", plan, CREATE_TIMEOUT_S)

    async def _abandon(self, group: GroupRecord, swap: Swap) -> None:
        """Give a successor up. Where the group made it a voter meanwhile it is recorded as the member that it is, and
        replaced as one that was lost."""
        claim = self._admin.fleet.leading(group.group)
        if claim is None:
            return
        try:
            plan = (group.group, swap.add.replica)
            out = await self._admin.rpc.call(claim[0].node, "drop-learner", plan, CHANGE_TIMEOUT_S)
        except RpcError:
            return  # it is asked again at the next step
        members = group.members
        if not out:
            members = (*(m for m in members if m.replica != swap.remove), swap.add)
        await self._admin.commit(groups=(msgspec.structs.replace(group, members=members, swap=None),))
        self._admin.world.event("replacement-given-up", group=group.group, node=swap.add.node,
                                replica=swap.add.replica, voter=not out)  # fmt: skip
        if not out:
            await self._admin.push_map()


def _reports(report: Report, group: GroupRecord, placed: Placed) -> bool:
    return any(r.group == group.group and r.replica == placed.replica for r in report.replicas)
