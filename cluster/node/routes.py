"""A router's view of the routing map: a cache in front of MemDS that never spares MemDS the work [P22 §6.6].

Every request's lookup is also sent on to MemDS, hit or miss, so that the load on MemDS does not depend on the hit
ratio and a cold router behaves like a warm one. Lookups made within a moment travel in one message.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from typing import Any

import msgspec

from cluster.api import TableSchema
from cluster.api.throughput import rates
from cluster.core.routing import Route, Table
from cluster.node.config import NodeConfig
from cluster.node.rpc import Rpc, RpcError
from cluster.node.world import World

BATCH_S = 0.1
CALL_TIMEOUT_S = 0.3
AVOID_S = 2.0
"""How long a MemDS node that did not answer is asked last."""

KEYS_PER_BATCH_MAX = 1000

_table_answer = msgspec.msgpack.Decoder(tuple[int, Table | None])
_routes_answer = msgspec.msgpack.Decoder(tuple[int, list[tuple[str, Route]]])


class MapUnavailable(Exception):
    """No MemDS node answered, and the cache does not know."""


class CachedTable:
    """A table a router serves: its key schema, its rates and the routes known so far."""

    __slots__ = ("_routes", "_starts", "read_rate", "schema", "stale", "table", "write_rate")

    def __init__(self, table: Table) -> None:
        self.table = table
        description = msgspec.json.decode(table.description)
        self.schema = TableSchema.from_description(description)
        self.read_rate, self.write_rate = rates(description)
        self.stale = False
        self._starts: list[bytes] = []
        self._routes: dict[bytes, Route] = {}

    def route(self, key: bytes) -> Route | None:
        at = bisect_right(self._starts, key) - 1
        if at < 0:
            return None
        route = self._routes[self._starts[at]]
        return route if not route.end or key < route.end else None

    def learn(self, route: Route) -> None:
        """Take a route unless a later one of the same range is known; one of another cut replaces what it overlaps."""
        known = self._routes.get(route.start)
        if known is not None and known.group == route.group:
            if (known.round, known.slot) > (route.round, route.slot):
                return
        elif known is None:
            insort(self._starts, route.start)
        self._routes[route.start] = route


class Routes:
    """Tables and routes by name and key."""

    def __init__(self, world: World, config: NodeConfig, rpc: Rpc) -> None:
        self._world = world
        self._rpc = rpc
        self._nodes = [peer.name for peer in config.of_role("memds", near=config.az)]
        self._avoid: dict[str, float] = {}
        self._tables: dict[str, CachedTable] = {}
        self._version = -1
        self._pending: dict[tuple[str, bytes], None] = {}
        self._flushing = False

    def table(self, name: str) -> CachedTable | None:
        """The table if it is cached."""
        return self._tables.get(name)

    @property
    def tables(self) -> list[CachedTable]:
        return list(self._tables.values())

    async def fetch_table(self, name: str) -> CachedTable | None:
        """Ask MemDS for a table; None where two nodes agree that there is none. Raises :class:`MapUnavailable`."""
        answers = 0
        newest = -1
        for node in self._order():
            try:
                version, table = await self._rpc.start(node, "table", name, CALL_TIMEOUT_S, _table_answer)
            except RpcError as error:
                self._failed(node, error.code)
                continue
            if table is not None and version >= newest:
                return self._install(table)
            answers += 1
            newest = max(newest, version)
            # A single node may simply not have heard of a new table yet.
            if answers >= min(2, len(self._nodes)):
                break
        if not answers:
            raise MapUnavailable(name)
        self._tables.pop(name, None)
        return None

    def _install(self, table: Table) -> CachedTable:
        known = self._tables.get(table.name)
        if known is not None and known.table == table:
            known.stale = False
            return known
        cached = self._tables[table.name] = CachedTable(table)
        return cached

    def look(self, table: CachedTable, key: bytes) -> Route | None:
        """The cached route; whatever the answer, MemDS is asked as well."""
        self._pending[(table.table.name, key)] = None
        if not self._flushing:
            self._flushing = True
            self._world.call_at(self._world.now() + BATCH_S, self._flush)
        return table.route(key)

    async def fetch_route(self, table: CachedTable, key: bytes) -> Route | None:
        """Ask MemDS for one route. Raises :class:`MapUnavailable`."""
        for node in self._order():
            try:
                await self._ask(node, [(table.table.name, key)])
                return table.route(key)
            except RpcError as error:
                self._failed(node, error.code)
        raise MapUnavailable(table.table.name)

    def _flush(self) -> None:
        keys = list(self._pending)[:KEYS_PER_BATCH_MAX]
        self._pending.clear()
        self._flushing = False
        node = self._order()[0]

        def answered(code: str, result: Any) -> None:
            if code:
                self._failed(node, code)
            else:
                self._learn(*result)

        # Many times a second, for ever: without a task and a future to wait in it.
        self._rpc.ask(node, "lookup", keys, CALL_TIMEOUT_S, answered, _routes_answer)

    async def _ask(self, node: str, keys: list[tuple[str, bytes]]) -> None:
        self._learn(*await self._rpc.start(node, "lookup", keys, CALL_TIMEOUT_S, _routes_answer))

    def _learn(self, version: int, routes: list[tuple[str, Route]]) -> None:
        if version > self._version:
            self._version = version
            for table in self._tables.values():
                table.stale = True
        for name, route in routes:
            cached = self._tables.get(name)
            if cached is not None:
                cached.learn(route)

    def _order(self) -> list[str]:
        now = self._world.now()
        return sorted(self._nodes, key=lambda node: self._avoid.get(node, 0.0) > now)

    def _failed(self, node: str, code: str) -> None:
        if code in ("timeout", "cold"):
            self._avoid[node] = self._world.now() + AVOID_S
