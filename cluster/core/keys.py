"""Storage keys: where an item lives and in what order.

A key is a hash of the hash value (16 bytes, which spread items over partitions), then the hash value itself (so that
two values whose hashes collide stay apart), then the sort value; both in an encoding whose byte order is
DynamoDB's order, ending in a terminator so that no key is a prefix of another and further key attributes can follow.
P22: "the hash of the partition key in combination with the sort key value determines where the item will be stored".
The hash is the one that the order of DynamoDB's own scans and the segments of its parallel scans show, so that ours
have the same: MD5 over the word in :data:`HASH_SALT` and the value's bytes.

=====  =====================================================
type   encoding
=====  =====================================================
``S``  ``0x02``, UTF-8 with ``00`` as ``00 FF``, then ``00 00``
``B``  ``0x03``, the bytes with ``00`` as ``00 FF``, then ``00 00``
``N``  ``0x01``, then :func:`cluster.core.numbers.encode_number`
=====  =====================================================
"""

from __future__ import annotations

import hashlib
from binascii import a2b_base64, b2a_base64
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from cluster.core.errors import ApiError, invalid
from cluster.core.numbers import decode_number, encode_number, hashed_number

HASH_BYTES = 16
HASH_SALT = b"Outliers"
HASH_KEY_BYTES_MAX = 2048
SORT_KEY_BYTES_MAX = 1024
PARTITIONS_MAX = 1024

_NUMBER = 0x01
_ZERO = 0x02
"""A number's first byte says its sign: 1 negative, 2 zero, 3 positive."""

_md5 = hashlib.md5


class KeyAttribute(NamedTuple):
    """A key attribute's name and its type: ``S``, ``N`` or ``B``."""

    name: str
    type: str


class KeySchema(NamedTuple):
    """A table's primary key."""

    hash: KeyAttribute
    sort: KeyAttribute | None

    @property
    def names(self) -> tuple[str, ...]:
        """The key attributes' names, hash first."""
        return (self.hash.name,) if self.sort is None else (self.hash.name, self.sort.name)

    @property
    def attributes(self) -> tuple[KeyAttribute, ...]:
        """The key attributes, hash first."""
        return (self.hash,) if self.sort is None else (self.hash, self.sort)


def encode_value(kind: str, value: str) -> bytes:
    """One key attribute's order-preserving bytes; ``value`` is the DynamoDB JSON text (base64 for ``B``)."""
    if kind == "S":
        raw = value.encode()
        return b"\x02" + (raw.replace(b"\0", b"\0\xff") if b"\0" in raw else raw) + b"\0\0"
    if kind == "B":
        return b"\x03" + a2b_base64(value).replace(b"\0", b"\0\xff") + b"\0\0"
    return b"\x01" + encode_number(value)


def hashed_value(kind: str, value: str) -> bytes:
    """A key attribute's bytes as hashes are made of them."""
    if kind == "S":
        return value.encode()
    return a2b_base64(value) if kind == "B" else hashed_number(value)


def hash_of(values: bytes) -> bytes:
    """Where in the key space something lies: :data:`HASH_BYTES` from the bytes of :func:`hashed_value` (or several)."""
    return _md5(HASH_SALT + values, usedforsecurity=False).digest()


def encode_hash(kind: str, value: str) -> bytes:
    """The part of a key that the partition key decides: all keys with this prefix are one item collection."""
    if kind != "S":
        return hash_of(hashed_value(kind, value)) + encode_value(kind, value)
    raw = value.encode()  # what hash_of and encode_value do, with one encoding for both: nearly every key is a string
    escaped = raw.replace(b"\0", b"\0\xff") if b"\0" in raw else raw
    return _md5(HASH_SALT + raw, usedforsecurity=False).digest() + b"\x02" + escaped + b"\0\0"


def encode_key(schema: KeySchema, item: Mapping[str, Any]) -> bytes:
    """The storage key of an item that holds valid key attributes (see :func:`check_item_key`)."""
    kind = schema.hash.type
    key = encode_hash(kind, item[schema.hash.name][kind])
    if schema.sort is not None:
        kind = schema.sort.type
        key += encode_value(kind, item[schema.sort.name][kind])
    return key


def decode_key(key: bytes) -> list[tuple[str, str]]:
    """The key attributes of an item's storage key, as ``(type, value)`` with the value as JSON has it, hash first.
    Raises :class:`ValueError` where it is no item's key, such as a side row's or the end of a range."""
    found = []
    at = HASH_BYTES
    while at < len(key):
        kind = key[at]
        if kind == 1:
            text, length = decode_number(key[at + 1 :])
            found.append(("N", text))
            at += 1 + length
        elif kind in (2, 3):
            end = at + 1
            while (end := key.index(b"\0", end)) + 1 < len(key) and key[end + 1] == 0xFF:
                end += 2
            if key[end : end + 2] != b"\0\0":
                raise ValueError("a value without its end")
            raw = key[at + 1 : end].replace(b"\0\xff", b"\0")
            found.append(("S", raw.decode()) if kind == 2 else ("B", b2a_base64(raw, newline=False).decode()))
            at = end + 2
        else:
            raise ValueError(f"no type of a key: {kind}")
    if not found:
        raise ValueError("a hash without a value")
    return found


