"""What Query and Scan have in common: where rows come from, which attributes are wanted, and the answer.

Texts are AWS's, and so is the order in which things are looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from cluster.api.answers import read_units, throttled
from cluster.api.clauses import Clauses
from cluster.api.fields import envelope
from cluster.api.legacy import WRONG
from cluster.api.operation import ServedTable, Services
from cluster.api.paths import heads_of_projection, paths_of_condition
from cluster.api.tables import TableSchema
from cluster.core.commands import Command
from cluster.core.errors import ApiError, invalid
from cluster.core.expressions import conditions, legacy
from cluster.core.expressions.legacy import Expected
from cluster.core.expressions.projections import project
from cluster.core.indexes import projected_names
from cluster.core.items import Item, normalise_value
from cluster.core.keys import KeyAttribute, check_lookup_key, check_part, encode_key
from cluster.core.ranges import ANY, ITEMS, PAGE_BYTES, RangePage, RangeRead
from cluster.core.shape import IndexShape, index_table
from cluster.wire.json import decode, encode

INVALID_START = "The provided starting key is invalid"
LEAST_UNITS = 0.5
"""What a read takes before its size is known."""


class Wanted(NamedTuple):
    """A checked request for items, before its table is known to exist."""

    body: Mapping[str, Any]
    start: Item | None
    """``ExclusiveStartKey``."""
    clauses: Clauses
    """With ``AttributesToGet`` as the projection."""
    expected: Expected | None
    """A filter from before expressions."""
    of_index: bool = False
    """The filter sees no more of an item than the index has, as PartiQL's does."""

    @property
    def count_only(self) -> bool:
        return bool(self.body.get("Select") == "COUNT")


@dataclass(frozen=True, slots=True)
class Source:
    """A table or one of its indexes, as rows are read from it."""

    table: ServedTable
    rows: ServedTable
    """Where the rows are: the table itself, or a global index's own partitions."""
    index: IndexShape | None
    local: bool
    hashes: tuple[KeyAttribute, ...]
    sorts: tuple[KeyAttribute, ...]
    names: tuple[str, ...]
    """Attributes of a start key: the table's key, then what an index's key has beyond it."""

    @property
    def schema(self) -> TableSchema:
        return self.table.schema


# --- what needs no table ---


def check_select(body: Mapping[str, Any]) -> None:
    """Refuse a ``Select`` that goes together neither with a projection nor with its absence."""
    select = body.get("Select")
    refusal = _select_refusal(body, select) if select is not None else ""
    if refusal:
        raise envelope(invalid(refusal))


def _select_refusal(body: Mapping[str, Any], select: str) -> str:
    named = next((name for name in ("ProjectionExpression", "AttributesToGet") if body.get(name) is not None), None)
    if select == "SPECIFIC_ATTRIBUTES":
        if named is None:
            return "Must specify the AttributesToGet or ProjectionExpression when choosing to get SPECIFIC_ATTRIBUTES"
    elif named is not None:
        what = "only the Count" if select == "COUNT" else select
        return f"Cannot specify the {named} when choosing to get {what}"
    elif select == "ALL_PROJECTED_ATTRIBUTES" and body.get("IndexName") is None:
        return "ALL_PROJECTED_ATTRIBUTES can be used only when Querying using an IndexName"
    return ""


_BARE = ("The parameter cannot", "Attempting to", "Number ", f"{WRONG}An number", f"{WRONG}Input", "Input collection")
"""Refusals of a value in a start key that stand by themselves."""


def read_start(body: Mapping[str, Any]) -> Item | None:
    """The ``ExclusiveStartKey``."""
    start = body.get("ExclusiveStartKey")
    if start is None:
        return None
    try:
        return {name: normalise_value(value) for name, value in start.items()}
    except ApiError as error:
        if error.kind != "ValidationException" or error.message.startswith(_BARE):
            raise
        raise invalid(f"{INVALID_START}: {error.message}") from None


# --- what needs the table ---


