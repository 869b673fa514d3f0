"""Rows in memory, with their indexes, and what plans of several steps ask of a router, over them.

Nothing here ever waits, so that a plan is carried through by :func:`drive` without an event loop.
"""

from __future__ import annotations

import time
from bisect import bisect_left, insort
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, NamedTuple

from in_process_transactions import Transactions

from cluster.api.operation import ServedTable
from cluster.api.tables import TableSchema, item_table_not_found
from cluster.core.commands import Command, Outcome, evaluate
from cluster.core.errors import ApiError
from cluster.core.indexes import Indexes
from cluster.core.keys import local_number
from cluster.core.ranges import Gathering, RangePage, RangeRead
from cluster.core.shape import Shape, index_table
from cluster.wire.json import CODEC


def drive(plan: Coroutine[Any, Any, bytes]) -> bytes:
    """Run a coroutine that never really waits."""
    try:
        plan.send(None)
    except StopIteration as done:
        result: bytes = done.value
        return result
    raise AssertionError("a plan waited for something that the in-process services do not have")


class Served(NamedTuple):
    """A table as :class:`LocalServices` hands it out."""

    schema: TableSchema
    rows_name: str


class Rows:
    """All tables' rows in key order, and those of their indexes, which follow at once."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[bytes, bytes]] = {}
        self._order: dict[str, list[bytes]] = {}

    def forget(self, table: str) -> None:
        for name in [name for name in self._rows if name == table or name.startswith(f"{table}/")]:
            del self._rows[name], self._order[name]

    def get(self, name: str, key: bytes) -> bytes | None:
        return self._rows.get(name, {}).get(key)

    def order(self, name: str) -> list[bytes]:
        return self._order.get(name, [])

    def run(self, schema: TableSchema, command: Command) -> Outcome:
        before = self.get(schema.name, command.key)
        decision = evaluate(command, before, CODEC)
        if not decision.write:
            return decision.outcome
        outcome = decision.outcome
        if schema.locals or schema.globals:
            named = tuple(index._replace(id=index.name) for index in schema.globals)
            shape = Shape(1, schema.name, schema.key, schema.locals, named)
            indexes = Indexes(shape, CODEC)
            try:
                if decision.image is not None:
                    indexes.check(decision.image, updating=command.kind == "update")
            except ApiError as error:
                return Outcome(None, error.kind, error.message, outcome.size_before, outcome.size_before)
            derived = indexes.derive(command.key, before, decision.image)
            for key, image in derived.rows:
                self.put(schema.name, key, image)
            names = {index.id: index_table(schema.name, index.name) for index in named}
            for change in derived.changes:
                self.put(names[change.target], change.key, change.image)
            outcome = outcome._replace(local_units=derived.local_units, global_units=derived.global_units)
        self.put(schema.name, command.key, decision.image)
        return outcome

    def refill(self, schema: TableSchema) -> None:
        """The table's global indexes are these from now on, whatever there was."""
        for name in [name for name in self._rows if name.startswith(f"{schema.name}/")]:
            self.forget(name)
        named = tuple(index._replace(id=index.name) for index in schema.globals)
        indexes = Indexes(Shape(1, schema.name, schema.key, schema.locals, named), CODEC)
        for key, image in list(self._rows.get(schema.name, {}).items()):
            for index in named if local_number(key) < 0 else ():
                for change in indexes.backfill(index.id, key, image):
                    self.put(index_table(schema.name, index.name), change.key, change.image)

    def put(self, name: str, key: bytes, image: bytes | None) -> None:
        rows, order = self._rows.setdefault(name, {}), self._order.setdefault(name, [])
        if image is None:
            if rows.pop(key, None) is not None:
                del order[bisect_left(order, key)]
            return
        if key not in rows:
            insort(order, key)
        rows[key] = image


class LocalServices:
    """:class:`cluster.api.operation.Services` over :class:`Rows`; ``schemas`` finds a table or raises."""

    def __init__(self, rows: Rows, schemas: Callable[[str], TableSchema]) -> None:
        self.rows = rows
        self._schemas = schemas
        self._transactions = Transactions(rows)
        self.transact_write = self._transactions.write
        self.transact_read = self._transactions.read
        self.taken: list[tuple[str, float, float]] = []
        """Capacity taken and charged: table, reads, writes."""
        self.exhausted: list[str] = []
        """Tables whose budgets are exhausted."""
        self.dark: list[bytes] = []
        """Keys whose partitions answer nobody."""

    async def table(self, name: str, *, fresh: bool = False) -> Served:
        base, _, index = name.partition("/")
        schema = self._schemas(base)
        if index and schema.index_named(index) is None:
            raise item_table_not_found()
        return Served(schema, name)

    def take(self, table: ServedTable, *, reads: float = 0.0, writes: float = 0.0) -> bool:
        assert isinstance(table, Served)
        if table.rows_name in self.exhausted:
            return False
        self.taken.append((table.rows_name, reads, writes))
        return True

    def charge(self, table: ServedTable, *, reads: float = 0.0, writes: float = 0.0) -> None:
        assert isinstance(table, Served)
        self.taken.append((table.rows_name, reads, writes))

    async def run(self, table: ServedTable, command: Command) -> Outcome:
        if command.key in self.dark:
            raise ApiError("ServiceUnavailableException", "The service is temporarily unable to handle the request.")
        return self.rows.run(table.schema, command)

    async def read_range(self, table: ServedTable, read: RangeRead) -> RangePage:
        assert isinstance(table, Served)
        name = table.rows_name
        order = self.rows.order(name)
        places = range(bisect_left(order, read.start), bisect_left(order, read.end) if read.end else len(order))
        gathering = Gathering(read, CODEC)
        for at in reversed(places) if read.reverse else places:
            image = self.rows.get(name, order[at])
            assert image is not None
            if not gathering.take(order[at], image):
                break
        return gathering.page(None)

    async def each(self, steps: Sequence[Awaitable[Any]], at_once: int = 25) -> list[Any]:
        results: list[Any] = []
        for step in steps:
            try:
                results.append(await step)
            except ApiError as error:
                results.append(error)
        return results

    def wall(self) -> float:
        return time.time()
