"""The checksum by which replicas are compared: over rows in key order, independent of pages and history.

A tree of them, so that a difference can be found without sending the rows: a leaf sums up the rows whose keys begin
with the same twelve bits (keys begin with a hash, so leaves are even), and the digest sums up the leaves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from struct import Struct
from typing import NamedTuple

LENGTHS = Struct("<II")
LEAF = Struct("<H")
DIGEST_BYTES = 16
LEAF_BITS = 12
LEAVES = 1 << LEAF_BITS


Leaves = dict[int, bytes]
Rows = list[tuple[bytes, bytes]]


class Digest(NamedTuple):
    """What a replica holds at a position."""

    digest: str
    """Hex of a BLAKE2b over the leaves that are not empty, each with its number, in order."""
    items: int
    bytes: int
    """Keys and images, without any overhead."""
    position: int
    leaves: Leaves
    """BLAKE2b over every (key, value) with their lengths, in key order, by leaf."""
    rows: Rows
    """The rows of the one leaf that was asked for, as (key, digest of the value)."""


def leaf_of(key: bytes) -> int:
    """The leaf that a key belongs to: its first twelve bits."""
    return int.from_bytes(key[:2].ljust(2, b"\0"), "big") >> (16 - LEAF_BITS)


def leaf_range(leaf: int) -> tuple[bytes, bytes]:
    """``start <= key < end`` for exactly the keys of a leaf; an empty ``end`` is open."""
    start, end = leaf << (16 - LEAF_BITS), (leaf + 1) << (16 - LEAF_BITS)
    return start.to_bytes(2, "big"), end.to_bytes(2, "big") if leaf + 1 < LEAVES else b""


def row_digest(value: bytes) -> bytes:
    """What stands for a row's value where rows are compared one by one."""
    return hashlib.blake2b(value, digest_size=DIGEST_BYTES).digest()


class Digester:
    """Builds a :class:`Digest` from rows that come in key order. ``watch`` names a leaf whose rows are to be kept, as
    ``(key, digest of its value)``."""

    def __init__(self, watch: int | None = None) -> None:
        self._rows: Rows = []
        self._watch = watch
        self._leaves: dict[int, bytes] = {}
        self._leaf = -1
        self._parts: list[bytes] = []
        self._hash = hashlib.blake2b(digest_size=DIGEST_BYTES)
        self._items = 0
        self._bytes = 0

    def add(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Take rows; within a leaf one hash goes on from call to call."""
        pack, parts = LENGTHS.pack, self._parts
        for key, value in rows:
            leaf = key[0] << 4 | key[1] >> 4 if len(key) > 1 else leaf_of(key)
            if leaf != self._leaf:
                self._close()
                parts = self._parts
                self._leaf = leaf
            parts += (pack(len(key), len(value)), key, value)
            self._bytes += len(key) + len(value)
            self._items += 1
            if leaf == self._watch:
                self._rows.append((key, row_digest(value)))
        self._hash.update(b"".join(parts))
        parts.clear()

    def _close(self) -> None:
        if self._leaf >= 0:
            self._hash.update(b"".join(self._parts))
            self._leaves[self._leaf] = self._hash.digest()
            self._hash = hashlib.blake2b(digest_size=DIGEST_BYTES)
            self._parts = []

    def digest(self, position: int) -> Digest:
        """Of all the rows so far. Ends the digester."""
        self._close()
        self._leaf = -1
        top = hashlib.blake2b(digest_size=DIGEST_BYTES)
        for leaf, value in self._leaves.items():
            top.update(LEAF.pack(leaf) + value)
        return Digest(top.hexdigest(), self._items, self._bytes, position, self._leaves, self._rows)
