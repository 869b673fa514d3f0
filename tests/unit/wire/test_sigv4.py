"""SigV4 against botocore's signer, and each refusal in AWS's words."""

from __future__ import annotations

import calendar
import datetime
import hmac
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from cluster.core.errors import ApiError
from cluster.wire import sigv4
from cluster.wire.http import HttpConnection

KEY, SECRET, REGION = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG", "local-1"
BODY = b'{"TableName":"things"}'


def botocore_headers(path: str, body: bytes, extra: dict[str, str]) -> tuple[dict[str, str], float]:
    """Headers as boto3 would sign them, lower-case, and when."""
    request = AWSRequest(method="POST", url=f"http://198.18.0.16:8000{path}", data=body, headers=extra)
    SigV4Auth(Credentials(KEY, SECRET), "dynamodb", REGION).add_auth(request)
    headers = {name.lower(): value for name, value in request.headers.items()}
    headers["host"] = "198.18.0.16:8000"
    stamp = datetime.datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ")
    return headers, float(calendar.timegm(stamp.timetuple()))


def secret_of(key: str) -> str | None:
    return SECRET if key == KEY else None


def verify(headers: dict[str, str], now: float, body: bytes = BODY, target: str = "/") -> str:
    return sigv4.verify("POST", target, headers, body, secret_of, now, region=REGION)


@pytest.mark.parametrize("path", ["/", "/?b=2&a=1", "/?a"])
@pytest.mark.parametrize("spaced", ["DynamoDB_20120810.PutItem", "two  spaces   inside"])
def test_what_botocore_signs_is_accepted(path: str, spaced: str) -> None:
    headers, now = botocore_headers(path, BODY, {"X-Amz-Target": spaced, "Content-Type": "application/x-amz-json-1.0"})
    assert verify(headers, now, target=path) == KEY


def test_our_two_signers_agree_with_the_verifier() -> None:
    now = 1_700_000_000.5
    headers = sigv4.sign(
        "POST",
        "/",
        {"host": "h:1", "x-amz-target": "t"},
        BODY,
        access_key=KEY,
        secret_key=SECRET,
        region=REGION,
        now=now,
    )
    assert verify(headers, now) == KEY
    raw = sigv4.Signer(KEY, SECRET, REGION, "h:1").request("PutItem", BODY, now)
    (request,) = HttpConnection().feed(raw)
    assert request.target == "/"
    assert request.headers["x-amz-target"] == "DynamoDB_20120810.PutItem"
    assert sigv4.verify("POST", "/", request.headers, request.body, secret_of, now, region=REGION) == KEY


def test_a_signer_follows_the_clock_over_midnight() -> None:
    signer = sigv4.Signer(KEY, SECRET, REGION, "h:1")
    for now in (1_700_006_399.9, 1_700_006_400.0, 1_700_006_400.9):
        (request,) = HttpConnection().feed(signer.request("GetItem", BODY, now))
        assert sigv4.verify("POST", "/", request.headers, request.body, secret_of, now) == KEY


def refusal(headers: dict[str, str], now: float, **more: Any) -> ApiError:
    with pytest.raises(ApiError) as refused:
        verify(headers, now, **more)
    return refused.value


def signed(now: float = 1_700_000_000.0, **changed: str) -> dict[str, str]:
    headers = sigv4.sign("POST", "/", {"host": "h:1"}, BODY, access_key=KEY, secret_key=SECRET, region=REGION, now=now)
    return {**headers, **changed}


NOW = 1_700_000_000.0


def test_no_signature() -> None:
    for headers in ({}, {"authorization": "Basic eDp5"}):
        error = refusal(headers, NOW)
        assert error.kind == "MissingAuthenticationTokenException"
        assert error.message == "Request is missing Authentication Token"


def test_every_missing_part_is_named() -> None:
    error = refusal({"authorization": "AWS4-HMAC-SHA256 Nothing"}, NOW)
    assert error.kind == "IncompleteSignatureException"
    assert error.message == (
        "Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' parameter. "
        "Authorization header requires 'SignedHeaders' parameter. Authorization header requires existence of either a "
        "'X-Amz-Date' or a 'Date' header. Authorization=AWS4-HMAC-SHA256 Nothing"
    )


