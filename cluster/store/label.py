"""What a replica's image must hold, kept outside the image: the guard against what SQLite would silently forgive.

SQLite drops whatever follows a damaged frame of its -wal file, and takes an empty main file for a new database. The
label is a small file beside them that says which position the image must at least have, and, while a checkpoint copies
frames into the main file, exactly which -wal contents make the image whole. It has two slots, written in turn, each
with its own checksum and generation: a power failure while one is written leaves the other, which was true before.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct

import google_crc32c

from cluster.node.world import PageFile

SLOT_BYTES = 4096
"""Each slot in a block of its own, so that one torn write cannot hurt both."""
LABEL = Struct("<4sIQBQQI")
MAGIC = b"BSPL"


class Phase(IntEnum):
    """Where in its life the image is."""

    CREATING = 1
    """The main file may be half made; nothing was ever applied."""
    LIVE = 2
    """The main file is whole at ``position``."""
    CHECKPOINTING = 3
    """The main file may be half copied: it is whole only together with the -wal bytes named here."""


PHASES = frozenset(Phase)


@dataclass(frozen=True, slots=True)
class Label:
    """One statement about an image."""

    generation: int
    phase: Phase
    position: int
    """The image holds everything up to this position."""
    wal_bytes: int
    wal_check: int
    """CRC32C of the first ``wal_bytes`` of the -wal file (while checkpointing)."""


def encode(label: Label) -> bytes:
    rest = LABEL.pack(MAGIC, 0, label.generation, label.phase, label.position, label.wal_bytes, label.wal_check)[8:]
    check: int = google_crc32c.value(rest)
    return (MAGIC + check.to_bytes(4, "little") + rest).ljust(SLOT_BYTES, b"\0")


def decode(data: bytes) -> Label | None:
    """The label in a slot, or None where a single byte of the slot is wrong."""
    if len(data) != SLOT_BYTES:
        return None
    _, _, generation, phase, position, wal_bytes, wal_check = LABEL.unpack_from(data)
    if phase not in PHASES:
        return None
    label = Label(generation, Phase(phase), position, wal_bytes, wal_check)
    return label if encode(label) == data else None


class LabelFile:
    """The label of one image, on its file."""

    def __init__(self, file: PageFile) -> None:
        self._file = file
        self.label: Label | None = None
        """The newest readable statement, None where there is none."""

    def load(self) -> Label | None:
        """Read it; None where no slot is readable, as before the first write was finished."""
        slots = [decode(self._file.read(at, SLOT_BYTES)) for at in (0, SLOT_BYTES)]
        readable = [label for label in slots if label is not None]
        self.label = max(readable, key=lambda label: label.generation, default=None)
        return self.label

    def write(self, phase: Phase, position: int, *, wal_bytes: int = 0, wal_check: int = 0) -> None:
        """Make a new statement durable."""
        generation = 1 if self.label is None else self.label.generation + 1
        label = Label(generation, phase, position, wal_bytes, wal_check)
        self._file.write(generation % 2 * SLOT_BYTES, encode(label))
        self._file.sync()
        self.label = label

    def close(self) -> None:
        self._file.close()
