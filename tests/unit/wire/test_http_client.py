"""The client's HTTP/1.1: whole responses however they are cut, and errors for what is none."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.wire import http
from cluster.wire.http_client import BODY_BYTES_MAX, BadResponse, ResponseParser

FIXED = http.dynamodb_response(200, b'{"a":1}', "R" * 52)
CHUNKED = (
    b"HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n"
    b"3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: t\r\n\r\n"
)
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"


@given(st.lists(st.integers(min_value=0, max_value=len(FIXED + INTERIM + CHUNKED + FIXED)), max_size=12))
def test_responses_come_whole_however_the_bytes_are_cut(cuts: list[int]) -> None:
    stream = FIXED + INTERIM + CHUNKED + FIXED
    edges = [0, *sorted(cuts), len(stream)]
    parser = ResponseParser()
    responses = [r for a, b in pairwise(edges) for r in parser.feed(stream[a:b])]
    assert [(r.status, r.body) for r in responses] == [(200, b'{"a":1}'), (400, b"abcde"), (200, b'{"a":1}')]
    assert responses[0].headers["x-amzn-requestid"] == "R" * 52
    assert all(r.keep_alive for r in responses)
    assert parser.eof() is None


def test_a_body_that_runs_until_the_close() -> None:
    parser = ResponseParser()
    assert parser.feed(b"HTTP/1.0 200 OK\r\n\r\nall of") == []
    assert parser.feed(b" it") == []
    response = parser.eof()
    assert response is not None
    assert (response.body, response.keep_alive) == (b"all of it", False)


@pytest.mark.parametrize("cut", [5, 40, len(FIXED) - 1])
def test_a_cut_off_answer_is_an_error(cut: int) -> None:
    parser = ResponseParser()
    assert parser.feed(FIXED[:cut]) == []
    with pytest.raises(BadResponse):
        parser.eof()


@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (BODY_BYTES_MAX + 1),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"x" * 70_000,
    ],
)
def test_garbage(garbage: bytes) -> None:
    with pytest.raises(BadResponse):
        ResponseParser().feed(garbage)


LINES = st.sampled_from(
    [
        b"Server: Server",
        b"server: other",
        b"no colon",
        b"X:y",
        b"X: \xff ",
        b"X-Amz-Crc32: 1",
        b"Connection: keep-alive",
        b"Connection: close",
        b"Connection: Close",
        b"Transfer-Encoding: chunked",
        b"Content-Length: 3",
        b"Content-Length: 2",
        b"Content-Length: 03",
        b"Content-Length: \xb2",
    ]
)
STATUSES = st.sampled_from([b"HTTP/1.1 200 OK", b"HTTP/1.0 200 OK", b"HTTP/1.1 204 No", b"HTTP/1.1 100 Continue", b"X"])
BODIES = st.sampled_from([b"", b"ab", b"abc", b"abcd", b"abc" + FIXED])


@given(STATUSES, st.lists(LINES, max_size=6), BODIES)
def test_a_response_in_one_piece_is_what_it_is_in_two(status: bytes, lines: list[bytes], body: bytes) -> None:
    """Whole responses have a short way of their own, that must not differ in anything."""
    data = b"\r\n".join([status, *lines, b"", body])

    def outcome(*pieces: bytes) -> object:
        parser = ResponseParser()
        try:
            return [response for piece in pieces for response in parser.feed(piece)], parser.eof()
        except BadResponse as error:
            return str(error)

    assert outcome(data) == outcome(data) == outcome(data[:1], data[1:])
    assert outcome(FIXED, data) == outcome(FIXED, data[:1], data[1:])


@given(st.lists(st.binary(max_size=100), max_size=6), st.booleans())
def test_no_bytes_raise_anything_else(parts: list[bytes], begun: bool) -> None:
    parser = ResponseParser()
    try:
        if begun:
            parser.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for part in parts:
            parser.feed(part)
        parser.eof()
    except BadResponse:
        pass
