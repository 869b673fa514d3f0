"""The load of a simulated game day: the pure plans and arrivals of :mod:`loadgen`, over simulated HTTP to the routers.

It does what a load driver does in a client container (:mod:`loadgen.session`): so many users a zone take arrivals of an
open schedule, each sends one operation at a time, records it before it is sent, and never retries inside it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from itertools import tee
from typing import Any, Final

import msgspec

from canaries.plan import STEPS
from chaos.playbook.model import LoadSpec
from chaos.simulated.clock import HostClock
from cluster.api import OPERATIONS
from cluster.sim.client import NoAnswer, NotSent, Refused, SimClient
from cluster.sim.loop import finish
from cluster.sim.simulation import Simulation
from loadgen.arrivals import Arrivals, Offered, Shape, arrival_times
from loadgen.endpoints import Endpoints
from loadgen.plan import Operation, Plan, sweep
from loadgen.profiles import profile_named
from loadgen.schema import LATER_S, later_body, table_body
from loadgen.stats import Window
from loadgen.translate import API, Outcome, body_of, outcome_of, teach
from reports.rundir import HistoryWriter, RunDir

TABLE: Final = "load"
ANSWER_S: Final = 3.0
GATHER_BYTES: Final = 64 * 1024
"""Of a history, written at once."""
PATIENCE_S: Final = 0.5
RETRY_S: Final = 0.1
SWEEP_USERS: Final = 16

Emit = Callable[..., object]
Line = dict[str, Any]
_to_json = msgspec.json.Encoder().encode


class ZoneLoad:
    """One zone's clients and their record."""

    def __init__(self, traffic: Traffic, az: str, routers: list[str], writer: str, run: RunDir) -> None:
        self.az = az
        self._sim = traffic.sim
        self._clock = HostClock(traffic.sim)
        self._spec = traffic.spec
        urls = tuple(f"http://{name}:8000" for name in routers)
        self._endpoints = Endpoints(urls, probe_s=ANSWER_S)
        self._clients = [SimClient(traffic.sim, f"client-{az}", name) for name in routers]
        self.history = HistoryWriter(run.history / f"{writer}.log", writer, gather=GATHER_BYTES)
        profile = profile_named(traffic.spec.profile)
        self._indexed = profile.indexed
        self.plan = Plan(profile, table=TABLE, keys=traffic.spec.keys, seed=traffic.seed, writer=writer)
        self.window = Window()

    async def perform(self, operation: Operation, intended_ns: int | None = None) -> Outcome:
        """One attempt at one operation, recorded before it is sent and again when it is answered."""
        op, table, key, value, expect = operation
        now_ns = self._clock.boot_ns()
        intended = now_ns if intended_ns is None else intended_ns
        at = self._endpoints.pick(now_ns / 1e9)
        identity = self.history.invoke(
            op, table, key, value, expect, az=self.az, endpoint=self._endpoints.urls[at], intended_ns=intended,
            t_ns=now_ns,
        )  # fmt: skip
        self.window.sent += 1
        item_bytes = self._spec.item_bytes
        body = body_of(operation, item_bytes, indexed=self._indexed)
        try:
            response = await self._clients[at].exchange(API[op], body, ANSWER_S)
        except NotSent as error:
            self._endpoints.failed(at, self._clock.boot_s())
            outcome = Outcome("fail", 0, f"ConnectFailed: {error}", None)
        except NoAnswer as error:
            self._endpoints.failed(at, self._clock.boot_s())
            outcome = Outcome("unknown", 0, str(error), None)
        else:
            if response.status in (500, 503):
                self._endpoints.errored(at, self._clock.boot_s())
            else:
                self._endpoints.succeeded(at)
            outcome = outcome_of(operation, response.status, response.body, item_bytes)
        ended, status, failure, seen = outcome
        done_ns = self._clock.boot_ns()
        self.history.complete(identity, ended, status=status, error=failure, value=seen, t_ns=done_ns)
        self.window.complete(op, ended, done_ns - intended, unmet=outcome.unmet)
        return outcome


