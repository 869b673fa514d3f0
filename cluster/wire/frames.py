"""Peer frames and the handshake that opens a peer connection. Sans-IO: bytes in, frames and bytes out.

A frame is ten bytes of header and a payload::

    u32 payload length | u8 version | u8 kind | u32 CRC32C of the six bytes before it and the payload

all big-endian. The length is checked against a limit before anything is buffered for it. A connection on which any
frame is wrong is of no further use: there is no way to find the next frame, and what sent it cannot be trusted.

The handshake proves to both ends that the other holds the cluster's key, before any message is looked at::

    client -> HELLO      (protocol, cluster, name, incarnation, name it expects to reach, nonce)
    server -> CHALLENGE  (name, incarnation, nonce, HMAC-SHA256(key, "server" | HELLO | name, incarnation, nonce))
    client -> PROOF      (HMAC-SHA256(key, "client" | HELLO | CHALLENGE))

Each side's proof covers both nonces and names, and the labels differ, so that a proof can be neither replayed nor
reflected. Messages after it are not authenticated one by one: whoever can write into an established connection inside
the cluster's network is answered by mutual TLS, not here.
"""

from __future__ import annotations

import hmac
import os
import struct
from collections.abc import Callable
from hashlib import sha256
from typing import Final, NamedTuple

import google_crc32c
import msgspec

VERSION: Final = 1
HEADER_BYTES: Final = 10
PAYLOAD_BYTES_MAX: Final = 64 * 1024 * 1024
HANDSHAKE_BYTES_MAX: Final = 4096
"""A stranger may make us hold no more than this before it has proved itself."""

MESSAGE: Final = 1
HELLO: Final = 2
CHALLENGE: Final = 3
PROOF: Final = 4

NONCE_BYTES: Final = 32
_KEY_BYTES_MIN: Final = 16

_head = struct.Struct(">IBB")
_header = struct.Struct(">IBBI")
_crc: Callable[[bytes], int] = google_crc32c.value
_crc_extend: Callable[[int, bytes], int] = google_crc32c.extend


class FrameError(Exception):
    """The peer sent something that is not a frame. Close the connection."""


class HandshakeError(Exception):
    """The peer is not who it must be, or does not hold the cluster's key. Close the connection."""


class Frame(NamedTuple):
    """One verified frame."""

    kind: int
    payload: bytes


def encode_header(kind: int, payload: bytes) -> bytes:
    """The header that goes before ``payload``; raises ``ValueError`` for a payload no reader would take."""
    size = len(payload)
    if size > PAYLOAD_BYTES_MAX:
        raise ValueError(f"payload of {size} bytes; a frame holds at most {PAYLOAD_BYTES_MAX}: split the message")
    head = _head.pack(size, VERSION, kind)
    return head + _crc_extend(_crc(head), payload).to_bytes(4, "big")


def encode(kind: int, payload: bytes) -> bytes:
    """A whole frame."""
    return encode_header(kind, payload) + payload


class FrameReader:
    """Cuts a byte stream into verified frames.

    ``feed`` returns the frames that became complete. It raises :class:`FrameError` on the first wrong byte it can know
    to be wrong, and again on every later call: the stream is dead. Frames before the wrong one in the same call are
    lost with it; peers are promised nothing else.
    """

    __slots__ = ("_broken", "_held", "_limit", "_needed", "_parts", "_single")

    def __init__(self, limit: int = PAYLOAD_BYTES_MAX, *, single: bool = False) -> None:
        """``single`` yields at most one frame a call (``feed(b"")`` for the next), since during a handshake each frame
        decides under which limit the next is read."""
        self._limit = limit
        self._single = single
        self._parts: list[bytes] = []
        self._held = 0
        self._needed = HEADER_BYTES
        self._broken = False

    @property
    def held(self) -> int:
        """Bytes of an incomplete frame being kept."""
        return self._held

    def trust(self, limit: int = PAYLOAD_BYTES_MAX) -> None:
        """The peer has proved itself: take payloads up to this limit, as many at once as there are."""
        self._limit = limit
        self._single = False

    def feed(self, data: bytes) -> list[Frame]:
        if self._broken:
            raise FrameError("the stream is already broken")
        if self._held:
            # Parts are joined only when they complete something, so that a large frame costs no quadratic copying.
            self._parts.append(data)
            self._held += len(data)
            if self._held < self._needed:
                return []
            data = b"".join(self._parts)
            self._parts.clear()
            self._held = 0
        try:
            return self._cut(data)
        except FrameError:
            self._broken = True
            raise

    def _cut(self, data: bytes) -> list[Frame]:
        frames: list[Frame] = []
        size = len(data)
        at = 0
        needed = HEADER_BYTES
        while size - at >= HEADER_BYTES:
            length, version, kind, crc = _header.unpack_from(data, at)
            if version != VERSION:
                raise FrameError(f"frame version {version}; this node speaks {VERSION}")
            if length > self._limit:
                raise FrameError(f"frame of {length} bytes; the limit is {self._limit}")
            end = at + HEADER_BYTES + length
            if end > size:
                needed = end - at
                break
            payload = data[at + HEADER_BYTES : end]
            if _crc_extend(_crc(data[at : at + 6]), payload) != crc:
                raise FrameError(f"frame of {length} bytes fails its CRC")
            frames.append(Frame(kind, payload))
            at = end
            if self._single:
                break
        if at < size:
            rest = data[at:] if at else data
            self._parts.append(rest)
            self._held = len(rest)
        self._needed = needed
        return frames


