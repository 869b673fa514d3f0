"""What BatchGetItem and BatchWriteItem have in common: requests by table, and what could not be done now.

A batch is many requests that know nothing of each other. What was throttled, or could not be reached and so was not
done, is handed back for the caller to send again; a batch of which nothing could be done fails as one of them would.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from cluster.api.fields import TABLE_ARN, TABLE_NAME_PATTERN
from cluster.core.commands import Outcome
from cluster.core.errors import ApiError, invalid

_NAME = re.compile(f"{TABLE_NAME_PATTERN[:-1]}{{1,255}}")

UNDONE = ("ServiceUnavailableException", "ProvisionedThroughputExceededException", "TransactionConflictException")
"""Failures after which nothing was done: the request may simply be sent again."""


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
    """Outcomes by request, None for what was not done; ``results`` has None for what was throttled here.

    Raises what nobody can make good: a refusal of the request, a write whose fate is unknown; and, where nothing at all
    was done, the first failure.
    """
    settled: list[Outcome | None] = []
    failure: ApiError | None = None
    for result in results:
        error = result if isinstance(result, ApiError) else None
        if isinstance(result, Outcome) and result.error is not None:
            error = ApiError(result.error, result.message)
        if error is not None and error.kind not in UNDONE:
            raise error
        failure = failure or error
        settled.append(result if isinstance(result, Outcome) and result.error is None else None)
    if failure is not None and all(one is None for one in settled):
        raise failure
    return settled
