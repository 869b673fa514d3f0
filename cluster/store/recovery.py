"""Reading a write-ahead log back, and judging what it no longer holds.

The theory. A batch that was synced was voted on: losing it loses votes, and its groups must never vote again under
their old identity. A batch that was being written when the power failed was promised to nobody: it is a *torn tail* and
is discarded. Both look the same on the disk, so the log says which is which: every batch carries a *durable mark*, the
highest batch sequence known to be synced when it was written, and the small state file carries the mark across idle
times. What cannot be read and lies at or below the highest mark found anywhere is **lost**; what lies above it is torn.

Which groups a lost batch broke is decided from three things, most exact first:

1. Its directory, where only the bodies are damaged: exactly those groups.
2. The ordinals: a group that has records before and after with no gap between their ordinals had none in the loss.
3. Otherwise the group is taken to be broken. That includes groups of which no record is left at all, so the verdict
   is a predicate, :meth:`Recovery.quarantined`, and not a list.

A record may begin a new chain: the host wrote it on purpose, after whatever happened before, and records of the group's
earlier chains are void. Its ordinal lies above all earlier ones, so that a chain begun within a loss still shows a gap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from struct import Struct

import google_crc32c

from cluster.node.world import LogDirectory, LogFile
from cluster.store.batch import ALIGN_BYTES, HARD_STATE, Batch, Record, end_of_sound, parse

STATE_NAME = "wal-state"
STATE = Struct("<4sIQQQ")
STATE_MAGIC = b"BSWS"
SEGMENT_PREFIX = "wal-"
SEGMENT_SUFFIX = ".log"
STRETCH_BYTES = 64 * 1024
"""Of a segment that is read to see whether it is sound: little beside a segment, and what a cache holds."""


class DamageKind(Enum):
    """What was found wrong, in rising order of harm."""

    TORN = "torn tail"
    """Never synced, promised to nobody; discarded."""
    STATE = "state file unreadable"
    """The mark file; the log itself is judged by the marks within it."""
    LOST = "lost votes"
    """Synced records are gone."""


@dataclass(frozen=True, slots=True)
class Damage:
    """One damaged place."""

    kind: DamageKind
    file: str
    offset: int
    first: int
    """First batch sequence concerned, 0 where none is."""
    last: int
    """Last batch sequence concerned (inclusive)."""
    groups: tuple[str, ...] | None
    """The groups concerned where the directory could still be read, else None: decided by ordinals."""
    detail: str


@dataclass(slots=True)
class SegmentFile:
    """A segment: what is in it, and so what holds it."""

    name: str
    number: int
    first_sequence: int
    slots: dict[str, int]
    """Highest slot of each group with records here."""
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class State:
    """The contents of the state file."""

    durable: int
    """Batches up to this sequence were synced."""
    floor: int
    """The oldest retained batch; earlier ones were trimmed on purpose."""


@dataclass(slots=True)
class Verdict:
    """Which groups may have lost something they had synced."""

    broken: set[str] = field(default_factory=set)
    """Groups known to have lost a record."""
    unproven: bool = False
    """True where a loss could not be pinned to groups: every group not in ``sound`` is then quarantined."""
    sound: set[str] = field(default_factory=set)
    """Groups whose chains are proved whole across every such loss."""

    def quarantined(self, group: str) -> bool:
        """True where the replica of ``group`` here must not vote again as itself."""
        return group in self.broken or (self.unproven and group not in self.sound)


@dataclass(slots=True)
class Recovery:
    """What a log holds: records in the order they were appended, and the verdict on what is missing."""

    records: list[Record] = field(default_factory=list)
    """Live records, bodies never None. Those of a quarantined group are whatever is left of it."""
    damage: list[Damage] = field(default_factory=list)
    segments: list[SegmentFile] = field(default_factory=list)
    verdict: Verdict = field(default_factory=Verdict)
    ordinals: dict[str, int] = field(default_factory=dict)
    """Last ordinal of each group."""
    durable: int = 0
    """The highest batch sequence that is or was durable; the next batch takes one above it."""
    check: int = 0
    """Header CRC of the last batch read."""

    def quarantined(self, group: str) -> bool:
        """True where ``group`` may have lost something it had synced: its replica here must not vote again as itself.

        Meaningful for any group name, whether or not a record of it is left.
        """
        return self.verdict.quarantined(group)

    @property
    def lost_votes(self) -> bool:
        """True where any synced batch could not be read."""
        return any(damage.kind is DamageKind.LOST for damage in self.damage)

    def by_group(self) -> dict[str, list[Record]]:
        """Records by group, in order; groups in order of their first record."""
        groups: dict[str, list[Record]] = {}
        for record in self.records:
            groups.setdefault(record.group, []).append(record)
        return groups


def encode_state(store: int, state: State) -> bytes:
    rest = STATE.pack(STATE_MAGIC, 0, store, state.durable, state.floor)[8:]
    check: int = google_crc32c.value(rest)
    return STATE_MAGIC + check.to_bytes(4, "little") + rest


def decode_state(store: int, data: bytes) -> State | None:
    """The state, or None where any byte of it is wrong or it is another store's."""
    if len(data) != STATE.size:
        return None
    magic, check, of_store, durable, floor = STATE.unpack(data)
    if magic != STATE_MAGIC or google_crc32c.value(data[8:]) != check or of_store != store:
        return None
    return State(durable, floor)


