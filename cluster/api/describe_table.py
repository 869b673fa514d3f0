"""DescribeTable: a table's description as the control plane keeps it."""

from __future__ import annotations

from typing import Any

from cluster.api.fields import TABLE_NAME, Table, check_control_name
from cluster.api.operation import ControlOperation
from cluster.wire.json import encode

FIELDS = Table(TABLE_NAME)


def check_request(body: dict[str, Any]) -> dict[str, Any]:
    """``{"name"}``."""
    check_control_name(body, FIELDS)
    FIELDS.check(body)
    return {"name": body["TableName"]}


def respond(answer: dict[str, Any]) -> bytes:
    """From ``{"description"}``."""
    return encode({"Table": answer["description"]})


OPERATION = ControlOperation("DescribeTable", check_request, respond)
