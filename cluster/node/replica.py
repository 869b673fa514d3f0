"""One replica on one node: its group (the log), its rows (memory over B-tree), and the machine that answers commands.

A replica does nothing by itself: :class:`~cluster.node.host.Host` gives it a *turn* when it was touched, carries its
messages, makes its records durable and writes its rows to the B-tree. In one turn: decided writes become one log entry,
records go to the write-ahead log, messages to the outbox (those that must wait for durability are held back), committed
entries are applied, and whoever waited for them is answered.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from cluster.core.census import Census, Counted
from cluster.core.commands import Command, Outcome, evaluate
from cluster.core.effects import Effects, Send
from cluster.core.failures import Busy, NotLeader
from cluster.core.group import Group, Role
from cluster.core.messages import DATA, Accepted, Entry
from cluster.core.routing import MemberView, Standing
from cluster.core.shape import SHAPE, Shape
from cluster.core.side import CLOCK, TXN, rest
from cluster.node import codec, payload
from cluster.node.codec import Spec
from cluster.node.machine import Done, Machine
from cluster.node.rows import MISS, Generation, Rows
from cluster.node.world import Handle
from cluster.store.batch import HARD_STATE
from cluster.wire.json import CODEC

if TYPE_CHECKING:
    from cluster.node.host import Host
    from cluster.store.btree import Replica as Tree
    from cluster.store.digest import Digest

CACHE_BYTES = 8 * 1024 * 1024
SEAL_BYTES = 4 * 1024 * 1024
SEAL_AFTER_S = 3.0
"""Applied rows are written to the B-tree in batches: at the latest after this time, or when entries of this size have
gathered. The larger the batch, the fewer pages are written for each row, and page writes are what the event loop and
the disk threads contend over; what is not there yet is in memory and in the log."""

TRIM_MARK_BYTES = 1024 * 1024
TRIM_MARKS_KEPT = 8
"""About this many MiB of log per replica are kept for followers that were away; one further behind gets a snapshot."""

DIGESTS_KEPT = 4


class Replica:
    """See the module's text."""

    def __init__(self, host: Host, spec: Spec, group: Group, tree: Tree, applied: int) -> None:
        self.host = host
        self.spec = spec
        self.group = group
        self.tree = tree
        self.tree_lock = asyncio.Lock()
        """B-tree work of one replica is done one piece at a time."""
        self.rows = Rows(CACHE_BYTES)
        self.rows.advance(applied)
        self.machine = Machine(self.rows, CODEC, lambda: self.serving, self._load, host.world.wall)
        self.applied = applied
        self.tree_position = tree.position
        self.log_bytes = 0
        """Bytes of entries applied in this life."""
        self.queued = False
        self.leading = False
        """Leads, and has applied an entry of its own ballot. The lease is checked where an answer is given."""
        self.caught_up = applied > 0 or spec.initial is not None
        self.shape: Shape | None = None
        """The table's, as of what is applied here; None for a table that needs none."""
        self.damaged = ""
        """Why the B-tree cannot be read, while it is being rebuilt; nothing is served from it."""
        self.digests: dict[int, Digest] = {}
        """What it held at the last barriers."""
        self.counted: Counted | None = None
        """What was last counted here, while it led."""
        self.watched_leaf: int | None = None
        """Rows of this range of keys are kept with the next digest, for who looks for a difference."""
        self.persisting: deque[tuple[int, int]] = deque()  # (log sequence, group sequence)
        self._shape_slot = 0
        self._durable_seq = 0
        self._held: deque[Send] = deque()
        self._timer: Handle | None = None
        self._timer_at = 0.0
        self._wake_at: float | None = None
        self._seal_timer: Handle | None = None
        self._loads: dict[bytes, list[Callable[[], None]]] = {}
        self._loading = False
        self._trim_marks: deque[int] = deque()
        self._bytes_since_mark = 0
        self._unsealed_bytes = 0
        self._said: tuple[object, ...] = ()
        self._watchers: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    # --- what the host calls ---

    def turn(self, now: float) -> None:
        """Carry on as far as possible without waiting for anything."""
        if self.machine.batch_due:
            self._propose(now)
        effects = self.group.take()
        if effects.persist or effects.sends:
            self._persist(effects)
            self._send(effects)
        committed = effects.committed
        if committed:
            self._apply(committed)
        self.leading = self.group.ready_to_serve
        if committed:
            self._answer(committed)
            if self.machine.batch_due:
                self.host.touch(self)
        self._arm(effects.wake_at)
        if effects.changed or committed:
            self._notice_changes()
        for member in effects.needs_snapshot:
            self.host.offer_snapshot(self, member)
        if self._watchers:
            self._check_watchers()

    def persisted(self, log_sequence: int, now: float) -> None:
        """The node's log is durable up to ``log_sequence``."""
        seq = 0
        while self.persisting and self.persisting[0][0] <= log_sequence:
            seq = self.persisting.popleft()[1]
        if seq:
            self._durable_seq = seq
            self.group.persisted(seq, now)
            while self._held and self._held[0].after <= seq:
                send = self._held.popleft()
                self.host.outbox(send.to.node, self, send.to.replica, send.message)
            self.stepped()

    def stepped(self) -> None:
        """The group took an event: give this replica a turn, if that is for anything."""
        if self.group.has_effects or self._watchers:
            self.host.touch(self)

    def campaign(self) -> None:
        self.group.campaign(self.host.world.now())
        self.host.touch(self)

    def relinquish(self) -> None:
        self.group.relinquish(self.host.world.now())
        self.host.touch(self)

    @property
    def ever_used(self) -> bool:
        """Whether this replica has promised, accepted or learned anything since it was created."""
        return self.group.last_slot > 0 or self.group.ballot.round > 0

    # --- commands ---

    def execute(self, command: Command, done: Done) -> None:
        """Carry out a command that needs the leader."""
        if self.damaged:
            done("not-leader", "")
            return
        self.machine.execute(command, done)
        if not self.queued and self.machine.batch_due:
            self.host.touch(self)

    def read(self, command: Command, done: Done) -> None:
        """An eventually consistent read: what is applied here, whoever leads."""
        if self.damaged or not self.caught_up:
            done("not-serving", "")
            return
        image = self.rows.get(command.key)
        if image is MISS:
            self._load(command.key, lambda: self.read(command, done))
            return
        outcome: Outcome = evaluate(command, image, CODEC).outcome  # type: ignore[arg-type]
        done("", outcome)

    def write(self, writes: list[payload.Write]) -> asyncio.Future[str]:
        """Propose rows as they are; yields an empty code once they are committed and applied here."""
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def answered(code: str) -> None:
            if not future.done():
                future.set_result(code)

        if not self.serving:
            answered("not-leader")
        else:
            self.machine.write(writes, answered)
            self.host.touch(self)
        return future

    def barrier(self) -> int:
        """Propose a scrub barrier; its slot. Raises NotLeader."""
        body = payload.encode((payload.BARRIER, self.host.wall_ms(), []))
        self._propose(self.host.world.now())
        slot = self.group.propose([body], self.host.world.now())
        self.host.touch(self)
        return slot

    def reshape(self, shape: Shape) -> int:
        """Propose the group's new shape; its slot. Raises NotLeader and Busy; the caller has seen to its version."""
        body = payload.encode((payload.SHAPE, self.host.wall_ms(), [(SHAPE, payload.encode_shape(shape))]))
        self._propose(self.host.world.now())
        slot = self.group.propose([body], self.host.world.now())
        self.host.touch(self)
        return slot

    async def wait_for(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until a condition on this replica holds, checked after every turn; False when time is up."""
        if condition():
            return True
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (condition, future)
        self._watchers.append(entry)
        timer = self.host.world.call_at(
            self.host.world.now() + timeout_s, lambda: None if future.done() else future.set_result(None)
        )
        try:
            await future
        finally:
            timer.cancel()
            if entry in self._watchers:
                self._watchers.remove(entry)
        return condition()

    async def rows_all(self) -> list[tuple[bytes, bytes]]:
        """Every row applied so far, in key order; for small groups. Not all of them where :attr:`damaged` is set."""
        self.seal()
        await self.host.flush(self)
        found: list[tuple[bytes, bytes]] = []
        async with self.tree_lock:
            while page := await self.host.upkeep.scan(self, found[-1][0] if found else None):
                found += page
        return found

    # --- the turn's parts ---

    def _propose(self, now: float) -> None:
        if not self.machine.batch_due:
            return
        body = self.machine.take_batch(self.host.wall_ms())
        try:
            slot = self.group.propose([body], now)
        except (NotLeader, Busy):
            self.machine.refused()
        else:
            self.machine.proposed(slot, self.group.ballot)

    def _persist(self, effects: Effects) -> None:
        if not effects.persist:
            return
        append, name = self.host.wal.append, self.spec.group
        for seq, record in effects.persist:
            index = record.entry.slot if isinstance(record, Accepted) else HARD_STATE
            last = append(name, index, codec.encode_record(record))
            self.persisting.append((last, seq))
        self.host.appended(self)

    def _send(self, effects: Effects) -> None:
        for send in effects.sends:
            if send.after <= self._durable_seq:
                self.host.outbox(send.to.node, self, send.to.replica, send.message)
            else:
                self._held.append(send)

    def _apply(self, entries: list[Entry]) -> None:
        rows = self.rows
        for entry in entries:
            assert entry.slot == self.applied + 1, f"{self.spec.group}: slot {entry.slot} after {self.applied}"
            self.applied = slot = entry.slot
            rows.advance(slot)
            if entry.kind == DATA:
                body = payload.decode(entry.payload)
                key = image = None
                for key, image in body.writes:
                    rows.apply(slot, key, image)
                if key == CLOCK and image is not None:  # the last one of an entry with stamps
                    self.machine.observe(int.from_bytes(image, "big"))
                if body.kind:
                    self._apply_special(slot, body)
            self._note_bytes(slot, len(entry.payload))
        self.caught_up = True
        if self._unsealed_bytes >= SEAL_BYTES:
            self.seal()
        elif rows.newest_rows and self._seal_timer is None:
            world = self.host.world
            self._seal_timer = world.call_at(world.now() + SEAL_AFTER_S, self.seal)

    def _apply_special(self, slot: int, body: payload.Payload) -> None:
        if body.kind == payload.BARRIER:
            self.rows.seal(barrier=True)
            self.host.needs_flush(self)
        elif body.kind == payload.SHAPE:
            self.reshaped(slot, body.writes[0][1])
            self.host.changed(self)
        elif body.kind == payload.TRANSACTIONS:
            for key, row in body.writes:
                if key.startswith(TXN):
                    self.machine.held_applied(rest(key), row)

    def learned(self, slot: int, rows: Mapping[bytes, bytes]) -> None:
        """The group's own rows as the B-tree holds them as of ``slot``: what of them is kept in memory."""
        self.reshaped(slot, rows.get(SHAPE))
        self.machine.observe(int.from_bytes(rows.get(CLOCK, b""), "big"))
        self.machine.held_found({key: row for key, row in rows.items() if key.startswith(TXN)})

    def reshaped(self, slot: int, row: bytes | None) -> None:
        """What the group's shape row holds as of ``slot``; from here on the leader's decisions follow it."""
        if slot >= self._shape_slot:
            self._shape_slot = slot
            self.shape = payload.decode_shape(row) if row is not None else None
            self.machine.reshape(self.shape)

    def _answer(self, entries: list[Entry]) -> None:
        for entry in entries:
            self.machine.committed(entry.slot, entry.ballot)

    def _note_bytes(self, slot: int, size: int) -> None:
        self.log_bytes += size + 64
        self._unsealed_bytes += size + 64
        self._bytes_since_mark += size + 64
        if self._bytes_since_mark >= TRIM_MARK_BYTES:
            self._bytes_since_mark = 0
            self._trim_marks.append(slot)

    def trim_below(self, checkpoint: int, archived: int | None = None, hold_bytes: int = 0) -> int:
        """Let go of log that is in a verified checkpoint, archived, and older than what followers are likely to need;
        the last slot that went, or 0.

        What is not archived (``archived``: all up to there is; None: there is no archive) is kept up to ``hold_bytes``
        beyond the usual; then it goes all the same.
        """
        marks = self._trim_marks
        kept_max = TRIM_MARKS_KEPT + hold_bytes // TRIM_MARK_BYTES
        target = 0
        while len(marks) > TRIM_MARKS_KEPT and marks[0] <= checkpoint:
            if archived is not None and marks[0] > archived and len(marks) <= kept_max:
                break
            target = marks.popleft()
        if target:
            self.group.trim(target)
            self.host.touch(self)
        return target

    def seal(self) -> None:
        """Close the newest generation, so that it is written to the B-tree."""
        if self._seal_timer is not None:
            self._seal_timer.cancel()
            self._seal_timer = None
        self._unsealed_bytes = 0
        self.rows.seal()
        self.host.needs_flush(self)

    def _arm(self, wake_at: float | None) -> None:
        """See that the group is woken at ``wake_at``. Deadlines move with almost every turn, mostly to later: a timer
        that comes early costs less than a new one each time, so one that is set is left alone and looks again."""
        self._wake_at = wake_at
        if wake_at is None or (self._timer is not None and self._timer_at <= wake_at):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = wake_at
        self._timer = self.host.world.call_at(wake_at, self._woken)

    def _woken(self) -> None:
        self._timer = None
        now = self.host.world.now()
        if self._wake_at is None or now < self._wake_at:
            self._arm(self._wake_at)
            return
        self._wake_at = None
        self.group.wake(now)
        self.host.touch(self)

    def _notice_changes(self) -> None:
        group = self.group
        said = (group.role, group.ballot, self.leading, group.config)
        if said == self._said:
            return
        before, self._said = self._said, said
        if before and before[0] is Role.LEADER and (group.role is not Role.LEADER or before[1] != group.ballot):
            self.machine.deposed()
            self.host.world.event("leader-stopped", group=self.spec.group, round=before[1].round)  # type: ignore[attr-defined]
        if self.leading and (not before or not before[2] or before[1] != group.ballot):
            self.host.world.event("leader-elected", group=self.spec.group, round=group.ballot.round, slot=group.commit)
        self.host.changed(self)

    def _check_watchers(self) -> None:
        for condition, future in list(self._watchers):
            if not future.done() and condition():
                future.set_result(None)

    @property
    def serving(self) -> bool:
        """Leads, has applied an entry of its own ballot, and holds its lease at this moment."""
        if not self.leading or self.damaged:
            return False
        now = self.host.world.now()
        return self.group.lease_until(now) > now

    # --- rows from the B-tree ---

    def _load(self, key: bytes, then: Callable[[], None]) -> None:
        waiting = self._loads.get(key)
        if waiting is not None:
            waiting.append(then)
            return
        self._loads[key] = [then]
        if not self._loading:  # not "is this the first": what is called back below may want the next one
            self._loading = True
            self.host.world.spawn(self._load_all(), "load-rows")

    async def _load_all(self) -> None:
        """Read every wanted row, in rounds, so that one trip to the disk thread serves many."""
        while self._loads:
            keys = list(self._loads)
            for key in keys:
                self.rows.will_load(key)
            images = await self.host.read_tree(self, keys)
            if images is None:
                for key in keys:
                    self.rows.abandon_load(key)
            else:
                for key, image in zip(keys, images, strict=True):
                    self.rows.load(key, image)
            wanted = [self._loads.pop(key) for key in keys]
            for callbacks in wanted:
                for then in callbacks:
                    then()
            if self.machine.batch_due:
                self.host.touch(self)
        self._loading = False

    def wrote(self, generation: Generation) -> None:
        """A generation is in the B-tree."""
        self.rows.written(generation)
        self.tree_position = generation.upto

    def installed(self, slot: int) -> None:
        """The B-tree was replaced by an image at ``slot``; what was applied beyond it stays in memory to be written."""
        if slot > self.applied:
            self.rows.clear(slot)
            self.machine.held_cleared()
            self.applied = slot
        else:
            self.rows.covered(slot)
        self.tree_position = slot
        self.caught_up = True
        self.damaged = ""
        self.host.needs_flush(self)

    def census(self) -> Census | None:
        """What counts the rows beside the next digest; None where that is not for this replica to do."""
        if not self.serving or not self.spec.table:
            return None
        return Census(locals=self.shape is not None and bool(self.shape.locals))

    def digested(self, slot: int, digest: Digest, census: Census | None = None) -> None:
        """The rows as of a barrier were summed up, and counted where that was to be."""
        self.digests[slot] = digest
        if census is not None:
            self.counted = census.counted(slot)
        for old in sorted(self.digests)[:-DIGESTS_KEPT]:
            del self.digests[old]
        self._check_watchers()

    def standing(self) -> Standing:
        """What this replica, as leader, tells MemDS."""
        config = self.group.config
        views = [MemberView(m.replica, m.node, m.zone, m.rack, "voter") for m in config.voting()]
        views += [MemberView(m.replica, m.node, m.zone, m.rack, "learner") for m in config.learners]
        ballot = self.group.ballot
        return Standing(ballot.round, ballot.replica, config.number, self.host.name, tuple(views))

    def close(self) -> None:
        """Stop everything that would call back; the replica is gone from this node."""
        if self._timer is not None:
            self._timer.cancel()
        if self._seal_timer is not None:
            self._seal_timer.cancel()
        self.machine.deposed()
