"""Frames and the handshake: whatever arrives, either the very message that was sent or a clean refusal."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.wire.frames import (
    CHALLENGE,
    HEADER_BYTES,
    HELLO,
    MESSAGE,
    PAYLOAD_BYTES_MAX,
    PROOF,
    Frame,
    FrameError,
    FrameReader,
    Handshake,
    HandshakeError,
    Identity,
    encode,
    encode_header,
)

KEY = bytes(range(32))
ALICE = Identity("bs000001", "storage-a1", 7)
BOB = Identity("bs000001", "router-b", 9)


def frames_of(data: bytes) -> list[Frame]:
    return FrameReader().feed(data)


@given(st.lists(st.binary(max_size=300), max_size=20), st.lists(st.integers(1, 50), min_size=1, max_size=5))
def test_any_chunking_yields_the_messages_that_were_sent(payloads: list[bytes], sizes: list[int]) -> None:
    stream = b"".join(encode(MESSAGE, p) for p in payloads)
    reader, got, at, turn = FrameReader(), [], 0, 0
    while at < len(stream):
        size = sizes[turn % len(sizes)]
        got += reader.feed(stream[at : at + size])
        at, turn = at + size, turn + 1
    assert [f.payload for f in got] == payloads
    assert reader.held == 0


def test_every_flipped_byte_is_noticed() -> None:
    frame = encode(MESSAGE, b"an acknowledged write")
    for at in range(len(frame)):
        for flip in (0x01, 0x80, 0xFF):
            damaged = frame[:at] + bytes([frame[at] ^ flip]) + frame[at + 1 :]
            reader = FrameReader(limit=1 << 16)
            try:
                got = reader.feed(damaged)
            except FrameError:
                continue
            # A length that grew leaves the frame incomplete; whatever follows then fails its CRC or the limit.
            assert got == []
            assert at < 4
            with pytest.raises(FrameError):
                reader.feed(bytes(1 << 17))


@given(st.binary(min_size=HEADER_BYTES, max_size=400))
def test_garbage_never_raises_anything_else_and_the_stream_stays_dead(data: bytes) -> None:
    reader = FrameReader(limit=128)
    try:
        reader.feed(data)
    except FrameError:
        with pytest.raises(FrameError):
            reader.feed(encode(MESSAGE, b"fine"))


def test_a_length_over_the_limit_is_refused_before_anything_is_buffered() -> None:
    reader = FrameReader(limit=100)
    with pytest.raises(FrameError, match="limit is 100"):
        reader.feed(encode_header(MESSAGE, bytes(101)))
    assert reader.held == 0
    with pytest.raises(ValueError, match="split the message"):
        encode(MESSAGE, bytes(PAYLOAD_BYTES_MAX + 1))


def test_a_large_message_right_behind_a_handshake_frame_is_read_under_the_new_limit() -> None:
    reader = FrameReader(limit=100, single=True)
    large = bytes(1000)
    assert reader.feed(encode(PROOF, b"proof") + encode(MESSAGE, large) + encode(MESSAGE, b"")[:3]) == [
        (PROOF, b"proof")
    ]
    reader.trust()
    assert reader.feed(b"") == [(MESSAGE, large)]
    assert reader.held == 3
    assert reader.feed(encode(MESSAGE, b"")[3:]) == [(MESSAGE, b"")]


def shake(client: Handshake, server: Handshake) -> None:
    (challenge,) = frames_of(server.receive(*frames_of(client.start())))
    (proof,) = frames_of(client.receive(challenge))
    assert server.receive(proof) == b""


def test_both_ends_learn_who_the_other_is() -> None:
    client, server = Handshake(ALICE, KEY, BOB.name), Handshake(BOB, KEY)
    shake(client, server)
    assert (client.peer, server.peer) == (BOB, ALICE)


@pytest.mark.parametrize(
    ("client", "server", "why"),
    [
        (Handshake(ALICE, bytes(32), BOB.name), Handshake(BOB, KEY), "server does not hold"),
        (Handshake(ALICE, KEY, "router-c"), Handshake(BOB, KEY), "looked for 'router-c'"),
        (Handshake(ALICE._replace(cluster="bsother"), KEY, BOB.name), Handshake(BOB, KEY), "cluster 'bsother'"),
    ],
)
def test_strangers_are_refused(client: Handshake, server: Handshake, why: str) -> None:
    with pytest.raises(HandshakeError, match=why):
        shake(client, server)
    assert client.peer is None
    assert server.peer is None


def test_a_client_without_the_key_cannot_prove_itself_even_if_it_ignores_the_servers_proof() -> None:
    client, server = Handshake(ALICE, KEY, BOB.name), Handshake(BOB, KEY)
    server.receive(*frames_of(client.start()))
    with pytest.raises(HandshakeError, match="client does not hold"):
        server.receive(Frame(PROOF, bytes(32)))


def test_a_recorded_proof_is_of_no_use_a_second_time() -> None:
    client, server = Handshake(ALICE, KEY, BOB.name), Handshake(BOB, KEY)
    hello = client.start()
    (challenge,) = frames_of(server.receive(*frames_of(hello)))
    (proof,) = frames_of(client.receive(challenge))
    server.receive(proof)
    again = Handshake(BOB, KEY)
    again.receive(*frames_of(hello))
    with pytest.raises(HandshakeError):
        again.receive(proof)


def test_a_servers_own_proof_cannot_be_reflected_to_it() -> None:
    server = Handshake(BOB, KEY)
    mirror = Handshake(ALICE, KEY, BOB.name)
    (challenge,) = frames_of(server.receive(*frames_of(mirror.start())))
    with pytest.raises(HandshakeError):
        server.receive(Frame(PROOF, challenge.payload[-32:]))


@settings(max_examples=200)
@given(st.sampled_from([HELLO, CHALLENGE, PROOF, MESSAGE, 99]), st.binary(max_size=200), st.booleans())
def test_no_frame_breaks_a_handshake_in_another_way(kind: int, payload: bytes, as_client: bool) -> None:
    end = Handshake(ALICE, KEY, BOB.name) if as_client else Handshake(BOB, KEY)
    if as_client:
        end.start()
    with pytest.raises(HandshakeError):
        end.receive(Frame(kind, payload))


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 16"):
        Handshake(ALICE, b"short", BOB.name)
