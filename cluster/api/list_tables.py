"""ListTables: names in order, up to 100 a page."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from cluster.api.fields import TABLE_NAME_PATTERN, Field, Table
from cluster.api.operation import ControlOperation
from cluster.wire.json import encode

PAGE_MAX = 100

FIELDS = Table(
    Field("ExclusiveStartTableName", "str", pattern=TABLE_NAME_PATTERN, length=(3, 255)),
    Field("Limit", "int", value=(1, PAGE_MAX)),
)


def check_request(body: dict[str, Any]) -> dict[str, Any]:
    """``{"after", "limit"}``: names greater than ``after`` (empty: from the first)."""
    FIELDS.check(body)
    return {"after": body.get("ExclusiveStartTableName") or "", "limit": body.get("Limit") or PAGE_MAX}


def page(names: Sequence[str], request: dict[str, Any]) -> dict[str, Any]:
    """The page a request asks for, out of all names in sorted order: ``{"names", "last"}``; ``last`` is None at the
    end."""
    start = bisect_right(names, request["after"])
    chosen = list(names[start : start + request["limit"]])
    more = start + len(chosen) < len(names)
    return {"names": chosen, "last": chosen[-1] if more else None}


def respond(answer: dict[str, Any]) -> bytes:
    """From ``{"names", "last"}``."""
    body: dict[str, Any] = {"TableNames": answer["names"]}
    if answer.get("last") is not None:
        body["LastEvaluatedTableName"] = answer["last"]
    return encode(body)


OPERATION = ControlOperation("ListTables", check_request, respond)
