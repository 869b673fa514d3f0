"""The one frame of the write-ahead log: a batch of records, aligned to 4 KiB, that proves what and where it is.

Layout, little-endian::

    header      magic, header CRC, store, segment, offset, sequence, durable, previous, body CRC, three lengths
    directory   one entry a record: slot, ordinal, length of its body, whether a chain begins, group
    bodies      the records' bytes, one after another, then zeros up to a multiple of 4096

The header's CRC32C covers the rest of the header and the directory; the body's covers bodies and padding. So every byte
of a file is under one of the two, and a batch whose bodies are damaged still says whose they were. A batch names its
store, segment and offset: a stale, copied or misplaced one is recognised even though its checksums are right.
``previous`` is the header CRC of the batch before (a chain, as that CRC covers the body's). ``durable`` is the mark:
all batches up to that sequence were known to be synced when this one was written.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import NamedTuple

import google_crc32c

ALIGN_BYTES = 4096
MAGIC = b"BSW1"
HEADER = Struct("<4sIQQQQQIIIII")
CHECKED_FROM = 8
"""The header's checksum covers everything after the magic and itself; both are compared exactly."""
ENTRY = Struct("<qQI?B")
HARD_STATE = -1
"""The slot of records that state a group's hard state; log entries have slots from 0."""
GROUP_BYTES_MAX = 255

_crc = google_crc32c.value
_extend = google_crc32c.extend


class Record(NamedTuple):
    """One record as recovery found it."""

    group: str
    slot: int
    """Position in the group's log, or :data:`HARD_STATE`."""
    ordinal: int
    """Rises by one from record to record of a group on this node, and never repeats: a gap is a lost record."""
    begins: bool
    """True where the host began a new chain on purpose: earlier records of the group are void."""
    body: bytes | None
    """None where the bytes failed their checksum."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch whose header and directory are sound."""

    offset: int
    end: int
    sequence: int
    durable: int
    previous: int
    check: int
    records: tuple[Record, ...]
    intact: bool
    """False where the bodies failed their checksum or are cut off."""


def seal(
    store: int,
    segment: int,
    offset: int,
    sequence: int,
    durable: int,
    previous: int,
    entries: list[bytes],
    bodies: list[bytes],
) -> tuple[bytes, int, int]:
    """The batch's bytes, how many zeros come after them up to a multiple of 4096, and its header CRC (the next batch's
    ``previous``)."""
    directory = b"".join(entries)
    body = b"".join(bodies)
    zeros = -(HEADER.size + len(directory) + len(body)) % ALIGN_BYTES
    rest = HEADER.pack(
        MAGIC,
        0,
        store,
        segment,
        offset,
        sequence,
        durable,
        previous,
        _extend(_crc(body), bytes(zeros)),
        len(directory),
        len(body),
        len(entries),
    )[CHECKED_FROM:]
    front = rest + directory
    check: int = _crc(front)
    return b"".join((MAGIC, check.to_bytes(4, "little"), front, body)), zeros, check


class _Front(NamedTuple):
    """What a sound header says."""

    check: int
    sequence: int
    durable: int
    previous: int
    body_check: int
    records: int
    bodies: int
    """Where the bodies begin in the data."""
    end: int


def _front(data: bytes, offset: int, store: int, segment: int, base: int = 0) -> _Front | None:
    if offset + HEADER.size > len(data):
        return None
    (
        magic,
        check,
        of_store,
        of_segment,
        of_offset,
        sequence,
        durable,
        previous,
        body_check,
        directory_bytes,
        body_bytes,
        n,
    ) = HEADER.unpack_from(data, offset)
    if (magic, of_store, of_segment, of_offset) != (MAGIC, store, segment, base + offset):
        return None
    front_end = offset + HEADER.size + directory_bytes
    if front_end > len(data) or _crc(data[offset + CHECKED_FROM : front_end]) != check:
        return None
    used = HEADER.size + directory_bytes + body_bytes
    return _Front(check, sequence, durable, previous, body_check, n, front_end, offset + used + (-used % ALIGN_BYTES))


def parse(data: bytes, offset: int, store: int, segment: int) -> Batch | None:
    """The batch that begins at ``offset``, or None where no sound header of this store and segment stands there."""
    front = _front(data, offset, store, segment)
    if front is None:
        return None
    end, body = front.end, data[front.bodies : front.end]
    intact = end <= len(data) and _crc(body) == front.body_check
    records = _records(data, offset + HEADER.size, front.records, body if intact else None)
    return Batch(offset, end, front.sequence, front.durable, front.previous, front.check, records, intact)


def end_of_sound(data: bytes, offset: int, store: int, segment: int, base: int) -> int:
    """Where the batch at ``offset`` ends, if every byte of it is there and sound, else 0: for who wants no records.
    ``data`` is what the segment has from ``base`` on."""
    front = _front(data, offset, store, segment, base)
    if front is None or front.end > len(data) or _crc(data[front.bodies : front.end]) != front.body_check:
        return 0
    return front.end


def _records(data: bytes, at: int, count: int, body: bytes | None) -> tuple[Record, ...]:
    records = []
    start = 0
    for _ in range(count):
        slot, ordinal, length, begins, group_bytes = ENTRY.unpack_from(data, at)
        at += ENTRY.size + group_bytes
        group = data[at - group_bytes : at].decode()
        records.append(Record(group, slot, ordinal, begins, None if body is None else body[start : start + length]))
        start += length
    return tuple(records)
