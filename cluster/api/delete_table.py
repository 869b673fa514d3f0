"""DeleteTable: the table goes to DELETING, its items with it."""

from __future__ import annotations

from typing import Any

from cluster.api.fields import TABLE_NAME, Table, check_control_name
from cluster.api.operation import ControlOperation
from cluster.wire.json import encode

FIELDS = Table(TABLE_NAME)

_LEFT_OUT = frozenset(
    ("AttributeDefinitions", "KeySchema", "CreationDateTime", "LocalSecondaryIndexes", "GlobalSecondaryIndexes")
)
"""AWS leaves the schema out of this answer, that of the indexes with it."""


def check_request(body: dict[str, Any]) -> dict[str, Any]:
    """``{"name"}``."""
    check_control_name(body, FIELDS)
    FIELDS.check(body)
    return {"name": body["TableName"]}


def respond(answer: dict[str, Any]) -> bytes:
    """From ``{"description"}``, whose status is now DELETING."""
    description = {name: value for name, value in answer["description"].items() if name not in _LEFT_OUT}
    return encode({"TableDescription": {**description, "TableStatus": "DELETING"}})


OPERATION = ControlOperation("DeleteTable", check_request, respond)
