"""How a router gets one command carried out: find the leader, send, and know what a silence means.

A read may be tried again anywhere. A write is sent on to another node only when the first one *proves* that it proposed
nothing (``not-leader``, ``overloaded``); after any other failure it may have happened, and the caller is told 500.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from cluster.core.commands import Command, Outcome
from cluster.core.errors import ApiError
from cluster.core.keys import below
from cluster.core.ranges import RangePage, RangeRead
from cluster.core.routing import Route
from cluster.node.config import NodeConfig
from cluster.node.routes import CachedTable, MapUnavailable, Routes
from cluster.node.rpc import TIMEOUT, Rpc, RpcError
from cluster.node.world import World

DEADLINE_S = 1.2
"""How long a router looks for a leader before it says 503. Longer would tie up callers; shorter would show every
election."""

LEADER_TIMEOUT_S = 1.0
REPLICA_TIMEOUT_S = 0.3
"""An eventual read has other replicas to ask."""

RANGE_TIMEOUT_S = 1.0
"""A page is up to 1 MB out of a B-tree; one that takes longer is asked for elsewhere."""

BACKOFF_S = 0.03
SUSPECT_S = 0.3
"""A node that let a request time out gets at most one request in this time until it answers again."""

ORDERS_MAX = 1024
"""Sets of nodes whose order by nearness is remembered."""

_outcome = msgspec.msgpack.Decoder(Outcome)
_page = msgspec.msgpack.Decoder(RangePage)


@lru_cache(maxsize=64)
def _decoder(result: Any) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(result)


class Call(NamedTuple):
    """What is asked of a group: a method that takes ``(group, params)``. ``again``: it may be repeated."""

    method: str
    params: Any
    decoder: msgspec.msgpack.Decoder[Any]
    again: bool
    timeout_s: float = LEADER_TIMEOUT_S


Begun = Callable[[Outcome | None, "Refused | None"], None]
"""``begun(outcome, None)``, or ``begun(None, refused)`` for :meth:`Dispatch.run` to go on with."""


class Target(NamedTuple):
    """Whom to ask for what group."""

    node: str
    group: str


class Refused(NamedTuple):
    """A first attempt that came to nothing."""

    node: str
    error: RpcError


def unavailable() -> ApiError:
    """Nothing was proposed: the caller may simply try again."""
    return ApiError("ServiceUnavailableException", "The service is temporarily unable to handle the request.")


def may_have_happened() -> ApiError:
    """The answer to a write whose fate this router does not know."""
    return ApiError("InternalServerError", "The request may or may not have been carried out.")


class Dispatch:
    """Sends commands to replication groups."""

    def __init__(self, world: World, config: NodeConfig, rpc: Rpc, routes: Routes) -> None:
        self._world = world
        self._rpc = rpc
        self._routes = routes
        self._az = config.az
        self._zones = {peer.name: peer.az for peer in config.peers}
        self._suspects: dict[str, float] = {}  # node -> when it may be tried next
        self._orders: dict[tuple[str, ...], list[str]] = {}

    def at_hand(self, table: CachedTable, command: Command) -> Target | None:
        """Whom :meth:`begin` is to ask, where that is known and well, as it mostly is; None where it takes
        :meth:`run`."""
        route = self._routes.look(table, command.key)
        if route is None:
            return None
        node = route.leader
        if command.kind == "get" and not command.consistent:
            node = self._nearest(route.nodes)[0] if route.nodes else ""
        return Target(node, route.group) if node and node not in self._suspects else None

    def begin(self, target: Target, command: Command, begun: Begun) -> None:
        """Send a command to one node, without a task to wait for it."""
        node, group = target

        def answered(code: str, result: Any) -> None:
            if not code:
                if self._suspects:
                    self._suspects.pop(node, None)
                begun(result, None)
            else:
                error = RpcError(code, result)
                self._note(node, error)
                begun(None, Refused(node, error))

        timeout_s = REPLICA_TIMEOUT_S if command.kind == "get" and not command.consistent else LEADER_TIMEOUT_S
        self._rpc.ask(node, "command", (group, command), timeout_s, answered, _outcome)

    def _nearest(self, nodes: tuple[str, ...]) -> list[str]:
        """Nodes with a group's replicas, those of the own zone first."""
        found = self._orders.get(nodes)
        if found is None:
            if len(self._orders) >= ORDERS_MAX:
                self._orders.clear()
            found = sorted(nodes, key=lambda node: (self._zones.get(node) != self._az, node))
            self._orders[nodes] = found
        return found

    async def run(self, table: CachedTable, command: Command, refused: Refused | None = None) -> Outcome:
        """Carry out a command, or go on after an attempt that was refused. Raises :class:`ApiError`: 503 when nothing
        was proposed, 500 when nobody can say."""
        outcome: Outcome
        if command.kind == "get" and not command.consistent:
            call = Call("command", command, _outcome, True, REPLICA_TIMEOUT_S)
            outcome = await self._ask_anyone(table, command.key, call)
        else:
            call = Call("command", command, _outcome, command.kind == "get")
            outcome = await self._ask_leader(table, command.key, call, refused)
        return outcome

    async def read_range(self, table: CachedTable, read: RangeRead) -> RangePage:
        """The first part of a range, from the partition where it begins. Raises :class:`ApiError`."""
        call = Call("range", read, _page, True, RANGE_TIMEOUT_S)
        key = below(read.end) if read.reverse else read.start
        ask = self._ask_leader if read.consistent else self._ask_anyone
        page: RangePage = await ask(table, key, call)
        return page

    async def ask_leader(
        self, table: CachedTable, key: bytes, method: str, params: Any, result: Any, *, again: bool
    ) -> Any:
        """Have a method with parameters ``(group, params)`` carried out by the leader of a key's group. Raises
        :class:`ApiError`. ``again``: it may be repeated after a silence."""
        return await self._ask_leader(table, key, Call(method, params, _decoder(result), again))

    async def _ask_leader(self, table: CachedTable, key: bytes, call: Call, refused: Refused | None = None) -> Any:
        deadline = self._world.now() + DEADLINE_S
        hint = ""
        tried = 0
        while self._world.now() < deadline:
            if refused is None:
                route = await self._route(table, key)
                node = self._choose(route, hint, tried)
                if not node:
                    await self._world.sleep(BACKOFF_S)
                    tried += 1
                    hint = ""
                    continue
                try:
                    return await self._send(node, route.group, call, call.timeout_s)
                except RpcError as error:
                    refused = Refused(node, error)
            hint = self._judge(refused, call)
            refused = None
            if not hint:
                await self._world.sleep(BACKOFF_S)
                await self._refresh(table, key)
            tried += 1
        raise unavailable()

    def _judge(self, refused: Refused, call: Call) -> str:
        """Who is to be tried next, or empty for whoever turns out to lead; raises where trying again might do twice
        what was asked for once."""
        node, error = refused
        if error.code in ("not-leader", "no-replica", "not-serving"):
            return error.detail if isinstance(error.detail, str) and error.detail != node else ""
        if error.code == "overloaded":
            raise unavailable() from error
        if not call.again:
            raise may_have_happened() from error
        return ""

    async def route(self, table: CachedTable, key: bytes) -> Route:
        """Which group holds a key, as far as is known here. Raises :class:`ApiError`."""
        return await self._route(table, key)

    async def _route(self, table: CachedTable, key: bytes) -> Route:
        route = self._routes.look(table, key)
        if route is None:
            try:
                route = await self._routes.fetch_route(table, key)
            except MapUnavailable as error:
                raise unavailable() from error
        if route is None:
            raise unavailable()
        return route

    async def _refresh(self, table: CachedTable, key: bytes) -> None:
        try:
            await self._routes.fetch_route(table, key)
        except MapUnavailable:
            return  # the cached route is the best there is

    def _choose(self, route: Route, hint: str, tried: int) -> str:
        """The node to try: who was named, else who is said to lead, else each member in turn; none that is suspect."""
        if route.leader and not tried and not self._suspects:
            return route.leader
        candidates = [hint] if hint else []
        if route.leader and tried < 2:
            candidates.append(route.leader)
        if tried >= 1 and route.nodes:
            candidates.append(route.nodes[tried % len(route.nodes)])
        elif not route.leader and route.nodes:
            candidates.append(route.nodes[0])
        return next((node for node in candidates if not self._suspect(node)), "")

    def _suspect(self, node: str) -> bool:
        until = self._suspects.get(node)
        if until is None:
            return False
        if until > self._world.now():
            return True
        self._suspects[node] = self._world.now() + SUSPECT_S  # one probe gets through
        return False

    async def _send(self, node: str, group: str, call: Call, timeout_s: float) -> Any:
        try:
            result = await self._rpc.start(node, call.method, (group, call.params), timeout_s, call.decoder)
        except RpcError as error:
            self._note(node, error)
            raise
        if self._suspects:
            self._suspects.pop(node, None)
        return result

    def _note(self, node: str, error: RpcError) -> None:
        """A node that is silent is suspect; one that answers anything is not."""
        if error.code == TIMEOUT:
            self._suspects[node] = self._world.now() + SUSPECT_S
        else:
            self._suspects.pop(node, None)

    async def _ask_anyone(self, table: CachedTable, key: bytes, call: Call) -> Any:
        for fresh in (False, True):
            if fresh:
                await self._refresh(table, key)
            route = await self._route(table, key)
            for node in [n for n in self._nearest(route.nodes) if not self._suspect(n)]:
                try:
                    return await self._send(node, route.group, call, call.timeout_s)
                except RpcError:
                    continue
        raise unavailable()
