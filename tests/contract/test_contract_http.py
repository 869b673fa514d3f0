"""The HTTP edge as any client meets it: bodies, types, targets and signatures that are not as they should be."""

from __future__ import annotations

import gzip
import http.client
import json
import zlib
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

TARGET = {"X-Amz-Target": "DynamoDB_20120810.ListTables"}
JSON = {"Content-Type": "application/x-amz-json-1.0"}
PLAIN = {"Content-Type": "application/json"}
SERIALIZATION = {"__type": "com.amazon.coral.service#SerializationException"}
UNKNOWN = {"__type": "com.amazon.coral.service#UnknownOperationException"}


class Answer:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.raw = response.read()
        assert len(self.headers["x-amzn-requestid"]) == 52
        if "x-amz-crc32" in self.headers:
            assert int(self.headers["x-amz-crc32"]) == zlib.crc32(self.raw)

    @property
    def body(self) -> Any:
        return json.loads(self.raw)


@pytest.fixture
def send(endpoint: tuple[str, dict[str, str]]) -> Any:
    """``send(method, path, headers, body, signed=False)``."""
    url, credentials = endpoint
    parts = urlsplit(url)

    def call(method: str, path: str = "/", headers: Any = None, body: bytes = b"", *, signed: bool = False) -> Answer:
        headers = dict(headers or {})
        if signed:
            request = AWSRequest(method=method, url=url + path, data=body, headers=headers)
            keys = Credentials(credentials["aws_access_key_id"], credentials["aws_secret_access_key"])
            SigV4Auth(keys, "dynamodb", credentials["region_name"]).add_auth(request)
            headers = dict(request.headers.items())
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
        try:
            connection.putrequest(method, path, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            if body or method == "POST":
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body or None)
            return Answer(connection.getresponse())
        finally:
            connection.close()

    return call


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS"])
def test_other_methods_are_unknown(send: Any, method: str) -> None:
    answer = send(method)
    assert (answer.status, answer.raw) == (404, b"<UnknownOperationException/>\n")


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "whatever"}, {"Content-Type": "application/x-amz-json-1.1"}])
def test_bodies_of_other_types_are_unknown(send: Any, headers: dict[str, str]) -> None:
    assert send("POST", headers=headers, body=b"hi").status == 404


def test_health(send: Any) -> None:
    answer = send("GET")
    assert (answer.status, answer.raw[:9]) == (200, b"healthy: ")
    assert send("GET", "/abc").status in range(400, 405)


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        (PLAIN, b"hi", SERIALIZATION),
        (JSON, b"hi", SERIALIZATION),
        ({"Content-Type": "application/json;blahblah"}, b"hi", SERIALIZATION),
        ({**JSON, **TARGET}, b"{", SERIALIZATION),
        ({**JSON, **TARGET}, b"[]", SERIALIZATION),
        ({}, b"", UNKNOWN),
        (PLAIN, b"{}", UNKNOWN),
        (JSON, b"{}", UNKNOWN),
        ({"X-Amz-Target": "whatever"}, b"", UNKNOWN),
        ({"X-Amz-Target": "DynamoDB_20120810.ListTable"}, b"", UNKNOWN),
        (
            TARGET,
            b"",
            {
                "__type": "com.amazon.coral.service#MissingAuthenticationTokenException",
                "message": "Request is missing Authentication Token",
            },
        ),
        (
            {**TARGET, "Authorization": "AWS4-"},
            b"",
            {
                "__type": "com.amazon.coral.service#IncompleteSignatureException",
                "message": "Authorization header requires 'Credential' parameter. Authorization header requires "
                "'Signature' parameter. Authorization header requires 'SignedHeaders' parameter. Authorization header "
                "requires existence of either a 'X-Amz-Date' or a 'Date' header. Authorization=AWS4-",
            },
        ),
    ],
)
def test_what_is_refused_first(send: Any, headers: dict[str, str], body: bytes, expected: dict[str, str]) -> None:
    answer = send("POST", headers=headers, body=body)
    assert (answer.status, answer.body) == (400, expected)
    asked = headers.get("Content-Type", "application/json").partition(";")[0]
    assert answer.headers["content-type"] == asked


def test_cors(send: Any) -> None:
    origin = {"Origin": "http://example.com"}
    asked = {"Access-Control-Request-Headers": "a, b, c", "Access-Control-Request-Method": "d"}
    preflight = send("OPTIONS", headers={**origin, **asked})
    assert (preflight.status, preflight.raw) == (200, b"")
    assert preflight.headers["access-control-allow-headers"] == "a, b, c"
    assert preflight.headers["access-control-allow-methods"] == "d"
    assert preflight.headers["access-control-max-age"] == "172800"
    for answer in (preflight, send("GET", headers=origin), send("POST", headers=origin)):
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "access-control-expose-headers" in answer.headers
    assert "access-control-allow-origin" not in send("POST").headers


@pytest.mark.parametrize(
    "body",
    [
        b'{"TableName": "t", "Item": ' + b'{"":' * 200_000 + b"{}" + b"}" * 200_000 + b"}",
        b"{" * 10_000 + b"}" * 9_999,
        b"}{",
        b'{"a": NaN}',
        b"\xff\xfe",
    ],
)
def test_monstrous_bodies_are_refused_calmly(send: Any, body: bytes) -> None:
    headers = {**JSON, "X-Amz-Target": "DynamoDB_20120810.PutItem"}
    answer = send("POST", headers=headers, body=body, signed=True)
    assert answer.status == 400
    assert answer.body["__type"].endswith(("SerializationException", "ValidationException"))


def test_a_signed_request_is_served_with_all_headers(send: Any) -> None:
    answer = send("POST", headers={**JSON, **TARGET}, body=b"{}", signed=True)
    assert answer.status == 200
    assert "TableNames" in answer.body
    assert answer.headers["content-type"] == "application/x-amz-json-1.0"
    assert "date" in answer.headers
    assert "x-amz-crc32" in answer.headers


def test_gzip_both_ways(send: Any, dynamodb: Any, table: str, key: dict[str, Any]) -> None:
    item = {**key, "text": {"S": "x" * 5000}}
    put = {**JSON, "X-Amz-Target": "DynamoDB_20120810.PutItem", "Content-Encoding": "gzip"}
    body = gzip.compress(json.dumps({"TableName": table, "Item": item}).encode())
    assert send("POST", headers=put, body=body, signed=True).status == 200
    assert send("POST", headers=put, body=body[:-1], signed=True).status == 500
    get = {**JSON, "X-Amz-Target": "DynamoDB_20120810.GetItem", "Accept-Encoding": "gzip"}
    asked = json.dumps({"TableName": table, "Key": key, "ConsistentRead": True}).encode()
    answer = send("POST", headers=get, body=asked, signed=True)
    assert answer.headers["content-encoding"] == "gzip"
    assert json.loads(gzip.decompress(answer.raw)) == {"Item": item}
