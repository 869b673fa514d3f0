"""DescribeTimeToLive: which attribute says when an item expires, and whether it does already."""

from __future__ import annotations

from typing import Any

from cluster.api.fields import TABLE_NAME, Table, check_control_name
from cluster.api.operation import ControlOperation
from cluster.core.errors import ApiError, invalid
from cluster.wire.json import encode

FIELDS = Table(TABLE_NAME)


def check_request(body: dict[str, Any]) -> dict[str, Any]:
    """``{"name"}``."""
    check_control_name(body, FIELDS)
    FIELDS.check(body)
    return {"name": body["TableName"]}


def in_transition(status: str) -> ApiError:
    """The refusal while a table is made or unmade."""
    return invalid(f"Cannot describe time to live while table is in {status} state: Current table state is {status}")


def respond(answer: dict[str, Any]) -> bytes:
    """From ``{"description"}``."""
    return encode({"TimeToLiveDescription": answer["description"]})


OPERATION = ControlOperation("DescribeTimeToLive", check_request, respond)
