"""What every node that holds replicas shares: one log, one lease table, and the carrying of messages and rows.

The flow, once per turn of the event loop: messages step groups and touch replicas; every touched replica gets one turn;
what those turns persist is made durable by one group commit for the whole node, and what waited for that goes out then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from cluster.core.config import Configuration, Member
from cluster.core.effects import LivenessEffects
from cluster.core.failures import BrokenHistory
from cluster.core.group import Group, GroupOptions, HardState
from cluster.core.lease import LeaseOptions, Liveness
from cluster.core.messages import Gone, Heartbeat, Message, Snapshot
from cluster.node import codec
from cluster.node.codec import Parcel, Spec
from cluster.node.config import NodeConfig
from cluster.node.diskscrub import DiskScrub
from cluster.node.replica import Replica
from cluster.node.rpc import MALFORMED, Responder, Rpc, RpcError
from cluster.node.transfer import Transfer
from cluster.node.upkeep import Upkeep
from cluster.node.world import DiskFailed, Handle, World
from cluster.store.batch import HARD_STATE
from cluster.store.btree import Replica as Tree
from cluster.store.superblock import Superblock, boot
from cluster.store.wal import Wal

if TYPE_CHECKING:
    from cluster.node.archiver import Archiver

STOP_GRACE_S = 0.1
"""Time for the last messages of a clean stop to leave."""

BORN = "born"
BORN_PER_S = 100
"""Units of a disk's birth a second: no node starts twice within one, and the numbers stay below 2**38 until 2057."""
"""Small file: the wall-clock second in which the data directory was formatted."""


