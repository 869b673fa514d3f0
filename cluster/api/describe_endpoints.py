"""DescribeEndpoints: where to send requests. The address is the Host the caller used."""

from __future__ import annotations

from typing import Any

from cluster.api.operation import ControlOperation
from cluster.wire.json import encode

CACHE_PERIOD_MINUTES = 1440


def check_request(body: dict[str, Any]) -> dict[str, Any]:
    """Takes no parameters."""
    return {}


def respond(answer: dict[str, Any]) -> bytes:
    """From ``{"address"}``: host and port without a scheme."""
    return encode({"Endpoints": [{"Address": answer["address"], "CachePeriodInMinutes": CACHE_PERIOD_MINUTES}]})


OPERATION = ControlOperation("DescribeEndpoints", check_request, respond, local=True)
