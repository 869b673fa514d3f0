"""Handing a replica's rows to another node: to learners, to followers too far behind, and to repair a damaged B-tree.

The receiver pulls, so that a lost message costs a retry and nothing else. The giver keeps a consistent view of its
B-tree at one position open for as long as the receiver keeps asking.

What comes is put into a new B-tree beside the old one, which it replaces once it is whole. Meanwhile a replica whose
B-tree is sound goes on with it, applies what the log brings, and may catch up by that alone: then it leads, answers
reads, and needs no snapshot any more. One whose B-tree is not to be trusted serves nothing until it is replaced.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from cluster.core.config import Member
from cluster.core.group import Role
from cluster.core.messages import DATA, Snapshot
from cluster.node import codec, payload
from cluster.node.rpc import TIMEOUT, RpcError
from cluster.node.upkeep import SNAPSHOT, own_rows
from cluster.store.btree import Replica as Tree
from cluster.store.btree import Write
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
FILLED_BYTES_MAX = 16 * 1024 * 1024
"""A B-tree that is being filled is checkpointed after so much."""
REPLAY_ENTRIES = 256
"""Log entries put into a B-tree in one transaction when it is filled from the log."""

_opened = msgspec.msgpack.Decoder(tuple[int, Snapshot])
_chunk = msgspec.msgpack.Decoder(list[tuple[bytes, bytes]])


class _Session:
    """A view that one receiver is reading."""

    __slots__ = ("chunk", "number", "replica", "tree", "used_at", "view")

    def __init__(self, replica: Replica, view: View, now: float) -> None:
        self.replica = replica
        self.tree = replica.tree
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
        self._taking: dict[str, list[str]] = {}
        """Groups whose rows are being taken, and from which nodes."""
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
            replica = session.replica
            if self._here(replica) and replica.tree is session.tree:
                self._host.upkeep.give_up(replica, error, "transfer")
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
        if replica is not None and replica.spec.replica == replica_id and group not in self._taking:
            self._take(group, [sender])

    def rebuild(self, replica: Replica, why: str, sources: list[str] | None = None) -> None:
        """The B-tree here is not to be trusted: get another from a peer (of ``sources``, where it matters which), and
        serve nothing until then."""
        if not replica.damaged:
            replica.damaged = why or "damaged"
            replica.relinquish()
            self._host.world.event("rebuild-began", group=replica.spec.group, why=why)
        elif sources is None:
            return  # that is under way, and may be from some only
        others = [m.node for m in replica.group.config.members() if m.node != self._host.name]
        self._take(replica.spec.group, others if sources is None else [node for node in others if node in sources])

    def _take(self, group: str, sources: list[str]) -> None:
        """Take the group's rows from one of ``sources``. Where that is under way already, these are asked next."""
        under_way = group in self._taking
        self._taking[group] = sources
        if not under_way:
            self._host.world.spawn(self._take_from(group), f"snapshot-{group}")

    async def _take_from(self, group: str) -> None:
        host = self._host
        try:
            while (replica := host.replicas.get(group)) is not None:
                if await self._attempt(replica) and self._here(replica):
                    return
                await host.world.sleep(RETRY_S)
        finally:
            self._taking.pop(group, None)

    async def _attempt(self, replica: Replica) -> bool:
        """Ask each source once. True where there is nothing more to do."""
        host, group = self._host, replica.spec.group
        if replica.damaged:
            # Gone for good, so that no restart takes it for sound. Of one that has none the log is applied from the
            # beginning or, where that is trimmed, another is taken.
            async with replica.tree_lock:
                await host.world.offload(replica.tree.destroy)
        for source in sorted(self._taking[group], key=lambda node: not self._hears(node)):
            try:
                await self._pull(replica, source)
                return not replica.damaged
            except (RpcError, ImageDamaged) as error:
                host.world.event("snapshot-failed", group=group, source=source, why=str(error))
        if not replica.damaged:
            return True  # the leader offers again
        return replica.group.first_slot == 1 and await self._replay(replica)

    def _hears(self, node: str) -> bool:
        return self._host.liveness.support_epoch(node, self._host.world.now()) > 0

    @asynccontextmanager
    async def _beside(self, group: str) -> AsyncIterator[Tree]:
        """A new B-tree to be filled; unless it has replaced the group's own by the end, it is gone again."""
        offload = self._host.world.offload
        tree = await offload(Tree.beside, self._host.upkeep.pool, group)
        try:
            yield tree
        except (RpcError, ImageDamaged):  # what else there is ends the node, whose next start clears it away
            await offload(tree.destroy)
            raise
        await offload(tree.destroy)

    async def _replay(self, replica: Replica) -> bool:
        """Fill a new B-tree from this replica's own log, which still reaches back to the group's first entry: the way
        out when no peer has a whole B-tree either. False where the disk would not have it."""
        host, group, upto = self._host, replica.spec.group, replica.applied
        try:
            async with self._beside(group) as tree:
                for first in range(1, upto + 1, REPLAY_ENTRIES):
                    last = min(first + REPLAY_ENTRIES - 1, upto)
                    entries = replica.group.decided(first, last)
                    writes = [w for e in entries if e.kind == DATA for w in payload.decode(e.payload).writes]
                    await self._put(tree, last, writes)
                async with replica.tree_lock:
                    if not self._here(replica):
                        return False
                    replica.tree = await host.world.offload(tree.replace, replica.tree)
                    replica.installed(upto)
        except ImageDamaged as error:
            host.world.event("replay-failed", group=group, why=str(error))
            return False
        host.world.event("tree-replayed", group=group, slot=upto)
        return True

    async def _pull(self, replica: Replica, source: str) -> None:
        """Replace the rows by a source's, unless the log brings them sooner."""
        host, group = self._host, replica.spec.group
        session, snapshot = await host.rpc.start(source, "snapshot-open", group, CALL_TIMEOUT_S, _opened)
        slot = snapshot.slot
        if not self._wanted(replica, slot):
            return
        async with self._beside(group) as tree:
            count = await self._fill(tree, source, session)
            # What the state was replaced with stands beside it: a restart may come before the log has recorded that.
            await host.world.offload(tree.apply, slot, [], {SNAPSHOT: codec.encode(snapshot)})
            await host.world.offload(tree.checkpoint)
            own = await host.world.offload(own_rows, tree)
            async with replica.tree_lock:
                # Asked under the lock: from here on whatever the log brings stays in memory, on top of these rows.
                if not self._wanted(replica, slot):
                    return
                replica.tree = await host.world.offload(tree.replace, replica.tree)
                await self._until_ready(replica, slot)
                if not self._here(replica):
                    return
                self._installed(replica, snapshot, own)
        host.world.event("snapshot-installed", group=group, source=source, slot=slot, rows=count)

    async def _until_ready(self, replica: Replica, slot: int) -> None:
        """A leader takes no state from others that is ahead of its own: its log has all of it, and it was elected while
        the rows came. It gets there, or it stops leading."""

        def ready() -> bool:
            return slot <= replica.applied or replica.group.role is not Role.LEADER

        while not ready() and self._here(replica):
            await replica.wait_for(ready, RETRY_S)

    def _here(self, replica: Replica) -> bool:
        return self._host.replicas.get(replica.spec.group) is replica

    def _wanted(self, replica: Replica, slot: int) -> bool:
        """Whether a replica is better off with another's rows as of ``slot``. Raises where they would not do."""
        known = max(replica.group.first_slot - 1, replica.tree_position)
        if slot < known:
            raise RpcError("too-old", f"a state at {slot}, where what follows is known from {known} on")
        behind = slot > replica.applied and replica.group.role is not Role.LEADER
        return self._here(replica) and (behind or bool(replica.damaged))

    async def _fill(self, tree: Tree, source: str, session: int) -> int:
        """Put what a source gives into an empty B-tree; the number of rows."""
        number, count = 1, 0
        while rows := await self._chunk(source, session, number):
            await self._put(tree, 0, rows)
            number += 1
            count += len(rows)
        return count

    async def _put(self, tree: Tree, position: int, writes: Iterable[Write]) -> None:
        """Apply writes to a B-tree that is being filled. What it holds in its -wal, a checkpoint reads as a whole."""
        await self._host.world.offload(tree.apply, position, writes)
        if tree.wal_bytes > FILLED_BYTES_MAX:
            await self._host.world.offload(tree.checkpoint)

    async def _chunk(self, source: str, session: int, number: int) -> list[tuple[bytes, bytes]]:
        for attempt in range(ATTEMPTS_PER_CHUNK):
            try:
                chunk: list[tuple[bytes, bytes]] = await self._host.rpc.start(
                    source, "snapshot-read", (session, number), CALL_TIMEOUT_S, _chunk
                )
                return chunk
            except RpcError as error:
                if error.code != TIMEOUT or attempt == ATTEMPTS_PER_CHUNK - 1 or not self._hears(source):
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
