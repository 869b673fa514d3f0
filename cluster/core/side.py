"""Side rows: rows of a group that are not items of its table.

They live in the same key space, so that they are replicated, digested, scrubbed, snapshotted and recovered exactly as
items are, with no second mechanism. Their keys begin with :data:`SIDE`: sixteen zero bytes and ``0x80``. An item's key
begins with sixteen bytes of MD5 and then its hash value's type byte ``01`` to ``03`` (:mod:`cluster.core.keys`), so
that no item can ever sort among them, even one whose MD5 were all zeros. Behind the prefix stands one family byte.

======  ===========  ==========================================================================================
family  name         what its rows are; ``rest`` is the key behind the family byte
======  ===========  ==========================================================================================
``01``  ``OUTBOX``   index changes not yet propagated: ``rest`` is an 8-byte stamp and the item's key
``02``  ``TXN``      transactions in flight on an item [P23]: ``rest`` is the item's key
``03``  ``META``     values of the whole group: ``rest`` is a name, such as ``shape`` or ``clock``
======  ===========  ==========================================================================================

A side row's value is whatever its owner packs, not an item image. Whoever walks items starts above :data:`END` or asks
:func:`is_side`.
"""

from __future__ import annotations

SIDE = b"\0" * 16 + b"\x80"
END = b"\0" * 16 + b"\x81"
"""The first key above every side row."""

OUTBOX = SIDE + b"\x01"
TXN = SIDE + b"\x02"
META = SIDE + b"\x03"
"""Each family's prefix: ``key = family + rest``."""

CLOCK = META + b"clock"
"""The greatest stamp the group has given out, 8 bytes big-endian, written with every entry that gave out any: a new
leader starts above it, and takes no missing item to have been deleted later than that."""

FAMILY_BYTES = len(TXN)


def is_side(key: bytes) -> bool:
    """Whether a storage key is a side row's."""
    return key.startswith(SIDE)


def rest(key: bytes) -> bytes:
    """A side row's key behind its family byte."""
    return key[FAMILY_BYTES:]


def bounds(family: bytes) -> tuple[bytes, bytes]:
    """``(start, end)`` of a family: ``start <= key < end`` for exactly its rows."""
    return family, family[:-1] + bytes((family[-1] + 1,))
