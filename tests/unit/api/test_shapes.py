"""Values of the wrong JSON type, anywhere in a request, in the service's words and before any other rule."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.api import OPERATIONS
from cluster.api.shapes import BAD_CAST
from cluster.core.errors import ApiError

MODEL = "com.amazonaws.dynamodb.v20120810."
MAP = "Start of structure or map found where not expected"
STRING = [
    (True, "TRUE_VALUE cannot be converted to String"),
    (False, "FALSE_VALUE cannot be converted to String"),
    (23, "NUMBER_VALUE cannot be converted to String"),
    (34.56, "DECIMAL_VALUE cannot be converted to String"),
    ([], "Unrecognized collection type class java.lang.String"),
    ({}, MAP),
]
BOOLEAN = [
    ("23", "Unexpected token received from parser"),
    (23, "NUMBER_VALUE cannot be converted to Boolean"),
    (34.56, "DECIMAL_VALUE cannot be converted to Boolean"),
    ([], "Unrecognized collection type class java.lang.Boolean"),
    ({}, MAP),
]
BLOB = [
    (True, "only base-64-encoded strings are convertible to bytes"),
    (23, "only base-64-encoded strings are convertible to bytes"),
    ([], "Unrecognized collection type class java.nio.ByteBuffer"),
    ({}, MAP),
    ("23456", "Base64 encoded length is expected a multiple of 4 bytes but found: 5"),
    ("=+/=", "Invalid last non-pad Base64 character dectected"),
]
LIST = [("23", "Unexpected field type"), (True, "Unexpected field type"), (23, "Unexpected field type"), ({}, MAP)]


def integer(kind: str) -> list[tuple[Any, str]]:
    return [
        ("23", f"STRING_VALUE cannot be converted to {kind}"),
        (True, f"TRUE_VALUE cannot be converted to {kind}"),
        ([], f"Unrecognized collection type class java.lang.{kind}"),
        ({}, MAP),
    ]


def mapping(of: str) -> list[tuple[Any, str]]:
    return [
        ("23", "Unexpected field type"),
        (1, "Unexpected field type"),
        ([], f"Unrecognized collection type java.util.Map<java.lang.String, {of}>"),
    ]


def struct(name: str, *, element: bool) -> list[tuple[Any, str]]:
    scalar = "Unexpected value type in payload" if element else "Unexpected field type"
    return [("23", scalar), (34.56, scalar), ([], f"Unrecognized collection type class {MODEL}{name}")]


VALUES = f"{MODEL}AttributeValue"


def attribute(path: str, *, element: bool = True) -> list[tuple[str, list[tuple[Any, str]]]]:
    return [
        (path, struct("AttributeValue", element=element)),
        *((f"{path}.{kind}", STRING) for kind in ("S", "N", "SS.0", "NS.0")),
        *((f"{path}.{kind}", BLOB) for kind in ("B", "BS.0", "L.0.BS.0", "M.a.BS.0")),
        *((f"{path}.{kind}", BOOLEAN) for kind in ("BOOL", "NULL")),
        *((f"{path}.{kind}", LIST) for kind in ("SS", "NS", "BS", "L", "L.0.BS", "M.a.BS")),
        *((f"{path}.{kind}", struct("AttributeValue", element=True)) for kind in ("L.0", "M.a")),
        (f"{path}.M", mapping(VALUES)),
    ]


CASES: list[tuple[str, list[tuple[str, list[tuple[Any, str]]]]]] = [
    (
        "Query",
        [
            ("TableName", STRING),
            ("ConsistentRead", BOOLEAN),
            ("Limit", integer("Integer")),
            ("AttributesToGet", LIST),
            ("ExclusiveStartKey", mapping(VALUES)),
            *attribute("ExclusiveStartKey.Attr"),
            ("QueryFilter", mapping(f"{MODEL}Condition")),
            ("QueryFilter.Attr", struct("Condition", element=True)),
            ("QueryFilter.Attr.ComparisonOperator", STRING),
            ("QueryFilter.Attr.AttributeValueList", LIST),
            *attribute("KeyConditions.Attr.AttributeValueList.0"),
            *attribute("ExpressionAttributeValues.Attr"),
            ("ExpressionAttributeNames", mapping("java.lang.String")),
            ("ExpressionAttributeNames.Attr", STRING),
        ],
    ),
    ("Scan", [("Segment", integer("Integer")), ("ScanFilter.Attr", struct("Condition", element=True))]),
    (
        "PutItem",
        [
            ("Item", mapping(VALUES)),
            *attribute("Item.Attr"),
            ("Expected", mapping(f"{MODEL}ExpectedAttributeValue")),
            ("Expected.Attr", struct("ExpectedAttributeValue", element=True)),
            ("Expected.Attr.Exists", BOOLEAN),
            *attribute("Expected.Attr.Value", element=False),
        ],
    ),
    (
        "UpdateItem",
        [
            ("AttributeUpdates.Attr", struct("AttributeValueUpdate", element=True)),
            ("AttributeUpdates.Attr.Action", STRING),
            *attribute("AttributeUpdates.Attr.Value", element=False),
        ],
    ),
    (
        "BatchGetItem",
        [
            ("RequestItems", mapping(f"{MODEL}KeysAndAttributes")),
            ("RequestItems.Attr", struct("KeysAndAttributes", element=True)),
            ("RequestItems.Attr.Keys", LIST),
            ("RequestItems.Attr.Keys.0", [("23", BAD_CAST), ([], mapping(VALUES)[2][1])]),
            *attribute("RequestItems.Attr.Keys.0.Attr"),
        ],
    ),
    (
        "BatchWriteItem",
        [
            ("RequestItems", mapping(f"java.util.List<{MODEL}WriteRequest>")),
            ("RequestItems.Attr", [("23", BAD_CAST), ({}, MAP)]),
            ("RequestItems.Attr.0", struct("WriteRequest", element=True)),
            ("RequestItems.Attr.0.DeleteRequest", struct("DeleteRequest", element=False)),
            *attribute("RequestItems.Attr.0.PutRequest.Item.Attr"),
        ],
    ),
    (
        "CreateTable",
        [
            ("ProvisionedThroughput", struct("ProvisionedThroughput", element=False)),
            ("ProvisionedThroughput.ReadCapacityUnits", integer("Long")),
            ("KeySchema.0", struct("KeySchemaElement", element=True)),
            ("LocalSecondaryIndexes.0", struct("LocalSecondaryIndex", element=True)),
        ],
    ),
]


def with_only(path: str, content: Any) -> Any:
    """A request that has nothing but one member."""
    for part in reversed(path.split(".")):
        content = [content] if part == "0" else {part: content}
    return content


@pytest.mark.parametrize(
    ("operation", "path", "content", "message"),
    [
        (operation, path, content, message)
        for operation, members in CASES
        for path, wrong in members
        for content, message in wrong
    ],
)
def test_the_wrong_type_is_told_first(operation: str, path: str, content: Any, message: str) -> None:
    with pytest.raises(ApiError) as refused:
        OPERATIONS[operation].check(with_only(path, content))
    assert (refused.value.kind, refused.value.message) == ("SerializationException", message)


def test_nesting_without_end_hurts_nobody() -> None:
    value: Any = {"S": "x"}
    for _ in range(400):
        value = {"L": [value]}
    with pytest.raises(ApiError, match="Member must not be null"):
        OPERATIONS["PutItem"].check({"Item": {"a": value}})
