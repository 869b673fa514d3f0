"""The archived log of a group: segments cut at fixed positions, the manifest of each, and their chain. Pure.

[P22 §5]: the log is archived from all three replicas; each archived file has a manifest with table, partition, start
and end markers; before it is uploaded it is made sure that it belongs there, that its checksums hold and that no
position is missing; an agent that finds the file there already compares it with its own log.

*Positions.* Where a segment ends follows from its first position and its contents alone (:class:`Cutter`): so every
replica cuts the same segments, byte for byte, whoever uploads, and an upload that is repeated changes nothing. A scrub
barrier always ends one, so that a reference can be rebuilt to exactly that position.

*Chain.* A manifest's ``chain`` sums up the contents of its segment and the chain before it. Ballots are recorded but
not summed: they say who led, not what was decided. So where two replicas upload one segment at once, and their logs
name other ballots, either's bytes are sound beside either's manifest (:func:`read_segment`).

*Images.* Where the log that would come next is held by no replica any more (the archive was away for longer than the
stated limit), the chain starts anew with an image of the group's rows at one position. Its manifest names the hole and
follows what is archived before that. A replica that has the log after all may upload some of it while the image is
being made: such segments lie in the hole, beside the chain, and the image stands.

A segment's file is :data:`MAGIC` and a frame for each entry: its length and CRC-32, slot, ballot, kind, payload.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable, Sequence
from struct import Struct
from struct import error as StructError
from typing import Any, NamedTuple

from cluster.core.ballot import Ballot
from cluster.core.messages import CONFIG, DATA, NOOP, Entry

SEGMENT_BYTES = 1024 * 1024
SEGMENT_SLOTS = 8192
SEGMENT_SPAN_MS = 10_000
"""A segment ends with the entry that brings it to this many bytes or entries, or that was written so much later than
its first (by the leaders' wall clocks, which the entries carry)."""

IMAGE_PART_BYTES = 4 * 1024 * 1024
SLOT_DIGITS = 20
MAGIC = b"BSA1\n"
FRAME = Struct("<II")
ENTRY = Struct("<QQQB")
ROW = Struct("<II")
CONTENT = Struct("<QBI")
LOG, IMAGE = "log", "image"


class Damaged(Exception):
    """Bytes from the archive that are not what was put there."""


class Place(NamedTuple):
    """What a chain belongs to. ``start`` and ``end`` bound the group's keys; an empty ``end`` is open."""

    cluster: str
    table: str
    group: str
    start: bytes
    end: bytes

    @property
    def prefix(self) -> str:
        """The path of every object of this chain."""
        return f"{safe(self.cluster)}/{safe(self.table)}/{safe(self.group)}"

    def holds(self, key: bytes) -> bool:
        return self.start <= key and (not self.end or key < self.end)


class Part(NamedTuple):
    """One object: the end of its name, its size and the SHA-256 of its bytes."""

    suffix: str
    bytes: int
    sha256: str


class Manifest(NamedTuple):
    """What is stored beside each segment or image. ``first`` and ``last`` are both included, and alike for an image."""

    kind: str
    table: str
    group: str
    start: str
    end: str
    first: int
    last: int
    entries: int
    """Entries of a segment, rows of an image."""
    content: str
    """SHA-256 over the contents, in hex: what replicas must agree on."""
    chain: str
    """SHA-256 over ``chain`` of the manifest before, ``first``, ``last`` and ``content``."""
    begun_ms: int
    ended_ms: int
    """The first and last wall-clock milliseconds that entries carry; 0 where none does."""
    parts: tuple[Part, ...]
    hole: tuple[int, int] | None = None
    """Of an image: the positions whose log was never archived, both included."""

    @property
    def identity(self) -> tuple[Any, ...]:
        """What two uploads of the same segment agree on, whatever ballots they recorded."""
        return self[:12]


class Tip(NamedTuple):
    """The end of a chain: the next segment begins after ``last``."""

    last: int
    chain: str


ORIGIN = Tip(0, "")
"""Slot 0 is the group's first configuration, the same for all by construction; the log begins at 1."""


def safe(name: str) -> str:
    """A name as one segment of an object's path."""
    return name.replace("/", "~") or "-"


def object_name(place: Place, first: int, suffix: str) -> str:
    """``cluster/table/group/00000000000000000042.log``."""
    return f"{place.prefix}/{first:0{SLOT_DIGITS}}.{suffix}"


def manifest_name(place: Place, first: int) -> str:
    return object_name(place, first, "manifest")


def first_of(name: str) -> int:
    """The first position in an object's name. Raises ValueError for a name that is none of ours."""
    return int(name.rsplit("/", 1)[-1].partition(".")[0])


# --- cutting ----------------------------------------------------------------------------------------------------------


class Cutter:
    """Finds where the segment that begins at ``first`` ends. Feed it the entries from there on, in order."""

    __slots__ = ("begun_ms", "bytes", "first", "next")

    def __init__(self, first: int) -> None:
        self.first = self.next = first
        self.bytes = 0
        self.begun_ms = 0

    def ends(self, entry: Entry, wall_ms: int, barrier: bool) -> bool:
        """Whether the segment ends with this entry. ``wall_ms`` is 0 for an entry that carries no time."""
        if entry.slot != self.next:
            raise ValueError(f"slot {entry.slot} where {self.next} was to come")
        self.next += 1
        self.bytes += len(entry.payload) + ENTRY.size + FRAME.size
        self.begun_ms = self.begun_ms or wall_ms
        return (
            barrier
            or self.bytes >= SEGMENT_BYTES
            or self.next - self.first >= SEGMENT_SLOTS
            or bool(wall_ms and wall_ms - self.begun_ms >= SEGMENT_SPAN_MS)
        )


# --- segments ---------------------------------------------------------------------------------------------------------


def encode(entries: Iterable[Entry]) -> bytes:
    """The bytes of a segment."""
    parts = [MAGIC]
    for slot, ballot, kind, payload in entries:
        body = ENTRY.pack(slot, ballot.round, ballot.replica, kind) + payload
        parts += (FRAME.pack(len(body), zlib.crc32(body)), body)
    return b"".join(parts)


def decode(data: bytes) -> list[Entry]:
    """The entries of a segment. Raises :class:`Damaged` that names the place."""
    if not data.startswith(MAGIC):
        raise Damaged("it does not begin as an archived segment does")
    entries: list[Entry] = []
    at = len(MAGIC)
    while at < len(data):
        try:
            size, check = FRAME.unpack_from(data, at)
            body = data[at + FRAME.size : at + FRAME.size + size]
            slot, number, replica, kind = ENTRY.unpack_from(body)
        except StructError:
            raise Damaged(f"it ends in the middle of an entry at byte {at}") from None
        if len(body) != size or zlib.crc32(body) != check or kind not in (NOOP, DATA, CONFIG):
            raise Damaged(f"the entry at byte {at} (after slot {entries[-1].slot if entries else '-'}) is damaged")
        entries.append(Entry(slot, Ballot(number, replica), kind, body[ENTRY.size :]))
        at += FRAME.size + size
    return entries


def sha256_of(data: bytes) -> str:
    """The checksum of an object, in hex."""
    return hashlib.sha256(data).hexdigest()


def content_of(entries: Iterable[Entry]) -> str:
    """SHA-256 of what was decided, ballots apart."""
    state = hashlib.sha256()
    for slot, _, kind, payload in entries:
        state.update(CONTENT.pack(slot, kind, len(payload)))
        state.update(payload)
    return state.hexdigest()


def link(before: str, first: int, last: int, content: str) -> str:
    """The chain after a segment."""
    return sha256_of(f"{before}\n{first}\n{last}\n{content}".encode())


def seal(place: Place, tip: Tip, entries: Sequence[Entry], begun_ms: int, ended_ms: int) -> tuple[Manifest, bytes]:
    """The manifest and the bytes of the segment that follows ``tip``."""
    data, content = encode(entries), content_of(entries)
    first, last = entries[0].slot, entries[-1].slot
    part = Part("log", len(data), sha256_of(data))
    manifest = Manifest(
        LOG, place.table, place.group, place.start.hex(), place.end.hex(), first, last, len(entries),
        content, link(tip.chain, first, last, content), begun_ms, ended_ms, (part,),
    )  # fmt: skip
    return manifest, data


def read_segment(manifest: Manifest, data: bytes) -> list[Entry]:
    """The entries of a stored segment. Raises :class:`Damaged` unless they are what its manifest sums up."""
    if len(manifest.parts) != 1:
        raise Damaged("its manifest is none of a segment")
    entries = decode(data)
    # Other bytes with the same contents: another replica's upload, whose log names other ballots.
    if sha256_of(data) != manifest.parts[0].sha256 and content_of(entries) != manifest.content:
        raise Damaged(f"its {len(data)} bytes are not those that its manifest sums up")
    return entries


def check_segment(place: Place, tip: Tip, manifest: Manifest, data: bytes) -> list[str]:
    """Everything that is wrong with a segment: that it belongs there, its checksums, no holes. Empty where all is well.

    Whose keys its entries write is for who can read payloads; see :meth:`Place.holds`.
    """
    wrong = check_manifest(place, tip, manifest)
    try:
        entries = read_segment(manifest, data)
    except Damaged as error:
        return [*wrong, str(error)]
    wrong += check_positions(manifest, entries)
    if content_of(entries) != manifest.content:
        wrong.append("its contents are not those that its manifest sums up")
    return wrong


def check_positions(manifest: Manifest, entries: Sequence[Entry]) -> list[str]:
    """Whether the entries are those of the manifest's positions, each once, in order."""
    slots = [entry.slot for entry in entries]
    if slots == list(range(manifest.first, manifest.last + 1)) and manifest.entries == len(slots):
        return []
    return [f"its entries are not those of slots {manifest.first} to {manifest.last}, each once"]


def check_manifest(place: Place, tip: Tip, manifest: Manifest) -> list[str]:
    """Whether a manifest belongs to this chain and follows ``tip``; what is wrong with it."""
    wrong = []
    if (manifest.table, manifest.group) != (place.table, place.group):
        wrong.append(f"it is of {manifest.table}/{manifest.group}, not of {place.table}/{place.group}")
    if (manifest.start, manifest.end) != (place.start.hex(), place.end.hex()):
        wrong.append("it is of another range of keys")
    if manifest.kind == LOG and manifest.first != tip.last + 1:
        wrong.append(f"it begins at slot {manifest.first}, but the archive ends at {tip.last}: a hole")
    if manifest.last < manifest.first:
        wrong.append(f"it ends at slot {manifest.last}, before it begins at {manifest.first}")
    if manifest.chain != link(tip.chain, manifest.first, manifest.last, manifest.content):
        wrong.append("it does not follow the segment before it: another history")
    return wrong


# --- images -----------------------------------------------------------------------------------------------------------


def encode_rows(rows: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A part of an image."""
    return b"".join([piece for key, value in rows for piece in (ROW.pack(len(key), len(value)), key, value)])


def decode_rows(data: bytes) -> list[tuple[bytes, bytes]]:
    """Inverse of :func:`encode_rows`. Raises :class:`Damaged`."""
    rows = []
    at = 0
    while at < len(data):
        try:
            key_bytes, value_bytes = ROW.unpack_from(data, at)
        except StructError:
            raise Damaged(f"the image ends in the middle of a row at byte {at}") from None
        at += ROW.size
        end = at + key_bytes + value_bytes
        if end > len(data):
            raise Damaged(f"the image ends in the middle of a row at byte {at}")
        rows.append((data[at : at + key_bytes], data[at + key_bytes : end]))
        at = end
    return rows


def image_manifest(place: Place, tip: Tip, slot: int, rows: int, parts: Sequence[Part]) -> Manifest:
    """The manifest of an image at ``slot``, with which a chain goes on after a hole that begins after ``tip``."""
    content = sha256_of("\n".join(part.sha256 for part in parts).encode())
    return Manifest(
        IMAGE, place.table, place.group, place.start.hex(), place.end.hex(), slot, slot, rows,
        content, link(tip.chain, slot, slot, content), 0, 0, tuple(parts), (tip.last + 1, slot),
    )  # fmt: skip


def image_part(number: int, data: bytes) -> Part:
    return Part(f"image-{number}", len(data), sha256_of(data))


# --- manifests --------------------------------------------------------------------------------------------------------


def encode_manifest(manifest: Manifest) -> bytes:
    """JSON with a checksum of its own, for people too: the same manifest always gives the same bytes."""
    fields: dict[str, Any] = manifest._asdict() | {"schema": 1, "parts": [part._asdict() for part in manifest.parts]}
    fields["check"] = _check_of(fields)
    return json.dumps(fields, indent=1, sort_keys=True).encode() + b"\n"


def decode_manifest(data: bytes) -> Manifest:
    """Raises :class:`Damaged` for anything that :func:`encode_manifest` did not write."""
    try:
        fields = json.loads(data)
        if fields.pop("check") != _check_of(fields) or fields.pop("schema") != 1:
            raise Damaged("the manifest's checksum does not hold")
        parts = tuple(Part(**part) for part in fields.pop("parts"))
        hole = fields.pop("hole")
        return Manifest(**fields, parts=parts, hole=tuple(hole) if hole else None)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"the manifest cannot be read: {error!r}") from None


def is_other(held: bytes, manifest: Manifest) -> bool:
    """Whether stored bytes are a sound manifest that says something else than ``manifest``."""
    try:
        return decode_manifest(held).identity != manifest.identity
    except Damaged:
        return False


def _check_of(fields: dict[str, Any]) -> str:
    text = json.dumps({name: value for name, value in fields.items() if name != "check"}, sort_keys=True)
    return sha256_of(text.encode())


def tip_after(manifest: Manifest) -> Tip:
    return Tip(manifest.last, manifest.chain)


class Chain(NamedTuple):
    """A whole archive as its manifests tell it: where a rebuild begins, what it applies, and what is wrong."""

    base: Manifest | None
    """The newest image at or before the position asked for; None: from the beginning."""
    segments: tuple[Manifest, ...]
    """What follows it, up to the position."""
    tip: Tip
    problems: tuple[str, ...]
    """Each a sentence with its positions. Holes before ``base`` that an image bridges are in ``bridged``."""
    bridged: tuple[tuple[int, int], ...]


def plan_rebuild(place: Place, manifests: Sequence[Manifest], slot: int) -> Chain:
    """What a rebuild of the group's rows at ``slot`` takes. ``manifests`` are all there are, in any order.

    Overlaps, holes, wrong successors and a chain that ends before ``slot`` are problems; so is a ``slot`` that is no
    end of a segment, since the rows at it could not be told.
    """
    ordered = sorted(manifests, key=lambda manifest: (manifest.first, manifest.last))
    tip, problems = ORIGIN, []
    tips = {ORIGIN.last: ORIGIN}
    base: Manifest | None = None
    segments: list[Manifest] = []
    bridged: list[tuple[int, int]] = []
    for manifest in ordered:
        if manifest.first > slot:
            break
        before = tips.get(manifest.hole[0] - 1, tip) if manifest.hole is not None else tip
        wrong = [f"segment {manifest.first}: {what}" for what in check_manifest(place, before, manifest)]
        if manifest.kind == IMAGE:
            # What is wrong before it is lost to history, not to the rows: the image stands for all of it.
            bridged += [manifest.hole] if manifest.hole is not None else []
            base, segments, problems = manifest, [], wrong
        else:
            segments.append(manifest)
            problems += wrong
        tip = tips[manifest.last] = tip_after(manifest)
    if tip.last != slot:
        problems.append(f"the archive's segments end at slot {tip.last}, not at {slot}")
    return Chain(base, tuple(segments), tip, tuple(problems), tuple(bridged))


def differing(ours: Sequence[Entry], theirs: Sequence[Entry]) -> int | None:
    """The first slot at which two copies of a segment say different things, ballots apart; None where none does."""
    for mine, other in zip(ours, theirs, strict=False):
        if (mine.slot, mine.kind, mine.payload) != (other.slot, other.kind, other.payload):
            return min(mine.slot, other.slot)
    if len(ours) != len(theirs):
        longer = ours if len(ours) > len(theirs) else theirs
        return longer[min(len(ours), len(theirs))].slot
    return None
