"""TagResource: add tags to a table, or give those it has other values."""

from __future__ import annotations

from typing import Any

from cluster.api import tags
from cluster.api.fields import Table
from cluster.api.operation import ControlOperation
from cluster.core.errors import invalid

FIELDS = Table(tags.ARN, tags.TAGS._replace(required=True))


def check_request(body: dict[str, Any]) -> dict[str, Any]:
    """``{"name", "arn", "tags"}``."""
    tags.check_fields(FIELDS, body)
    name = tags.table_of(body["ResourceArn"], "TagResource")
    if not body["Tags"]:
        raise invalid("Atleast one Tag needs to be provided as Input.")
    return {"name": name, "arn": body["ResourceArn"], "tags": tags.read_tags(body["Tags"])}


def respond(answer: dict[str, Any]) -> bytes:
    """There is nothing to say."""
    return b""


OPERATION = ControlOperation("TagResource", check_request, respond)
