"""What BatchGetItem and BatchWriteItem have in common: requests by table, and what could not be done now.

A batch is many requests that know nothing of each other. What was throttled, could not be reached, or was never heard
of again is handed back for the caller to send again: *unprocessed* is what is not known to be done. A batch of which
nothing is known to be done fails as one of its requests would.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from cluster.api.fields import TABLE_ARN, TABLE_NAME_PATTERN
from cluster.core.commands import Outcome
from cluster.core.errors import ApiError, invalid

_NAME = re.compile(f"{TABLE_NAME_PATTERN[:-1]}{{1,255}}")

UNKNOWN = "InternalServerError"
"""A write after this may have been done, or may yet be."""

UNDONE = (
    "ServiceUnavailableException",
    "ProvisionedThroughputExceededException",
    "TransactionConflictException",
    UNKNOWN,
)
"""Failures after which the request may be sent again, by itself: puts and deletes of a batch have no conditions."""


def check_tables(body: Mapping[str, Any], operation: str) -> None:
    """Refuse a batch without requests and names that are no table's."""
    requests = body["RequestItems"]
    if not requests:
        raise invalid(f"The requestItems parameter is required for {operation}")
    for name in requests:
        if _NAME.fullmatch(name) is None and TABLE_ARN.fullmatch(name) is None:
            raise invalid(
                f"1 validation error detected: Value '{shown(requests)}' at 'requestItems' failed to satisfy "
                "constraint: Map keys must satisfy constraint: [Member must have length less than or equal to 255, "
                "Member must have length greater than or equal to 1, Member must satisfy regular expression pattern: "
                f"{TABLE_NAME_PATTERN}]"
            )


def table_of(name: str) -> str:
    """A table's name from what the request calls it, which may be its ARN."""
    arn = TABLE_ARN.fullmatch(name)
    return arn[1] if arn is not None else name


def shown(requests: Mapping[str, Sequence[Any] | Any]) -> str:
    """Requests by table as the service prints them, without their content."""
    counts = {name: len(given) if isinstance(given, list) else 1 for name, given in requests.items()}
    return "{" + ", ".join(f"{name}=[{', '.join(['WriteRequest()'] * count)}]" for name, count in counts.items()) + "}"


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
