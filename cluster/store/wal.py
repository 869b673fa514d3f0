"""The write-ahead log of a node: one sequential file for all its replicas, made durable by group commit.

How the host uses it::

    wal, recovery = Wal.open(world.log, store_id=..., incarnation=..., fresh=..., offload=world.offload)
    ... rebuild every group from recovery.by_group(); quarantine where recovery.quarantined(group) ...
    wal.restate_with(statements)           # yields (group, record) with each group's hard state
    world.spawn(wal.keep_marked(world.sleep), "wal-marks")

    wal.append(group, slot, record)        # never blocks, costs microseconds; slot HARD_STATE for hard state
    await wal.sync()                       # everything appended so far, by anybody, is durable
    ... only now say that it is ...
    await wal.trim(keep)                   # after checkpoints

Guarantees. Records come back in the order they were appended. :meth:`Wal.sync` returns only after an ``fdatasync`` that
began after the last append it covers. Concurrent callers share one. A write or sync that fails kills the log for ever:
every later call raises :class:`DiskFailed`, and the host must end the process, since what was lost is not known.

Records with slot :data:`HARD_STATE` state a group's *hard state* in full (promise, identity...): the last one wins.
Each new segment begins with such a statement of every group, so a segment is needed only for its log entries.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from cluster.node.world import DiskFailed, LogDirectory, LogFile
from cluster.store.batch import ENTRY, GROUP_BYTES_MAX, HARD_STATE, seal
from cluster.store.files import Offload, Uncached
from cluster.store.recovery import (
    STATE_NAME,
    Recovery,
    SegmentFile,
    State,
    encode_state,
    examine,
    recover,
    segment_name,
    sound_bytes,
)

SEGMENT_BYTES = 64 * 1024 * 1024
RECORD_BYTES_MAX = 32 * 1024 * 1024
MARK_INTERVAL_S = 0.25
MARK_INTERVALS_MAX = 8
"""Under steady writing the mark is written every so many intervals only: each costs two syncs beside the log's."""

Statements = Callable[[], Iterable[tuple[str, bytes]]]
"""Yields (group, record) stating each group's hard state as of now, everything appended so far included."""
Keep = Callable[[str], int | None]
"""The lowest slot of a group that the log must still hold, or None where the group is gone from this node."""

UNTOUCHED = HARD_STATE - 1
_pack = ENTRY.pack


