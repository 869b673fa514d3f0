"""What a router does for operations of several steps, and the steps its one-item path shares with them.

The other side of :class:`cluster.api.operation.Services`: tables from the cache or MemDS, budgets, commands and ranges
through :class:`~cluster.node.dispatch.Dispatch`, and the control plane. No state of its own but whom of the control
plane it asks first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar, cast

from cluster.api.operation import ServedTable
from cluster.api.tables import item_table_not_found
from cluster.core.commands import Command, Outcome
from cluster.core.errors import ApiError
from cluster.core.ranges import RangePage, RangeRead
from cluster.core.transactions import Seen, Written
from cluster.node.config import NodeConfig
from cluster.node.coordinator import Action, Coordinator
from cluster.node.dispatch import Dispatch, unavailable
from cluster.node.ledger import Ledger
from cluster.node.routes import CachedTable, MapUnavailable, Routes
from cluster.node.rpc import Rpc, RpcError
from cluster.node.throttle import TableBudget, Throttle
from cluster.node.world import World

CONTROL_DEADLINE_S = 8.0
CONTROL_TIMEOUT_S = 3.0

SERVED = frozenset(("ACTIVE", "UPDATING"))
"""States of a table whose items can be used."""

T = TypeVar("T")


class RouterServices:
    """One router's :class:`~cluster.api.operation.Services`."""

    def __init__(
        self, world: World, config: NodeConfig, rpc: Rpc, routes: Routes, throttle: Throttle, dispatch: Dispatch
    ) -> None:
        self._world = world
        self._rpc = rpc
        self._routes = routes
        self._throttle = throttle
        self._dispatch = dispatch
        self._admins = [peer.name for peer in config.of_role("autoadmin", near=config.az)]
        self._admin = self._admins[0] if self._admins else ""
        self.ledger = Ledger(world, self, dispatch)
        self._coordinator = Coordinator(world, self, dispatch, self.ledger)

    def wall(self) -> float:
        return self._world.wall()

    async def table(self, name: str, *, fresh: bool = False) -> CachedTable:
        table = self._routes.table(name)
        if table is None or table.stale or fresh:
            try:
                table = await self._routes.fetch_table(name)
            except MapUnavailable as error:
                table = self._routes.table(name)
                if table is None:
                    raise unavailable() from error
        if table is None or table.table.status not in SERVED:
            raise item_table_not_found()
        return table

    def budget(self, table: CachedTable) -> TableBudget:
        return self._throttle.budget(table.table.id, table.read_rate, table.write_rate)

    def take(self, table: ServedTable, *, reads: float = 0.0, writes: float = 0.0) -> bool:
        budget = self.budget(cast(CachedTable, table))
        now = self._world.now()
        return (not reads or budget.reads.take(reads, now)) and (not writes or budget.writes.take(writes, now))

    def charge(self, table: ServedTable, *, reads: float = 0.0, writes: float = 0.0) -> None:
        budget = self.budget(cast(CachedTable, table))
        if reads:
            budget.reads.charge(reads)
        if writes:
            budget.writes.charge(writes)

    async def run(self, table: ServedTable, command: Command) -> Outcome:
        return await self._dispatch.run(cast(CachedTable, table), command)

    async def read_range(self, table: ServedTable, read: RangeRead) -> RangePage:
        cached = cast(CachedTable, table)
        try:
            return await self._dispatch.read_range(cached, read)
        except ApiError as error:
            if error.kind == "ServiceUnavailableException":
                # Nobody serves the rows: it may be that they were deleted since this router last heard of the table.
                await self.table(cached.table.name, fresh=True)
            raise

    async def ask_leader(
        self, table: ServedTable, key: bytes, method: str, params: Any, result: type[T], *, again: bool
    ) -> T:
        answer: T = await self._dispatch.ask_leader(cast(CachedTable, table), key, method, params, result, again=again)
        return answer

    async def transact_write(self, actions: Sequence[tuple[ServedTable, Command]], token: str, digest: str) -> Written:
        steps = [Action(cast(CachedTable, table), command) for table, command in actions]
        return await self._coordinator.write(steps, token, digest)

    async def transact_read(self, wanted: Sequence[tuple[ServedTable, bytes]]) -> list[Seen]:
        return await self._coordinator.read([(cast(CachedTable, table), key) for table, key in wanted])

    async def each(self, steps: Sequence[Awaitable[T]], at_once: int = 25) -> list[T | ApiError]:
        results: list[T | ApiError] = []
        for first in range(0, len(steps), at_once):
            for result in await asyncio.gather(*steps[first : first + at_once], return_exceptions=True):
                if isinstance(result, BaseException) and not isinstance(result, ApiError):
                    raise result
                results.append(result)
        return results

    async def control(self, name: str, request: dict[str, Any]) -> dict[str, Any]:
        deadline = self._world.now() + CONTROL_DEADLINE_S
        at = 0
        while self._world.now() < deadline:
            try:
                answer: dict[str, Any] = await self._rpc.call(
                    self._admin, "control", (name, request), CONTROL_TIMEOUT_S
                )
                return answer
            except RpcError as error:
                if error.code == "api-error":
                    kind, message = error.detail
                    raise ApiError(kind, message) from error
                hint = error.detail if error.code == "not-leader" and isinstance(error.detail, str) else ""
                at += 1
                self._admin = hint or self._admins[at % len(self._admins)]
                if not hint:
                    await self._world.sleep(0.1)
        raise unavailable()
