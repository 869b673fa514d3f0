"""Errors as DynamoDB puts them on the wire: HTTP status, ``__type``, and where the text goes.

The short names and which of them a client may retry are in the developer guide, "Error handling with DynamoDB";
the qualified names are what the service answers. A client's SDK cuts ``__type`` at the ``#``.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from cluster.core.errors import ApiError, invalid

__all__ = ["ApiError", "error_body", "error_status", "invalid", "request_id"]

_DYNAMODB = "com.amazonaws.dynamodb.v20120810#"
_SERVICE = "com.amazon.coral.service#"

_NAMESPACE: dict[str, str] = {
    "ValidationException": "com.amazon.coral.validate#",
    "ThrottlingException": "com.amazon.coral.availability#",
    "SerializationException": _SERVICE,
    "UnknownOperationException": _SERVICE,
    "AccessDeniedException": _SERVICE,
    "MissingAuthenticationTokenException": _SERVICE,
    "IncompleteSignatureException": _SERVICE,
    "InvalidSignatureException": _SERVICE,
    "UnrecognizedClientException": _SERVICE,
    "InternalFailure": _SERVICE,
    "RequestEntityTooLargeException": _SERVICE,
    "ServiceUnavailableException": _SERVICE,
}
"""Where a short name does not belong to DynamoDB's own model."""

_STATUS: dict[str, int] = {
    "InternalServerError": 500,
    "InternalFailure": 500,
    "ServiceUnavailableException": 503,
    "RequestEntityTooLargeException": 413,
}
"""HTTP status where it is not 400."""

_CAPITAL_MESSAGE = frozenset(
    {
        "TransactionCanceledException",
        "TransactionInProgressException",
        "IdempotentParameterMismatchException",
        "SerializationException",
        "AccessDeniedException",
    }
)
"""Kinds whose text is in ``Message``; everywhere else it is ``message``."""

_encode = msgspec.json.Encoder().encode


class _Bits(Protocol):
    def getrandbits(self, k: int, /) -> int: ...


def error_status(error: ApiError) -> int:
    """The HTTP status of an error: 400 unless it is the service that failed."""
    return _STATUS.get(error.kind, 400)


def error_body(error: ApiError) -> bytes:
    """The JSON body of an error."""
    body: dict[str, Any] = {"__type": _NAMESPACE.get(error.kind, _DYNAMODB) + error.kind}
    if error.message:
        body["Message" if error.kind in _CAPITAL_MESSAGE else "message"] = error.message
    if error.extra:
        body.update(error.extra)
    return _encode(body)


def request_id(rng: _Bits) -> str:
    """A request id as DynamoDB shapes it: 52 characters of ``[0-9A-Z]``, unique for practical purposes (192 bits)."""
    return f"{rng.getrandbits(192):048X}AAJG"
