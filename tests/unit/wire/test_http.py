"""The server's HTTP/1.1: whole requests however they are cut, limits, and survival of garbage."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.wire import http
from cluster.wire.http import HttpConnection, Request

SIMPLE = b"POST / HTTP/1.1\r\nHost: h\r\nX-Amz-Target: T\r\nContent-Length: 4\r\n\r\nbody"
CHUNKED = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n"


def test_a_request() -> None:
    connection = HttpConnection()
    (request,) = connection.feed(SIMPLE)
    assert request == Request("POST", "/", {"host": "h", "x-amz-target": "T", "content-length": "4"}, b"body", True)
    assert connection.failure is None
    assert not connection.mid_request


@given(st.lists(st.integers(min_value=0, max_value=len(SIMPLE + CHUNKED + SIMPLE)), max_size=12))
def test_pipelined_requests_come_whole_and_in_order_however_the_bytes_are_cut(cuts: list[int]) -> None:
    stream = SIMPLE + CHUNKED + SIMPLE
    edges = [0, *sorted(cuts), len(stream)]
    connection = HttpConnection()
    requests = [r for a, b in pairwise(edges) for r in connection.feed(stream[a:b])]
    assert [request.body for request in requests] == [b"body"] * 3
    assert [request.headers.get("x-amz-target") for request in requests] == ["T", None, "T"]
    assert connection.failure is None


def test_duplicates_are_joined_as_signatures_want_them() -> None:
    (request,) = HttpConnection().feed(b"GET /a?b HTTP/1.1\r\nHost: h\r\nX: 1\r\nx: 2\r\n\r\n")
    assert request.headers["x"] == "1,2"
    assert (request.method, request.target, request.body) == ("GET", "/a?b", b"")


@pytest.mark.parametrize(
    ("head", "keep_alive"),
    [
        (b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nHost: h\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n", True),
    ],
)
def test_keep_alive(head: bytes, keep_alive: bool) -> None:
    (request,) = HttpConnection().feed(head)
    assert request.keep_alive is keep_alive


def test_expect_100_continue_is_answered_once_before_the_body() -> None:
    connection = HttpConnection()
    assert connection.feed(b"PUT / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n") == []
    assert connection.mid_request
    assert connection.take_outgoing() == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert connection.take_outgoing() == b""
    (request,) = connection.feed(b"ok")
    assert request.body == b"ok"


def test_headers_cut_over_and_over_are_no_long_header() -> None:
    """499 and 251 share no factor: nearly every part ends inside headers, and no request's are long."""
    head = b"GET / HTTP/1.1\r\nHost: h\r\nX: \r\n\r\n"
    stream = head.replace(b"X: ", b"X: " + b"x" * (499 - len(head))) * 300
    connection = HttpConnection()
    requests = [request for at in range(0, len(stream), 251) for request in connection.feed(stream[at : at + 251])]
    assert connection.failure is None
    assert len(requests) == 300


def test_an_offer_to_upgrade_is_ignored() -> None:
    upgrade = b"Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n"
    connection = HttpConnection()
    requests = connection.feed(b"GET / HTTP/1.1\r\nHost: h\r\n" + upgrade + b"\r\n" + SIMPLE)
    requests += connection.feed(b"POST / HTTP/1.1\r\nHost: h\r\n" + upgrade + b"Content-Length: 2\r\n\r\nhi" + SIMPLE)
    assert [request.body for request in requests] == [b"", b"body", b"hi", b"body"]
    assert connection.failure is None


def test_a_tunnel_is_refused() -> None:
    connection = HttpConnection()
    assert connection.feed(b"CONNECT x:80 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi") == []
    assert connection.failure is not None


def test_a_body_too_long_is_refused_when_announced() -> None:
    connection = HttpConnection()
    head = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n"
    assert connection.feed(head % (http.BODY_BYTES_MAX + 1)) == []
    assert connection.failure is not None
    assert connection.failure.status == 413
    assert connection.feed(SIMPLE) == [], "nothing is read after a failure"
    accepted = HttpConnection()
    accepted.feed(head % http.BODY_BYTES_MAX)
    assert accepted.failure is None


def test_a_chunked_body_too_long_is_refused_when_it_gets_there() -> None:
    connection = HttpConnection(body_bytes_max=1000)
    connection.feed(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
    fed = 0
    while connection.failure is None:
        connection.feed(b"c8\r\n" + b"x" * 200 + b"\r\n")
        fed += 200
        assert fed <= 1200
    assert connection.failure.status == 413


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n" + b"".join(b"X%d: y\r\n" % n for n in range(200)) + b"\r\n",
    ],
)
@pytest.mark.parametrize("step", [100, 100_000])
def test_headers_too_long_are_refused_however_they_arrive(head: bytes, step: int) -> None:
    connection = HttpConnection()
    for at in range(0, len(head), step):
        assert connection.feed(head[at : at + step]) == []
    assert connection.failure is not None
    assert connection.failure.status == 431


def test_an_endless_header_line_is_not_buffered_for_ever() -> None:
    connection = HttpConnection()
    connection.feed(b"GET / HTTP/1.1\r\nX: ")
    fed = 0
    while connection.failure is None:
        connection.feed(b"a" * 500)
        fed += 500
        assert fed < 2 * http.HEADERS_BYTES_MAX
    assert connection.failure.status == 431


@pytest.mark.parametrize("step", [23, 50, 101, 60_000])
def test_many_pipelined_requests_are_no_long_header(step: int) -> None:
    connection = HttpConnection()
    stream = SIMPLE * 1000
    requests = []
    for at in range(0, len(stream), step):
        requests += connection.feed(stream[at : at + step])
    assert len(requests) == 1000
    assert connection.failure is None


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"hello there\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_garbage_fails_and_gets_an_answer(garbage: bytes) -> None:
    connection = HttpConnection()
    assert connection.feed(garbage) == []
    assert connection.failure is not None
    assert connection.failure.status in (400, 413)
    answer = http.failure_response(connection.failure)
    assert answer.startswith(b"HTTP/1.1 4")
    assert b"Connection: close" in answer


def test_requests_before_the_garbage_are_still_served() -> None:
    connection = HttpConnection()
    requests = connection.feed(SIMPLE + b"\x00garbage\r\n\r\n")
    assert [request.body for request in requests] == [b"body"]
    assert connection.failure is not None


@given(st.lists(st.binary(max_size=200), max_size=8))
def test_no_bytes_raise(parts: list[bytes]) -> None:
    connection = HttpConnection()
    for part in parts:
        connection.feed(part)


@given(st.randoms(use_true_random=False), st.integers(min_value=1, max_value=6))
def test_no_damaged_request_raises(rng: random.Random, damages: int) -> None:
    stream = bytearray(SIMPLE + CHUNKED + SIMPLE)
    for _ in range(damages):
        stream[rng.randrange(len(stream))] = rng.randrange(256)
    connection = HttpConnection()
    for at in range(0, len(stream), 37):
        for request in connection.feed(bytes(stream[at : at + 37])):
            assert len(request.body) <= len(stream)


def test_responses() -> None:
    raw = http.response(200, {"Content-Type": "text/plain"}, b"hi", keep_alive=False)
    assert raw == b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"
    dynamo = http.dynamodb_response(400, b"{}", "R" * 52)
    assert b"x-amzn-RequestId: " + b"R" * 52 in dynamo
    assert b"x-amz-crc32: 2745614147" in dynamo
    assert b"Content-Type: application/x-amz-json-1.0" in dynamo
