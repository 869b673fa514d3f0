"""The leader's side of a replica: commands in, log entries out, answers once what they rest on is committed.

A command is decided over *proposed* state: the rows as they will be once everything already proposed is committed. Its
answer, a failed condition and a returned value included, waits until the proposals it rests on are committed; reads and
refusals also need the lease to hold at that moment (writes do not: a committed write is committed, whoever leads).
Writes gather in a batch, which becomes one log entry as soon as few enough earlier ones are under way: alone, a write
waits for nobody; under load the batches grow by themselves, and what an entry costs is shared by many writes.

Each write of an item is stamped with the group's clock: the wall clock in microseconds, made to rise strictly. What was
given out stands in the group's own rows with the entry that used it, so that the next leader goes on above it, whatever
its own wall clock says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cluster.core.ballot import NO_BALLOT, Ballot
from cluster.core.commands import Command, Outcome, evaluate
from cluster.core.errors import ApiError
from cluster.core.indexes import Change, Derived
from cluster.core.items import Codec, stamped
from cluster.core.shape import Shape
from cluster.core.side import CLOCK, TXN, rest
from cluster.core.transactions import ONGOING
from cluster.node import payload
from cluster.node.outbox import Outbox
from cluster.node.payload import Write
from cluster.node.rows import MISS, Miss, Rows

Done = Callable[[str, Any], None]
"""``done(code, result)``: code empty and an :class:`Outcome`, or why there is none. ``unknown``: it may have happened.
"""

NOT_LEADER = "not-leader"
UNKNOWN = "unknown"
OVERLOADED = "overloaded"

PIPELINE_BATCHES = 2
"""Entries under way before further writes gather: one being made durable while the next one travels."""

BATCH_BYTES = 256 * 1024
"""A batch this large gains nothing by growing; it becomes an entry at once."""

UNCOMMITTED_BATCHES_MAX = 1024
"""Beyond this many entries in flight the group is not keeping up; further commands are refused before anything is
proposed."""

ROW_OVERHEAD_BYTES = 64


class Batch:
    """Writes that share a log entry, and the answers that wait for it."""

    __slots__ = ("ballot", "bytes", "kind", "number", "stamped", "waiters", "writes")

    def __init__(self, number: int = 0) -> None:
        self.ballot = NO_BALLOT
        self.bytes = 0
        self.kind = payload.WRITES
        self.number = number
        self.stamped = False
        self.writes: list[Write] = []
        self.waiters: list[Callable[[str], None]] = []  # called with "" once committed, else with why not

    def add(self, key: bytes, image: bytes | None) -> None:
        self.writes.append((key, image))
        self.bytes += len(key) + (len(image) if image is not None else 0) + ROW_OVERHEAD_BYTES

    def finish(self, code: str) -> None:
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            waiter(code)


class Machine:
    """Decides commands for one replica while it leads."""

    def __init__(
        self,
        rows: Rows,
        codec: Codec,
        serving: Callable[[], bool],
        load: Callable[[bytes, Callable[[], None]], None],
        wall: Callable[[], float],
    ) -> None:
        self._rows = rows
        self._codec = codec
        self._serving = serving  # leads, has applied an entry of its own ballot, and holds its lease right now
        self._load = load  # load(key, then): bring a row into memory, then call back
        self._wall = wall  # seconds since the epoch; may step
        self.clock = 0
        """The greatest stamp given out in this group, as far as is known here."""
        self.deleted_at = 0
        """No item that is missing in proposed state was deleted later than this."""
        self.held: dict[bytes, bytes] = {}
        """By item, in proposed state: the row of the transaction in progress on it."""
        self.met: Callable[[bytes], None] = lambda key: None
        """Told of an item on which a transaction in progress turned somebody away."""
        self.outbox: Outbox | None = None
        """What keeps the table's indexes, where it has any."""
        self._applied_held: dict[bytes, bytes] = {}
        self._batch = Batch()
        self._in_flight: dict[int, Batch] = {}
        self._proposed: dict[bytes, tuple[bytes | None, Batch]] = {}

    @property
    def batch_due(self) -> bool:
        """Whether what has gathered should become an entry now."""
        batch = self._batch
        return bool(batch.writes) and (len(self._in_flight) < PIPELINE_BATCHES or batch.bytes >= BATCH_BYTES)

    def execute(self, command: Command, done: Done) -> None:
        """Decide ``command`` and answer through ``done``, at once or later, exactly once."""
        if not self._serving():
            done(NOT_LEADER, None)
            return
        if len(self._in_flight) >= UNCOMMITTED_BATCHES_MAX:
            done(OVERLOADED, None)
            return
        key = command.key
        if self.held and key in self.held and command.kind != "get":
            self.met(key)
            done("", Outcome(None, "TransactionConflictException", ONGOING))
            return
        proposed = self._proposed.get(key)
        current = proposed[0] if proposed is not None else self._rows.get(key)
        if current is MISS:
            self._load(key, lambda: self.execute(command, done))
            return
        decision = evaluate(command, current, self._codec)  # type: ignore[arg-type]
        outcome = decision.outcome
        if decision.write:
            if self.outbox is not None:
                try:
                    self.outbox.check(decision.image, updating=command.kind == "update")
                except ApiError as error:
                    size = outcome.size_before
                    self.after_proposals((key,), Outcome(None, error.kind, error.message, size, size), done)
                    return
            derived = self.stage(key, current, decision.image)  # type: ignore[arg-type]
            if derived is not None:
                outcome = outcome._replace(local_units=derived.local_units, global_units=derived.global_units)
            self._batch.waiters.append(lambda code: done(code, None if code else outcome))
        elif proposed is not None:
            proposed[1].waiters.append(lambda code: self._answer_read(code, outcome, done))
        else:
            self._answer_read("", outcome, done)

    def stage(self, key: bytes, before: bytes | None, after: bytes | None, stamp: int = 0) -> Derived | None:
        """Put a write of one item into the batch, stamped: the one way by which items change, whoever asks for it.

        ``before`` is its image in proposed state, ``after`` the new one, or None for its deletion. A ``stamp`` given
        is a transaction's, greater than the item's own; else the group's clock gives the next one. Where the table has
        indexes, what the write does to them goes into the same batch, and is returned; that they can hold the item has
        been checked (:meth:`Outbox.check`).
        """
        if not stamp:
            stamp = int(self._wall() * 1e6)
            if stamp <= self.clock:
                stamp = self.clock + 1
        if stamp > self.clock:
            self.clock = stamp
        if after is not None:
            after = stamped(after, stamp)
        elif stamp > self.deleted_at:
            self.deleted_at = stamp
        batch = self._batch
        batch.stamped = True
        batch.add(key, after)
        self._proposed[key] = (after, batch)
        if self.outbox is None:
            return None
        derived = self.outbox.indexes.derive(key, before, after)
        for row, image in derived.rows:
            batch.add(row, image)
        if derived.changes:
            self.send_to_indexes(key, derived.changes)
        return derived

    def send_to_indexes(self, key: bytes, changes: list[Change]) -> None:
        """Put changes of global indexes into the batch, numbered by the group's clock: an item's stamp would not do, as
        a transaction's may be older than what other items have been given."""
        assert self.outbox is not None, "only a table with indexes has changes of them"
        self.clock += 1
        self._batch.stamped = True
        self.outbox.put(self._batch, self.clock, key, changes)

    def reshape(self, shape: Shape | None) -> None:
        """The table's shape, as of what is applied."""
        if self.outbox is not None and shape is not None:
            self.outbox.reshape(shape)
        elif shape is not None and shape.indexed:
            self.outbox = Outbox(shape)

    # --- what transactions need, see cluster.node.transacting ---

    def admits(self, done: Done) -> bool:
        """Whether a command of several items can be decided now; else ``done`` is told why not."""
        if not self._serving():
            done(NOT_LEADER, None)
        elif len(self._in_flight) >= UNCOMMITTED_BATCHES_MAX:
            done(OVERLOADED, None)
        else:
            return True
        return False

    def gather(self, keys: Sequence[bytes], again: Callable[[], None]) -> list[bytes | None] | None:
        """The items' images in proposed state; None where some must be read first: then ``again`` is called."""
        found = [self._look(key) for key in keys]
        missing = [key for key, image in zip(keys, found, strict=True) if image is MISS]
        if not missing:
            return found  # type: ignore[return-value]
        left = len(missing)

        def loaded() -> None:
            nonlocal left
            left -= 1
            if not left:
                again()

        for key in missing:
            self._load(key, loaded)
        return None

    def _look(self, key: bytes) -> bytes | Miss | None:
        proposed = self._proposed.get(key)
        return proposed[0] if proposed is not None else self._rows.get(key)

    def hold(self, key: bytes, row: bytes | None) -> None:
        """Put the row of a transaction in progress on an item into the batch; None: it is over."""
        batch, side_key = self._batch, TXN + key
        batch.kind = payload.TRANSACTIONS
        batch.add(side_key, row)
        self._proposed[side_key] = (row, batch)
        self._hold_again(key)

    def held_applied(self, key: bytes, row: bytes | None) -> None:
        """The row of a transaction in progress on an item was applied."""
        if row is None:
            self._applied_held.pop(key, None)
        else:
            self._applied_held[key] = row
        self._hold_again(key)

    def held_found(self, rows: Mapping[bytes, bytes]) -> None:
        """Rows of transactions as they stand in the B-tree; what was applied since is in memory and counts more."""
        for side_key, row in rows.items():
            later = self._rows.get(side_key)
            self.held_applied(rest(side_key), row if later is MISS else later)  # type: ignore[arg-type]

    def held_cleared(self) -> None:
        """The rows were replaced by a snapshot ahead of what was applied: :meth:`held_found` follows."""
        self._applied_held.clear()
        self.held.clear()

    def _hold_again(self, key: bytes) -> None:
        proposed = self._proposed.get(TXN + key)
        row = proposed[0] if proposed is not None else self._applied_held.get(key)
        if row is None:
            self.held.pop(key, None)
        else:
            self.held[key] = row

    def after_batch(self, answer: Callable[[str], None]) -> None:
        """Call ``answer`` once what has been staged is committed, with why not otherwise."""
        self._batch.waiters.append(answer)

    def after_proposals(self, keys: Sequence[bytes], result: Any, done: Done) -> None:
        """Answer with what was found in proposed state, once the proposals it rests on are committed."""
        newest: Batch | None = None
        for key in keys:
            for proposed in (self._proposed.get(key), self._proposed.get(TXN + key)):
                if proposed is not None and (newest is None or proposed[1].number > newest.number):
                    newest = proposed[1]
        if newest is None:
            self._answer_read("", result, done)
        else:
            newest.waiters.append(lambda code: self._answer_read(code, result, done))

    def observe(self, clock: int) -> None:
        """An entry that was applied, or the rows as they were found, gave out stamps up to ``clock``."""
        if clock > self.clock:  # another leader's
            self.clock = self.deleted_at = clock

    def write(self, writes: list[Write], done: Callable[[str], None]) -> None:
        """Propose rows as they are, not stamped; the caller has made sure that this replica serves."""
        batch = self._batch
        for key, image in writes:
            batch.add(key, image)
            self._proposed[key] = (image, batch)
        batch.waiters.append(done)

    def _answer_read(self, code: str, outcome: Any, done: Done) -> None:
        """The lease is checked *after* the read: it must have held at a moment when the answer was true."""
        if code or not self._serving():
            # Nothing of this command was proposed, so that it may safely be sent to another leader.
            done(NOT_LEADER, None)
        else:
            done("", outcome)

    def take_batch(self, wall_ms: int) -> bytes:
        """What has gathered, as the payload of an entry; follow with :meth:`proposed` or :meth:`refused`."""
        if self._batch.stamped:
            self._batch.writes.append((CLOCK, self.clock.to_bytes(8, "big")))
        return payload.encode((self._batch.kind, wall_ms, self._batch.writes))

    def proposed(self, slot: int, ballot: Ballot) -> None:
        """The batch has been given ``slot`` in the log, under the leader's ``ballot``."""
        batch, self._batch = self._batch, Batch(self._batch.number + 1)
        batch.ballot = ballot
        self._in_flight[slot] = batch

    def refused(self) -> None:
        """The batch could not be proposed: nothing of it can ever happen."""
        batch, self._batch = self._batch, Batch(self._batch.number + 1)
        self._forget(batch)
        batch.finish(NOT_LEADER)

    def committed(self, slot: int, ballot: Ballot) -> None:
        """The entry of ``ballot`` at ``slot`` is committed and its rows are applied: answer those who waited.

        If it is not the entry that was proposed here, then that one can never happen any more.
        """
        batch = self._in_flight.pop(slot, None)
        if batch is not None:
            self._forget(batch)
            batch.finish("" if batch.ballot == ballot else NOT_LEADER)

    def deposed(self) -> None:
        """No longer the leader. What was in flight may yet be committed by the next one; nobody can say."""
        batches, self._in_flight = self._in_flight, {}
        self._proposed.clear()
        self.held = dict(self._applied_held)
        self.deleted_at = self.clock  # the next leader's deletions may bear lower stamps than were given out in vain
        for batch in batches.values():
            batch.finish(UNKNOWN)
        if self._batch.waiters:
            self.refused()
        if self.outbox is not None:
            self.outbox.end()

    def _forget(self, batch: Batch) -> None:
        for key, _ in batch.writes:
            proposed = self._proposed.get(key)
            if proposed is not None and proposed[1] is batch:
                del self._proposed[key]
                if batch.kind == payload.TRANSACTIONS and key.startswith(TXN):
                    self._hold_again(rest(key))
