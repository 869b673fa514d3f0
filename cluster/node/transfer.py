"""Handing a replica's rows to another node: to learners, to followers too far behind, and to repair a damaged B-tree.

The receiver pulls, so that a lost message costs a retry and nothing else. The giver keeps a consistent view of its
B-tree at one position open for as long as the receiver keeps asking.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from cluster.core.config import Member
from cluster.core.messages import DATA, Snapshot
from cluster.node import codec, payload
from cluster.node.rpc import RpcError
from cluster.node.upkeep import LOADING, SNAPSHOT, own_rows
from cluster.store.pagevfs import ImageDamaged
from cluster.store.snapshot import Snapshot as View
from cluster.store.snapshot import SnapshotExpired

if TYPE_CHECKING:
    from cluster.node.host import Host
    from cluster.node.replica import Replica

CHUNK_ROWS = 150
"""Rows per message: items are at most 400 KB, so that even the largest ones fit into a message of 64 MiB."""
SESSION_IDLE_S = 30.0
SESSIONS_MAX = 16
OFFER_INTERVAL_S = 1.0
CALL_TIMEOUT_S = 5.0
RETRY_S = 0.5
ATTEMPTS_PER_CHUNK = 3
REPLAY_ENTRIES = 256
"""Log entries put into a B-tree in one transaction when it is filled from the log."""

_opened = msgspec.msgpack.Decoder(tuple[int, Snapshot])
_chunk = msgspec.msgpack.Decoder(list[tuple[bytes, bytes]])


class _Session:
    """A view that one receiver is reading."""

    __slots__ = ("chunk", "number", "replica", "used_at", "view")

    def __init__(self, replica: Replica, view: View, now: float) -> None:
        self.replica = replica
        self.view = view
        self.used_at = now
        self.number = 0
        self.chunk: list[tuple[bytes, bytes]] = []

    def read(self, number: int) -> list[tuple[bytes, bytes]]:
        """Chunk ``number``: the next one, or the last one again where its answer was lost. An empty one is the end."""
        if number == self.number + 1:
            self.number = number
            self.chunk = self.view.read(CHUNK_ROWS)
        elif number != self.number:
            raise RpcError("no-session", f"chunk {number} after {self.number}")
        return self.chunk


class Transfer:
    """A node's givings and takings."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._sessions: dict[int, _Session] = {}
        self._next_session = 0
        self._offered: dict[tuple[str, int], float] = {}
        self._taking: dict[str, None] = {}
        host.rpc.register("snapshot-offer", self._on_offer, tuple[str, int])
        host.rpc.register_async("snapshot-open", self._on_open, str)
        host.rpc.register_async("snapshot-read", self._on_read, tuple[int, int])

    # --- giving ---

    def offer(self, replica: Replica, member: Member) -> None:
        """Tell a member that it can only catch up by a snapshot; repeated, but not often."""
        now = self._host.world.now()
        key = (replica.spec.group, member.replica)
        if now - self._offered.get(key, -OFFER_INTERVAL_S) >= OFFER_INTERVAL_S:
            self._offered[key] = now
            self._host.rpc.notify(member.node, "snapshot-offer", key)

    async def _on_open(self, sender: str, group: str) -> Any:
        host = self._host
        replica = host.replicas.get(group)
        if replica is None or replica.damaged or not replica.caught_up:
            raise RpcError("not-serving", group)
        self._close_idle()
        if len(self._sessions) >= SESSIONS_MAX:
            raise RpcError("busy", f"{SESSIONS_MAX} snapshots are being read here")
        replica.seal()
        await host.flush(replica)
        async with replica.tree_lock:
            view = await host.upkeep.view(replica)
        if view is None:
            raise RpcError("damaged", group)
        # With the ballot promised here: whoever learns these decisions must not help a leader that they passed over.
        snapshot = Snapshot(*replica.group.snapshot_point(view.position), replica.group.ballot)
        self._next_session += 1
        self._sessions[self._next_session] = _Session(replica, view, host.world.now())
        return self._next_session, snapshot

    async def _on_read(self, sender: str, params: tuple[int, int]) -> Any:
        number, chunk = params
        session = self._sessions.get(number)
        if session is None:
            raise RpcError("no-session", number)
        session.used_at = self._host.world.now()
        try:
            rows = await self._host.world.offload(session.read, chunk)
        except SnapshotExpired as error:
            self._close(number)
            raise RpcError("damaged", str(error)) from error
        except ImageDamaged as error:
            self._close(number)
            if self._host.replicas.get(session.replica.spec.group) is session.replica:
                self._host.upkeep.give_up(session.replica, error, "transfer")
            raise RpcError("damaged", str(error)) from error
        if not rows:
            self._close(number)
        return rows

    def _close_idle(self) -> None:
        now = self._host.world.now()
        for number in [n for n, s in self._sessions.items() if now - s.used_at > SESSION_IDLE_S]:
            self._close(number)

    def _close(self, number: int) -> None:
        session = self._sessions.pop(number, None)
        if session is not None:
            session.view.close()

    # --- taking ---

    def _on_offer(self, sender: str, params: tuple[str, int], responder: Any) -> None:
        group, replica_id = params
        replica = self._host.replicas.get(group)
        if replica is not None and replica.spec.replica == replica_id:
            self._take(replica, [sender])

    def rebuild(self, replica: Replica, why: str, sources: list[str] | None = None) -> None:
        """The B-tree here is not to be trusted: get another from a peer (of ``sources``, where it matters which), and
        serve nothing until then."""
        if not replica.damaged:
            replica.damaged = why or "damaged"
            replica.relinquish()
            self._host.world.event("rebuild-began", group=replica.spec.group, why=why)
        others = [m.node for m in replica.group.config.members() if m.node != self._host.name]
        self._take(replica, others if sources is None else [node for node in others if node in sources])

    def _take(self, replica: Replica, sources: list[str]) -> None:
        group = replica.spec.group
        if group not in self._taking:
            self._taking[group] = None
            self._host.world.spawn(self._take_from(replica, sources), f"snapshot-{group}")

    async def _take_from(self, replica: Replica, sources: list[str]) -> None:
        host, group = self._host, replica.spec.group
        try:
            while host.replicas.get(group) is replica:
                for source in sources:
                    try:
                        await self._pull(replica, source)
                        return
                    except (RpcError, ImageDamaged) as error:
                        host.world.event("snapshot-failed", group=group, source=source, why=str(error))
                if not replica.damaged:
                    return  # the leader offers again
                if replica.group.first_slot == 1 and await self._replay(replica):
                    return
                await host.world.sleep(RETRY_S)
        finally:
            self._taking.pop(group, None)

    async def _replay(self, replica: Replica) -> bool:
        """Fill a new B-tree from this replica's own log, which still reaches back to the group's first entry: the way
        out when no peer has a whole B-tree either. False where the disk would not have it."""
        host, group, upto = self._host, replica.spec.group, replica.applied
        try:
            async with replica.tree_lock:
                await host.world.offload(replica.tree.destroy)
                replica.tree = tree = await host.upkeep.new_tree(group)
                for first in range(1, upto + 1, REPLAY_ENTRIES):
                    last = min(first + REPLAY_ENTRIES - 1, upto)
                    entries = replica.group.decided(first, last)
                    writes = [w for e in entries if e.kind == DATA for w in payload.decode(e.payload).writes]
                    await host.world.offload(tree.apply, last, writes)
                await host.world.offload(tree.checkpoint)
                replica.installed(upto)
        except ImageDamaged as error:
            host.world.event("replay-failed", group=group, why=str(error))
            return False
        host.world.event("tree-replayed", group=group, slot=upto)
        return True

    async def _pull(self, replica: Replica, source: str) -> None:
        host, group = self._host, replica.spec.group
        session, snapshot = await host.rpc.start(source, "snapshot-open", group, CALL_TIMEOUT_S, _opened)
        slot = snapshot.slot
        if slot <= replica.applied and not replica.damaged:
            return
        if slot < max(replica.group.first_slot - 1, replica.tree_position):
            raise RpcError("too-old", f"{source} is at {slot}, behind the log here")
        async with replica.tree_lock:
            await host.world.offload(replica.tree.destroy)
            replica.tree = tree = await host.upkeep.new_tree(group)
            await host.world.offload(tree.apply, 0, [], {LOADING: b"1"})
            number, count = 1, 0
            while rows := await self._chunk(source, session, number):
                await host.world.offload(tree.apply, 0, rows)
                number += 1
                count += len(rows)
            # What the state was replaced with stands beside it: a restart may come before the log has recorded that.
            await host.world.offload(tree.apply, slot, [], {LOADING: None, SNAPSHOT: codec.encode(snapshot)})
            await host.world.offload(tree.checkpoint)
            self._installed(replica, snapshot, await host.world.offload(own_rows, tree))
        host.world.event("snapshot-installed", group=group, source=source, slot=slot, rows=count)

    async def _chunk(self, source: str, session: int, number: int) -> list[tuple[bytes, bytes]]:
        for attempt in range(ATTEMPTS_PER_CHUNK):
            try:
                chunk: list[tuple[bytes, bytes]] = await self._host.rpc.start(
                    source, "snapshot-read", (session, number), CALL_TIMEOUT_S, _chunk
                )
                return chunk
            except RpcError as error:
                if error.code != "timeout" or attempt == ATTEMPTS_PER_CHUNK - 1:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _installed(self, replica: Replica, snapshot: Snapshot, own: Mapping[bytes, bytes]) -> None:
        """The B-tree holds the state of ``snapshot``. Where the log has come further meanwhile, only it changed."""
        now = self._host.world.now()
        replica.turn(now)
        slot, config, ballot, as_of = snapshot
        if slot > replica.applied:
            replica.group.snapshot_installed(slot, config, ballot, now, as_of)
        replica.installed(slot)
        replica.learned(slot, own)
        self._host.touch(replica)
