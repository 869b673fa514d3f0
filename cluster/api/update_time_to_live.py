"""UpdateTimeToLive: which attribute says when an item expires, or that none does any more."""

from __future__ import annotations

from typing import Any

from cluster.api.fields import TABLE_NAME, Field, Table, check_control_name
from cluster.api.operation import ControlOperation
from cluster.wire.json import encode

FIELDS = Table(
    TABLE_NAME,
    Field(
        "TimeToLiveSpecification",
        "struct",
        required=True,
        members=(
            Field("AttributeName", "str", required=True, length=(1, 255)),
            Field("Enabled", "bool", required=True),
        ),
    ),
)


def check_request(body: dict[str, Any]) -> dict[str, Any]:
    """``{"name", "attribute", "enabled"}``."""
    check_control_name(body, FIELDS)
    FIELDS.check(body)
    wanted = body["TimeToLiveSpecification"]
    return {"name": body["TableName"], "attribute": wanted["AttributeName"], "enabled": wanted["Enabled"]}


def respond(answer: dict[str, Any]) -> bytes:
    """From ``{"attribute", "enabled"}``."""
    specification = {"Enabled": answer["enabled"], "AttributeName": answer["attribute"]}
    return encode({"TimeToLiveSpecification": specification})


OPERATION = ControlOperation("UpdateTimeToLive", check_request, respond)
