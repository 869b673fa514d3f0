"""``corruption.jsonl``: the ledger of injected damage, and what found each piece of it."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec


class DamageEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One injected damage. Appended again under the same ``id`` when something finds or repairs it: the last wins.

    ``offset`` and ``length`` are bytes in ``file`` (its path below the node's data directory); ``old`` and ``new`` are
    hashes of that range. Times are seconds since the run began. ``found_by`` names the detector: read, write,
    checkpoint, scrub, transfer, recovery, archive compare. ``gone_s``: by then the bytes had been rewritten in the
    ordinary course of things, before anything read them. ``live`` is False for free space, which nothing need ever
    read; ``what`` says what lives there.
    """

    id: str
    node: str
    file: str
    mode: str
    offset: int
    length: int
    old: str
    new: str
    injected_s: float
    live: bool | None = None
    found_by: str | None = None
    found_s: float | None = None
    repaired_s: float | None = None
    gone_s: float | None = None
    fault: str = ""
    place: str = ""
    what: str = ""
    groups: list[str] = []
    extent: list[int] = []
    found_how: str = ""


def append_damage(path: str | os.PathLike[str], entry: DamageEntry) -> None:
    """Append and fsync: the ledger must know of a damage before the damage is done."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        os.write(fd, msgspec.json.encode(entry) + b"\n")
        os.fsync(fd)
    finally:
        os.close(fd)


def read_ledger(path: str | os.PathLike[str]) -> list[DamageEntry]:
    """The latest state of each entry, in order of injection; a missing file is an empty ledger.

    Raises :class:`msgspec.DecodeError` on a damaged line: a ledger that cannot be trusted must not be half read.
    """
    where = Path(path)
    if not where.exists():
        return []
    latest: dict[str, DamageEntry] = {}
    decode = msgspec.json.Decoder(DamageEntry).decode
    for line in where.read_bytes().splitlines():
        if line.strip():
            entry = decode(line)
            latest[entry.id] = entry
    return list(latest.values())
