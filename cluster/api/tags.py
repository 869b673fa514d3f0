"""Tags of tables: their rules, and the ARNs they hang on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from cluster.api.fields import Field, Table
from cluster.api.tables import ACCOUNT
from cluster.core.errors import ApiError, invalid

TAGS_MAX = 50
RESERVED_PREFIX = "aws:"

_ARN = re.compile(r"arn:[a-z-]+:dynamodb:([a-z0-9-]+):([0-9]+):table/([a-zA-Z0-9_.-]{3,255})(/.*)?", re.DOTALL)
_SIX_PARTS = re.compile(r"(?:[^:]*:){5}[^:]*/.*", re.DOTALL)
_FORBIDDEN = re.compile(r"[^\w\s+=._:/@-]")
"""Letters of any language, white space, digits and ``+ - = . _ : / @`` are what a tag may be made of."""

ARN = Field("ResourceArn", "str", length=(1, 1283))
TAGS = Field(
    "Tags",
    "list",
    element=Field(
        "member",
        "struct",
        members=(Field("Key", "str", length=(0, 128)), Field("Value", "str", length=(0, 256))),
    ),
)


def check_fields(fields: Table, body: dict[str, Any]) -> None:
    """An ARN must be there before any other rule is looked at."""
    fields.check_shapes(body)
    if body.get("ResourceArn") is None:
        raise invalid("Invalid TableArn")
    fields.check(body)


def table_of(arn: str, operation: str) -> str:
    """The name of the table that an ARN means, or AWS's refusal. Other accounts' tables are nobody's business."""
    found = _ARN.fullmatch(arn)
    if found is None:
        if not arn.startswith("arn:") and not _SIX_PARTS.fullmatch(arn):
            raise invalid(f"One or more parameter values were invalid: ARNs must start with 'arn:': {arn}")
        raise invalid(f"Invalid TableArn: Invalid ResourceArn provided as input {arn}")
    if found[2] != ACCOUNT:
        raise ApiError(
            "AccessDeniedException",
            f"User: arn:aws:iam::{ACCOUNT}:root is not authorized to perform: dynamodb:{operation} on resource: {arn}",
        )
    if found[4] is not None:
        raise invalid(
            "One or more parameter values were invalid: Invalid resource arn provided, only table or stream is "
            f"accepted. Provided resource arn: {arn}"
        )
    return found[3]


def not_found(arn: str) -> ApiError:
    """No table has this ARN. (The misspelling is the service's.)"""
    return ApiError("ResourceNotFoundException", f"Requested resource not found: ResourcArn: {arn} not found")


def read_tags(tags: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Tags of a request by key; raises ``ValidationException`` for the first that cannot be."""
    read: dict[str, str] = {}
    for tag in tags:
        key, value = tag.get("Key"), tag.get("Value")
        check_key(key)
        if value is None or _FORBIDDEN.search(value):
            raise invalid(f"The Tag Value provided is invalid, Value: {'null' if value is None else value}")
        assert key is not None
        if key in read:
            raise invalid(f"Duplicate Tag Keys provided as input: Duplicate Tag Key found {key}")
        read[key] = value
    if len(read) > TAGS_MAX:
        raise too_many()
    return read


def check_key(key: str | None) -> None:
    """Refuse what is no tag's key."""
    if not key or _FORBIDDEN.search(key):
        raise invalid(f"The Tag Key provided is invalid, Key: {'null' if key is None else key}")
    if key.startswith(RESERVED_PREFIX):
        raise invalid(f"Tag Key cannot be prefixed with {RESERVED_PREFIX}, Key: {key}")


def too_many() -> ApiError:
    """More tags than a table may have."""
    return invalid("Number of Tags exceed the current limit for the provided ResourceArn")


def tagged(before: dict[str, str], more: dict[str, str]) -> dict[str, str]:
    """A table's tags after TagResource."""
    after = {**before, **more}
    if len(after) > TAGS_MAX:
        raise too_many()
    return after