class Identity(NamedTuple):
    """Who is at an end of a connection. The incarnation rises with every life of the node.

    ``cluster`` tells apart clusters that share addresses over time; a client that knows only the key leaves it empty.
    """

    cluster: str
    name: str
    incarnation: int


class _Hello(msgspec.Struct, array_like=True, frozen=True):
    protocol: int
    cluster: str
    name: str
    incarnation: int
    expected: str
    nonce: bytes


class _Challenge(msgspec.Struct, array_like=True, frozen=True):
    name: str
    incarnation: int
    nonce: bytes
    proof: bytes


_encode_msgpack = msgspec.msgpack.Encoder().encode
_hello_decoder = msgspec.msgpack.Decoder(_Hello)
_challenge_decoder = msgspec.msgpack.Decoder(_Challenge)


def _proof(key: bytes, label: bytes, *parts: bytes) -> bytes:
    mac = hmac.new(key, label, sha256)
    for part in parts:
        mac.update(len(part).to_bytes(4, "big"))
        mac.update(part)
    return mac.digest()


class Handshake:
    """One end of the handshake.

    The client sends :meth:`start` first. Each end passes every frame it gets to :meth:`receive` and sends what that
    returns, until :attr:`peer` is set; frames after that are messages. The client may send messages right after its
    PROOF. Raises :class:`HandshakeError` with a reason for the log; the other end is told nothing.
    """

    __slots__ = ("_challenge", "_claimed", "_expected", "_hello", "_key", "_me", "_nonce", "peer")

    def __init__(
        self, me: Identity, key: bytes, expected: str | None = None, entropy: Callable[[int], bytes] = os.urandom
    ) -> None:
        """``expected`` is the name the client means to reach; None makes this end the server."""
        if len(key) < _KEY_BYTES_MIN:
            raise ValueError(f"the cluster key has {len(key)} bytes; it must have at least {_KEY_BYTES_MIN}")
        self._me = me
        self._key = key
        self._expected = expected
        self._nonce = entropy(NONCE_BYTES)
        self._hello = b""
        self._challenge = b""
        self._claimed: Identity | None = None
        self.peer: Identity | None = None

    def start(self) -> bytes:
        """The client's first bytes."""
        if self._expected is None or self._hello:
            raise RuntimeError("only a client starts a handshake, and once")
        me = self._me
        self._hello = _encode_msgpack(_Hello(VERSION, me.cluster, me.name, me.incarnation, self._expected, self._nonce))
        return encode(HELLO, self._hello)

    def receive(self, frame: Frame) -> bytes:
        """Take the peer's next frame; returns the bytes to send, perhaps none."""
        if self.peer is not None:
            raise RuntimeError("the handshake is over")
        try:
            if self._expected is not None and frame.kind == CHALLENGE:
                return self._on_challenge(frame.payload)
            if self._expected is None and frame.kind == HELLO and not self._hello:
                return self._on_hello(frame.payload)
            if self._expected is None and frame.kind == PROOF and self._hello:
                return self._on_proof(frame.payload)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise HandshakeError(f"malformed handshake: {error}") from error
        raise HandshakeError(f"frame of kind {frame.kind} out of turn")

    def _on_hello(self, payload: bytes) -> bytes:
        hello = _hello_decoder.decode(payload)
        me = self._me
        if hello.protocol != VERSION:
            raise HandshakeError(f"protocol {hello.protocol}; this node speaks {VERSION}")
        if hello.cluster not in ("", me.cluster):
            raise HandshakeError(f"a node of cluster {hello.cluster!r} called; this is {me.cluster!r}")
        if hello.expected != me.name:
            raise HandshakeError(f"{hello.name!r} looked for {hello.expected!r} here")
        if len(hello.nonce) != NONCE_BYTES:
            raise HandshakeError("nonce of a wrong size")
        self._hello = payload
        self._claimed = Identity(hello.cluster, hello.name, hello.incarnation)
        core = _encode_msgpack((me.name, me.incarnation, self._nonce))
        proof = _proof(self._key, b"blackstart server", payload, core)
        self._challenge = _encode_msgpack(_Challenge(me.name, me.incarnation, self._nonce, proof))
        return encode(CHALLENGE, self._challenge)

    def _on_challenge(self, payload: bytes) -> bytes:
        challenge = _challenge_decoder.decode(payload)
        core = _encode_msgpack((challenge.name, challenge.incarnation, challenge.nonce))
        if not hmac.compare_digest(challenge.proof, _proof(self._key, b"blackstart server", self._hello, core)):
            raise HandshakeError("the server does not hold the cluster's key")
        if challenge.name != self._expected:
            raise HandshakeError(f"reached {challenge.name!r} instead of {self._expected!r}")
        self.peer = Identity(self._me.cluster, challenge.name, challenge.incarnation)
        return encode(PROOF, _proof(self._key, b"blackstart client", self._hello, payload))

    def _on_proof(self, payload: bytes) -> bytes:
        if not hmac.compare_digest(payload, _proof(self._key, b"blackstart client", self._hello, self._challenge)):
            raise HandshakeError("the client does not hold the cluster's key")
        self.peer = self._claimed
        return b""
