"""What an operation is to a router: a few functions and a name.

Three kinds. A :class:`DataOperation` is one command on one item, and the router's short path is made for it. A
:class:`ControlOperation` is answered by the control plane. A :class:`CompositeOperation` takes several steps (a page of
a range, many items, a transaction): it is a coroutine, its *plan*, over what a router can do, its :class:`Services`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

from cluster.api.clauses import Clauses
from cluster.api.tables import TableSchema
from cluster.core.commands import Command, Outcome
from cluster.core.errors import ApiError
from cluster.core.expressions.legacy import AttributeUpdate, Expected
from cluster.core.items import Item
from cluster.core.ranges import RangePage, RangeRead
from cluster.core.transactions import Seen, Written
from cluster.wire.json import read_body

TARGET_PREFIX = "DynamoDB_20120810."

T = TypeVar("T")

__all__ = [
    "CompositeOperation",
    "ControlOperation",
    "DataOperation",
    "DataRequest",
    "Operation",
    "ServedTable",
    "Services",
    "find_in",
    "read_body",
]


class DataRequest(NamedTuple):
    """A checked request on one item, before its table is known to exist."""

    table: str
    content: Item
    """The item to put, or the key."""
    clauses: Clauses
    body: Mapping[str, Any]
    expected: Expected | None = None
    updates: tuple[AttributeUpdate, ...] = ()
    """Conditions and updates from before expressions."""


@dataclass(frozen=True, slots=True)
class DataOperation:
    """An operation on one item. All three functions raise :class:`ApiError`."""

    name: str
    write: bool
    """Whether it may change the item: after a lost answer the item may or may not have changed."""
    check: Callable[[dict[str, Any]], DataRequest]
    """Everything that needs no table. Takes the decoded body."""
    prepare: Callable[[DataRequest, TableSchema], Command]
    """Everything that needs the key schema."""
    respond: Callable[[Command, Outcome], bytes]
    """The body of the answer; raises the outcome's failure."""


@dataclass(frozen=True, slots=True)
class ControlOperation:
    """An operation that the control plane, or the router alone, answers."""

    name: str
    check: Callable[[dict[str, Any]], dict[str, Any]]
    """The validated request, as plain values for the control plane."""
    respond: Callable[[dict[str, Any]], bytes]
    """The body of the answer, from what the control plane said."""
    local: bool = False
    """A router answers it alone: ``respond({"address": <the request's Host>})``."""


class ServedTable(Protocol):
    """A table as a router's cache has it; obtained from :meth:`Services.table` and handed back to other services."""

    @property
    def schema(self) -> TableSchema: ...


class Services(Protocol):
    """What a router does for the steps of a plan. Everything that fails raises :class:`ApiError`: 503 where nothing was
    proposed, 500 where nobody can say whether a write happened."""

    async def table(self, name: str, *, fresh: bool = False) -> ServedTable:
        """The table, or ``ResourceNotFoundException``. An internal name (an index, a ledger) is as good as any.
        ``fresh``: what is cached may be too old to know of what the request names."""
        ...

    def take(self, table: ServedTable, *, reads: float = 0.0, writes: float = 0.0) -> bool:
        """Spend capacity units before the work, the least it can need; False where the table's budget is exhausted."""
        ...

    def charge(self, table: ServedTable, *, reads: float = 0.0, writes: float = 0.0) -> None:
        """Spend what turned out to be needed beyond what :meth:`take` took."""
        ...

    async def run(self, table: ServedTable, command: Command) -> Outcome:
        """One command at the leader of its key (an eventual get: at any replica). Refusals are in the outcome."""
        ...

    async def read_range(self, table: ServedTable, read: RangeRead) -> RangePage:
        """Rows from the first partition of the range on, until its limits or that partition's end: see
        :class:`RangePage`, whose ``rest`` is what remains to be asked for."""
        ...

    async def ask_leader(
        self, table: ServedTable, key: bytes, method: str, params: Any, result: type[T], *, again: bool
    ) -> T:
        """Call ``method`` with ``(group, params)`` at the leader of ``key``'s group; its answer as ``result``.
        ``again``: it may be repeated after a silence, which a read may and a write may not."""
        ...

    async def transact_write(self, actions: Sequence[tuple[ServedTable, Command]], token: str, digest: str) -> Written:
        """All of the actions or none. ``token`` (empty: none) makes it idempotent for ten minutes, ``digest`` tells the
        request from another one with that token."""
        ...

    async def transact_read(self, wanted: Sequence[tuple[ServedTable, bytes]]) -> list[Seen]:
        """Items by key, as they all were at one moment; ``ongoing`` where a write transaction was in the way."""
        ...

    async def each(self, steps: Sequence[Awaitable[T]], at_once: int = 25) -> list[T | ApiError]:
        """Carry out steps beside each other, started in their order; what each gave or was refused, in that order."""
        ...

    async def control(self, name: str, request: dict[str, Any]) -> dict[str, Any]:
        """Ask the control plane."""
        ...

    def wall(self) -> float:
        """Seconds since the epoch; may step."""
        ...


@dataclass(frozen=True, slots=True)
class CompositeOperation:
    """An operation of several steps."""

    name: str
    check: Callable[[dict[str, Any]], Any]
    """Everything that needs no table. Takes the decoded body; what it returns is for the plan alone."""
    plan: Callable[[Any, Services], Awaitable[bytes]]
    """Carries the request out and gives the body of the answer. Raises :class:`ApiError`."""


Operation = DataOperation | ControlOperation | CompositeOperation


def find_in(operations: Mapping[str, Operation], target: str) -> Operation:
    """The operation an ``x-amz-target`` header names, or ``UnknownOperationException``."""
    operation = operations.get(target[len(TARGET_PREFIX) :]) if target.startswith(TARGET_PREFIX) else None
    if operation is None:
        raise ApiError("UnknownOperationException")
    return operation
