"""Carrying out one PartiQL statement: by the commands and ranges that the other operations use.

A SELECT whose WHERE clause names the partition key by ``=`` or ``IN`` reads those collections, any other walks the
whole table or index. A write names the whole primary key; what else its WHERE clause says is its condition.
"""

from __future__ import annotations

import hashlib
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from cluster.api import delete_item, put_item, update_item
from cluster.api.answers import throttled, units_of
from cluster.api.clauses import Clauses
from cluster.api.fields import Field
from cluster.api.operation import DataOperation, DataRequest, ServedTable, Services
from cluster.api.query import storage_key
from cluster.api.selection import Pages, Source, Wanted, check_projected, find_source, rows_wanted
from cluster.core import side
from cluster.core.commands import Clause
from cluster.core.errors import ApiError, in_older_words, invalid
from cluster.core.expressions import keyconditions
from cluster.core.expressions.conditions import holds
from cluster.core.expressions.legacy import COMPARATORS, Comparison
from cluster.core.expressions.projections import project
from cluster.core.expressions.scope import lookup
from cluster.core.expressions.values import kind_of
from cluster.core.indexes import index_hash, local_prefix, projected_names
from cluster.core.items import Item, Value, normalise_value
from cluster.core.keys import KeySchema, check_part, encode_hash
from cluster.core.partiql import clauses
from cluster.core.partiql.nodes import (
    Between,
    Compare,
    Condition,
    Delete,
    Exists,
    Function,
    In,
    Insert,
    Literal,
    Path,
    Select,
    Statement,
    Update,
)
from cluster.core.partiql.parser import parse
from cluster.core.ranges import ANY
from cluster.core.shape import IndexShape
from cluster.wire.json import decode, encode

STATEMENT_BYTES_MAX = 8192
HASHES_MAX = 50
"""Partition keys that one IN may choose from [DG]."""

STATEMENT = Field("Statement", "str", required=True, length=(1, STATEMENT_BYTES_MAX))
PARAMETERS = Field("Parameters", "list", length=(1, 1_000_000))
DUPLICATE = "Duplicate primary key exists in table"