async def find_source(services: Services, body: Mapping[str, Any], *, started: bool = False) -> Source:
    """The table, or the index that is named. ``started``: a missing index is told as a start key that is wrong."""
    table = await services.table(body["TableName"])
    schema = table.schema
    own = schema.key.attributes
    name = body.get("IndexName")
    if name is None:
        return Source(table, table, None, False, own[:1], own[1:], schema.key.names)
    index = schema.index_named(name)
    if index is None:  # it may have come since this router last heard of the table
        table = await services.table(body["TableName"], fresh=True)
        schema = table.schema
        index = schema.index_named(name)
    if index is None:
        if started:
            raise invalid(INVALID_START)
        raise no_such_index(name)
    local = index in schema.locals
    if not local and body.get("ConsistentRead"):
        raise invalid("Consistent reads are not supported on global secondary indexes")
    rows = table if local else await _rows_of(services, schema, name)
    names = tuple(dict.fromkeys((*schema.key.names, *(attribute.name for attribute in index.keys))))
    return Source(table, rows, index, local, index.hash, index.sort, names)


def no_such_index(name: str) -> ApiError:
    return invalid(f"The table does not have the specified index: {name}")


async def _rows_of(services: Services, schema: TableSchema, name: str) -> ServedTable:
    try:
        return await services.table(index_table(schema.name, name))
    except ApiError as error:
        if error.kind != "ResourceNotFoundException":
            raise
        raise invalid(f"Cannot read from backfilling global secondary index: {name}") from None


def check_start_part(start: Item, attribute: KeyAttribute, *, hashed: bool) -> None:
    """One attribute of a start key against the key it stands for."""
    value = start.get(attribute.name)
    if value is None:
        raise invalid(INVALID_START)
    check_part(attribute, value, hashed=hashed)


def check_start_key(start: Item, source: Source) -> None:
    """The table's own key in a start key."""
    try:
        check_lookup_key(source.schema.key, {name: start[name] for name in source.schema.key.names if name in start})
    except ApiError as error:
        raise invalid(f"{INVALID_START}: {error.message}") from None


def check_all_attributes(source: Source, body: Mapping[str, Any]) -> None:
    """A global index has no other attributes than those projected into it."""
    index = source.index
    if index is None or source.local or index.projection == "ALL":
        return
    if body.get("Select") == "ALL_ATTRIBUTES":
        raise invalid(
            f"{WRONG}Select type ALL_ATTRIBUTES is not supported for global secondary index {index.name} because its "
            "projection type is not ALL"
        )


def check_projected(source: Source, clauses: Clauses) -> None:
    """A projection from a global index may name only what is in it."""
    index = source.index
    if index is None or source.local or clauses.projection is None:
        return
    projected = projected_names(index, source.schema.key)
    missing = [name for name in heads_of_projection(clauses.projection) if projected and name not in projected]
    if missing:
        raise invalid(f"{WRONG}Global secondary index {index.name} does not project [{', '.join(missing)}]")


def rows_wanted(source: Source) -> int:
    """Which rows of all that are stored together a walk over everything is about."""
    if source.index is None:
        return ITEMS if source.schema.locals else ANY
    return source.index.number if source.local else ANY


# --- reading ---