def check_item_key(schema: KeySchema, item: Mapping[str, Any]) -> None:
    """Refuse an item to be put whose key attributes are missing, of another type, empty or too long."""
    for role, attribute in (("hash", schema.hash), ("range", schema.sort)):
        if attribute is None:
            continue
        value = item.get(attribute.name)
        if value is None:
            raise invalid(f"One or more parameter values were invalid: Missing the key {attribute.name} in the item")
        if attribute.type not in value:
            raise invalid(
                f"One or more parameter values were invalid: Type mismatch for key {attribute.name} "
                f"expected: {attribute.type} actual: {next(iter(value))}"
            )
        _check_length(role, attribute, value[attribute.type])


def check_lookup_key(schema: KeySchema, key: Mapping[str, Any]) -> None:
    """Refuse a ``Key`` parameter that is not exactly the table's primary key."""
    hashed, sort = schema
    if len(key) != (1 if sort is None else 2) or hashed.name not in key or (sort is not None and sort.name not in key):
        raise invalid("The provided key element does not match the schema")
    check_part(hashed, key[hashed.name], hashed=True)
    if sort is not None:
        check_part(sort, key[sort.name], hashed=False)


def check_part(attribute: KeyAttribute, value: Mapping[str, Any], *, hashed: bool) -> None:
    """Refuse a value that cannot be this attribute of a key: of another type, empty or too long."""
    if attribute.type not in value:
        raise invalid("The provided key element does not match the schema")
    _check_length("hash" if hashed else "range", attribute, value[attribute.type])


def _check_length(role: str, attribute: KeyAttribute, text: str) -> None:
    if attribute.type == "N" or 0 < len(text) * 4 <= SORT_KEY_BYTES_MAX:
        return
    if not text:
        what = "string" if attribute.type == "S" else "binary"
        raise invalid(
            "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an "
            f"empty {what} value. Key: {attribute.name}"
        )
    limit = HASH_KEY_BYTES_MAX if role == "hash" else SORT_KEY_BYTES_MAX
    if len(text) * 4 <= limit:
        return
    size = len(text.encode()) if attribute.type == "S" else len(a2b_base64(text))
    if size > limit:
        raise key_too_long(role)


def key_too_long(role: str) -> ApiError:
    """The refusal of a key attribute beyond its limit, of a table's key and of an index's."""
    if role == "hash":
        what = f"Size of hashkey has exceeded the maximum size limit of{HASH_KEY_BYTES_MAX}"  # AWS has no space there
    else:
        what = f"Aggregated size of all range keys has exceeded the size limit of {SORT_KEY_BYTES_MAX}"
    return invalid(f"One or more parameter values were invalid: {what} bytes")


def partition_bounds(partitions: int) -> list[tuple[bytes, bytes]]:
    """Split the key space evenly: ``(start, end)`` per partition, ``start <= key < end``; ``b""`` is open on either
    side."""
    if not 1 <= partitions <= PARTITIONS_MAX:
        raise ValueError(f"a table has 1 to {PARTITIONS_MAX} partitions, not {partitions}")
    span = 1 << (8 * HASH_BYTES)
    cuts = [(span * index // partitions).to_bytes(HASH_BYTES, "big") for index in range(1, partitions)]
    edges = [b"", *cuts, b""]
    return list(pairwise(edges))


def locate(starts: Sequence[bytes], key: bytes) -> int:
    """The index of the partition that holds ``key``; ``starts`` are the partitions' sorted starts, ``b""`` the
    first."""
    return bisect_right(starts, key) - 1


def below(key: bytes) -> bytes:
    """A key below ``key`` (``b""``: below the end of the key space) and above all that a table's partitions are likely
    to be cut at below it: where a range that ends before ``key`` has its last row."""
    if not key:
        return b"\xff" * HASH_BYTES
    if not key[-1]:
        return key[:-1]
    return key[:-1] + bytes((key[-1] - 1,)) + b"\xff" * HASH_BYTES


def local_number(key: bytes) -> int:
    """The number of the local index whose row this is, -1 where it is an item: behind an item's hash value stands
    nothing or its sort value's type, behind a row's ``0x80`` and the number."""
    kind = key[HASH_BYTES]
    if kind != _NUMBER:
        at = key.index(b"\0\0", HASH_BYTES + 1) + 2
    else:
        sign = key[HASH_BYTES + 1]  # behind it, unless it is zero, stand an exponent, digits and a terminator
        at = HASH_BYTES + 2
        if sign != _ZERO:
            at = key.index(b"\xff" if sign < _ZERO else b"\0", at + 1) + 1
    return key[at + 1] if key[at : at + 1] >= b"\x80" else -1
