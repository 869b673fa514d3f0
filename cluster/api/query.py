"""Query: the items of one collection, in the order of their sort keys, from a table or an index."""

from __future__ import annotations

from typing import Any, NamedTuple

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
    KEY_CONDITIONS,
    QUERY_FILTER,
    check_mixture,
    read_attributes_to_get,
    read_conditions,
    read_filter,
)
from cluster.api.operation import CompositeOperation, Services
from cluster.api.paths import check_nested, paths_of_condition, paths_of_projection
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
)
from cluster.core.errors import ApiError, invalid
from cluster.core.expressions import keyconditions, legacy
from cluster.core.expressions.legacy import Comparison, Expected
from cluster.core.expressions.values import equal
from cluster.core.indexes import global_key, index_hash, local_key, local_prefix
from cluster.core.items import Item
from cluster.core.keys import KeyAttribute, check_part, encode_hash, encode_key
from cluster.core.ranges import ANY

FIELDS = Table(
    SELECT,
    INDEX_NAME,
    RETURN_CAPACITY,
    QUERY_FILTER,
    TABLE_NAME,
    CONDITIONAL_OPERATOR,
    ATTRIBUTES_TO_GET,
    LIMIT,
    KEY_CONDITIONS,
    START_KEY,
    Field("ConsistentRead", "bool"),
    Field("ScanIndexForward", "bool"),
    Field("KeyConditionExpression", "str"),
    Field("FilterExpression", "str"),
    Field("ProjectionExpression", "str"),
    EXPRESSION_NAMES,
    EXPRESSION_VALUES,
)

EXPRESSIONS = ("ProjectionExpression", "FilterExpression", "KeyConditionExpression")
LEGACY = ("AttributesToGet", "QueryFilter", "ConditionalOperator", "KeyConditions")


class Query(NamedTuple):
    """A checked request."""

    wanted: Wanted
    conditions: dict[str, Comparison]
    """On key attributes, by name."""


def check_request(body: dict[str, Any]) -> Query:
    """Everything that needs no table."""
    _check_operator(body)
    FIELDS.check(body)
    check_mixture(body, EXPRESSIONS, LEGACY)
    check_select(body)
    expected = read_filter(body, "QueryFilter")
    attributes = read_attributes_to_get(body)
    start = read_start(body)
    if body.get("KeyConditions") is None and body.get("KeyConditionExpression") is None:
        raise invalid("Either the KeyConditions or KeyConditionExpression parameter must be specified in the request.")
    clauses = read_clauses(body, projection=True, filtered=True, key_condition=True)
    if attributes is not None:
        clauses = clauses._replace(projection=attributes)
    if clauses.key_condition is not None:
        comparisons = keyconditions.from_clause(clauses.key_condition)
    else:
        comparisons = read_conditions(body["KeyConditions"])
    if not comparisons or (len(comparisons) > 2 and clauses.key_condition is None and body.get("IndexName") is None):
        raise _wrong_length()
    return Query(Wanted(body, start, clauses, expected), {one.name: one for one in comparisons})


def _check_operator(body: dict[str, Any]) -> None:
    """A ``ConditionalOperator`` that is none, in the words that a query has for it, and before all else."""
    operator = body.get("ConditionalOperator")
    if isinstance(operator, str) and operator not in ("AND", "OR"):
        FIELDS.check_shapes(body)
        raise invalid("Failed to satisfy constraint: Member must satisfy enum value set: [ALL, OR]")


def _wrong_length() -> ApiError:
    return invalid("Conditions can be of length 1 or 2 only")


async def plan(query: Query, services: Services) -> bytes:
    """Read the collection, or the part of it that the conditions leave."""
    wanted = query.wanted
    source = await find_source(services, wanted.body)
    parts = len(source.hashes) + len(source.sorts)
    if len(query.conditions) > max(2, parts):
        if wanted.clauses.key_condition is None:
            raise _wrong_length()
        raise invalid(
            f"The number of query conditions ({len(query.conditions)}) exceeds the number of key attributes defined in "
            f"the schema ({parts})"
        )
    _check_keys(query, source)
    _check_attributes(wanted, source)
    values = {name: one.arguments[0] for name, one in query.conditions.items()}
    if source.index is not None and not source.local:
        prefix = index_hash(source.index, values)
    else:
        own = source.schema.key.hash
        prefix = encode_hash(own.type, values[own.name][own.type])
        if source.index is not None:
            prefix = local_prefix(prefix, source.index.number)
    start, end = keyconditions.bounds(prefix, query.conditions, source.sorts, items=source.index is None)
    reverse = wanted.body.get("ScanIndexForward") is False
    if wanted.start is not None:
        last = storage_key(source, wanted.start)
        start, end = (start, min(end, last)) if reverse else (max(start, last + b"\0"), end)
    # A range within one collection, or one local index of it, holds rows of one kind: there is nothing to leave out.
    return await Pages(services, source, wanted).read(start, end, reverse=reverse, local=ANY)


def storage_key(source: Source, item: Item) -> bytes:
    """Where an item with these key attributes stands in a table or index."""
    schema = source.schema
    key = encode_key(schema.key, item)
    if source.index is None:
        return key
    place = local_key if source.local else global_key
    found = place(source.index, schema.key, key, item)
    if found is None:
        raise invalid(INVALID_START)
    return found


def _check_keys(query: Query, source: Source) -> None:
    """Conditions and start key against the key they are about."""
    start, conditions = query.wanted.start, query.conditions
    if start is not None and len(start) != len(source.names):
        raise invalid(INVALID_START)

    def visit(attribute: KeyAttribute, hashed: bool) -> None:
        if start is not None:
            check_start_part(start, attribute, hashed=hashed)

    keyconditions.check(conditions, source.hashes, source.sorts, visit)
    for at, attribute in enumerate((*source.hashes, *source.sorts)):
        for value in conditions[attribute.name].arguments if attribute.name in conditions else ():
            check_part(attribute, value, hashed=at < len(source.hashes))
    if start is not None:
        check_start_key(start, source)
        _check_start_place(start, conditions, source)


def _check_start_place(start: Item, conditions: dict[str, Comparison], source: Source) -> None:
    within = all(equal(start[one.name], conditions[one.name].arguments[0]) for one in source.hashes)
    sorts = tuple(conditions[one.name] for one in source.sorts if one.name in conditions)
    if not sorts:
        if not within:
            raise invalid("The provided starting key is outside query boundaries based on provided conditions")
        return
    if not legacy.holds(Expected(sorts), start):
        raise invalid("The provided starting key does not match the range key predicate")
    if not within:
        raise invalid("The query can return at most one row and cannot be restarted")


def _check_attributes(wanted: Wanted, source: Source) -> None:
    """Projection and filter against the keys."""
    check_nested(source.schema, paths_of_projection(wanted.clauses.projection))
    keys = [attribute.name for attribute in (*source.hashes, *source.sorts)]
    filtered = paths_of_condition(wanted.clauses.filter)
    tests = [test.name for test in wanted.expected.tests] if wanted.expected is not None else []
    for what, names in (("QueryFilter", tests), ("Filter Expression", [parts[0] for parts in filtered])):
        for key in keys:
            if key in names:
                raise invalid(f"{what} can only contain non-primary key attributes: Primary key attribute: {key}")
    check_all_attributes(source, wanted.body)
    check_projected(source, wanted.clauses)
    check_nested(source.schema, filtered)


OPERATION = CompositeOperation("Query", check_request, plan)