class Host:
    """Replicas of one node and what they share."""

    def __init__(self, world: World, config: NodeConfig, rpc: Rpc) -> None:
        self.world = world
        self.config = config
        self.rpc = rpc
        self.name = config.name
        self.replicas: dict[str, Replica] = {}
        self.superblock: Superblock
        self.wal: Wal
        self.liveness: Liveness
        self.upkeep = Upkeep(self)
        self.transfer = Transfer(self)
        self.disk_scrub = DiskScrub(self)
        self.archiver: Archiver | None = None
        """Where committed log is archived: what decides how long it is kept here."""
        self.on_change: list[Callable[[Replica], None]] = []
        """Called with a replica whose leader, role or configuration changed."""
        self.on_replica: list[Callable[[Replica], None]] = []
        """Called with a replica that was created here or restored, before its first turn."""
        self._touched: list[Replica] = []
        self._turn_due = False
        self._started = False
        self._peers: dict[str, None] = {}
        self._callers: dict[str, None] = {}
        """Nodes that ask this one for its support, while a replica here does not know yet who its group is."""
        self._unsynced: dict[str, Replica] = {}
        self._sync_wanted: asyncio.Future[None] | None = None
        """What waits for anything to sync, while there is nothing."""
        self._outbox: dict[str, list[Parcel]] = {}
        self._encoded: tuple[Message | None, int, msgspec.Raw] = (None, 0, msgspec.Raw())
        """The newest message for another node, its tag and its bytes."""
        self._liveness_timer: Handle | None = None
        self._liveness_at = 0.0
        rpc.register("g", self._on_parcels, list[Parcel])
        rpc.register("hb", self._on_heartbeat, Heartbeat)
        rpc.register_async("create-replica", self._on_create, tuple[int, str, str, str, bytes, bytes, int, Any])
        rpc.register_async("destroy-replica", self._on_destroy, tuple[int, str, int])
        self._plan_version = 0
        self._placing: dict[str, asyncio.Lock] = {}
        """One for each group that was ever placed here."""
        self._lost_votes: dict[str, int] = {}
        """By group that was quarantined here: the replica whose votes are lost; 0 where its id is lost with them."""

    @property
    def disk(self) -> str:
        """Identifies the life of this node's data volume."""
        return f"{self.superblock.store_id:016x}"

    async def start(self) -> None:
        """Recover everything from the disk, then take part."""
        world, config = self.world, self.config
        found = boot(world.log, cluster=config.cluster, node=config.name, plant=config.plant, rng=world.rng)
        self.superblock = block = found.superblock
        self.wal, recovery = Wal.open(
            world.log, store_id=block.store_id, incarnation=block.incarnation, fresh=block.fresh, offload=world.offload
        )
        timing = config.timing
        self.liveness = Liveness(
            self.name,
            self._incarnation(),
            LeaseOptions(timing.lease_s, timing.renewal_s, timing.drift),
            world.now(),
            fresh=block.fresh,  # a new disk holds no replica that could have made a promise
        )
        for damage in recovery.damage:
            groups = list(damage.groups) if damage.groups is not None else None
            world.event("log-damage", what=damage.kind.value, file=damage.file, offset=damage.offset, groups=groups,
                        detail=damage.detail, by="recovery")  # fmt: skip
        for group, records in sorted(recovery.by_group().items()):
            await self._restore(group, [r.body for r in records if r.body is not None], recovery.quarantined(group))
        for group in recovery.verdict.broken:
            self._lost_votes.setdefault(group, 0)  # of which no record is left
        self.wal.restate_with(self._statements)
        await self.wal.sync()
        world.event("recovered", replicas=len(self.replicas), incarnation=block.incarnation)
        self._started = True
        world.soon(self._turns)
        world.spawn(self._sync_forever(), "log-sync")
        world.spawn(self._mark_forever(), "log-mark")
        self.upkeep.start()
        self._peers_changed()
        self._liveness_tick()

    async def stop(self) -> None:
        """Hand leadership on, so that nobody waits for a lease, and leave the log marked and synced."""
        for replica in list(self.replicas.values()):
            if replica.leading:
                replica.relinquish()
        self._turns()
        await self.world.sleep(STOP_GRACE_S)
        await self.wal.close()

    def _incarnation(self) -> int:
        """Larger in each life of this node than in any before, also across a lost disk: superblocks count lives of a
        disk from 1, so lives are counted on from the time at which the disk was formatted, in units of which a life
        takes more than one. (In whole seconds, a disk that was lost in the second of its making had a successor with
        the same number, whom everybody took for the leader they knew: explore, seed 266.)"""
        born = self.world.log.read_small(BORN)
        if born is None:
            born = str(int(self.world.wall() * BORN_PER_S)).encode()
            self.world.log.write_small(BORN, born)
        return int(born) + self.superblock.incarnation

    # --- replicas ---

    async def _restore(self, group: str, bodies: list[bytes], quarantined: bool) -> None:
        history = codec.decode_history(bodies)
        if history is None:
            if quarantined:
                self._lost_votes[group] = 0
            return
        spec, records = history
        if not quarantined:
            try:
                hard = HardState.replay(records)
            except BrokenHistory as error:
                self.world.event("log-damage", what="broken history", group=group, detail=str(error))
                quarantined = True
        if quarantined:
            # What it promised is not known, so it never votes again: it is gone, and the control plane replaces it.
            self._quarantine(spec)
            return
        tree, snapshot = await self.upkeep.open_tree(group)
        base = hard.log.base_slot
        applied = max(tree.position, base)
        try:
            replica = self._add(spec, hard, tree, applied, snapshot)
        except BrokenHistory as error:
            # Rows reach the B-tree only from entries that were durable here: a log that ends before it has lost some.
            self.world.event("log-damage", what="the B-tree is ahead of the log", group=group, detail=str(error))
            self._quarantine(spec)
            await self.world.offload(tree.close)
            return
        await self.upkeep.recall(replica)
        if tree.position < base:
            self.transfer.rebuild(replica, f"the B-tree ends at {tree.position}, the log begins after {base}")
        self.touch(replica)

    def _quarantine(self, spec: Spec) -> None:
        self._lost_votes[spec.group] = spec.replica
        self.world.event("replica-quarantined", group=spec.group, replica=spec.replica)

    def _add(self, spec: Spec, hard: HardState, tree: Tree, applied: int, snapshot: Snapshot | None = None) -> Replica:
        world = self.world
        group = Group(
            spec.group,
            spec.replica,
            hard,
            self.liveness,
            self._group_options(),
            world.rng,
            world.now(),
            applied=applied,
            snapshot=snapshot,
        )
        replica = self.replicas[spec.group] = Replica(self, spec, group, tree, applied)
        for listener in self.on_replica:
            listener(replica)
        return replica

    def _group_options(self) -> GroupOptions:
        """Patience in elections grows with the time between heartbeats, or leaders would be doubted between two."""
        defaults, renewal_s = GroupOptions(), self.config.timing.renewal_s
        return GroupOptions(
            settle_s=max(defaults.settle_s, 1.5 * renewal_s), step_down_s=max(defaults.step_down_s, 3 * renewal_s)
        )

    async def create(self, spec: Spec) -> None:
        """Create a replica, durably; idempotent. Raises :class:`RpcError` where another one of that group is here, or
        this one was, and its votes are lost."""
        await self._alone(spec.group, self._create(spec))

    async def destroy(self, group: str, replica_id: int) -> None:
        """Remove a replica and its rows; idempotent."""
        await self._alone(group, self._destroy(group, replica_id))

    async def _alone(self, group: str, work: Coroutine[Any, Any, None]) -> None:
        """Plans are repeated while their first copy is still being carried out: one at a time for each group."""
        try:
            async with self._placing.setdefault(group, asyncio.Lock()):
                await work
        except DiskFailed as error:
            self.world.exit(f"the disk failed while a replica of {group} was placed: {error}")

    async def _create(self, spec: Spec) -> None:
        known = self.replicas.get(spec.group)
        if known is not None:
            if known.spec.replica == spec.replica:
                return
            if known.spec.replica > spec.replica:
                raise RpcError("stale-plan", f"{spec.group} has replica {known.spec.replica} here")
            await self._destroy(spec.group, known.spec.replica)
        lost = self._lost_votes.get(spec.group)
        # Initial members are the lowest ids: none of them is a successor of what was here.
        if lost is not None and (spec.replica <= lost or spec.initial is not None):
            raise RpcError("lost-votes", f"replica {lost} of {spec.group} was here, and what it promised is not known")
        # A learner learns the configuration from the log it is sent; until then nobody is in it, itself included.
        hard = HardState.fresh(spec.initial if spec.initial is not None else Configuration(()))
        tree = await self.upkeep.new_tree(spec.group)
        self.wal.begin(spec.group)
        replica = self._add(spec, hard, tree, 0)
        self.wal.append(spec.group, HARD_STATE, codec.encode_statement(spec, replica.group.hard_state()))
        await self.wal.sync()
        self.world.event("replica-created", group=spec.group, replica=spec.replica, learner=spec.initial is None)
        self._peers_changed()
        self.touch(replica)

    async def _destroy(self, group: str, replica_id: int) -> None:
        replica = self.replicas.get(group)
        if replica is None or replica.spec.replica != replica_id:
            return
        del self.replicas[group]
        replica.close()
        self.wal.begin(group)
        self.wal.append(group, HARD_STATE, codec.TOMBSTONE)
        await self.wal.sync()
        async with replica.tree_lock:
            await self.world.offload(replica.tree.destroy)
        self.world.event("replica-destroyed", group=group, replica=replica_id)
        self._peers_changed()

    def _statements(self) -> Iterable[tuple[str, bytes]]:
        for name, replica in self.replicas.items():
            yield name, codec.encode_statement(replica.spec, replica.group.hard_state())

    async def _on_create(self, sender: str, plan: tuple[int, str, str, str, bytes, bytes, int, Any]) -> None:
        version, disk, group, table, start, end, replica_id, initial = plan
        self._check_plan(sender, version)
        if disk != self.disk:
            raise RpcError("wrong-disk", "the plan was made for a disk that this node does not have any more")
        config = msgspec.convert(initial, type=Configuration) if initial is not None else None
        await self.create(Spec(group, table, start, end, replica_id, config))

    async def _on_destroy(self, sender: str, plan: tuple[int, str, int]) -> None:
        version, group, replica_id = plan
        self._check_plan(sender, version)
        await self.destroy(group, replica_id)

    def _check_plan(self, sender: str, version: int) -> None:
        if not sender.startswith("autoadmin-"):
            raise RpcError("forbidden", "only the control plane places replicas")
        if version < self._plan_version:
            raise RpcError("stale-plan", f"version {version} is older than {self._plan_version}")
        self._plan_version = version

    # --- turns ---

    def touch(self, replica: Replica) -> None:
        """Give ``replica`` a turn soon."""
        if not replica.queued:
            replica.queued = True
            self._touched.append(replica)
            if not self._turn_due and self._started:
                self._turn_due = True
                self.world.soon(self._turns)

    def _turns(self) -> None:
        self._turn_due = False
        touched, self._touched = self._touched, []
        if touched:
            now = self.world.now()
            for replica in touched:
                replica.queued = False
                if self.replicas.get(replica.spec.group) is replica:
                    replica.turn(now)
        if self._outbox:
            self._send_outbox()

    def outbox(self, node: str, replica: Replica, to: int, message: Message) -> None:
        """Put a message among those of this turn; the same message to several members, one after the other, is encoded
        once."""
        known, tag, body = self._encoded
        if known is not message:
            tag, body = codec.tag_of(message), msgspec.Raw(codec.encode(message))
            self._encoded = (message, tag, body)
        spec = replica.spec
        self._outbox.setdefault(node, []).append((spec.group, to, spec.replica, tag, body))

    def _send_outbox(self) -> None:
        outbox, self._outbox = self._outbox, {}
        for node, parcels in outbox.items():
            self.rpc.notify(node, "g", parcels)

    def _on_parcels(self, sender: str, parcels: list[Parcel], responder: Responder) -> None:
        now, replicas, decode = self.world.now(), self.replicas, codec.decode_message
        for group, to, origin, tag, body in parcels:
            try:
                message = decode(tag, body)
            except MALFORMED:
                self.rpc.malformed += 1
                continue
            replica = replicas.get(group)
            if replica is None or replica.spec.replica != to:
                if not isinstance(message, Gone):
                    gone = (group, origin, to, codec.tag_of(Gone()), msgspec.Raw(codec.encode(Gone())))
                    self.rpc.notify(sender, "g", [gone])
                continue
            replica.group.step(origin, message, now)
            replica.stepped()

    # --- durability ---

    def appended(self, replica: Replica) -> None:
        """``replica`` put records into the log that are to be made durable."""
        self._unsynced[replica.spec.group] = replica
        wanted, self._sync_wanted = self._sync_wanted, None
        if wanted is not None and not wanted.done():
            wanted.set_result(None)

    async def _to_sync(self) -> dict[str, Replica]:
        """Wait until anything is to be made durable: whose it is."""
        if not self._unsynced:
            self._sync_wanted = asyncio.get_running_loop().create_future()
            await self._sync_wanted
        unsynced, self._unsynced = self._unsynced, {}
        return unsynced

    async def _sync_forever(self) -> None:
        while True:
            waiting = await self._to_sync()
            try:
                await self.wal.sync()
            except DiskFailed as error:
                # What was lost is not known, and fsync must not be tried again: recovery decides what is left.
                self.world.exit(f"the log's disk failed: {error}")
                return
            now = self.world.now()
            durable = self.wal.durable
            self._turn_due = True  # it comes below, and need not be asked for
            for replica in waiting.values():
                replica.persisted(durable, now)
                if replica.persisting:
                    self._unsynced[replica.spec.group] = replica
            self._turns()

    async def _mark_forever(self) -> None:
        try:
            await self.wal.keep_marked(self.world.sleep)
        except DiskFailed as error:
            self.world.exit(f"the log's disk failed: {error}")

    # --- leases between nodes ---

    def changed(self, replica: Replica) -> None:
        """The leader, role or configuration of a replica changed."""
        self._peers_changed()
        for listener in self.on_change:
            listener(replica)

    def _peers_changed(self) -> None:
        nodes = {m.node: None for r in self.replicas.values() for m in r.group.config.members()}
        if self._learning():
            nodes |= self._callers
        else:
            self._callers.clear()
        nodes.pop(self.name, None)
        if self._peers != nodes:
            self._peers = nodes
            self.liveness.set_peers(sorted(nodes))
            self._liveness_tick()

    def _learning(self) -> bool:
        return any(not replica.group.config.voters for replica in self.replicas.values())

    def _liveness_woken(self) -> None:
        self._liveness_timer = None
        self._liveness_tick()

    def _liveness_tick(self) -> None:
        self._carry_out(self.liveness.tick(self.world.now()))

    def _on_heartbeat(self, sender: str, message: Heartbeat, responder: Responder) -> None:
        self._carry_out(self.liveness.step(sender, message, self.world.now()))
        if sender not in self._peers and sender not in self._callers and self._learning():
            # Of a group that is to be learned: a leader without an answer takes this node for dead, and sends no more.
            self._callers[sender] = None
            self._peers_changed()

    def _carry_out(self, effects: LivenessEffects) -> None:
        now = self.world.now()
        for node, message in effects.sends:
            self.rpc.notify(node, "hb", message)
        for replica in list(self.replicas.values()) if effects.lapsed or effects.regained or effects.changed else ():
            group = replica.group
            for node in effects.lapsed:
                group.peer_lapsed(node, now)
            for node in effects.regained:
                group.peer_regained(node, now)
            for node in effects.changed:
                group.support_changed(node, now)
            self.touch(replica)
        for node in effects.lapsed:
            self.world.event("suspects", peer=node)
        wake_at = effects.wake_at
        if wake_at is None or (self._liveness_timer is not None and self._liveness_at == wake_at):
            return
        if self._liveness_timer is not None:
            self._liveness_timer.cancel()  # also an early one: it would wake an idle node for nothing, every interval
        self._liveness_at = wake_at
        self._liveness_timer = self.world.call_at(wake_at, self._liveness_woken)

    # --- small services ---

    def wall_ms(self) -> int:
        return int(self.world.wall() * 1000)

    def needs_flush(self, replica: Replica) -> None:
        self.upkeep.needs_flush(replica)

    async def flush(self, replica: Replica) -> None:
        await self.upkeep.flush(replica)

    async def read_tree(self, replica: Replica, keys: list[bytes]) -> list[bytes | None] | None:
        return await self.upkeep.read_tree(replica, keys)

    def offer_snapshot(self, replica: Replica, member: Member) -> None:
        self.transfer.offer(replica, member)


__all__ = ["Host", "Spec"]
