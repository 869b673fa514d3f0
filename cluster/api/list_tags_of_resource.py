"""ListTagsOfResource: a table's tags, all of them in one page, since a table has at most 50."""

from __future__ import annotations

from typing import Any

from cluster.api import tags
from cluster.api.fields import Field, Table
from cluster.api.operation import ControlOperation
from cluster.core.errors import invalid
from cluster.wire.json import encode

FIELDS = Table(tags.ARN, Field("NextToken", "str"))


def check_request(body: dict[str, Any]) -> dict[str, Any]:
    """``{"name", "arn"}``."""
    tags.check_fields(FIELDS, body)
    name = tags.table_of(body["ResourceArn"], "ListTagsOfResource")
    if body.get("NextToken") is not None:
        raise invalid(f"Invalid NextToken: {body['NextToken']}")
    return {"name": name, "arn": body["ResourceArn"]}


def respond(answer: dict[str, Any]) -> bytes:
    """From ``{"tags"}``."""
    return encode({"Tags": [{"Key": key, "Value": value} for key, value in answer["tags"].items()]})


OPERATION = ControlOperation("ListTagsOfResource", check_request, respond)
