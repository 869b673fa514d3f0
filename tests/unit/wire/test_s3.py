"""What of S3's protocol is served, what is refused, and how listings are told."""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from urllib.parse import unquote

import pytest

from cluster.node.world import StoredObject
from cluster.wire import s3, sigv4
from cluster.wire.http import Request
from cluster.wire.s3 import Ask, Listing, Refused

NOW = 1_790_000_000.0
KEYS = ("BSATEST", "secret")


def request(method: str, target: str, body: bytes = b"", **headers: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request(method, target, {"host": "archive:9000", **named}, body, True)


def signed(plain: Request, *, access_key: str = KEYS[0], secret_key: str = KEYS[1], service: str = "s3") -> Request:
    headers = sigv4.sign(
        *(plain.method, plain.target, plain.headers, plain.body),
        access_key=access_key, secret_key=secret_key, region="eu-west-1", now=NOW, service=service,
    )  # fmt: skip
    return plain._replace(headers=headers)


def refusal(plain: Request) -> tuple[int, str]:
    try:
        s3.check_signature(plain, *KEYS, "eu-west-1", NOW)
        s3.parse(plain)
    except Refused as refused:
        return refused.status, refused.code
    pytest.fail("it was not refused")


def sum_of(kind: str, body: bytes) -> str:
    return base64.b64encode(s3.CHECKSUMS[kind](body)).decode()


@pytest.mark.parametrize(
    ("asked", "means"),
    [
        (request("PUT", "/b/c/t/1.log", b"x"), Ask("put", "b", "c/t/1.log", b"x")),
        (request("PUT", "/b/k?x-id=PutObject", b"x"), Ask("put", "b", "k", b"x")),
        (request("GET", "/b/a%20b/%C3%A9~"), Ask("get", "b", "a b/é~")),
        (request("HEAD", "/b/k"), Ask("head", "b", "k")),
        (request("DELETE", "/b/k"), Ask("delete", "b", "k")),
        (request("HEAD", "/b"), Ask("bucket", "b")),
        (request("HEAD", "/b/"), Ask("bucket", "b")),
        (request("GET", "/"), Ask("buckets")),
        (request("GET", "/b?list-type=2"), Ask("list", "b", listing=Listing("", "", "", 1000, False))),
        (
            request(
                "GET", "/b/?list-type=2&prefix=c%2Ft%2F&delimiter=%2F&max-keys=5&encoding-type=url&start-after=c/t/7"
            ),
            Ask("list", "b", listing=Listing("c/t/", "/", "c/t/7", 5, True)),
        ),
    ],
)
def test_requests_are_understood(asked: Request, means: Ask) -> None:
    assert s3.parse(asked) == means


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        (request("POST", "/b/k?uploads"), 501, "NotImplemented"),
        (request("GET", "/b/k?acl"), 501, "NotImplemented"),
        (request("PUT", "/b"), 501, "NotImplemented"),
        (request("GET", "/b"), 501, "NotImplemented"),
        (request("GET", "/b?list-type=2&versions"), 501, "NotImplemented"),
        (request("PUT", "/b/k", x_amz_copy_source="/b/other"), 501, "NotImplemented"),
        (request("PUT", "/b/../../etc/passwd"), 400, "InvalidURI"),
        (request("PUT", "/b/a%2F..%2Fb"), 400, "InvalidURI"),
        (request("PUT", "/b/a//b"), 400, "InvalidURI"),
        (request("PUT", "/b/a%00"), 400, "InvalidURI"),
        (request("GET", "/b/%FF"), 400, "InvalidURI"),
        (request("PUT", "/b/" + "k" * 241), 400, "KeyTooLongError"),
        (request("PUT", "/b/" + "k/" * 520 + "k"), 400, "KeyTooLongError"),
        (request("PUT", "/b/k", b"x", content_md5=sum_of("content-md5", b"y")), 400, "BadDigest"),
        (request("PUT", "/b/k", b"x", x_amz_checksum_crc32="AAAAAA=="), 400, "BadDigest"),
        (request("GET", "/b?list-type=2&max-keys=many"), 400, "InvalidArgument"),
        (request("GET", "/b?list-type=2&delimiter=x"), 400, "InvalidArgument"),
        (request("GET", "/b?list-type=2&continuation-token=%FF%FE"), 400, "InvalidArgument"),
    ],
)
def test_the_rest_is_refused_by_name(asked: Request, status: int, code: str) -> None:
    assert refusal(signed(asked)) == (status, code)
    body = s3.error_answer(Refused(status, code, "a < b"), asked)
    assert body.startswith(b"HTTP/1.1 %d " % status)
    assert b"<Message>a &lt; b</Message>" in body


@pytest.mark.parametrize("kind", s3.CHECKSUMS)
def test_a_body_is_held_against_every_checksum_that_comes_with_it(kind: str) -> None:
    whole = request("PUT", "/b/k", b"body", **{kind.replace("-", "_"): sum_of(kind, b"body")})
    assert s3.parse(whole).body == b"body"
    assert refusal(signed(whole._replace(body=b"bodY"))) == (400, "BadDigest")
    assert s3.CHECKSUMS["x-amz-checksum-crc32"](b"body") == zlib.crc32(b"body").to_bytes(4, "big")


