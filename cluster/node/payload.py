"""What a log entry of kind DATA holds: resolved effects, never requests, so that applying one is deterministic.

``[kind, wall_ms, body]``: for :data:`WRITES` the body is ``[[key, image or nil], ...]``, all the writes that the leader
batched into one entry, in order; for :data:`BARRIER` it is empty: every replica digests its rows at that position;
for :data:`SHAPE` it is the one row that holds the group's new shape, which replicas also keep in memory;
:data:`TRANSACTIONS` is :data:`WRITES` with rows of :data:`cluster.core.side.TXN` among them, kept in memory likewise.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from cluster.core.shape import Shape

WRITES, BARRIER, SHAPE, TRANSACTIONS = 0, 1, 2, 3

Write = tuple[bytes, bytes | None]


class Payload(NamedTuple):
    """One entry's effects. ``wall_ms`` is the leader's wall clock, for people and for point-in-time restore."""

    kind: int
    wall_ms: int
    writes: list[Write]


class Heading(NamedTuple):
    """A payload of which only the front is wanted."""

    kind: int
    wall_ms: int
    rest: msgspec.Raw


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Payload).decode
peek = msgspec.msgpack.Decoder(Heading).decode
"""Kind and time, at a fraction of what decoding the writes costs."""
decode_shape = msgspec.msgpack.Decoder(Shape).decode
encode_shape = encode
