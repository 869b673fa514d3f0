"""What the database says to a caller when it refuses: a value with DynamoDB's name for it, raised as an exception.

It lives in ``core`` because conditions are evaluated there; how it looks on the wire is :mod:`cluster.wire.errors`.
"""

from __future__ import annotations

from typing import Any


class ApiError(Exception):
    """A failure the caller is told about.

    ``kind`` is DynamoDB's short name (``ValidationException``); ``message`` is AWS's text where AWS has one;
    ``extra`` holds further members of the answer (``Item`` of a failed condition, ``CancellationReasons``).
    """

    def __init__(self, kind: str, message: str = "", extra: dict[str, Any] | None = None) -> None:
        super().__init__(kind, message)
        self.kind = kind
        self.message = message
        self.extra = extra

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}" if self.message else self.kind


class RefusedValue(ApiError):
    """A value that the service refuses: it has two layers that look at values, and each has words of its own.

    ``message`` is the newer layer's, which operations on one item and reads by key have; ``older`` that of
    BatchWriteItem and Scan.
    """

    def __init__(self, message: str, older: str = "") -> None:
        super().__init__("ValidationException", message)
        self.older = older or message


def in_older_words(error: ApiError) -> ApiError:
    """The same refusal as the older layer says it."""
    return invalid(error.older) if isinstance(error, RefusedValue) else error


def invalid(message: str) -> ApiError:
    """A ``ValidationException``: the request can never succeed as it is."""
    return ApiError("ValidationException", message)
