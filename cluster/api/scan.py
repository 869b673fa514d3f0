"""Scan: all items of a table or an index, or of one of the equal segments that workers share."""

from __future__ import annotations

from typing import Any

from cluster.api.clauses import read_clauses
from cluster.api.fields import (
    EXPRESSION_NAMES,
    EXPRESSION_VALUES,
    INDEX_NAME,
    LIMIT,
    RETURN_CAPACITY,
    SELECT,
    START_KEY,
    TABLE_NAME,
    Field,
    Table,
)
from cluster.api.legacy import (
    ATTRIBUTES_TO_GET,
    CONDITIONAL_OPERATOR,
    SCAN_FILTER,
    check_mixture,
    read_attributes_to_get,
    read_filter,
)
from cluster.api.operation import CompositeOperation, Services
from cluster.api.paths import check_nested, paths_of_condition, paths_of_projection
from cluster.api.query import storage_key
from cluster.api.selection import (
    INVALID_START,
    Pages,
    Source,
    Wanted,
    check_all_attributes,
    check_projected,
    check_select,
    check_start_key,
    check_start_part,
    find_source,
    read_start,
    rows_wanted,
)
from cluster.core import side
from cluster.core.errors import invalid
from cluster.core.items import Item
from cluster.core.keys import HASH_BYTES

SEGMENTS_MAX = 1_000_000

FIELDS = Table(
    SELECT,
    INDEX_NAME,
    RETURN_CAPACITY,
    Field("TotalSegments", "int", value=(1, SEGMENTS_MAX)),
    SCAN_FILTER,
    TABLE_NAME,
    CONDITIONAL_OPERATOR,
    ATTRIBUTES_TO_GET,
    LIMIT,
    Field("Segment", "int", value=(0, SEGMENTS_MAX - 1), terse=True),
    START_KEY,
    Field("ConsistentRead", "bool"),
    Field("FilterExpression", "str"),
    Field("ProjectionExpression", "str"),
    EXPRESSION_NAMES,
    EXPRESSION_VALUES,
)

EXPRESSIONS = ("ProjectionExpression", "FilterExpression")
LEGACY = ("AttributesToGet", "ScanFilter", "ConditionalOperator")


def check_request(body: dict[str, Any]) -> Wanted:
    """Everything that needs no table."""
    FIELDS.check(body)
    check_mixture(body, EXPRESSIONS, LEGACY)
    check_select(body)
    attributes = read_attributes_to_get(body)
    expected = read_filter(body, "ScanFilter")
    start = read_start(body)
    _check_segments(body.get("Segment"), body.get("TotalSegments"))
    clauses = read_clauses(body, projection=True, filtered=True, older=True)
    if attributes is not None:
        clauses = clauses._replace(projection=attributes)
    return Wanted(body, start, clauses, expected)


def _check_segments(segment: int | None, total: int | None) -> None:
    if segment is not None and total is None:
        raise invalid(
            "The TotalSegments parameter is required but was not present in the request when Segment parameter is "
            "present"
        )
    if total is None:
        return
    if segment is None:
        raise invalid(
            "The Segment parameter is required but was not present in the request when parameter TotalSegments is "
            "present"
        )
    if segment >= total:
        raise invalid("The Segment parameter is zero-based and must be less than parameter TotalSegments")


async def plan(wanted: Wanted, services: Services) -> bytes:
    """Read everything between two keys."""
    body = wanted.body
    source = await find_source(services, body, started=wanted.start is not None)
    if wanted.start is not None:
        _check_start(wanted.start, source)
    check_all_attributes(source, body)
    if wanted.start is not None:
        check_start_key(wanted.start, source)
    start, end = segment_bounds(body.get("Segment") or 0, body.get("TotalSegments") or 1)
    if wanted.start is not None:
        last = storage_key(source, wanted.start)
        if last < start or (end and last >= end):
            raise invalid(
                f"{INVALID_START}: Invalid ExclusiveStartKey. Please use ExclusiveStartKey with correct Segment. "
                f"TotalSegments: {body.get('TotalSegments')} Segment: {body.get('Segment')}"
            )
        start = last + b"\0"
    check_projected(source, wanted.clauses)
    check_nested(source.schema, paths_of_projection(wanted.clauses.projection))
    check_nested(source.schema, paths_of_condition(wanted.clauses.filter))
    return await Pages(services, source, wanted).read(start, end, local=rows_wanted(source))


def segment_bounds(segment: int, total: int) -> tuple[bytes, bytes]:
    """The storage keys ``start <= key < end`` of one of ``total`` equal parts of the key space; a group's own rows lie
    below the first."""
    span = 1 << (8 * HASH_BYTES)

    def cut(number: int) -> bytes:
        return (-(-span * number // total)).to_bytes(HASH_BYTES, "big")

    return (cut(segment) if segment else side.END), (cut(segment + 1) if segment + 1 < total else b"")


def _check_start(start: Item, source: Source) -> None:
    if len(start) != len(source.names) or any(name not in start for name in source.schema.key.names):
        raise invalid(INVALID_START)
    if source.index is not None:
        for at, attribute in enumerate((*source.hashes, *source.sorts)):
            check_start_part(start, attribute, hashed=at < len(source.hashes))


OPERATION = CompositeOperation("Scan", check_request, plan)
