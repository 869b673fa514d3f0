"""Errors on the wire: status, qualified type, where the text goes; request ids and checksums."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import msgspec
import pytest

from cluster.core.errors import ApiError
from cluster.wire import errors
from cluster.wire.json import read_body


@pytest.mark.parametrize(
    ("kind", "status", "qualified", "member"),
    [
        ("ValidationException", 400, "com.amazon.coral.validate#ValidationException", "message"),
        ("SerializationException", 400, "com.amazon.coral.service#SerializationException", "Message"),
        ("ThrottlingException", 400, "com.amazon.coral.availability#ThrottlingException", "message"),
        ("UnrecognizedClientException", 400, "com.amazon.coral.service#UnrecognizedClientException", "message"),
        (
            "ConditionalCheckFailedException",
            400,
            "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException",
            "message",
        ),
        (
            "TransactionCanceledException",
            400,
            "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
            "Message",
        ),
        ("InternalServerError", 500, "com.amazonaws.dynamodb.v20120810#InternalServerError", "message"),
        ("ServiceUnavailableException", 503, "com.amazon.coral.service#ServiceUnavailableException", "message"),
    ],
)
def test_forms(kind: str, status: int, qualified: str, member: str) -> None:
    error = ApiError(kind, "text")
    assert errors.error_status(error) == status
    assert json.loads(errors.error_body(error)) == {"__type": qualified, member: "text"}


def test_extra_members_and_no_text() -> None:
    error = ApiError("ConditionalCheckFailedException", "m", {"Item": msgspec.Raw(b'{"pk":{"S":"x"}}')})
    assert json.loads(errors.error_body(error))["Item"] == {"pk": {"S": "x"}}
    unknown = json.loads(errors.error_body(ApiError("UnknownOperationException")))
    assert unknown == {"__type": "com.amazon.coral.service#UnknownOperationException"}


def test_request_ids() -> None:
    rng = random.Random(1)
    ids = [errors.request_id(rng) for _ in range(100)]
    assert len(frozenset(ids)) == 100
    assert all(re.fullmatch("[0-9A-Z]{52}", text) for text in ids)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"{", b'{"a":}', b"\xff", b'"x"', b"[" * 100_000, b'{"a":' * 50_000]
)
def test_bodies_that_are_no_json_object(body: bytes) -> None:
    with pytest.raises(ApiError) as refused:
        read_body(body)
    assert (refused.value.kind, refused.value.message) == ("SerializationException", "")


def test_a_body() -> None:
    expected: dict[str, Any] = {"a": [1, None, {"b": "é"}]}
    assert read_body(json.dumps(expected).encode()) == expected
