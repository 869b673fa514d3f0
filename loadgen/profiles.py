"""Named mixes of operations. A profile is data; :mod:`loadgen.plan` turns it into operations."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

OpName = Literal["put", "cput", "update", "delete", "get", "eget", "final", "twrite", "tread"]
"""As in the history: put, conditional put, update, delete, strong get, eventual get, closing strong read, writing and
reading transaction."""

WRITES: frozenset[str] = frozenset({"put", "cput", "update", "delete"})
TRANSACTIONS: frozenset[str] = frozenset({"twrite", "tread"})

ITEM_BYTES_MIN = 64
ITEM_BYTES_MAX = 400 * 1024


@dataclass(frozen=True, slots=True)
class Profile:
    """Shares of the operations (any positive numbers), the key distribution, and the size of an item in bytes.

    ``conditional_updates`` is the share of updates that carry a condition on the value they expect to replace.
    """

    name: str
    about: str
    weights: dict[OpName, float]
    distribution: str = "zipfian"
    item_bytes: int = 900
    conditional_updates: float = 0.5
    keys: int = 1000
    aliases: tuple[str, ...] = field(default=())
    indexed: bool = False
    """Whether its table has secondary indexes, see :mod:`loadgen.schema`."""
    workload: str = ""
    """What its transactions are about, see :mod:`loadgen.transactions`; empty: it has none."""

    def __post_init__(self) -> None:
        if not self.weights or any(weight <= 0 for weight in self.weights.values()):
            raise ValueError(f"profile {self.name}: every weight must be positive")
        if not ITEM_BYTES_MIN <= self.item_bytes <= ITEM_BYTES_MAX:
            raise ValueError(f"profile {self.name}: an item has {ITEM_BYTES_MIN} to {ITEM_BYTES_MAX} bytes")


_ALL = (
    Profile(
        "mixed",
        "puts, conditional puts, updates, deletes, strong and eventual reads: what game days use",
        {"put": 0.22, "cput": 0.12, "update": 0.12, "delete": 0.04, "get": 0.30, "eget": 0.20},
    ),
    Profile(
        "write-heavy",
        "nine writes to a read: the log and group commit at work",
        {"put": 0.60, "cput": 0.15, "update": 0.12, "delete": 0.03, "get": 0.10},
    ),
    Profile(
        "read-heavy",
        "nineteen reads to a write, as YCSB B",
        {"put": 0.05, "get": 0.55, "eget": 0.40},
        aliases=("ycsb-b",),
    ),
    Profile(
        "balanced",
        "one strong read to a put over uniform keys, as YCSB A in the DynamoDB paper (section 7)",
        {"put": 0.5, "get": 0.5},
        distribution="uniform",
        aliases=("ycsb-a",),
    ),
    Profile("puts", "nothing but puts over uniform keys", {"put": 1.0}, distribution="uniform"),
    Profile("gets", "nothing but strong reads over uniform keys", {"get": 1.0}, distribution="uniform"),
    Profile(
        "hot-key",
        "nine in ten operations on one key in a hundred: chains as long as they get",
        {"put": 0.30, "cput": 0.20, "update": 0.10, "get": 0.30, "eget": 0.10},
        distribution="hot",
        keys=500,
    ),
    Profile(
        "indexed",
        "as mixed, on a table with local and global indexes, one of them added under load",
        {"put": 0.26, "cput": 0.10, "update": 0.20, "delete": 0.08, "get": 0.22, "eget": 0.14},
        indexed=True,
    ),
    Profile(
        "bank",
        "transfers between accounts, transactional reads of all: the total never changes; some plain puts and gets",
        {"twrite": 0.2, "tread": 0.4, "put": 0.2, "get": 0.2},
        keys=10,
        workload="bank",
    ),
    Profile(
        "list-append",
        "transactional appends to lists, some on condition of another, and reads of several; some plain puts and gets",
        {"twrite": 0.5, "tread": 0.3, "put": 0.1, "get": 0.1},
        keys=400,
        workload="list-append",
    ),
)

PROFILES: dict[str, Profile] = {name: profile for profile in _ALL for name in (profile.name, *profile.aliases)}


def profile_named(name: str) -> Profile:
    """The profile called ``name``; :class:`ValueError` lists the names there are."""
    try:
        return PROFILES[name]
    except KeyError:
        raise ValueError(f"no load profile {name!r}; there are {', '.join(sorted(PROFILES))}") from None
