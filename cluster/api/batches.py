"""What BatchGetItem and BatchWriteItem have in common: requests by table, and what could not be done now.

A batch is many requests that know nothing of each other. What was throttled, could not be reached, or was never heard
of again is handed back for the caller to send again: *unprocessed* is what is not known to be done. A batch of which
nothing is known to be done fails as one of its requests would.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cluster.api.fields import TABLE_ARN
from cluster.core.commands import Outcome
from cluster.core.errors import ApiError, invalid

UNKNOWN = "InternalServerError"
"""A write after this may have been done, or may yet be."""

UNDONE = (
    "ServiceUnavailableException",
    "ProvisionedThroughputExceededException",
    "TransactionConflictException",
    UNKNOWN,
)
"""Failures after which the request may be sent again, by itself: puts and deletes of a batch have no conditions."""


def check_some(body: Mapping[str, Any]) -> None:
    """Refuse a batch without requests."""
    if not body["RequestItems"]:
        raise invalid(
            "1 validation error detected: Value at 'RequestItems' failed to satisfy constraint: Member must have "
            "length greater than or equal to 1"
        )


def table_of(name: str) -> str:
    """A table's name from what the request calls it, which may be its ARN."""
    arn = TABLE_ARN.fullmatch(name)
    return arn[1] if arn is not None else name


def settle(results: Sequence[Outcome | ApiError | None]) -> list[Outcome | None]:
    """Outcomes by request, None for what is not known to be done; ``results`` has None for what was throttled here.

    Raises a refusal of the request, which nobody can make good, and, where nothing at all is known to be done, the
    first failure: one that leaves open what happened before any that does not.
    """
    settled: list[Outcome | None] = []
    failure: ApiError | None = None
    for result in results:
        error = result if isinstance(result, ApiError) else None
        if isinstance(result, Outcome) and result.error is not None:
            error = ApiError(result.error, result.message)
        if error is not None and error.kind not in UNDONE:
            raise error
        if failure is None or (error is not None and error.kind == UNKNOWN and failure.kind != UNKNOWN):
            failure = error
        settled.append(result if isinstance(result, Outcome) and result.error is None else None)
    if failure is not None and all(one is None for one in settled):
        raise failure
    return settled