_SIGNS = {sign: name for name, sign in COMPARATORS.items()}
_MIRRORED = {"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_RETURNS = {"": "NONE", "ALL OLD": "ALL_OLD", "ALL NEW": "ALL_NEW", "MODIFIED OLD": "UPDATED_OLD"}
_RETURNS["MODIFIED NEW"] = "UPDATED_NEW"
_INDEXABLE = ("=", "<", "<=", ">", ">=")


class Options(NamedTuple):
    """How a statement is to be carried out, from its request."""

    consistent: bool = False
    limit: int = 0
    token: str | None = None
    capacity: str = "NONE"
    on_failure: str = "NONE"


class Result(NamedTuple):
    """What a statement came to."""

    table: str
    items: list[Item]
    token: str | None = None
    last: Item | None = None
    """Key of the last item that was evaluated, where the statement is to be gone on with."""
    capacity: Mapping[str, Any] | None = None


def read_statement(entry: Mapping[str, Any]) -> Statement:
    """The statement of a request, parsed. Raises ``ValidationException``."""
    statement = parse(entry["Statement"], read_parameters(entry))
    if not isinstance(statement, Insert):
        where = statement.select.where if isinstance(statement, Exists) else statement.where
        clauses.check_operands(where)
    else:
        statement = statement._replace(item={name: normalise_value(value) for name, value in statement.item.items()})
    if isinstance(statement, Delete) and statement.returning not in ("", "ALL OLD"):
        raise invalid(
            f"Invalid returning clause: RETURNING {statement.returning} *. Only RETURNING ALL OLD * is allowed in "
            "DELETE statements."
        )
    return statement


def read_parameters(entry: Mapping[str, Any]) -> list[Value]:
    """The parameters of a request's statement, checked."""
    try:
        return [normalise_value(value) for value in entry.get("Parameters") or ()]
    except ApiError as error:
        raise in_older_words(error) from None


async def run(statement: Statement, options: Options, services: Services) -> Result:
    """Carry a statement out. Raises :class:`ApiError`."""
    if isinstance(statement, Select):
        return await _select(statement, options, services)
    if isinstance(statement, Exists):
        raise invalid("EXISTS is only supported in ExecuteTransaction")
    table = await services.table(statement.table)
    operation, request = write_request(statement, table.schema.key, options, alone=True)
    return await _write(operation, request, table, services)


# --- writes ---


def write_request(
    statement: Insert | Update | Delete | Exists, key: KeySchema, options: Options, *, alone: bool = False
) -> tuple[DataOperation, DataRequest]:
    """The operation that a writing statement is, with its checked request. ``alone``: it is part of no transaction, and
    deletes what is not there whatever else its WHERE clause says."""
    body: dict[str, Any] = {
        "ReturnConsumedCapacity": options.capacity,
        "ReturnValuesOnConditionCheckFailure": options.on_failure,
    }
    if isinstance(statement, Insert):
        absent = Clause("attribute_not_exists(#k)", {"#k": key.hash.name}, None)
        return put_item.OPERATION, DataRequest(statement.table, statement.item, Clauses(condition=absent), body)
    where = statement.select.where if isinstance(statement, Exists) else statement.where
    split = clauses.split_key(where, key.names)
    if split is None:
        raise invalid("Where clause does not contain a mandatory equality on all key attributes")
    content, others = split
    if isinstance(statement, Exists):
        condition = clauses.condition_clause(others, exists=key.hash.name)
        return delete_item.OPERATION, DataRequest(statement.select.table, content, Clauses(condition=condition), body)
    body["ReturnValues"] = _RETURNS[statement.returning]
    if isinstance(statement, Delete):
        condition = clauses.condition_clause(others, absent=key.hash.name if alone else "")
        return delete_item.OPERATION, DataRequest(statement.table, content, Clauses(condition=condition), body)
    condition = clauses.condition_clause(others, exists=key.hash.name)
    update = clauses.update_clause(statement.sets)
    return update_item.OPERATION, DataRequest(statement.table, content, Clauses(update, condition), body)


async def _write(operation: DataOperation, request: DataRequest, table: ServedTable, services: Services) -> Result:
    prepare = update_item.prepare if operation is update_item.OPERATION else operation.prepare
    command = prepare(request, table.schema)
    if not services.take(table, writes=1.0):
        raise throttled()
    outcome = await services.run(table, command)
    services.charge(table, writes=units_of(command, outcome) - 1.0)
    try:
        answer = decode(operation.respond(command, outcome))
    except ApiError as error:
        if operation is put_item.OPERATION and error.kind == "ConditionalCheckFailedException":
            raise ApiError("DuplicateItemException", DUPLICATE, error.extra) from None
        raise
    shown = answer.get("Attributes")
    return Result(request.table, [shown] if shown else [], capacity=answer.get("ConsumedCapacity"))


# --- SELECT ---


class _Part(NamedTuple):
    """One collection, or the part of it that is wanted; with no conditions, everything."""

    conditions: dict[str, Comparison]


async def _select(statement: Select, options: Options, services: Services) -> Result:
    body = {
        "TableName": statement.table,
        "IndexName": statement.index_name,
        "ReturnConsumedCapacity": options.capacity,
        "ConsistentRead": options.consistent,
    }
    source = await _source(services, body)
    refuse_several(source.index)
    parts, others = _parts(statement, source)
    reverse = _check_order(statement, source, keyed=bool(parts[0].conditions))
    _check_filter(others, source, keyed=bool(parts[0].conditions))
    found = Clauses(filter=clauses.condition_clause(others), projection=_projection(statement.columns))
    check_projected(source, found)
    digest = hashlib.sha256(repr(statement).encode()).hexdigest()[:16]
    at, start = _read_token(options.token, digest, len(parts))
    items: list[bytes] = []
    spent: dict[str, Any] | None = None
    left = options.limit
    last: Item | None = None
    while at < len(parts):
        low, high = _bounds(parts[at], source)
        if start is not None:
            place = storage_key(source, start)
            low, high = (low, min(high, place)) if reverse else (max(low, place + b"\0"), high)
        page_body = {**body, "Limit": left or None}
        page = Pages(services, source, Wanted(page_body, None, found, None, of_index=True))
        answer = _page(
            await page.read(low, high, reverse=reverse, local=ANY if parts[at].conditions else rows_wanted(source))
        )
        items += answer.items
        spent = _added(spent, answer.capacity)
        left -= answer.scanned if options.limit else 0
        last = start = None if _is_one_item(parts[at], source) else answer.last
        if last is not None:
            break
        at += 1
        if options.limit and left <= 0:
            break
    token = _token(at, last, digest) if at < len(parts) else None
    shown = [_shown(decode(item), statement.columns) for item in items]
    return Result(statement.table, shown, token, last, spent)


class _Page(NamedTuple):
    items: list[bytes]
    scanned: int
    last: Item | None
    capacity: dict[str, Any] | None


class _Body(msgspec.Struct, rename="pascal"):
    items: list[msgspec.Raw]
    scanned_count: int
    last_evaluated_key: dict[str, Any] | None = None
    consumed_capacity: dict[str, Any] | None = None


_read_body = msgspec.json.Decoder(_Body)


def _page(body: bytes) -> _Page:
    answer = _read_body.decode(body)
    return _Page(
        [bytes(item) for item in answer.items],
        answer.scanned_count,
        answer.last_evaluated_key,
        answer.consumed_capacity,
    )


async def _source(services: Services, body: Mapping[str, Any]) -> Source:
    try:
        return await find_source(services, body)
    except ApiError as error:
        if error.message.startswith("The table does not have the specified index"):
            raise invalid("The table does not have the specified index") from None
        if error.message.startswith("Consistent reads are not supported on global"):
            raise invalid("Strongly consistent read is not supported on Global Secondary Indexes") from None
        raise


def refuse_several(index: IndexShape | None) -> None:
    """An index whose key has several hash or several sort attributes is not for statements."""
    if index is not None and (len(index.hash) > 1 or len(index.sort) > 1):
        raise invalid(
            "PartiQL statements cannot be executed on tables with multi-attribute HASH keys or multi-attribute RANGE "
            "keys."
        )


def _parts(statement: Select, source: Source) -> tuple[list[_Part], list[Condition]]:
    """The collections that the WHERE clause names, and its other conditions."""
    nodes = clauses.conjuncts(statement.where)
    fixed: dict[str, list[Value]] = {}
    others: list[Condition] = []
    names = [attribute.name for attribute in source.hashes]
    for node in nodes:
        chosen = _choice(node)
        if chosen is not None and chosen[0] in names and chosen[0] not in fixed:
            fixed[chosen[0]] = chosen[1]
        else:
            others.append(node)
    if len(fixed) < len(names):
        return [_Part({})], nodes
    conditions: dict[str, Comparison] = {}
    for sort in source.sorts:
        ranged = next((node for node in others if _key_condition(node, sort.name) is not None), None)
        comparison = _key_condition(ranged, sort.name) if ranged is not None else None
        if comparison is None or any(kind_of(value) != sort.type for value in comparison.arguments):
            break
        conditions[sort.name] = comparison
        others = [node for node in others if node is not ranged]
        if comparison.operator != "EQ":
            break
    combinations: list[dict[str, Comparison]] = [{}]
    for name in names:
        combinations = [
            {**one, name: Comparison(name, "EQ", (value,))} for one in combinations for value in fixed[name]
        ]
    if len(combinations) > HASHES_MAX:
        raise invalid(f"The IN operator on the partition key takes at most {HASHES_MAX} values")
    parts = [_Part({**one, **conditions}) for one in combinations]
    for part in parts:
        _check_part(part, source)
    return parts, others


def _check_part(part: _Part, source: Source) -> None:
    for at, attribute in enumerate((*source.hashes, *source.sorts)):
        for value in part.conditions[attribute.name].arguments if attribute.name in part.conditions else ():
            if kind_of(value) != attribute.type:
                raise invalid(
                    "One or more parameter values were invalid: Condition parameter type does not match schema type"
                )
            check_part(attribute, value, hashed=at < len(source.hashes))


def _choice(node: Condition) -> tuple[str, list[Value]] | None:
    """The attribute that ``=`` or ``IN`` fixes, and the values it may have, each once."""
    found = clauses.equality(node)
    if found is not None:
        return found[0], [found[1]]
    if isinstance(node, In) and isinstance(node.operand, Path) and len(node.operand.parts) == 1:
        values: list[Value] = []
        for option in node.options:
            if not isinstance(option, Literal):
                return None
            if option.value not in values:
                values.append(option.value)
        return str(node.operand.parts[0]), values
    return None


def _key_condition(node: Condition, name: str) -> Comparison | None:
    """What a condition says of a sort key, if it is a range of it."""
    path = Path((name,))
    if isinstance(node, Compare) and node.operator in _INDEXABLE:
        if node.left == path and isinstance(node.right, Literal):
            return Comparison(name, _SIGNS[node.operator], (node.right.value,))
        if node.right == path and isinstance(node.left, Literal):
            return Comparison(name, _SIGNS[_MIRRORED[node.operator]], (node.left.value,))
    if isinstance(node, Between) and node.operand == path:
        low, high = node.low, node.high
        if isinstance(low, Literal) and isinstance(high, Literal):
            return Comparison(name, "BETWEEN", (low.value, high.value))
    if isinstance(node, Function) and node.name == "begins_with" and node.arguments[0] == path:
        prefix = node.arguments[1]
        if isinstance(prefix, Literal) and kind_of(prefix.value) in ("S", "B"):
            return Comparison(name, "BEGINS_WITH", (prefix.value,))
    return None


def _bounds(part: _Part, source: Source) -> tuple[bytes, bytes]:
    if not part.conditions:
        return side.END, b""
    values = {name: one.arguments[0] for name, one in part.conditions.items()}
    if source.index is not None and not source.local:
        prefix = index_hash(source.index, values)
    else:
        own = source.schema.key.hash
        prefix = encode_hash(own.type, values[own.name][own.type])
        if source.index is not None:
            prefix = local_prefix(prefix, source.index.number)
    return keyconditions.bounds(prefix, part.conditions, source.sorts, items=source.index is None)


def _is_one_item(part: _Part, source: Source) -> bool:
    """Whether the part is one item by its whole primary key."""
    names = [attribute.name for attribute in (*source.hashes, *source.sorts)]
    fixed = [name for name in names if name in part.conditions and part.conditions[name].operator == "EQ"]
    return source.index is None and fixed == names


def _check_order(statement: Select, source: Source, *, keyed: bool) -> bool:
    """Whether the items are wanted backwards."""
    if not statement.order:
        return False
    if not keyed:
        raise invalid(
            "Must have at least one non-optional hash key condition in WHERE clause when using ORDER BY clause."
        )
    keys = [attribute.name for attribute in (*source.hashes, *source.sorts)]
    falls = False
    for path, falling in statement.order:
        if len(path.parts) != 1 or path.parts[0] not in keys:
            shown = ".".join(str(part) for part in path.parts)
            raise invalid(f"Variable reference {shown} in ORDER BY clause must be part of the primary key")
        if path.parts[0] in keys[len(source.hashes) :]:
            falls = falling
    return falls


def _check_filter(others: Sequence[Condition], source: Source, *, keyed: bool) -> None:
    """A keyed read of an index may filter on nothing that is not in it."""
    index = source.index
    if index is None or not keyed:
        return
    projected = projected_names(index, source.schema.key)
    missing = [name for name in clauses.heads(others) if projected and name not in projected]
    if missing:
        raise invalid(
            f"One or more parameter values were invalid: Secondary index {index.name} does not project one or more "
            f"filter attributes: [{', '.join(missing)}]"
        )


def _projection(columns: Sequence[Path] | None) -> Clause | None:
    """The top-level attributes that columns need."""
    if columns is None:
        return None
    heads = list(dict.fromkeys(str(path.parts[0]) for path in columns))
    names = {f"#p{at}": name for at, name in enumerate(heads)}
    return Clause(", ".join(names), names, None)


def _shown(item: Item, columns: Sequence[Path] | None) -> Item:
    """An item as the columns show it: a path by its last name, a list element by its place among the columns."""
    if columns is None:
        return item
    shown: Item = {}
    for at, path in enumerate(columns, start=1):
        value = lookup(path.parts, item)
        if value is not None:
            last = path.parts[-1]
            shown[last if isinstance(last, str) else f"_{at}"] = value
    return shown


def filtered(statement: Select, item: Item | None, others: Sequence[Condition]) -> Item | None:
    """What a SELECT by primary key shows of an item that was got in another way; None for nothing."""
    clause = clauses.condition_clause(others)
    if item is None or (clause is not None and not holds(clause, item)):
        return None
    projection = _projection(statement.columns)
    return _shown(project(projection, item) if projection is not None else item, statement.columns)


# --- going on where a page ended ---


def _token(at: int, last: Item | None, digest: str) -> str:
    return b2a_base64(encode([digest, at, last]), newline=False).decode()


def _read_token(token: str | None, digest: str, parts: int) -> tuple[int, Item | None]:
    if token is None:
        return 0, None
    try:
        known, at, last = decode(a2b_base64(token, strict_mode=True))
        valid = known == digest and type(at) is int and 0 <= at < parts and (last is None or type(last) is dict)
    except (Base64Error, ValueError, TypeError, msgspec.DecodeError):
        valid = False
    if not valid:
        raise invalid("Given NextToken is invalid or does not belong to this statement")
    start: Item | None = {name: normalise_value(value) for name, value in last.items()} if last is not None else None
    return at, start


def _added(before: dict[str, Any] | None, more: dict[str, Any] | None) -> dict[str, Any] | None:
    """Capacity of two parts together."""
    if before is None or more is None:
        return before or more
    total: dict[str, Any] = {}
    for name, value in before.items():
        other = more.get(name)
        if isinstance(value, dict) and isinstance(other, dict):
            total[name] = _added(value, other)
        else:
            total[name] = value + other if isinstance(value, float) and isinstance(other, float) else value
    return total
