"""DescribeLimits: the quotas of an account; ours are constant."""

from __future__ import annotations

from typing import Any

from cluster.api.operation import ControlOperation
from cluster.api.throughput import TABLE_UNITS_MAX
from cluster.wire.json import encode

ACCOUNT_UNITS_MAX = 80_000


def check_request(body: dict[str, Any]) -> dict[str, Any]:
    """Takes no parameters."""
    return {}


def respond(answer: dict[str, Any]) -> bytes:
    """The quotas."""
    return encode(
        {
            "AccountMaxReadCapacityUnits": ACCOUNT_UNITS_MAX,
            "AccountMaxWriteCapacityUnits": ACCOUNT_UNITS_MAX,
            "TableMaxReadCapacityUnits": TABLE_UNITS_MAX,
            "TableMaxWriteCapacityUnits": TABLE_UNITS_MAX,
        }
    )


OPERATION = ControlOperation("DescribeLimits", check_request, respond, local=True)
