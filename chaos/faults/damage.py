"""Where to damage a disk, and with what. Pure: it reads files through :class:`Files` and writes nothing.

The modes are those in which disks really go wrong: ``bit-flip``; ``chunk-copy``: a sector holds what belongs elsewhere
in the file (a misdirected write); ``old-chunk``: it holds what stood there before (a lost write); ``truncate``: the end
of the file is gone; ``helix``: every copy of a group is damaged by a flipped bit, no two in the same place.
"""

from __future__ import annotations

import base64
import hashlib
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

from chaos.errors import InputError
from chaos.targets import GroupView

Place = Literal["btree", "log", "archive"]
Mode = Literal["bit-flip", "chunk-copy", "old-chunk", "truncate", "helix"]

SECTOR_BYTES = 512
READ_BYTES_MAX = 16 << 20
"""Of a file, its beginning is looked at: enough for a game day, and bounded on a disk that is full."""

HASH_BYTES = 16
PAGES, LOG, OBJECTS = "pages/", "log/", "objects/"


class Files(Protocol):
    """The files of one node's data directory, by their path below it."""

    def list(self) -> Mapping[str, int]:
        """Name to size."""
        ...

    def read(self, name: str, offset: int = 0, length: int = READ_BYTES_MAX) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Damage:
    """One change of bytes, decided and not yet made. ``old`` and ``new`` are fingerprints of the range."""

    id: str
    node: str
    file: str
    mode: str
    place: str
    offset: int
    length: int
    old: str
    new: str
    data: str
    """What to write there, in base64; for a truncation nothing, the file then ends at ``offset``."""
    live: bool
    what: str
    groups: tuple[str, ...]
    extent: tuple[int, int]
    """The page or batch that the range lies in: offset and length."""

    def to_json(self) -> dict[str, Any]:
        """For the journal."""
        return {**asdict(self), "groups": list(self.groups), "extent": list(self.extent)}


def damage_of(value: Mapping[str, Any]) -> Damage:
    """A damage as the journal has it."""
    return Damage(**{**value, "groups": tuple(value["groups"]), "extent": tuple(value["extent"])})


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a ``bit-rot`` action asks for."""

    place: Place
    mode: Mode
    of: str
    """Table or group to choose from; empty for any group of a table."""
    space: Literal["live", "free"]
    count: int
    """Places on each target."""


def fingerprint(data: bytes) -> str:
    """By which ranges are compared (``hostops.damage`` has a copy: that file stands alone)."""
    return hashlib.blake2b(data, digest_size=HASH_BYTES).hexdigest()


def choose(
    entry_id: str,
    wanted: Wanted,
    disks: Mapping[str, Files],
    groups: Sequence[GroupView],
    avoid: frozenset[str],
    rng: random.Random,
) -> list[Damage]:
    """What to damage on each of ``disks``. Groups in ``avoid`` already have a damaged replica and get no second one.

    Raises :class:`InputError` where a disk has nothing that may be damaged.
    """
    if wanted.mode == "helix":
        return helix(entry_id, wanted, disks, groups, avoid, rng)
    found: list[Damage] = []
    taken = set(avoid)
    for node in sorted(disks):
        extents = candidates(wanted, node, disks[node], groups, frozenset(taken), rng)
        usable = [
            extent for extent in extents if (extent.live or wanted.place == "archive") == (wanted.space == "live")
        ]
        if wanted.mode == "old-chunk" and wanted.place == "btree":
            usable = [extent for extent in usable if extent.older is not None]
        if not usable:
            raise InputError(
                f"{node} has no {wanted.space} bytes in its {wanted.place} for '{wanted.mode}' to damage, in a group "
                "that has no damaged replica already",
                hint="Let the cluster write for longer, or choose another place, mode or target.",
            )
        for extent in rng.sample(usable, min(wanted.count, len(usable))):
            found.append(make(f"{entry_id}.{len(found)}", node, wanted, extent, disks[node], usable, rng))
            taken.update(extent.groups)
    return found


def candidates(
    wanted: Wanted, node: str, files: Files, groups: Sequence[GroupView], avoid: frozenset[str], rng: random.Random
) -> Sequence[Any]:
    """Extents of one disk in which damage is wanted; of B-trees those of one group, chosen at random."""
    from cluster.store.anatomy import Extent, log_extents

    sizes = files.list()
    if wanted.place == "log":
        names = sorted(name for name in sizes if name.startswith(LOG + "wal-") and name.endswith(".log"))
        if wanted.mode == "truncate":
            # The newest segment's end takes the marks of its batches with it: nothing could tell that from a torn tail.
            del names[-1:]
        # One extent after the other in time: damage to the newest batches would meet those still being marked.
        return [
            extent._replace(file=name)
            for name in names
            for extent in log_extents(name.removeprefix(LOG), files.read(name))
            if extent.groups
        ]
    if wanted.place == "archive":
        names = sorted(name for name, size in sizes.items() if name.startswith(OBJECTS) and size and ".log" in name)
        return [Extent(name, 0, sizes[name], f"object {name.rpartition('/')[2]}", True) for name in names]
    mine = [g for g in groups if node in g.voters and g.group not in avoid and means(wanted, g)]
    rng.shuffle(mine)
    for group in mine:
        found = tree_of(files, group.group)
        if any(extent.live == (wanted.space == "live") for extent in found):
            return found
    return []


def means(wanted: Wanted, group: GroupView) -> bool:
    """Whether an action's ``of`` means a group; the system group only where it is named."""
    return wanted.of in (group.table, group.group) if wanted.of else group.table not in ("", "system")