def test_an_unknown_key() -> None:
    headers = sigv4.sign("POST", "/", {"host": "h"}, BODY, access_key="WHO", secret_key="x", region=REGION, now=NOW)
    error = refusal(headers, NOW)
    assert error.kind == "UnrecognizedClientException"
    assert error.message == "The security token included in the request is invalid."


def test_another_secret_body_header_or_target_is_another_signature() -> None:
    other = sigv4.sign("POST", "/", {"host": "h:1"}, BODY, access_key=KEY, secret_key="no", region=REGION, now=NOW)
    for error in (
        refusal(other, NOW),
        refusal(signed(), NOW, body=BODY + b" "),
        refusal(signed(host="h:2"), NOW),
        refusal(signed(), NOW, target="/?x=1"),
    ):
        assert error.kind == "InvalidSignatureException"
        assert error.message.startswith("The request signature we calculated does not match")


def test_dates_far_away() -> None:
    assert verify(signed(), NOW + 899) == KEY
    assert verify(signed(), NOW - 899) == KEY
    late = refusal(signed(), NOW + 901)
    assert late.message == (
        "Signature expired: 20231114T221320Z is now earlier than 20231114T221321Z (20231114T222821Z - 15 min.)"
    )
    early = refusal(signed(), NOW - 901)
    assert early.message == (
        "Signature not yet current: 20231114T221320Z is still later than 20231114T221319Z (20231114T215819Z + 15 min.)"
    )
    assert late.kind == early.kind == "InvalidSignatureException"


def test_a_credential_of_another_place() -> None:
    headers = sigv4.sign(
        "POST", "/", {"host": "h"}, BODY, access_key=KEY, secret_key=SECRET, region="eu-x", service="s3", now=NOW
    )
    error = refusal(headers, NOW)
    assert error.kind == "InvalidSignatureException"
    assert error.message == (
        "Credential should be scoped to a valid region, not 'eu-x'. "
        "Credential should be scoped to correct service: 'dynamodb'. "
    )


def test_the_host_must_be_signed() -> None:
    headers = sigv4.sign("POST", "/", {"x": "y"}, BODY, access_key=KEY, secret_key=SECRET, region=REGION, now=NOW)
    error = refusal({**headers, "host": "h"}, NOW)
    assert "must be a 'SignedHeader'" in error.message


def test_a_date_header_stands_in_for_x_amz_date() -> None:
    headers = signed()
    del headers["x-amz-date"]
    headers["date"] = "Tue, 14 Nov 2023 22:13:20 GMT"
    error = refusal(headers, NOW)  # signed with x-amz-date, so it cannot match, but the date is understood
    assert error.message.startswith("The request signature we calculated")


def test_an_algorithm_of_the_future() -> None:
    headers = signed()
    headers["authorization"] = headers["authorization"].replace("SHA256", "SHA512")
    error = refusal(headers, NOW)
    assert error.kind == "IncompleteSignatureException"
    assert error.message.startswith("Unsupported AWS 'algorithm': 'AWS4-HMAC-SHA512'")


@given(st.text(max_size=200), st.text(max_size=40))
def test_no_header_does_anything_but_be_refused(authorization: str, date: str) -> None:
    for text in (authorization, "AWS4-HMAC-SHA256 " + authorization, signed()["authorization"][:90] + authorization):
        headers = {"authorization": text, "x-amz-date": date, "host": "h"}
        with pytest.raises(ApiError):
            verify(headers, NOW)


def test_separators_in_the_header_are_commas_spaces_or_both() -> None:
    text = signed()["authorization"]
    for other in (text.replace(", ", ","), text.replace(", ", " "), text.replace(", ", " , ")):
        assert verify(signed(authorization=other), NOW) == KEY
    error = refusal({"authorization": "AWS4- Signature=b Credential=a", "date": "a"}, NOW)
    assert error.message == (
        "Authorization header requires 'SignedHeaders' parameter. Authorization=AWS4- Signature=b Credential=a"
    )


def test_an_old_date_is_told_before_a_wrong_scope_or_key() -> None:
    text = "AWS4-HMAC-SHA256 Credential=who/2/3/4/aws4_request SignedHeaders=x-amz-date;host Signature=123"
    assert "Signature expired" in refusal({"authorization": text, "x-amz-date": "20170101T010101Z"}, NOW).message
    assert "not yet current" in refusal({"authorization": text, "x-amz-date": "30200101T010101Z"}, NOW).message


