"""What PutItem, DeleteItem and UpdateItem check alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cluster.api.clauses import read_clauses
from cluster.api.fields import (
    CONDITION,
    EXPRESSION_NAMES,
    EXPRESSION_VALUES,
    ON_CONDITION_FAILURE,
    RETURN_CAPACITY,
    RETURN_METRICS,
    RETURN_VALUES,
    Table,
    envelope,
)
from cluster.api.legacy import CONDITIONAL_OPERATOR, EXPECTED, check_mixture, read_expected
from cluster.api.operation import DataRequest
from cluster.core.errors import ApiError, invalid
from cluster.core.items import normalise_item

CONDITIONAL = (
    CONDITION,
    EXPRESSION_NAMES,
    EXPRESSION_VALUES,
    RETURN_VALUES,
    ON_CONDITION_FAILURE,
    RETURN_CAPACITY,
    RETURN_METRICS,
    CONDITIONAL_OPERATOR,
    EXPECTED,
)
"""Members of a request that stores or removes a whole item, in the order in which they are checked."""


def checker(fields: Table, content: Callable[[dict[str, Any]], DataRequest]) -> Callable[[dict[str, Any]], DataRequest]:
    """Everything that needs no table: shapes and constraints of members, then ``content``, worded as for writes."""

    def check_request(body: dict[str, Any]) -> DataRequest:
        fields.check(body)
        try:
            return content(body)
        except ApiError as error:
            raise envelope(error) from None

    return check_request


def whole_item(member: str) -> Callable[[dict[str, Any]], DataRequest]:
    """The content of a request that stores or removes the item in ``member``."""

    def content(body: dict[str, Any]) -> DataRequest:
        check_mixture(body, ("ConditionExpression",), ("Expected", "ConditionalOperator"))
        item = normalise_item(body[member])
        if body.get("ReturnValues") not in (None, "NONE", "ALL_OLD"):
            raise invalid("ReturnValues can only be ALL_OLD or NONE")
        expected = read_expected(body)
        return DataRequest(body["TableName"], item, read_clauses(body, condition=True), body, expected)

    return content
