"""Who this data directory belongs to, and how often it has been started.

The superblock is two equal small files, each with its own checksum, so that one damaged byte neither goes unnoticed
nor takes the node's identity away. It is written when the directory is formatted and at every start, before the node
says anything: the incarnation in it tells this life of the node from all earlier ones (leases and log segments rely
on that).

A directory that a planted bug wrote to carries the plant's name for ever and is refused by a node without that plant.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

import google_crc32c

from cluster.node.world import LogDirectory, Rng

NAMES = ("superblock-0", "superblock-1")
FORMAT = 1
MAGIC = b"BLACKSTART SUPERBLOCK\n"


class SuperblockDamaged(Exception):
    """Both copies are unreadable, or absent beside a log: this node's past is unknown and it must not vote."""


class WrongDirectory(Exception):
    """The directory belongs to another node or cluster, or to a run with a planted bug."""


@dataclass(frozen=True, slots=True)
class Superblock:
    """The durable identity of one data directory."""

    cluster: str
    node: str
    store_id: int
    """64 random bits drawn when the directory was formatted; a node on a new disk has another."""
    incarnation: int
    """1 at the first start, one more at each; (store_id, incarnation) never repeats."""
    plant: str | None
    """The planted bug that wrote here, if any did."""

    @property
    def fresh(self) -> bool:
        """True in the very first life: nothing can have been forgotten yet."""
        return self.incarnation == 1


@dataclass(frozen=True, slots=True)
class Boot:
    """What :func:`boot` found: the superblock of this life, and the copies that had to be repaired."""

    superblock: Superblock
    repaired: tuple[str, ...]


def encode(block: Superblock) -> bytes:
    body = json.dumps({"format": FORMAT, **asdict(block)}, sort_keys=True).encode()
    return MAGIC + b"%08x\n" % google_crc32c.value(MAGIC + body) + body


def decode(data: bytes) -> Superblock | None:
    """The superblock in ``data``, or None where a single byte of it is wrong. Unknown formats raise WrongDirectory."""
    body = data[len(MAGIC) + 9 :]
    if data != MAGIC + b"%08x\n" % google_crc32c.value(MAGIC + body) + body:
        return None
    fields: dict[str, Any] = json.loads(body)
    found = fields.pop("format")
    if found != FORMAT:
        raise WrongDirectory(f"the data directory has format {found}, this version reads format {FORMAT}: upgrade")
    return Superblock(**fields)


def load(directory: LogDirectory) -> tuple[Superblock | None, tuple[str, ...]]:
    """The newest readable copy and the names of unreadable, absent or older ones. Writes nothing."""
    copies = {name: directory.read_small(name) for name in NAMES}
    decoded = {name: None if data is None else decode(data) for name, data in copies.items()}
    readable = [block for block in decoded.values() if block is not None]
    if not readable:
        if any(data is not None for data in copies.values()):
            raise SuperblockDamaged(
                "both superblocks are unreadable: this node cannot know what it promised. "
                "Replace its replicas, then empty the data directory and start it again"
            )
        return None, ()
    newest = max(readable, key=lambda block: block.incarnation)
    # A power failure between the two writes leaves one copy an incarnation behind: that is no damage.
    return newest, tuple(name for name in NAMES if decoded[name] is None)


def boot(directory: LogDirectory, *, cluster: str, node: str, plant: str | None, rng: Rng) -> Boot:
    """Format or open the directory for a new life of ``node``, durably, before anything else is done with it.

    Raises :class:`SuperblockDamaged` or :class:`WrongDirectory`; both say what to do. ``plant`` is the planted bug that
    this node runs with: it marks the directory, and a directory so marked is refused without it.
    """
    found, damaged = load(directory)
    if found is None:
        leftovers = [name for name in directory.list() if name not in NAMES]
        if leftovers:
            raise SuperblockDamaged(
                f"the data directory has files ({leftovers[0]}, ...) but no superblock: this node cannot know what it "
                "promised. Replace its replicas, then empty the data directory and start it again"
            )
        found = Superblock(cluster, node, rng.getrandbits(64), 0, plant)
    if (found.cluster, found.node) != (cluster, node):
        raise WrongDirectory(
            f"the data directory belongs to node {found.node} of cluster {found.cluster}, "
            f"not to {node} of {cluster}: check what is mounted"
        )
    if found.plant is not None and found.plant != plant:
        raise WrongDirectory(
            f"the data directory was written by a node with the planted bug {found.plant!r}: "
            "its contents prove nothing. Empty it before using it"
        )
    block = replace(found, incarnation=found.incarnation + 1, plant=plant)
    for name in NAMES:
        directory.write_small(name, encode(block))
    return Boot(block, damaged)