class Pages:
    """One page for the caller out of as many as it takes from partitions, and its answer."""

    def __init__(self, services: Services, source: Source, wanted: Wanted) -> None:
        self._services = services
        self._source = source
        self._wanted = wanted
        self._consistent = bool(wanted.body.get("ConsistentRead"))
        self._fetch = self._must_fetch()
        self._items: list[bytes] = []
        self._matched = 0
        self._scanned = 0
        self._size = 0
        self._fetched_units = 0.0
        self._last = b""

    def _must_fetch(self) -> bool:
        """Whether attributes are wanted that a local index does not have: they come from the table, item by item."""
        index, wanted = self._source.index, self._wanted
        if index is None or not self._source.local or index.projection == "ALL":
            return False
        projected = projected_names(index, self._source.schema.key)
        heads = heads_of_projection(wanted.clauses.projection)
        if not wanted.of_index:
            heads += [str(parts[0]) for parts in paths_of_condition(wanted.clauses.filter)]
        heads += [test.name for test in wanted.expected.tests] if wanted.expected is not None else []
        return wanted.body.get("Select") == "ALL_ATTRIBUTES" or any(head not in projected for head in heads)

    async def read(self, start: bytes, end: bytes, *, reverse: bool = False, local: int) -> bytes:
        """The body of the answer for the items in a range of storage keys."""
        wanted, body = self._wanted, self._wanted.body
        if not self._services.take(self._source.rows, reads=LEAST_UNITS):
            raise throttled()
        limit = body.get("Limit") or 0
        rest: tuple[bytes, bytes] | None = (start, end)
        while rest is not None and (not rest[1] or rest[0] < rest[1]):
            page = await self._page(
                RangeRead(
                    *rest,
                    reverse,
                    limit - self._scanned if limit else 0,
                    PAGE_BYTES - self._size,
                    self._consistent,
                    None if self._fetch else wanted.clauses.filter,
                    None if self._fetch else wanted.expected,
                    not wanted.count_only or self._fetch,
                    self._source.names,
                    local,
                )
            )
            self._items += page.items
            self._matched += page.matched
            self._scanned += page.scanned
            self._size += page.size
            self._last = page.last
            rest = None if page.full else page.rest
        if self._fetch:
            await self._fetch_items()
        self._services.charge(self._source.rows, reads=self._units() - LEAST_UNITS)
        if self._fetched_units:
            self._services.charge(self._source.table, reads=self._fetched_units)
        return self._answer()

    async def _page(self, read: RangeRead) -> RangePage:
        try:
            return await self._services.read_range(self._source.rows, read)
        except ApiError as error:
            index = self._source.index
            if error.kind != "ResourceNotFoundException" or index is None or self._source.local:
                raise
            raise no_such_index(index.name) from None  # deleted since this router last heard of the table

    def _units(self) -> float:
        return read_units(self._size, consistent=self._consistent)

    async def _fetch_items(self) -> None:
        """Replace what a local index has of each item by the item, and filter again."""
        key = self._source.schema.key
        commands = [
            Command("get", self._source.schema.name, encode_key(key, decode(item)), consistent=self._consistent)
            for item in self._items
        ]
        outcomes = await self._services.each([self._services.run(self._source.table, one) for one in commands])
        self._items = []
        for outcome in outcomes:
            if isinstance(outcome, ApiError):
                raise outcome
            self._fetched_units += read_units(outcome.size_before, consistent=self._consistent)
            if outcome.attributes is not None and self._passes(outcome.attributes):
                self._items.append(outcome.attributes)
        self._matched = len(self._items)

    def _passes(self, body: bytes) -> bool:
        condition, expected = self._wanted.clauses.filter, self._wanted.expected
        if condition is None and expected is None:
            return True
        item = decode(body)
        if self._wanted.of_index and self._source.index is not None:
            projected = projected_names(self._source.index, self._source.schema.key)
            item = {name: value for name, value in item.items() if not projected or name in projected}
        if condition is not None and not conditions.holds(condition, item):
            return False
        return expected is None or legacy.holds(expected, item)

    def _answer(self) -> bytes:
        parts = [b'"Count":%d,"ScannedCount":%d' % (self._matched, self._scanned)]
        if not self._wanted.count_only:
            projection = self._wanted.clauses.projection
            items = self._items
            if projection is not None:
                items = [encode(project(projection, decode(item))) for item in items]
            parts.append(b'"Items":[%s]' % b",".join(items))
        if self._last:
            parts.append(b'"LastEvaluatedKey":' + self._last)
        capacity = self._wanted.body.get("ReturnConsumedCapacity") or "NONE"
        if capacity != "NONE":
            parts.append(b'"ConsumedCapacity":' + encode(self._capacity(capacity)))
        return b"{%s}" % b",".join(parts)

    def _capacity(self, detail: str) -> dict[str, Any]:
        units, index = self._units(), self._source.index
        total = units + self._fetched_units
        consumed: dict[str, Any] = {"TableName": self._source.schema.name, "CapacityUnits": total}
        if detail == "INDEXES":
            consumed["Table"] = {"CapacityUnits": units if index is None else self._fetched_units}
            if index is not None:
                kind = "LocalSecondaryIndexes" if self._source.local else "GlobalSecondaryIndexes"
                consumed[kind] = {index.name: {"CapacityUnits": units}}
        return consumed