def segment_name(number: int) -> str:
    return f"{SEGMENT_PREFIX}{number:016x}{SEGMENT_SUFFIX}"


def segment_number(name: str) -> int | None:
    """The number in a segment's file name, or None for other files."""
    middle = name.removeprefix(SEGMENT_PREFIX).removesuffix(SEGMENT_SUFFIX)
    if len(middle) != 16 or name != f"{SEGMENT_PREFIX}{middle}{SEGMENT_SUFFIX}":
        return None
    try:
        return int(middle, 16)
    except ValueError:
        return None


@dataclass(slots=True)
class _Hole:
    """A stretch of a segment in which no sound batch begins."""

    file: str
    offset: int
    detail: str


@dataclass(slots=True)
class _Found:
    """One thing met while reading: a batch or a hole, and where."""

    file: str
    number: int
    item: Batch | _Hole


def recover(directory: LogDirectory, store: int, *, fresh: bool) -> Recovery:
    """Read the log of ``store`` and judge it. What it returns is durable; torn tails it cuts off.

    ``fresh`` says that this store never ran before; only then may the directory rightly be empty.
    """
    names = [name for name in directory.list() if segment_number(name) is not None]
    state, state_damage = _read_state(directory, store, fresh, bool(names))
    found = [item for name in names for item in _scan(directory, name, store)]
    result = _Judge(state, fresh).judge(found)
    if state_damage is not None:
        result.damage.append(state_damage)
    _settle(directory, names, result)
    return result


def _read_state(
    directory: LogDirectory, store: int, fresh: bool, has_segments: bool
) -> tuple[State | None, Damage | None]:
    data = directory.read_small(STATE_NAME)
    if data is None:
        if fresh or not has_segments:
            return None, None
        return None, Damage(DamageKind.STATE, STATE_NAME, 0, 0, 0, (), "the file is missing")
    state = decode_state(store, data)
    if state is None:
        return None, Damage(DamageKind.STATE, STATE_NAME, 0, 0, 0, (), "checksum or identity is wrong")
    return state, None


def _scan(directory: LogDirectory, name: str, store: int) -> Iterator[_Found]:
    """Batches and holes of one segment in file order; after damage it looks for the next sound header."""
    number = segment_number(name)
    assert number is not None
    file = directory.open(name)
    try:
        data = file.read_all()
    finally:
        file.close()
    yield from _parts(name, number, data, store)


def _parts(name: str, number: int, data: bytes, store: int) -> Iterator[_Found]:
    offset = 0
    while offset < len(data):
        batch = parse(data, offset, store, number)
        if batch is not None:
            yield _Found(name, number, batch)
            # A cut-off body ends past the file; what follows damaged bodies is still found at the next boundary.
            offset = batch.end
            continue
        start = offset
        while offset < len(data) and parse(data, offset, store, number) is None:
            offset += ALIGN_BYTES
        yield _Found(name, number, _Hole(name, start, f"no sound batch in {min(offset, len(data)) - start} bytes"))


