"""No bytes break the HTTP parser, none make it keep more than its limits, and it does not matter how they are cut."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.wire.http import HEADERS_BYTES_MAX, HttpConnection, Request

PIECES = st.sampled_from(
    [
        b"POST / HTTP/1.1\r\n",
        b"GET /x?y HTTP/1.0\r\n",
        b"Host: h\r\n",
        b"Content-Length: 3\r\n",
        b"Content-Length: 99999999\r\n",
        b"Content-Length: -1\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
        b"Connection: Upgrade\r\nUpgrade: h2c\r\n",
        b"Expect: 100-continue\r\n",
        b"\r\n",
        b"abc",
        b"3\r\nabc\r\n",
        b"0\r\n\r\n",
        b"ffffffffff\r\n",
        b"X: " + b"y" * 3000 + b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\0",
        b"\xff",
        b": \r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\n",
    ]
)
STREAMS = st.lists(PIECES | st.binary(max_size=20), max_size=40).map(b"".join)


def parsed(data: bytes, cuts: list[int]) -> tuple[list[Request], HttpConnection]:
    connection = HttpConnection(body_bytes_max=10_000)
    found: list[Request] = []
    at = 0
    for cut in [*sorted(cut % (len(data) + 1) for cut in cuts), len(data)]:
        found += connection.feed(data[at:cut])
        connection.take_outgoing()
        at = cut
    return found, connection


@settings(max_examples=300)
@given(STREAMS, st.lists(st.integers(0, 10_000), max_size=8))
def test_any_bytes_in_any_pieces(data: bytes, cuts: list[int]) -> None:
    whole, one = parsed(data, [])
    pieces, other = parsed(data, cuts)
    assert pieces == whole
    assert (one.failure is None) == (other.failure is None)
    for request in whole:
        assert len(request.body) <= 10_000
        assert sum(len(name) + len(value) for name, value in request.headers.items()) <= HEADERS_BYTES_MAX
    after = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"
    if one.failure is not None:
        assert one.feed(after) == [], "a connection that failed is read no further"


LINES = st.sampled_from(
    [
        b"Host: h",
        b"host: other",
        b"Content-Type: application/x-amz-json-1.0",
        b"X-Amz-Date: 20260101T000000Z",
        b"Authorization: AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=0123abcdef",
        b"Authorization: AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=9876fedcba",
        b"Authorization: AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=01 23",
        b"Authorization: AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=01\x0123",
        b"Authorization: Signature=",
        b"X-Signature: Signature=ab",
        b"Connection: keep-alive",
        b"Connection: Keep-Alive",
        b"connection: keep-alive",
        b"Connection: close",
        b"Connection: x",
        b"Proxy-Connection: close",
        b"Expect: 100-continue",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: identity",
        b"Upgrade: h2c",
        b"X: ",
        b"X:y",
        b"X:  y",
        b"X: y ",
        b"X: y\t",
        b"X : y",
        b" X: y",
        b"X: a: b",
        b"X: \xff",
        b"X: a\x00b",
        b"X: a\x7fb",
        b"X: a\rb",
        b"X: a\nb",
        b"X_y: z",
        b"X!: z",
        b": z",
        b"Content-Length: 2",
        b"content-length: +2",
        b"Content-Length: 02",
        b"Content-Length: 2, 2",
        b"X: " + b"y" * 3000,
        b"X: " + b"y" * 16_000,
    ]
)
BODIES = st.sampled_from([b"{}", b"{", b"{}{", b"  ", b"", b"{}\r\n\r\n{"])
PLAIN = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nX: y\r\n\r\n{}"


def fed(parts: list[bytes], *, in_two: bool) -> tuple[list[Request], bytes, bool, bool]:
    """What a connection makes of parts that arrive one by one, each whole or in two pieces."""
    connection = HttpConnection(body_bytes_max=10_000)
    found: list[Request] = []
    interim = b""
    for part in parts:
        for piece in (part[:1], part[1:]) if in_two else (part,):
            found += connection.feed(piece)
            interim += connection.take_outgoing()
    return found, interim, connection.failure is None, connection.mid_request


@settings(max_examples=400)
@given(st.lists(LINES, max_size=8), st.integers(0, 8), BODIES)
def test_a_request_in_one_piece_is_what_it_is_in_two(lines: list[bytes], at: int, body: bytes) -> None:
    """Whole requests have a short way of their own, that must not differ from the parser's in anything."""
    lines.insert(at, b"Content-Length: 2")
    data = b"\r\n".join([b"POST / HTTP/1.1", *lines, b"", body])
    for parts in ([data], [PLAIN, data], [data, PLAIN], [data, data]):
        assert fed(parts, in_two=False) == fed(parts, in_two=True)


def test_after_the_last_request_of_a_connection_nothing_is_read() -> None:
    last = PLAIN.replace(b"X: y", b"Connection: close")
    for in_two in (False, True):
        found, _, _, _ = fed([PLAIN, last, PLAIN], in_two=in_two)
        assert [request.keep_alive for request in found] == [True, False]
