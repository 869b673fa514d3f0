"""DescribeContinuousBackups: whether a table can be restored to a point in time.

No operation restores a table yet, so the truth is DISABLED.
"""

from __future__ import annotations

from typing import Any

from cluster.api.fields import TABLE_NAME, Table, check_control_name
from cluster.api.operation import ControlOperation
from cluster.core.errors import ApiError
from cluster.wire.json import encode

FIELDS = Table(TABLE_NAME)


def check_request(body: dict[str, Any]) -> dict[str, Any]:
    """``{"name"}``."""
    check_control_name(body, FIELDS)
    FIELDS.check(body)
    return {"name": body["TableName"]}


def not_found(name: str) -> ApiError:
    """There is no such table."""
    return ApiError("TableNotFoundException", f"Table not found: {name}")


def respond(answer: dict[str, Any]) -> bytes:
    """There is one answer for every table that exists."""
    return encode(
        {
            "ContinuousBackupsDescription": {
                "ContinuousBackupsStatus": "DISABLED",
                "PointInTimeRecoveryDescription": {"PointInTimeRecoveryStatus": "DISABLED"},
            }
        }
    )


OPERATION = ControlOperation("DescribeContinuousBackups", check_request, respond)
