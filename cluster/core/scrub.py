"""Judging what replicas say they hold: who differs, in which range of keys, and at which item first. Pure.

[P22 §5]: the scrub makes sure that all three replicas of a group are equal, and equal to a copy built from the archived
log. Everybody speaks of the same position, a barrier in the group's log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

Leaves = Mapping[int, bytes]
"""By the first bits of a key: the digest of the rows whose keys begin so. An empty range is absent."""

Rows = Sequence[tuple[bytes, bytes]]
"""``(key, digest of its value)`` in key order."""


class Agreement(NamedTuple):
    """What a majority of a group's replicas holds, and who holds something else."""

    digest: str | None
    """None: no digest has a majority."""
    good: tuple[str, ...]
    bad: tuple[str, ...]


class FirstDifference(NamedTuple):
    """The first row, in key order, that two copies differ in."""

    key: bytes
    what: str
    """``missing`` in the copy that is judged, ``extra`` in it, or ``different``."""


def judge(digests: Mapping[str, str], members: int, reference: str | None = None) -> Agreement:
    """Who agrees with whom. ``digests`` by node; ``members`` is how many there should be.

    With a ``reference`` that one is right. Without it a majority of all members is, those that did not answer counted
    in: two that differ while the third is silent judge nobody.
    """
    names = sorted(digests)
    right = reference
    if right is None and digests:
        (most, count), *_ = sorted(Counter(digests.values()).items(), key=lambda item: (-item[1], item[0]))
        right = most if 2 * count > members else None
    if right is None:
        return Agreement(None, (), tuple(names) if len(set(digests.values())) > 1 else ())
    good = tuple(name for name in names if digests[name] == right)
    return Agreement(right, good, tuple(name for name in names if digests[name] != right))


def first_leaf(right: Leaves, judged: Leaves) -> int | None:
    """The first range of keys in which a copy differs from what is right; None where it does not."""
    return min((leaf for leaf in right.keys() | judged.keys() if right.get(leaf) != judged.get(leaf)), default=None)


def first_row(right: Rows, judged: Rows) -> FirstDifference | None:
    """The first row in which a copy differs from what is right; None where it does not."""
    theirs, mine = dict(judged), dict(right)
    for key in sorted(theirs.keys() | mine.keys()):
        if key not in theirs:
            return FirstDifference(key, "missing")
        if key not in mine:
            return FirstDifference(key, "extra")
        if theirs[key] != mine[key]:
            return FirstDifference(key, "different")
    return None