async def _inline(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


class _Chain:
    """A group's chain of records."""

    __slots__ = ("begins", "group", "name", "ordinal", "slot_max")

    def __init__(self, group: str, ordinal: int, *, begins: bool) -> None:
        self.group = group
        self.name = group.encode()
        self.ordinal = ordinal
        self.begins = begins
        """True until the chain's first record is appended."""
        self.slot_max = UNTOUCHED
        """Highest slot appended since the last batch was sealed."""
        if not 0 < len(self.name) <= GROUP_BYTES_MAX:
            raise ValueError(f"a group's name takes 1 to {GROUP_BYTES_MAX} bytes, {group!r} does not")


class Wal:
    """See the module's docstring. One per node; used from the event loop only."""

    def __init__(
        self,
        directory: LogDirectory,
        recovery: Recovery,
        *,
        store_id: int,
        incarnation: int,
        offload: Offload,
        segment_bytes: int,
    ) -> None:
        """Use :meth:`open`."""
        self._directory = directory
        self._verdict = recovery.verdict
        self._store = store_id
        self._offload = offload
        self._segment_bytes = segment_bytes
        self._full_at = segment_bytes
        """The size at which the segment is full: what its statement takes comes on top, or one that outgrew a segment
        (much log is kept while followers or the archive are away) would begin another with every batch."""
        self._statements: Statements | None = None
        self._chains = {
            group: _Chain(group, ordinal, begins=False)
            for group, ordinal in recovery.ordinals.items()
            if not recovery.quarantined(group)
        }
        self._entries: list[bytes] = []
        self._bodies: list[bytes] = []
        self._touched: list[_Chain] = []
        self._begun: list[str] = []
        """Groups whose chains began in what is pending."""
        self._voiding: list[str] = []
        """Groups whose chains began in what is written; once it is durable, their earlier chains hold no segment."""
        self._appended = 0
        self._durable = 0
        self._sequence = recovery.durable
        """Sequence of the last batch written."""
        self._synced = recovery.durable
        """Sequence of the last batch known to be durable."""
        self._check = recovery.check
        self._failure: str | None = None
        self._flying = False
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._marked = State(-1, -1)
        self._unmarked = asyncio.Event()
        """Set while batches are synced that no mark covers."""
        self._marking = asyncio.Lock()
        self._number = self._first_ordinal = incarnation << 32
        """The first segment of this life, and what new chains count from: above anything of an earlier life."""
        self._segments = recovery.segments
        self._restated: tuple[int, int] | None = None
        """(segment number, append count) of the newest statement of every group's hard state."""
        self._file: LogFile = self._directory.create(segment_name(self._number))
        self._segments.append(SegmentFile(self._file.name, self._number, self._sequence + 1, {}))

    @classmethod
    def open(
        cls,
        directory: LogDirectory,
        *,
        store_id: int,
        incarnation: int,
        fresh: bool,
        offload: Offload = _inline,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> tuple[Wal, Recovery]:
        """Recover the log and open it for writing, in a new segment; blocks, as nothing else can run before it.

        ``store_id``, ``incarnation`` and ``fresh`` are the superblock's. Damage never raises: it is in the recovery,
        and every group for which :meth:`Recovery.quarantined` holds must :meth:`begin` anew before its next append.
        Raises :class:`DiskFailed` where the disk refuses writes.
        """
        recovery = recover(directory, store_id, fresh=fresh)
        wal = cls(
            directory,
            recovery,
            store_id=store_id,
            incarnation=incarnation,
            offload=offload,
            segment_bytes=segment_bytes,
        )
        state = wal._state()
        directory.write_small(STATE_NAME, encode_state(store_id, state))
        wal._marked = state
        return wal, recovery

    # --- appending ---

    def append(self, group: str, slot: int, record: bytes) -> int:
        """Add a record; returns its sequence number, which :meth:`durable` will reach. Never blocks, never writes.

        Raises ValueError for a quarantined group that has not begun anew, and :class:`DiskFailed` once the log is dead.
        """
        chain = self._chains.get(group)
        if chain is None:
            chain = self._new_chain(group)
        if self._failure is not None:
            raise self._dead()
        chain.ordinal = ordinal = chain.ordinal + 1
        if slot > chain.slot_max:
            if chain.slot_max == UNTOUCHED:
                self._touched.append(chain)
            chain.slot_max = slot
        name = chain.name
        begins = chain.begins
        if begins:
            chain.begins = False
            self._begun.append(group)
        self._entries.append(_pack(slot, ordinal, len(record), begins, len(name)) + name)
        self._bodies.append(record)
        self._appended = appended = self._appended + 1
        return appended

    def begin(self, group: str) -> None:
        """Start a new chain for ``group``: the next record voids all its earlier ones, and lifts a quarantine.

        For a replica that is created here, and for one that returns under a new identity after it was quarantined.
        """
        chain = self._chains.get(group)
        if chain is None:
            self._chains[group] = _Chain(group, self._first_ordinal, begins=True)
        else:
            chain.begins = True

    def _new_chain(self, group: str) -> _Chain:
        if self._verdict.quarantined(group):
            raise ValueError(
                f"group {group} lost synced records here and is quarantined: begin() it under a new identity first"
            )
        chain = self._chains[group] = _Chain(group, self._first_ordinal, begins=True)
        return chain

    # --- durability ---

    @property
    def durable(self) -> int:
        """Records up to this sequence number are durable."""
        return self._durable

    @property
    def failed(self) -> bool:
        """True once a write or sync failed: the log is dead."""
        return self._failure is not None

    async def sync(self) -> None:
        """Return once everything appended before the call is durable. Concurrent callers share one ``fdatasync``.

        Raises :class:`DiskFailed`, now and on every later call, if that cannot be had. Cancelling a caller is harmless.
        """
        target = self._appended
        while self._durable < target:
            if self._failure is not None:
                raise self._dead()
            if self._flying:
                await self._wait(target)
            else:
                await self._fly()
        if self._failure is not None:
            raise self._dead()

    async def _wait(self, target: int) -> None:
        """Wait for a flight to land: the one that covers ``target``, or the one before, to fly the next oneself."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((target, waiter))
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._wake()  # this caller was to fly next: hand that on
            raise

    async def _fly(self) -> None:
        """One group commit."""
        self._flying = True
        try:
            if self._file.size >= self._full_at:
                await self._roll()
            covered, sequence = self._write()
            await self._file.sync()
            self._durable = covered
            self._synced = sequence
            self._unmarked.set()
            if self._voiding:
                self._void_earlier_chains()
        except asyncio.CancelledError:
            raise  # written but not synced: the next flight syncs it; the file itself remembers a failure
        except BaseException as error:
            self._die(error)
            raise
        finally:
            self._flying = False
            self._wake()

    def _write(self) -> tuple[int, int]:
        """Seal what is pending into one batch and hand it to the operating system."""
        if self._entries:
            sequence = self._sequence + 1
            data, zeros, check = seal(
                self._store,
                self._number,
                self._file.size,
                sequence,
                self._synced,
                self._check,
                self._entries,
                self._bodies,
            )
            self._file.append(data, zeros)
            self._sequence = sequence
            self._check = check
            self._entries.clear()
            self._bodies.clear()
            segment = self._segments[-1]
            segment.bytes = self._file.size
            slots = segment.slots
            for chain in self._touched:
                if chain.slot_max >= slots.get(chain.group, HARD_STATE):
                    slots[chain.group] = chain.slot_max
                chain.slot_max = UNTOUCHED
            self._touched.clear()
            self._voiding += self._begun
            self._begun.clear()
        return self._appended, self._sequence

    def _void_earlier_chains(self) -> None:
        """Chains that began are durable: what the same groups wrote in older segments holds those no longer."""
        for group in self._voiding:
            for segment in self._segments[:-1]:
                segment.slots.pop(group, None)
        self._voiding.clear()

    def _wake(self) -> None:
        """Release those whose records are durable (or everybody, if the log died) and one more to fly next."""
        waiting = self._waiters
        self._waiters = []
        next_pilot = False
        for target, waiter in waiting:
            if waiter.done():
                continue
            if target <= self._durable or self._failure is not None:
                waiter.set_result(None)
            elif not next_pilot:
                next_pilot = True
                waiter.set_result(None)
            else:
                self._waiters.append((target, waiter))

    def _die(self, error: BaseException) -> None:
        if self._failure is None:
            self._failure = str(error) or type(error).__name__

    def _dead(self) -> DiskFailed:
        return DiskFailed(
            f"the write-ahead log is dead: {self._failure}. End the process; recovery decides what is left"
        )

    # --- segments ---

    def restate_with(self, statements: Statements) -> None:
        """Set what states every group's hard state, and state it now: from then on older segments can be trimmed."""
        self._statements = statements
        self._restate()

    def _restate(self) -> None:
        if self._statements is None:
            return
        stated = 0
        for group, record in list(self._statements()):
            self.append(group, HARD_STATE, record)
            stated += len(record)
        self._full_at = self._segment_bytes + stated
        self._restated = (self._number, self._appended)

    async def _roll(self) -> None:
        """Go on in a new segment, which begins with what is pending and a statement of every group's hard state.

        Whatever was written to the old one is synced first, so that a torn tail can only be in the last segment.
        """
        covered, sequence = self._appended - len(self._entries), self._sequence
        await self._file.sync()
        self._durable, self._synced = max(self._durable, covered), sequence
        number = self._number = self._number + 1
        file = await self._offload(self._directory.create, segment_name(number))
        self._file.close()
        self._file = file
        self._segments.append(SegmentFile(file.name, number, self._sequence + 1, {}))
        self._restate()

    async def renew(self) -> int:
        """Begin a new segment with a statement of everything in memory, and let go of all older ones: the way out when
        one of those was damaged on the disk while this process, which holds it all, still runs. Returns how many went.
        """
        while self._flying:
            await self._wait(self._appended + 1)  # to be the next to fly
        if self._failure is not None:
            raise self._dead()
        self._flying = True
        try:
            await self._roll()
        except BaseException as error:
            self._die(error)
            raise
        finally:
            self._flying = False
            self._wake()
        await self.sync()
        return await self.trim(lambda group: None)

    async def examine(self, segment: SegmentFile) -> list[tuple[int, str]]:
        """Read a segment anew from the disk, past the cache, and say where it is not what was written."""
        if segment not in self._segments:
            return []
        wrong: list[tuple[int, str]] = await self._offload(self._examine, segment.name, segment.bytes)
        return wrong

    def _examine(self, name: str, size: int) -> list[tuple[int, str]]:
        try:
            file = self._directory.open(name)
        except FileNotFoundError:
            return []  # trimmed meanwhile
        try:
            if isinstance(file, Uncached):
                file.drop_cache()
            sound = sound_bytes(file, size, self._store)
            if sound == size:
                return []
            data = file.read_all()[:size]  # whole, to find what is sound behind the damage
        finally:
            file.close()
        if len(data) < size:
            return [(len(data), f"the file ends {size - len(data)} bytes early"), *examine(name, data, self._store)]
        return examine(name, data, self._store) or [(sound, "what was read first was not sound, what was read then is")]

    @property
    def retained_bytes(self) -> int:
        """Size of all segments together; the host bounds it by checkpoints and :meth:`trim`."""
        return sum(segment.bytes for segment in self._segments)

    def segments(self) -> list[SegmentFile]:
        """Retained segments, oldest first, the one being written last: what holds the log, for who must shorten it."""
        return list(self._segments)

    async def trim(self, keep: Keep) -> int:
        """Remove the oldest segments that nothing needs any more; returns how many went.

        A segment goes when every group's entries in it lie below ``keep(group)``, and a later segment durably states
        every group's hard state.
        """
        count = 0
        restated = self._restated
        if restated is None or restated[1] > self._durable:
            return 0
        for segment in self._segments[:-1]:
            if segment.number >= restated[0] or any(
                slot > HARD_STATE and (lowest := keep(group)) is not None and lowest <= slot
                for group, slot in segment.slots.items()
            ):
                break
            count += 1
        if count:
            going = self._segments[:count]
            del self._segments[:count]
            await self.mark()
            try:
                for segment in going:
                    await self._offload(self._directory.remove, segment.name)
            except DiskFailed as error:
                self._die(error)
                raise
        return count

    # --- durable marks ---

    def _state(self) -> State:
        return State(self._synced, self._segments[0].first_sequence)

    async def mark(self) -> None:
        """Write the durable mark beside the log, if it moved: from then on a damaged tail is known to be a loss."""
        async with self._marking:
            if self._failure is not None:
                raise self._dead()
            state = self._state()
            if state != self._marked:
                try:
                    await self._offload(self._directory.write_small, STATE_NAME, encode_state(self._store, state))
                except DiskFailed as error:
                    self._die(error)
                    raise
                self._marked = state
            if state == self._state():
                self._unmarked.clear()

    async def keep_marked(self, sleep: Callable[[float], Awaitable[None]], interval_s: float = MARK_INTERVAL_S) -> None:
        """Mark when writing pauses for ``interval_s``, and now and then while it does not; for the host to spawn. While
        everything is marked it sleeps.

        Until a synced batch is marked (by the next batch, or by this), bit rot in it would pass for a torn tail; until
        this mark, so would a truncated file. Ends by :class:`DiskFailed`.
        """
        while True:
            await self._unmarked.wait()
            seen, intervals = -1, 0
            while self._synced != seen and intervals < MARK_INTERVALS_MAX:
                seen = self._synced
                await sleep(interval_s)
                intervals += 1
            await self.mark()

    async def close(self) -> None:
        """Sync, mark and close; for a clean stop. A log that is not closed loses nothing either."""
        await self.sync()
        await self.mark()
        self._die(DiskFailed("it was closed"))
        self._file.close()
