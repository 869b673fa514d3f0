"""Disk work behind the replicas: rows to the B-trees, scrub digests, checkpoints, and letting go of old log.

The B-tree of a replica is an image that can be rebuilt from the log, never the only copy. All of its work is
synchronous and runs in ``offload``, one piece at a time per replica.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from cluster.core.messages import Snapshot
from cluster.core.side import META, TXN, bounds
from cluster.node.pace import until_next_turn
from cluster.node.rows import Generation
from cluster.node.world import DiskFailed
from cluster.store.btree import Pool
from cluster.store.btree import Replica as Tree
from cluster.store.digest import Digester
from cluster.store.pagevfs import ImageDamaged, PageCorrupt
from cluster.store.snapshot import Snapshot as View
from cluster.store.snapshot import SnapshotExpired

_snapshot = msgspec.msgpack.Decoder(Snapshot)

if TYPE_CHECKING:
    from cluster.node.host import Host
    from cluster.node.replica import Replica

SNAPSHOT = "snapshot"
"""Stored in a B-tree that was replaced by another node's: which state that was."""

DIGEST_PAUSE_S = 0.002
"""Between two pieces of a digest, each of some hundred rows."""

CHECKPOINT_INTERVAL_S = 5.0
CHECKPOINT_LOG_BYTES = 16 * 1024 * 1024
"""Once this much log has been written since the last checkpoint, B-trees are checkpointed and old log is let go of."""


def own_rows(tree: Tree) -> dict[bytes, bytes]:
    """The rows of a group that its replicas keep in memory: transactions in flight and values of the whole group."""
    found: dict[bytes, bytes] = {}
    after: bytes | None = None
    end = bounds(META)[1]
    while rows := tree.scan(TXN, end, after):
        found.update(rows)
        after = rows[-1][0]
    return found


