"""Requests that carry no operation."""

from __future__ import annotations

import gzip
import zlib

import pytest

from cluster.core.errors import ApiError
from cluster.wire.http import Request, date_line
from cluster.wire.http_client import Response, ResponseParser
from cluster.wire.protocol import answer, answer_outsider, first_refusal

JSON = {"content-type": "application/x-amz-json-1.0"}


@pytest.mark.parametrize(
    "headers",
    [JSON, {"content-type": "application/json"}, {"content-type": "Application/X-Amz-Json-1.0; charset=utf-8"}],
)
def test_operations_go_on(headers: dict[str, str]) -> None:
    assert answer_outsider(Request("POST", "/", headers, b"{}", True), "R") is None
    assert answer_outsider(Request("POST", "/", {}, b"", True), "R") is None


@pytest.mark.parametrize(
    "request_",
    [
        Request("PUT", "/", JSON, b"{}", True),
        Request("DELETE", "/", {}, b"", True),
        Request("OPTIONS", "/", {}, b"", True),
        Request("POST", "/", {"content-type": "text/plain"}, b"{}", True),
        Request("POST", "/", {}, b"{}", True),
    ],
)
def test_outsiders_get_the_services_404(request_: Request) -> None:
    raw = answer_outsider(request_, "R" * 52)
    assert raw is not None
    found = parse(raw)
    assert (found.status, found.body) == (404, b"<UnknownOperationException/>\n")
    assert int(found.headers["x-amz-crc32"]) == zlib.crc32(found.body)
    assert found.headers["x-amzn-requestid"] == "R" * 52


def test_a_browser_asks_first() -> None:
    headers = {"origin": "http://x", "access-control-request-headers": "a, b", "access-control-request-method": "POST"}
    raw = answer_outsider(Request("OPTIONS", "/", headers, b"", True), "R")
    assert raw is not None
    found = parse(raw)
    assert found.status == 200
    assert found.headers["access-control-allow-origin"] == "*"
    assert found.headers["access-control-allow-headers"] == "a, b"
    assert found.headers["access-control-allow-methods"] == "POST"


def parse(raw: bytes) -> Response:
    (answer,) = ResponseParser().feed(raw)
    return answer


def test_health_is_asked_of_the_root_only() -> None:
    healthy = parse(answer_outsider(Request("GET", "/", {"host": "h:8000"}, b"", True), "R" * 52, "router-a") or b"")
    assert (healthy.status, healthy.body.strip()) == (200, b"healthy: h:8000")
    assert healthy.headers["x-amzn-requestid"] == "R" * 52
    assert int(healthy.headers["x-amz-crc32"]) == zlib.crc32(healthy.body)
    unnamed = parse(answer_outsider(Request("GET", "/", {}, b"", True), "R", "router-a") or b"")
    assert unnamed.body.strip() == b"healthy: router-a"
    assert parse(answer_outsider(Request("GET", "/abc", {}, b"", True), "R") or b"").status == 404


@pytest.mark.parametrize(
    ("headers", "content_type"),
    [
        (JSON, "application/x-amz-json-1.0"),
        ({"content-type": "application/x-amz-json-1.0;blah"}, "application/x-amz-json-1.0"),
        ({"content-type": "application/json ; asdf"}, "application/json"),
        ({}, "application/json"),
    ],
)
def test_answers_are_of_the_requests_type(headers: dict[str, str], content_type: str) -> None:
    found = parse(answer(Request("POST", "/", headers, b"{}", True), 400, b"{}", "R", date_line(0)))
    assert found.headers["content-type"] == content_type
    assert found.headers["date"] == "Thu, 01 Jan 1970 00:00:00 GMT"


def test_only_those_who_name_an_origin_are_told_about_cors() -> None:
    for origin, seen in (({}, False), ({"origin": "http://x"}, True)):
        posted = parse(answer(Request("POST", "/", {**JSON, **origin}, b"{}", True), 200, b"{}", "R"))
        asked = parse(answer_outsider(Request("GET", "/", origin, b"", True), "R") or b"")
        for found in (posted, asked):
            assert ("access-control-allow-origin" in found.headers) is seen
            assert ("access-control-expose-headers" in found.headers) is seen
            assert "access-control-max-age" not in found.headers


def test_long_answers_are_compressed_for_who_asks() -> None:
    body = b"x" * 4096
    asking = {**JSON, "accept-encoding": "gzip"}
    found = parse(answer(Request("POST", "/", asking, b"{}", True), 200, body, "R"))
    assert found.headers["content-encoding"] == "gzip"
    assert gzip.decompress(found.body) == body
    assert int(found.headers["x-amz-crc32"]) == zlib.crc32(found.body)
    for headers, text in ((JSON, body), (asking, body[:-1]), ({**JSON, "accept-encoding": "identity"}, body)):
        plain = parse(answer(Request("POST", "/", headers, b"{}", True), 200, text, "R"))
        assert "content-encoding" not in plain.headers
        assert plain.body == text


def test_a_broken_body_is_refused_before_its_sender() -> None:
    stranger = ApiError("MissingAuthenticationTokenException", "Request is missing Authentication Token")
    assert first_refusal(Request("POST", "/", JSON, b"{", True), stranger).kind == "SerializationException"
    assert first_refusal(Request("POST", "/", JSON, b"{}", True), stranger) is stranger
    assert first_refusal(Request("POST", "/", JSON, b"", True), stranger) is stranger
    later = ApiError("ValidationException", "x")
    assert first_refusal(Request("POST", "/", JSON, b"{", True), later) is later
    large = b"{" * 100_000
    assert first_refusal(Request("POST", "/", JSON, large, True), stranger) is stranger
