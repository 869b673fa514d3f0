"""A request's members by their table: the quick way through it refuses nothing else and nothing less than the close
one."""

from __future__ import annotations

import copy
from itertools import product
from typing import Any

import pytest

from cluster.api import get_item, put_item, query
from cluster.api.fields import Table
from cluster.core.errors import ApiError

TABLES: dict[str, Table] = {"put": put_item.FIELDS, "get": get_item.FIELDS, "query": query.FIELDS}
ABSENT = object()
NAMES = ("t", "arn:aws:dynamodb:x:1:table/music", "a b", "", 7, None, ABSENT)
ITEMS: tuple[Any, ...] = ({"pk": {"S": "x"}}, {}, [], None, ABSENT)
MORE: tuple[dict[str, Any], ...] = (
    {},
    {"Unknown": 1},
    {"ReturnConsumedCapacity": "TOTAL", "ReturnValues": "NONE"},
    {"ReturnConsumedCapacity": "ALL", "ReturnValues": "SOME", "Limit": 0},
    {"ReturnConsumedCapacity": None, "ConsistentRead": True, "Limit": 5},
    {"ConsistentRead": "yes", "ExpressionAttributeNames": {"#a": 1}, "AttributesToGet": []},
    {"ExpressionAttributeNames": {"#a": "a"}, "ConditionExpression": "#a = :b", "ProjectionExpression": "#a"},
)


def told(check: Any, body: dict[str, Any]) -> tuple[object, dict[str, Any]]:
    """What is said of a body, and what has become of it."""
    body = copy.deepcopy(body)
    try:
        check(body)
    except ApiError as error:
        return (error.kind, error.message), body
    return None, body


@pytest.mark.parametrize("table", TABLES)
def test_both_ways_through_a_table_say_the_same(table: str) -> None:
    fields = TABLES[table]
    said = set()
    for name, item, more in product(NAMES, ITEMS, MORE):
        given = {"TableName": name, "Item": item, "Key": item}
        body = {member: value for member, value in given.items() if value is not ABSENT} | more
        quick = told(fields.check, body)
        assert quick == told(fields._check_closely, body), body
        said.add(quick[0])
    assert None in said
    assert len(said) > 5
