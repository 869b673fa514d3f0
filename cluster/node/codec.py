"""Bytes of what groups persist and say to each other: msgpack arrays with a small tag in front."""

from __future__ import annotations

from typing import Any

import msgspec

from cluster.core.config import Configuration
from cluster.core.messages import KINDS, RECORDS, Message, Record

STATEMENT, RECORD, DESTROYED = 0, 1, 2
"""Kinds of body in the write-ahead log. A statement restores a replica by itself; records before it are void."""

TOMBSTONE = msgspec.msgpack.encode((DESTROYED, None, 0))

encode = msgspec.msgpack.Encoder().encode

_message_tags: dict[type, int] = {kind: tag for tag, kind in enumerate(KINDS)}
_message_decoders: list[msgspec.msgpack.Decoder[Any]] = [msgspec.msgpack.Decoder(kind) for kind in KINDS]
_record_tags: dict[type, int] = {kind: tag for tag, kind in enumerate(RECORDS)}
_record_decoders: list[msgspec.msgpack.Decoder[Any]] = [msgspec.msgpack.Decoder(kind) for kind in RECORDS]


class Spec(msgspec.Struct, frozen=True, array_like=True):
    """What a replica is, for as long as it lives: its group and key range, its id, and how the group began.

    ``initial`` is the group's first configuration, or None for a replica that joins a group under way."""

    group: str
    table: str
    start: bytes
    end: bytes
    replica: int
    initial: Configuration | None

    def holds(self, key: bytes) -> bool:
        return self.start <= key and (not self.end or key < self.end)


class Statement(msgspec.Struct, frozen=True, array_like=True):
    """A replica in full: its spec and the records that alone restore its group."""

    spec: Spec
    records: list[tuple[int, msgspec.Raw]]


Parcel = tuple[str, int, int, int, msgspec.Raw]
"""``(group, to replica, from replica, tag, message)``."""

parcels = msgspec.msgpack.Decoder(list[Parcel])
_body = msgspec.msgpack.Decoder(tuple[int, msgspec.Raw, int])
_statement = msgspec.msgpack.Decoder(Statement)


def tag_of(message: Message) -> int:
    return _message_tags[type(message)]


def decode_message(tag: int, body: msgspec.Raw) -> Any:
    """A message; raises ``msgspec.MsgspecError`` for bytes that are none."""
    if not 0 <= tag < len(KINDS):
        raise msgspec.ValidationError(f"no message has tag {tag}")
    return _message_decoders[tag].decode(body)


def encode_record(record: Record) -> bytes:
    """A log body for one record."""
    return encode((RECORD, record, _record_tags[type(record)]))


def encode_statement(spec: Spec, records: list[Record]) -> bytes:
    """A log body that states a replica in full."""
    packed = [(_record_tags[type(record)], msgspec.Raw(encode(record))) for record in records]
    return encode((STATEMENT, Statement(spec, packed), 0))


def decode_history(bodies: list[bytes]) -> tuple[Spec, list[Record]] | None:
    """A replica's spec and records from its log bodies, oldest first; None where it was destroyed or never stated."""
    spec: Spec | None = None
    records: list[Record] = []
    for body in bodies:
        kind, raw, tag = _body.decode(body)
        if kind == STATEMENT:
            statement = _statement.decode(raw)
            spec = statement.spec
            records = [_record_decoders[t].decode(r) for t, r in statement.records]
        elif kind == DESTROYED:
            spec, records = None, []
        elif spec is not None:
            records.append(_record_decoders[tag].decode(raw))
    return (spec, records) if spec is not None else None