def sound_bytes(file: LogFile, size: int, store: int) -> int:
    """How much of the first ``size`` bytes of a segment is whole, sound batches; read a stretch at a time."""
    number = segment_number(file.name)
    assert number is not None
    sound, stretch = 0, STRETCH_BYTES
    while sound < size:
        data = file.read(sound, min(stretch, size - sound))
        here = 0
        while end := end_of_sound(data, here, store, number, sound):
            here = end
        if not here and sound + stretch >= size:
            break
        stretch = STRETCH_BYTES if here else 2 * stretch  # a batch may be longer
        sound += here
    return sound


def examine(name: str, data: bytes, store: int) -> list[tuple[int, str]]:
    """What is wrong with a segment of which every byte must be sound, since it was synced: offset and reason."""
    number = segment_number(name)
    assert number is not None
    wrong: list[tuple[int, str]] = []
    for place in _parts(name, number, data, store):
        if isinstance(place.item, _Hole):
            wrong.append((place.item.offset, place.item.detail))
        elif not place.item.intact:
            wrong.append((place.item.offset, "the batch's bodies fail their checksum"))
    return wrong


class _Judge:
    """Turns what was found into records and a verdict."""

    def __init__(self, state: State | None, fresh: bool) -> None:
        self._state = state
        self._fresh = fresh
        self._result = Recovery()
        self._expected = 0
        """The sequence that should come next; 0 while nothing was read and any may come."""
        self._chained = 0
        """Sequence of the last batch read, whose CRC the next one's ``previous`` must equal."""
        self._after_loss: set[str] = set()
        """Groups with a record since the last loss that was not pinned to groups."""
        self._segments: dict[int, SegmentFile] = {}
        self._live: dict[str, int] = {}
        """Position in ``records`` from which a group's records count."""

    def judge(self, found: list[_Found]) -> Recovery:
        result = self._result
        batches = [item.item for item in found if isinstance(item.item, Batch)]
        mark = max([self._state.durable if self._state else 0, *(batch.durable for batch in batches)])
        holes: list[_Found] = []
        self._expected = self._floor()
        for place in found:
            if isinstance(place.item, _Hole):
                holes.append(place)
                continue
            batch = place.item
            if batch.sequence < self._expected:
                continue  # a stale life of this place; its own place is judged by the sequence missing there
            if batch.sequence > self._expected > 0:
                absent = _Hole(place.file, batch.offset, "batches are missing before this one")
                if not self._missing(holes, absent, self._expected, batch.sequence - 1, mark):
                    break
            holes.clear()
            if not self._take(place, batch, mark):
                break
        else:
            self._end(found, holes, mark)
        result.durable = max(mark, self._expected - 1)
        result.segments = [self._segments[number] for number in sorted(self._segments)]
        verdict = result.verdict
        verdict.sound = self._after_loss - verdict.broken if verdict.unproven else set()
        self._drop_void()
        return result

    def _floor(self) -> int:
        if self._state is not None:
            return self._state.floor
        return 1 if self._fresh else 0

    def _take(self, place: _Found, batch: Batch, mark: int) -> bool:
        """Account for one batch; False where reading ends here because it was torn."""
        result = self._result
        if result.check and batch.previous != result.check and batch.sequence - 1 == self._chained:
            self._lose_all(place, batch)
        if not batch.intact:
            groups = tuple(dict.fromkeys(record.group for record in batch.records))
            if batch.sequence > mark:
                detail = "bodies cut off or damaged, never known to be synced"
                self._note(DamageKind.TORN, place.file, batch.offset, batch.sequence, batch.sequence, groups, detail)
                return False
            detail = "the batch's bodies fail their checksum"
            self._note(DamageKind.LOST, place.file, batch.offset, batch.sequence, batch.sequence, groups, detail)
        segment = self._segment(place, batch.sequence)
        for record in batch.records:
            self._follow(record)
            segment.slots[record.group] = max(record.slot, segment.slots.get(record.group, HARD_STATE))
            if record.body is not None:
                result.records.append(record)
        segment.bytes = batch.end
        self._expected = batch.sequence + 1
        self._chained = batch.sequence
        result.check = batch.check
        return True

    def _follow(self, record: Record) -> None:
        """Advance one group's chain."""
        result = self._result
        verdict = result.verdict
        before = result.ordinals.get(record.group)
        result.ordinals[record.group] = record.ordinal
        if record.begins:
            verdict.broken.discard(record.group)
            self._live[record.group] = len(result.records)
            for earlier in self._segments.values():
                earlier.slots.pop(record.group, None)
        elif before is None:
            # First seen in the middle of its chain: trimming explains that, unless something was lost since.
            if verdict.unproven:
                verdict.broken.add(record.group)
        elif record.ordinal != before + 1:
            verdict.broken.add(record.group)
        if record.body is None:
            verdict.broken.add(record.group)
        if verdict.unproven:
            self._after_loss.add(record.group)

    def _segment(self, place: _Found, sequence: int) -> SegmentFile:
        return self._segments.setdefault(place.number, SegmentFile(place.file, place.number, sequence, {}))

    def _missing(self, holes: list[_Found], absent: _Hole, first: int, last: int, mark: int) -> bool:
        """Account for sequences that no sound batch has; False where they were torn, so that reading ends."""
        at = absent
        if holes and isinstance(holes[0].item, _Hole):
            at = holes[0].item
        if first > mark and self._expected > 0:
            self._note(DamageKind.TORN, at.file, at.offset, first, last, None, at.detail)
            return False
        self._note(DamageKind.LOST, at.file, at.offset, first, last, None, at.detail)
        for place in holes:
            self._segment(place, first)  # kept as evidence until it is trimmed
        self._result.verdict.unproven = True
        self._after_loss.clear()
        return True

    def _lose_all(self, place: _Found, batch: Batch) -> None:
        """The chain of CRCs does not hold: a batch of another history stands in this one. Nothing before is proved."""
        self._note(
            DamageKind.LOST,
            place.file,
            batch.offset,
            batch.sequence - 1,
            batch.sequence,
            None,
            "the batch does not follow the one before it: part of the file is from another time",
        )
        self._result.verdict.unproven = True
        self._result.verdict.broken.update(self._result.ordinals)
        self._after_loss.clear()

    def _end(self, found: list[_Found], holes: list[_Found], mark: int) -> None:
        """Judge what lies after the last sound batch."""
        gone = _Hole(found[-1].file if found else STATE_NAME, 0, "the end of the log is missing")
        if self._expected == 0 and not found and not self._fresh:
            # No log and no state, in a store that ran before.
            self._missing(holes, _Hole(STATE_NAME, 0, "the whole log is missing"), 0, 0, mark)
        elif mark >= self._expected:
            self._missing(holes, gone, self._expected, mark, mark)
            self._expected = mark + 1
        elif holes:
            self._missing(holes, gone, self._expected, self._expected, mark)

    def _note(
        self, kind: DamageKind, file: str, offset: int, first: int, last: int, groups: tuple[str, ...] | None, why: str
    ) -> None:
        self._result.damage.append(Damage(kind, file, offset, first, last, groups, why))

    def _drop_void(self) -> None:
        """Forget records of chains that a later one replaced."""
        result = self._result
        live = self._live
        if live:
            result.records = [record for at, record in enumerate(result.records) if at >= live.get(record.group, 0)]


def _settle(directory: LogDirectory, names: Iterable[str], result: Recovery) -> None:
    """Make what was found durable, cut torn tails off, and remove files in which nothing counts.

    Found does not mean durable: where only the process died, the end of the last segment may still be in the cache
    alone, and nothing may be said on the strength of it before it is synced (only the last: a segment is synced before
    the next begins). A torn tail must go before the log is written again: later marks would make it look like a loss.
    Files in which nothing counts are empty, wholly torn, or were being trimmed.
    """
    kept = {segment.name for segment in result.segments}
    for name in names:
        if name not in kept:
            directory.remove(name)
    torn = {damage.file: damage.offset for damage in result.damage if damage.kind is DamageKind.TORN}
    for segment in result.segments:
        if segment.name in torn or segment is result.segments[-1]:
            file = directory.open(segment.name)
            file.truncate(torn.get(segment.name, file.size))
            file.close()