class Upkeep:
    """One flusher and one checkpointer for all replicas of a node."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._wanted: dict[str, Replica] = {}
        self._wake = asyncio.Event()
        self._checkpointed_at = 0
        self.pool = Pool(host.world.pages)
        self.digester: Callable[[int | None], Digester] = Digester
        """Makes what sums up the rows at a barrier."""

    def start(self) -> None:
        self._host.world.spawn(self._flush_forever(), "flush")
        self._host.world.spawn(self._checkpoint_forever(), "checkpoint")

    # --- opening ---

    async def open_tree(self, group: str) -> tuple[Tree, Snapshot | None]:
        """The group's B-tree, and what it was last replaced with, if it ever was. One that is damaged is discarded, to
        be rebuilt from the log or a peer."""
        world = self._host.world
        try:
            tree = await world.offload(Tree.open, self.pool, group)
            raw = await world.offload(tree.meta, SNAPSHOT)
            return tree, _snapshot.decode(raw) if raw is not None else None
        except ImageDamaged as error:
            self.tell_damage(group, error, "recovery")
        return await self.new_tree(group), None

    async def new_tree(self, group: str) -> Tree:
        """An empty B-tree; whatever was there under the name is removed."""
        await self._host.world.offload(Tree.discard, self.pool, group)
        return await self._host.world.offload(Tree.open, self.pool, group)

    # --- rows ---

    def needs_flush(self, replica: Replica) -> None:
        self._wanted[replica.spec.group] = replica
        self._wake.set()

    async def _flush_forever(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            wanted, self._wanted = self._wanted, {}
            for replica in wanted.values():
                if self._host.replicas.get(replica.spec.group) is replica:
                    await self.flush(replica)

    async def flush(self, replica: Replica) -> None:
        """Write every sealed generation, and digest at each barrier."""
        async with replica.tree_lock:
            while not replica.damaged:
                generation = replica.rows.oldest_sealed()
                if generation is None:
                    return
                await self._guard(replica, self._write(replica, generation), "write")

    async def _write(self, replica: Replica, generation: Generation) -> None:
        world, tree = self._host.world, replica.tree
        await world.offload(tree.apply, generation.upto, list(generation.rows.items()))
        replica.wrote(generation)
        if generation.barrier:
            view = await world.offload(tree.snapshot)
            world.spawn(self._digest(replica, view), "digest")

    async def _digest(self, replica: Replica, view: View) -> None:
        """Sum up the rows as of a barrier, piece by piece: what needs the B-tree meanwhile does not wait for it."""
        world, tree = self._host.world, replica.tree
        digester, census = self.digester(replica.watched_leaf), replica.census()

        def piece() -> bool:
            rows = view.read()
            digester.add(rows)
            if census is not None:
                census.add(rows)
            return bool(rows)

        try:
            while await world.offload(piece):
                await world.sleep(DIGEST_PAUSE_S)
        except SnapshotExpired as error:
            world.event("digest-expired", group=replica.spec.group, slot=view.position, detail=str(error))
        except ImageDamaged as error:
            if self._host.replicas.get(replica.spec.group) is replica and replica.tree is tree and not replica.damaged:
                self.give_up(replica, error, "digest")
        except DiskFailed as error:
            world.exit(f"the B-tree's disk failed: {error}")
        else:
            replica.digested(view.position, digester.digest(view.position), census)
        finally:
            view.close()

    async def read_tree(self, replica: Replica, keys: list[bytes]) -> list[bytes | None] | None:
        """Rows by key; None where the B-tree cannot be read (it is being rebuilt)."""
        async with replica.tree_lock:
            if replica.damaged:
                return None
            work = self._host.world.offload(replica.tree.get_many, keys)
            images: list[bytes | None] | None = await self._guard(replica, work)
            return images

    async def recall(self, replica: Replica) -> None:
        """Let a replica that was restored learn what it keeps in memory of the group's own rows. Where the B-tree
        cannot be read it is being replaced, and they come with the other one."""
        async with replica.tree_lock:
            if not replica.damaged:
                rows = await self._guard(replica, self._host.world.offload(own_rows, replica.tree))
                if rows is not None:
                    replica.learned(replica.tree.position, rows)

    async def scrub_some(self, replica: Replica, start: int, count: int) -> tuple[list[PageCorrupt], int | None] | None:
        """Read pages of a B-tree anew from the disk; where to go on (None at the end). What is bad has been told, and
        the B-tree is being rebuilt; None where it could not be read at all."""
        async with replica.tree_lock:
            if replica.damaged:
                return [], None
            work = self._host.world.offload(replica.tree.scrub_some, start, count)
            found: tuple[list[PageCorrupt], int | None] | None = await self._guard(replica, work, "scrub")
            for error in found[0] if found is not None else ():
                self.give_up(replica, error, "scrub")
            return found

    async def read_range(
        self, replica: Replica, start: bytes, end: bytes, reverse: bool, rows_max: int, bytes_max: int
    ) -> tuple[list[tuple[bytes, bytes]], bool] | None:
        """Rows of a range and whether these are all; None where the B-tree cannot be read. No generation is written
        while this reads, so what is in memory afterwards belongs exactly on top of it."""
        async with replica.tree_lock:
            if replica.damaged:
                return None
            work = self._host.world.offload(replica.tree.read_range, start, end, reverse, rows_max, bytes_max)
            found: tuple[list[tuple[bytes, bytes]], bool] | None = await self._guard(replica, work)
            return found

    async def scan(self, replica: Replica, after: bytes | None) -> list[tuple[bytes, bytes]]:
        """Some of the rows behind a key; the caller holds the tree's lock. Empty at the end, and where the B-tree
        cannot be read: the replica is then ``damaged``."""
        if replica.damaged:
            return []
        work = self._host.world.offload(functools.partial(replica.tree.scan, after=after))
        rows: list[tuple[bytes, bytes]] | None = await self._guard(replica, work)
        return rows or []

    async def view(self, replica: Replica) -> View | None:
        """A view of the B-tree as it is; the caller holds its lock. None where it cannot be read."""
        if replica.damaged:
            return None
        found: View | None = await self._guard(replica, self._host.world.offload(replica.tree.snapshot), "transfer")
        return found

    async def _guard(self, replica: Replica, work: Any, by: str = "read") -> Any:
        """Run B-tree work. A page that fails its checksum is never served: the image is given up and rebuilt."""
        try:
            return await work
        except ImageDamaged as error:
            self.give_up(replica, error, by)
        except DiskFailed as error:
            self._host.world.exit(f"the B-tree's disk failed: {error}")
        return None

    def give_up(self, replica: Replica, error: ImageDamaged, by: str) -> None:
        """Say what was found, by whom, and have the B-tree rebuilt."""
        self.tell_damage(replica.spec.group, error, by)
        self._host.transfer.rebuild(replica, str(error))

    def tell_damage(self, group: str, error: ImageDamaged, by: str) -> None:
        """Put on record what was found, where, and by what: read, write, checkpoint, scrub, transfer, recovery."""
        where = (
            {"file": error.file, "page": error.page, "offset": error.offset} if isinstance(error, PageCorrupt) else {}
        )
        self._host.world.event("tree-damage", group=group, by=by, detail=str(error), **where)

    # --- checkpoints ---

    async def _checkpoint_forever(self) -> None:
        host = self._host
        while True:
            await until_next_turn(host.world, CHECKPOINT_INTERVAL_S)
            written = sum(replica.log_bytes for replica in host.replicas.values())
            if written - self._checkpointed_at < CHECKPOINT_LOG_BYTES:
                continue
            self._checkpointed_at = written
            for replica in list(host.replicas.values()):
                await self.checkpoint(replica)
            # Every segment begins with a statement of each replica in full: nothing older is needed.
            await host.wal.trim(lambda group: None)

    async def checkpoint(self, replica: Replica) -> None:
        """Make the B-tree durable, verify it, and trim the group's log below it."""
        replica.seal()
        await self.flush(replica)
        async with replica.tree_lock:
            if replica.damaged:
                return
            position = await self._guard(replica, self._host.world.offload(replica.tree.checkpoint), "checkpoint")
        if position is not None:
            archiver = self._host.archiver
            if archiver is None:
                replica.trim_below(position)
            else:
                archiver.trim(replica, position)
