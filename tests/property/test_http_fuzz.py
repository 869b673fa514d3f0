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