def tree_of(files: Files, group: str) -> list[Any]:
    """The extents of one group's B-tree on one disk."""
    from cluster.store.anatomy import tree_extents

    sizes, main = files.list(), f"{PAGES}{group}.db"
    if main not in sizes:
        return []
    wal = files.read(main + "-wal") if main + "-wal" in sizes else b""
    return tree_extents(group, main, files.read(main), wal)


def helix(
    entry_id: str,
    wanted: Wanted,
    disks: Mapping[str, Files],
    groups: Sequence[GroupView],
    avoid: frozenset[str],
    rng: random.Random,
) -> list[Damage]:
    """Every replica of one group, each in a part of its own of the tree, so that no two are hurt in the same place."""
    whole = [g for g in groups if g.group not in avoid and means(wanted, g) and set(g.voters) <= set(disks)]
    rng.shuffle(whole)
    for group in whole:
        trees = {node: [e for e in tree_of(disks[node], group.group) if e.live] for node in group.voters}
        if min(len(tree) for tree in trees.values()) < len(trees):
            continue
        found = []
        for part, (node, tree) in enumerate(sorted(trees.items())):
            mine = tree[part * len(tree) // len(trees) : (part + 1) * len(tree) // len(trees)]
            flip = make(f"{entry_id}.{part}", node, wanted, rng.choice(mine), disks[node], mine, rng)
            found.append(flip)
        return found
    raise InputError(
        "a helix needs all replicas of one group among its targets, each with three pages at least",
        hint="Write 'select: role=storage', and let the cluster write for longer.",
    )


def make(
    name: str, node: str, wanted: Wanted, extent: Any, files: Files, others: Iterable[Any], rng: random.Random
) -> Damage:
    """The bytes of one damage within an extent."""
    if wanted.mode == "truncate":
        end = files.list()[extent.file]
        offset, length = extent.offset + extent.length // 2, end - extent.offset - extent.length // 2
        before = files.read(extent.file, offset, length)
        after = b""
    else:
        start = rng.randrange(0, max(1, extent.length), SECTOR_BYTES)
        offset, length = extent.offset + start, min(SECTOR_BYTES, extent.length - start)
        before = files.read(extent.file, offset, length)
        after = changed(wanted.mode, before, extent, start, files, others, rng)
    return Damage(
        name, node, extent.file, wanted.mode, wanted.place, offset, len(before), fingerprint(before),
        fingerprint(after), base64.b64encode(after).decode(), extent.live, extent.what, extent.groups,
        (extent.offset, extent.length),
    )  # fmt: skip


def changed(
    mode: str, before: bytes, extent: Any, start: int, files: Files, others: Iterable[Any], rng: random.Random
) -> bytes:
    """What a sector holds after the damage; a flipped bit where the mode's own change would change nothing."""
    after = before
    if mode == "chunk-copy":
        for other in others:
            if other.offset != extent.offset and other.file == extent.file:
                after = files.read(extent.file, other.offset + start, len(before)).ljust(len(before), b"\0")
                if after != before:
                    break
    elif mode == "old-chunk":
        # Before a file grew to here there was nothing: what a lost write leaves is zeros.
        older = extent.older
        after = bytes(len(before)) if older is None else files.read(extent.file, older + start, len(before))
    if after != before:
        return after
    at = rng.randrange(len(before))
    return before[:at] + bytes([before[at] ^ 1 << rng.randrange(8)]) + before[at + 1 :]
