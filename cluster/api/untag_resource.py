"""UntagResource: take tags from a table; those it does not have are no error."""

from __future__ import annotations

from typing import Any

from cluster.api import tags
from cluster.api.fields import Field, Table
from cluster.api.operation import ControlOperation
from cluster.core.errors import invalid

FIELDS = Table(tags.ARN, Field("TagKeys", "list", required=True, element=Field("member", "str", length=(0, 128))))


def check_request(body: dict[str, Any]) -> dict[str, Any]:
    """``{"name", "arn", "keys"}``."""
    tags.check_fields(FIELDS, body)
    name = tags.table_of(body["ResourceArn"], "UntagResource")
    if not body["TagKeys"]:
        raise invalid("Atleast one Tag Key needs to be provided as Input.")
    for key in body["TagKeys"]:
        tags.check_key(key)
    return {"name": name, "arn": body["ResourceArn"], "keys": body["TagKeys"]}


def respond(answer: dict[str, Any]) -> bytes:
    """There is nothing to say."""
    return b""


OPERATION = ControlOperation("UntagResource", check_request, respond)
