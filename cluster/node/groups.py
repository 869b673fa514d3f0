"""What a node with replicas does for others: elections asked for, membership changed, barriers, digests, reports."""

from __future__ import annotations

from typing import Any

from cluster.core.config import AddLearner, Change, ChangeVoters, Member, RemoveLearner
from cluster.core.failures import Busy, ChangeRefused, NotLeader
from cluster.core.group import Role
from cluster.node.host import Host
from cluster.node.pace import until_next_turn
from cluster.node.replica import Replica
from cluster.node.reports import REPORT_INTERVAL_S, ReplicaReport, Report
from cluster.node.rpc import RpcError

STANDING_INTERVAL_S = 5.0
CAMPAIGN_WAIT_S = 2.5
CHANGE_WAIT_S = 4.5
DIGEST_WAIT_S = 30.0
CAUGHT_UP_SLOTS = 64
"""A learner this close to the leader's log may become a voter: the joint change then waits for no long copy."""


class GroupServices:
    """Served by storage nodes for tables' groups and by control-plane nodes for the system group."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._world = host.world
        config = host.config
        self._admins = [peer.name for peer in config.of_role("autoadmin")]
        self._memds = [peer.name for peer in config.of_role("memds")] if config.role == "storage" else []
        self._said: dict[str, tuple[Any, ...]] = {}
        self._report_due = False
        host.on_change.append(self._changed)
        rpc = host.rpc
        rpc.register_async("campaign", self._campaign, str)
        rpc.register_async("swap", self._swap, tuple[str, Member, int])
        rpc.register_async("drop-learner", self._drop_learner, tuple[str, int])
        rpc.register_async("barrier", self._barrier, dict[str, Any])
        rpc.register_async("digest", self._digest, dict[str, Any])
        rpc.register_async("transfer", self._transfer, dict[str, Any])

    def start(self) -> None:
        self._world.spawn(self._report_forever(), "report")
        if self._memds:
            self._world.spawn(self._standings_forever(), "standings")

    # --- reports ---

    def replicas(self) -> list[ReplicaReport]:
        now = self._world.now()
        reports = []
        for name, replica in sorted(self._host.replicas.items()):
            group, config = replica.group, replica.group.config
            leading = replica.leading and group.lease_until(now) > now
            reports.append(
                ReplicaReport(name, replica.spec.replica, leading, group.ballot.round, group.commit, replica.applied,
                              tuple(m.replica for m in config.voters), tuple(m.replica for m in config.learners),
                              config.joint, replica.counted)
            )  # fmt: skip
        return reports

    def status(self) -> list[dict[str, Any]]:
        """The same for the controller."""
        found = []
        for report in self.replicas():
            group = self._host.replicas[report.group].group
            config = group.config
            found.append(
                {"group": report.group, "replica": report.replica, "leader": report.leading, "ballot":
                list(group.ballot),
                 "commit": report.commit, "applied": report.applied, "role": group.role.value,
                 "voters": [m.node for m in config.voters], "learners": [m.node for m in config.learners],
                 "joint": config.joint, "table": self._host.replicas[report.group].spec.table,
                 "acked": self._acked(group), "first": group.first_slot,
                 "damaged": self._host.replicas[report.group].damaged}
            )  # fmt: skip
        return found

    def _acked(self, group: Any) -> dict[str, int]:
        """As leader: the last slot each voter's node is known to have durably; what redundancy is judged by."""
        if group.role is not Role.LEADER:
            return {}
        return {member.node: group.acked(member.replica) for member in group.config.voting()}

    async def _report_forever(self) -> None:
        config = self._host.config
        while True:
            replicas = tuple(self.replicas())
            report = Report(
                config.name, config.role, config.az, config.rack, self._host.disk,
                self._host.superblock.incarnation, replicas,
            )  # fmt: skip
            for admin in self._admins:
                self._host.rpc.notify(admin, "report", report)
            await until_next_turn(self._world, REPORT_INTERVAL_S)

    def _changed(self, replica: Replica) -> None:
        """Tell MemDS at once when a group here begins to lead or changes its members."""
        if not replica.leading:
            self._said.pop(replica.spec.group, None)
            return
        standing = replica.standing()
        if self._said.get(replica.spec.group) != standing:
            self._said[replica.spec.group] = standing
            for node in self._memds:
                self._host.rpc.notify(node, "standing", [(replica.spec.group, standing)])

    async def _standings_forever(self) -> None:
        """A notice can be lost, and a MemDS node may have started since: say everything again now and then."""
        while True:
            await until_next_turn(self._world, STANDING_INTERVAL_S)
            led = [(name, r.standing()) for name, r in sorted(self._host.replicas.items()) if r.leading]
            if led:
                for node in self._memds:
                    self._host.rpc.notify(node, "standing", led)

    # --- services ---

    def _replica(self, group: str) -> Replica:
        replica = self._host.replicas.get(group)
        if replica is None:
            raise RpcError("no-replica", group)
        return replica

    def _leading(self, group: str) -> Replica:
        replica = self._replica(group)
        if not replica.leading:
            leader = replica.group.leader
            raise RpcError("not-leader", leader.node if leader is not None else "")
        return replica

    async def _campaign(self, sender: str, group: str) -> bool:
        """Try to lead, and answer once this replica serves."""
        replica = self._replica(group)
        replica.campaign()
        if not await replica.wait_for(lambda: replica.serving, CAMPAIGN_WAIT_S):
            raise RpcError("not-elected", group)
        return True

    async def _swap(self, sender: str, params: tuple[str, Member, int]) -> bool:
        """Bring in a new member for another: learner, catch up, joint configuration. Repeatable at any point."""
        group, add, remove = params
        replica = self._leading(group)
        deadline = self._world.now() + CHANGE_WAIT_S
        while self._world.now() < deadline:
            self._leading(group)
            config = replica.group.config
            if not config.joint and replica.group.config_committed:
                change = self._next_change(replica, add, remove)
                if change is None and config.votes(add.replica):
                    return True
                if change is not None:
                    self._propose(replica, change)
            await replica.wait_for(lambda: False, 0.1)
        raise RpcError("not-yet", f"{group}: replica {add.replica} is not in yet")

    def _next_change(self, replica: Replica, add: Member, remove: int) -> Change | None:
        """The next step of a swap, or None when there is nothing to propose now."""
        config = replica.group.config
        # One replacement at a time: an earlier learner is of one given up, proposed by a call that outlived it.
        if stale := [m.replica for m in config.learners if m.replica < add.replica]:
            return RemoveLearner(stale[0])
        leaving = (remove,) if config.votes(remove) else ()
        if config.votes(add.replica):
            return ChangeVoters(remove=leaving) if leaving else None
        if config.find(add.replica) is None:
            return AddLearner(add)
        return ChangeVoters(add=(add.replica,), remove=leaving) if self._caught_up(replica, add.replica) else None

    def _caught_up(self, replica: Replica, learner: int) -> bool:
        acked = replica.group.acked(learner)
        return acked > 0 and acked >= replica.group.last_slot - CAUGHT_UP_SLOTS

    def _propose(self, replica: Replica, change: Change) -> None:
        try:
            replica.group.propose_config(change, self._world.now())
        except NotLeader as error:
            raise RpcError("not-leader", "") from error
        except (ChangeRefused, Busy):
            return  # another change is under way; look again
        self._host.touch(replica)

    async def _drop_learner(self, sender: str, params: tuple[str, int]) -> bool:
        """Take a learner out again. True once it is out; False where it votes, since the change that made it a voter
        was under way or done: such a change is finished, never turned back."""
        group, learner = params
        replica = self._leading(group)
        deadline = self._world.now() + CHANGE_WAIT_S
        while self._world.now() < deadline:
            self._leading(group)
            config = replica.group.config
            # With its lease nobody else leads, and what is decided here is how things are.
            if replica.serving and not config.joint and replica.group.config_committed:
                if config.find(learner) is None:
                    return True
                if config.votes(learner):
                    return False
                self._propose(replica, RemoveLearner(learner))
            await replica.wait_for(lambda: False, 0.1)
        raise RpcError("not-yet", f"{group}: replica {learner} is not out yet")

    async def _barrier(self, sender: str, params: dict[str, Any]) -> dict[str, int]:
        replica = self._leading(params["group"])
        try:
            return {"slot": replica.barrier()}
        except (NotLeader, Busy) as error:
            raise RpcError("not-leader", "") from error

    async def _digest(self, sender: str, params: dict[str, Any]) -> dict[str, Any]:
        """The digest of this replica's items at a barrier, once it has applied it."""
        replica, slot = self._replica(params["group"]), int(params["slot"])
        wait_s = min(float(params.get("timeout_s", DIGEST_WAIT_S)), DIGEST_WAIT_S)
        if not await replica.wait_for(lambda: slot in replica.digests, wait_s):
            why = f"applied {replica.applied} of {slot}" + (f"; {replica.damaged}" if replica.damaged else "")
            raise RpcError("not-yet", why)
        digest = replica.digests[slot]
        return {"slot": slot, "digest": digest.digest, "items": digest.items, "bytes": digest.bytes}

    async def _transfer(self, sender: str, params: dict[str, Any]) -> bool:
        """Hand leadership on, without anybody waiting for a lease."""
        self._leading(params["group"]).relinquish()
        return True