def presigned(now_s: float = NOW, **changed: str) -> str:
    request = AWSRequest(method="POST", url="http://h:1/", data=BODY, headers={"host": "h:1"})
    fields = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{KEY}%2F20231114%2F{REGION}%2Fdynamodb%2Faws4_request",
        "X-Amz-Date": sigv4.amz_date(now_s),
        "X-Amz-Expires": "60",
        "X-Amz-SignedHeaders": "host",
    }
    signer = SigV4Auth(Credentials(KEY, SECRET), "dynamodb", REGION)
    query = "&".join(f"{name}={value}" for name, value in sorted(fields.items()))
    request.url = f"http://h:1/?{query}"
    request.context["timestamp"] = sigv4.amz_date(now_s)
    canonical = signer.canonical_request(request)
    signature = signer.signature(signer.string_to_sign(request, canonical), request)
    fields.update({"X-Amz-Signature": signature}, **changed)
    return "/?" + "&".join(f"{name}={value}" for name, value in fields.items() if value)


def test_a_signature_in_the_query_is_as_good() -> None:
    headers = {"host": "h:1"}
    assert verify(headers, NOW + 30, target=presigned()) == KEY
    expired = refusal(headers, NOW + 61, target=presigned())
    assert expired.message.startswith("Signature expired: ")
    forged = refusal(headers, NOW, target=presigned(**{"X-Amz-Signature": "0" * 64}))
    assert forged.message.startswith("The request signature we calculated does not match")
    assert refusal({"host": "h:2"}, NOW, target=presigned()).kind == "InvalidSignatureException"
    assert refusal(headers, NOW, target=presigned() + "&more=1").kind == "InvalidSignatureException"
    for life in ("x", "604801", "9999999"):
        assert "X-Amz-Expires" in refusal(headers, NOW, target=presigned(**{"X-Amz-Expires": life})).message


def test_what_a_signature_in_the_query_lacks_is_named() -> None:
    empty = refusal({}, NOW, target="/?X-Amz-Algorithm")
    assert empty.kind == "IncompleteSignatureException"
    assert empty.message == (
        "AWS query-string parameters must include 'X-Amz-Algorithm'. "
        "AWS query-string parameters must include 'X-Amz-Credential'. "
        "AWS query-string parameters must include 'X-Amz-Signature'. "
        "AWS query-string parameters must include 'X-Amz-SignedHeaders'. "
        "AWS query-string parameters must include 'X-Amz-Date'. Re-examine the query-string parameters."
    )
    partly = refusal({}, NOW, target="/?X-Amz-Algorithm=a&X-Amz-Credential=b&X-Amz-Signature=c&X-Amz-Date=d")
    assert partly.message == (
        "AWS query-string parameters must include 'X-Amz-SignedHeaders'. Re-examine the query-string parameters."
    )
    both = refusal({"authorization": "X"}, NOW, target="/?X-Amz-Algorithm")
    assert (both.kind, both.message) == (
        "InvalidSignatureException",
        "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header.",
    )
    for target in ("/?X-Amz-Algorith", "/?X-Amz-Credential=a&X-Amz-Signature=b&X-Amz-SignedHeaders=c&X-Amz-Date=d"):
        assert refusal({"authorization": "X"}, NOW, target=target).kind == "MissingAuthenticationTokenException"


def test_a_host_signed_without_its_port_is_that_host() -> None:
    headers = sigv4.sign("POST", "/", {"host": "h"}, BODY, access_key=KEY, secret_key=SECRET, region=REGION, now=NOW)
    assert verify({**headers, "host": "h:8000"}, NOW) == KEY
    for host in ("g:8000", "h:x", "g", ":8000"):
        assert refusal({**headers, "host": host}, NOW).kind == "InvalidSignatureException"


@pytest.mark.parametrize("key", [b"", b"k" * 32, bytes(range(64))])
@pytest.mark.parametrize("text", [b"", b"x" * 55, b"x" * 200])
def test_a_kept_state_gives_the_same_mac(key: bytes, text: bytes) -> None:
    expected = hmac.digest(key, text, "sha256").hex()
    assert [sigv4._mac(key, text) for _ in range(2)] == [expected, expected]
