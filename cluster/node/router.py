"""The request router: DynamoDB's HTTP API for unmodified SDKs [P22 §2].

A request is parsed, authenticated against cached identity results, checked, admitted, routed by the map, carried out
by a group's leader and answered. The router holds no state that another does not have or cannot fetch.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from cluster.api import DataOperation, find_operation, read_body
from cluster.api.answers import throttled, units_of
from cluster.api.operation import CompositeOperation
from cluster.core.commands import Command, Outcome
from cluster.core.errors import ApiError
from cluster.node.config import NodeConfig
from cluster.node.credentials import Credentials, IdentityUnavailable, NotAtHand
from cluster.node.dispatch import Dispatch, Refused, may_have_happened, unavailable
from cluster.node.edge import Edge
from cluster.node.recovery import Recovery
from cluster.node.routes import CachedTable, Routes
from cluster.node.rpc import Rpc
from cluster.node.services import SERVED, RouterServices
from cluster.node.throttle import TableBudget, Throttle
from cluster.node.world import World
from cluster.wire import errors, protocol, sigv4
from cluster.wire.encoding import expand
from cluster.wire.http import BODY_BYTES_MAX, Request, date_line

HTTP_PORT = 8000
ADMITTED_READ = 0.5
ADMITTED_WRITE = 1.0
"""Units taken before a request is carried out, the least it can need; the rest is charged when its size is known."""

Answer = Callable[[bytes], None]


class Exchange(NamedTuple):
    """A request and where its answer goes."""

    request: Request
    answer: Answer
    id: str


class Router:
    """The role ``router``."""

    def __init__(self, world: World, config: NodeConfig, rpc: Rpc) -> None:
        self._world = world
        self._config = config
        self._credentials = Credentials(world, config, rpc)
        self.routes = Routes(world, config, rpc)
        self._throttle = Throttle(world, config, rpc)
        self.dispatch = Dispatch(world, config, rpc, self.routes)
        self.services = RouterServices(world, config, rpc, self.routes, self._throttle, self.dispatch)
        self.recovery = Recovery(world, rpc, self.services, self.dispatch, self.services.ledger)
        self._edge = Edge(world, self._serve, self._give_up)
        self._served: dict[int, int] = {}
        self._date_s = -1
        self._date = ""

    async def start(self) -> None:
        await self._throttle.start()
        self.recovery.start()
        await self._edge.start(HTTP_PORT)

    async def stop(self) -> None:
        """Nothing is kept that would have to be saved."""

    def status(self) -> dict[str, Any]:
        return {
            "connections": self._edge.open_connections,
            "answers": {str(status): count for status, count in sorted(self._served.items())},
            "gac_away": self._throttle.alone,
            "transactions_taken_over": self.recovery.taken_over,
        }

    def _serve(self, request: Request, answer: Answer) -> None:
        exchange = Exchange(request, answer, errors.request_id(self._world.rng))
        foreign = protocol.answer_outsider(request, exchange.id, self._config.name)
        if foreign is not None:
            answer(foreign)
            return
        try:
            later = self._begin(exchange)
        except Exception as error:
            self._fail(exchange, error)
            return
        if later is not None:
            self._world.spawn(later, "request")

    def _begin(self, exchange: Exchange) -> Coroutine[Any, Any, None] | None:
        """Send a request on its way at once where all it needs is at hand, as it mostly is; otherwise what is to be
        done in a task, since it must wait for something."""
        request = exchange.request
        operation = find_operation(request.headers)
        if not isinstance(operation, DataOperation) or "content-encoding" in request.headers:
            return self._carry_out(exchange)
        try:
            self._verify(request)
        except NotAtHand:
            return self._carry_out(exchange)
        checked = operation.check(read_body(request.body))
        table = self.routes.table(checked.table)
        if table is None or table.stale or table.table.status not in SERVED:
            return self._carry_out(exchange)
        command = operation.prepare(checked, table.schema)
        budget = self._admit(table, command)
        target = self.dispatch.at_hand(table, command)
        if target is None:
            return self._go_on(exchange, operation, table, command, budget, None)

        def begun(outcome: Outcome | None, refused: Refused | None) -> None:
            if outcome is None:
                self._world.spawn(self._go_on(exchange, operation, table, command, budget, refused), "request")
                return
            try:
                self._charge(budget, command, outcome)
                body = operation.respond(command, outcome)
            except Exception as error:
                self._fail(exchange, error)
            else:
                self._reply(exchange, 200, body)

        self.dispatch.begin(target, command, begun)
        return None

    async def _go_on(
        self,
        exchange: Exchange,
        operation: DataOperation,
        table: CachedTable,
        command: Command,
        budget: TableBudget,
        refused: Refused | None,
    ) -> None:
        """What could not be done in the first attempt."""
        try:
            outcome = await self.dispatch.run(table, command, refused)
            self._charge(budget, command, outcome)
            body = operation.respond(command, outcome)
        except Exception as error:
            self._fail(exchange, error)
        else:
            self._reply(exchange, 200, body)

    async def _carry_out(self, exchange: Exchange) -> None:
        try:
            body = await self._handle(exchange.request)
        except Exception as error:
            self._fail(exchange, error)
        else:
            self._reply(exchange, 200, body)

    def _give_up(self, request: Request) -> bytes:
        """The answer to a request that nothing else answered in time: its fate is not known."""
        self._world.event("request-unanswered", target=request.headers.get("x-amz-target", ""))
        error = may_have_happened()
        status = errors.error_status(error)
        self._served[status] = self._served.get(status, 0) + 1
        return protocol.answer(request, status, errors.error_body(error), errors.request_id(self._world.rng))

    def _reply(self, exchange: Exchange, status: int, body: bytes) -> None:
        self._served[status] = self._served.get(status, 0) + 1
        second = int(self._world.wall())
        if second != self._date_s:
            self._date_s, self._date = second, date_line(second)
        exchange.answer(protocol.answer(exchange.request, status, body, exchange.id, self._date))

    def _fail(self, exchange: Exchange, error: Exception) -> None:
        if not isinstance(error, ApiError):  # a bug in one operation must not take down the other callers
            target = exchange.request.headers.get("x-amz-target", "")
            self._world.event("request-crashed", error=repr(error), target=target)
            error = ApiError("InternalServerError", "The request processing has failed because of an internal error.")
        error = protocol.first_refusal(exchange.request, error)
        self._reply(exchange, errors.error_status(error), errors.error_body(error))

    async def _handle(self, request: Request) -> bytes:
        operation = find_operation(request.headers)
        await self._authenticate(request)
        content = request.body
        if "content-encoding" in request.headers:
            content = expand(content, request.headers["content-encoding"], BODY_BYTES_MAX)
        body = read_body(content)
        if isinstance(operation, DataOperation):
            return await self._data(operation, body)
        if isinstance(operation, CompositeOperation):
            return await operation.plan(operation.check(body), self.services)
        if operation.local:
            return operation.respond({"address": request.headers.get("host", ""), **operation.check(body)})
        return operation.respond(await self.services.control(operation.name, operation.check(body)))

    async def _authenticate(self, request: Request) -> None:
        try:
            self._verify(request)
        except NotAtHand as missing:
            try:
                await self._credentials.fetch(missing.access_key)
            except IdentityUnavailable as error:
                raise unavailable() from error
            self._verify(request)

    def _verify(self, request: Request) -> None:
        """Raises :class:`NotAtHand` for a request that may be good, of whoever identity must be asked for."""
        sigv4.verify(
            request.method,
            request.target,
            request.headers,
            request.body,
            self._credentials.at_hand,
            self._world.wall(),
            region=self._config.region,
        )

    async def _data(self, operation: DataOperation, body: Any) -> bytes:
        checked = operation.check(body)
        table = await self.services.table(checked.table)
        command = operation.prepare(checked, table.schema)
        budget = self._admit(table, command)
        outcome = await self.dispatch.run(table, command)
        self._charge(budget, command, outcome)
        return operation.respond(command, outcome)

    def _admit(self, table: CachedTable, command: Command) -> TableBudget:
        budget = self.services.budget(table)
        now = self._world.now()
        admitted = (
            budget.reads.take(ADMITTED_READ, now) if command.kind == "get" else budget.writes.take(ADMITTED_WRITE, now)
        )
        if not admitted:
            raise throttled()
        return budget

    def _charge(self, budget: TableBudget, command: Command, outcome: Outcome) -> None:
        """Spend what the answer showed to be needed beyond the unit that admission took."""
        units = units_of(command, outcome)
        if command.kind == "get":
            budget.reads.charge(units - ADMITTED_READ)
        else:
            budget.writes.charge(units - ADMITTED_WRITE)