class Traffic:
    """Everything the clients of a simulated run do. ``lines`` are its statistics by zone, a line a second."""

    def __init__(
        self, sim: Simulation, run: RunDir, spec: LoadSpec, seed: int, routers: dict[str, list[str]], emit: Emit
    ) -> None:
        self.sim = sim
        self.spec = spec
        self.seed = seed
        self.lines: dict[str, list[Line]] = {az: [] for az in routers}
        self.started = False
        self._run = run
        self._routers = routers
        self._emit = emit
        self._clock = HostClock(sim)
        self._stopping = False
        self._zones = [ZoneLoad(self, az, names, f"load-{az}", run) for az, names in routers.items()]
        for op in (*profile_named(spec.profile).weights, *STEPS):
            OPERATIONS[API[op]]  # loaded now, since no router of a simulation need wait for its first request
        self._users: list[asyncio.Task[None]] = []
        self._waiting: dict[asyncio.Future[None], None] = {}
        """Users whose arrival is not due yet."""

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a coroutine that belongs to no node; what escapes it ends the simulation."""
        task: asyncio.Task[Any] = asyncio.ensure_future(work, loop=self.sim.loop)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.sim.on_escape(None, error)

    async def create_table(self) -> None:
        """Make the load's table through the cluster's own API and return once it is active."""
        body = table_body(profile_named(self.spec.profile), TABLE, self.spec.partitions)
        az, routers = next(iter(self._routers.items()))
        client = SimClient(self.sim, f"client-{az}", routers[0])
        active = False
        while not active:
            try:
                await client.call("CreateTable", body, 10.0)
            except Refused as error:
                if error.kind != "ResourceInUseException":
                    await asyncio.sleep(RETRY_S)
                    continue
            except (NotSent, NoAnswer):
                await asyncio.sleep(RETRY_S)
                continue
            try:
                found = await client.call("DescribeTable", {"TableName": TABLE}, 10.0)
            except (Refused, NotSent, NoAnswer):
                await asyncio.sleep(RETRY_S)
                continue
            active = found["Table"]["TableStatus"] == "ACTIVE"
            if not active:
                await asyncio.sleep(RETRY_S)

    def start(self) -> None:
        """Let all zones' load begin now."""
        self.started = True
        began = self._clock.boot_s()
        rate, users = self.spec.rate / len(self._zones), max(1, self.spec.users // len(self._zones))
        for zone in self._zones:
            shape, seed = Shape.constant(rate), f"{self.seed}/load-{zone.az}/arrivals"
            due, offered = tee(arrival_times(shape, seed))
            arrivals = Arrivals(due, PATIENCE_S)
            self._users += [self.spawn(self._user(zone, arrivals, began)) for _ in range(users)]
            self.spawn(self._seconds(zone, arrivals, Offered(offered), began))
        self.spawn(self._add_index())

    async def _add_index(self) -> None:
        """Some profiles want an index that is made while the load runs."""
        body = later_body(profile_named(self.spec.profile), TABLE)
        az, routers = next(iter(self._routers.items()))
        client = SimClient(self.sim, f"client-{az}", routers[0])
        await asyncio.sleep(LATER_S)
        while body is not None and not self._stopping:
            try:
                await client.call("UpdateTable", body, 10.0)
            except Refused as error:
                if "already exists" not in str(error):
                    await asyncio.sleep(RETRY_S)
                    continue
            except (NotSent, NoAnswer):
                await asyncio.sleep(RETRY_S)
                continue
            self._emit("note", text="a global index is being added to the load's table")
            return

    async def _user(self, zone: ZoneLoad, arrivals: Arrivals, began: float) -> None:
        while not self._stopping:
            due = arrivals.take(self._clock.boot_s() - began)
            if due is None:
                return
            await self._until(began + due)
            if self._over():
                return
            operation = zone.plan.next()
            teach(zone.plan, operation, await zone.perform(operation, round((began + due) * 1e9)))

    async def _seconds(self, zone: ZoneLoad, arrivals: Arrivals, offered: Offered, began: float) -> None:
        """The statistics of each second, to the file, the timeline and the probes."""
        second, skipped = 0, 0
        path = self._run.load / f"{zone.az}.jsonl"
        with path.open("wb") as file:
            while not self._stopping:
                await asyncio.sleep(began + second + 1 - self._clock.boot_s())
                window, zone.window = zone.window, Window()
                window.offered = offered.until(second + 1)
                arrivals.expire(second + 1)
                window.skipped, skipped = arrivals.skipped - skipped, arrivals.skipped
                line: Line = {"second": second, "boot": round(began + second, 3), **window.line()}
                file.write(_to_json(line) + b"\n")
                file.flush()
                self.lines[zone.az].append(line)
                shown = {key: value for key, value in line.items() if key not in ("boot", "by_op")}
                self._emit("load", az=zone.az, **shown)
                second += 1

    def _over(self) -> bool:
        return self._stopping

    async def _until(self, boot_s: float) -> None:
        """Wait until the clock shows that, or the load is stopped."""
        loop = self.sim.loop
        while (ahead := boot_s - self._clock.boot_s()) > 0 and not self._stopping:
            waiter: asyncio.Future[None] = loop.create_future()
            self._waiting[waiter] = None
            timer = loop.post(loop.now_s + ahead, (finish, waiter), loop.harness)
            try:
                await waiter
            finally:
                timer.cancel()
                del self._waiting[waiter]

    def stop(self) -> None:
        """No further arrivals; what is in flight may end."""
        self._stopping = True
        for waiter in self._waiting:
            finish(waiter)

    def quiet(self) -> bool:
        """Whether nothing is in flight any more."""
        return all(task.done() for task in self._users)

    def recent(self, seconds: float) -> list[Line]:
        """The lines of the seconds that lie wholly within the last ``seconds``."""
        until = self._clock.boot_s()
        lines = [line for found in self.lines.values() for line in found[-int(seconds + 10) :]]
        return [line for line in lines if until - seconds <= line["boot"] and line["boot"] + 1 <= until]

    def died(self) -> str | None:
        """No driver of a simulation dies by itself."""
        return None

    async def sweep(self, limit_s: float) -> tuple[int, int]:
        """The closing strong read of every key: how many keys, and how many of them were answered."""
        az, routers = next(iter(self._routers.items()))
        zone = ZoneLoad(self, az, routers, "sweep", self._run)
        workload = profile_named(self.spec.profile).workload
        left = deque(sweep(TABLE, self.spec.keys, workload=workload))
        wanted = len(left)
        deadline, answered = self._clock.boot_s() + limit_s, 0

        async def read() -> None:
            nonlocal answered
            while left and self._clock.boot_s() < deadline:
                operation = left.popleft()
                if (await zone.perform(operation)).outcome == "ok":
                    answered += 1
                else:
                    left.append(operation)
                    await asyncio.sleep(RETRY_S)

        readers = [self.spawn(read()) for _ in range(SWEEP_USERS)]
        for reader in readers:
            await reader
        zone.history.close()
        return wanted, answered

    def close(self) -> None:
        """Close the histories; what is unanswered stays open for ever."""
        for zone in self._zones:
            zone.history.close()