def test_who_signed_is_known_and_what() -> None:
    plain = request("PUT", "/b/k", b"x", x_amz_content_sha256=hashlib.sha256(b"x").hexdigest())
    s3.check_signature(signed(plain), *KEYS, "eu-west-1", NOW)
    s3.check_signature(signed(request("GET", "/b/k")), *KEYS, "eu-west-1", NOW)

    assert refusal(plain) == (403, "AccessDenied")
    assert refusal(signed(plain)._replace(body=b"y")) == (400, "XAmzContentSHA256Mismatch")
    assert refusal(signed(plain)._replace(target="/b/other")) == (403, "SignatureDoesNotMatch")
    assert refusal(signed(request("GET", "/b/k"))._replace(body=b"smuggled")) == (403, "SignatureDoesNotMatch")
    assert refusal(signed(plain, access_key="BSASTRANGER")) == (403, "InvalidAccessKeyId")
    assert refusal(signed(plain, secret_key="guessed")) == (403, "SignatureDoesNotMatch")
    assert refusal(signed(plain, service="dynamodb")) == (403, "SignatureDoesNotMatch")
    assert refusal(request("GET", "/b/k", authorization="AWS4-HMAC-SHA256 Credential=x")) == (
        400, "AuthorizationHeaderMalformed",
    )  # fmt: skip
    for otherwise in ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "UNSIGNED-PAYLOAD"):
        assert refusal(signed(request("PUT", "/b/k", x_amz_content_sha256=otherwise))) == (501, "NotImplemented")


def told(answer: bytes) -> tuple[list[str], list[str], str | None]:
    """Keys, common prefixes and the token of a listing."""
    text = answer.decode()
    token = re.search("<NextContinuationToken>(.*)</NextContinuationToken>", text)
    assert (token is not None) == ("<IsTruncated>true<" in text)
    keys, prefixes = re.findall("<Key>(.*?)</Key>", text), re.findall("<Prefix>([^<]+)</Prefix></CommonPrefixes>", text)
    assert f"<KeyCount>{len(keys) + len(prefixes)}<" in text
    return keys, prefixes, token and token.group(1)


@pytest.mark.parametrize("page", [1, 2, 3, 1000])
@pytest.mark.parametrize("delimiter", ["", "/"])
def test_a_listing_in_pages_tells_everything_once(page: int, delimiter: str) -> None:
    names = ["t/a", "t/b/1", "t/b/2", "t/b/3", "t/c", "t/d/1", "t/é"]
    objects = [StoredObject(name, 7, NOW) for name in names]
    keys: list[str] = []
    prefixes: list[str] = []
    query = f"/b?list-type=2&prefix=t%2F&encoding-type=url&max-keys={page}" + ("&delimiter=%2F" if delimiter else "")
    token: str | None = ""
    while token is not None:
        listing = s3.parse(request("GET", query + (f"&continuation-token={token}" if token else ""))).listing
        assert listing is not None
        more, folded, token = told(s3.listing_answer("b", listing, objects, keep_alive=True))
        assert 0 < len(more) + len(folded) <= page
        keys += [unquote(key) for key in more]
        prefixes += folded
    assert keys == (["t/a", "t/c", "t/é"] if delimiter else names)
    assert prefixes == (["t/b/", "t/d/"] if delimiter else [])


def test_a_page_of_none_is_empty_and_does_not_go_on_for_ever() -> None:
    listing = Listing("", "", "", 0, False)
    assert told(s3.listing_answer("b", listing, [], keep_alive=True)) == ([], [], None)


def test_keys_that_xml_cannot_hold_are_told_encoded() -> None:
    objects = [StoredObject("a&b<c", 1, NOW)]
    plain = s3.listing_answer("b", Listing("a&", "", "", 10, False), objects, keep_alive=True)
    assert b"<Key>a&amp;b&lt;c</Key><LastModified>2026-09-21T14:13:20.000Z</LastModified>" in plain
    encoded = s3.listing_answer("b", Listing("a&", "", "", 10, True), objects, keep_alive=True)
    assert b"<Key>a%26b%3Cc</Key>" in encoded


def test_a_head_is_a_get_without_the_bytes() -> None:
    whole = s3.object_answer(b"body", NOW, head=False, keep_alive=True)
    head = s3.object_answer(b"body", NOW, head=True, keep_alive=True)
    assert whole == head + b"body"
    assert b"Content-Length: 4\r\n" in head
    assert s3.object_answer(b"", NOW, head=True, keep_alive=True).endswith(b"\r\n\r\n")
    assert s3.error_answer(Refused(404, "NoSuchKey", "?"), request("HEAD", "/b/k")).endswith(b"\r\n\r\n")
