"""One generator process at work: the plan meets the clock, the sockets and the recorder.

A :class:`Session` is shared by all users (greenlets) of the process. A user takes the next arrival, waits until it is
due, carries out one operation and comes back for more; how many there are bounds the requests in flight. Recording
comes first: an operation whose invocation cannot be written is not sent.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import gevent
from gevent.event import Event

from loadgen.address import Address
from loadgen.arrivals import Arrivals, Offered, arrival_times
from loadgen.client import Client, MaybeSent, NotSent, signers_for
from loadgen.config import CONTROL_POLL_S, Control, LoadConfig, read_control
from loadgen.endpoints import Endpoints
from loadgen.plan import Operation, Plan
from loadgen.stats import Window
from loadgen.translate import API, Outcome, body_of, outcome_of, teach
from reports.rundir.history import HistoryWriter, boot_ns

STOP_SLICE_S = 0.5
NS = 1_000_000_000

OnComplete = Callable[[Operation, Outcome, int], None]
"""``on_complete(operation, outcome, latency_ns)``, for whoever keeps further statistics (Locust's events)."""


class Caller:
    """Carries out and records single operations; what load, sweep and canary-like probes have in common."""

    def __init__(self, config: LoadConfig) -> None:
        self.config = config
        self.addresses = tuple(Address.of(url) for url in config.endpoints)
        self.endpoints = Endpoints(config.endpoints, probe_s=config.timeouts.attempt_s)
        self.window = Window()
        self.totals = Window()
        self.in_flight = 0
        self.history = HistoryWriter(config.history, config.writer)
        self._signers = signers_for(self.addresses, config.access_key, config.secret(), config.region)
        self._item_bytes = config.item_size
        self._indexed = config.profile_.indexed

    def client(self) -> Client:
        """A client for one user."""
        return Client(self.addresses, self._signers, self.config.timeouts)

    def perform(self, client: Client, operation: Operation, intended_ns: int | None) -> tuple[Outcome, int]:
        """One attempt at one operation: recorded, sent, judged, recorded. Returns the outcome and the latency in ns
        from the intended time. Raises only :class:`OSError`, when the history cannot be written."""
        op, table, key, value, expect = operation
        body = body_of(operation, self._item_bytes, indexed=self._indexed)
        now_ns = boot_ns()
        if intended_ns is None:
            intended_ns = now_ns
        endpoint = self.endpoints.pick(now_ns / NS)
        identity = self.history.invoke(
            op,
            table,
            key,
            value,
            expect,
            az=self.config.az,
            endpoint=self.endpoints.urls[endpoint],
            intended_ns=intended_ns,
            t_ns=now_ns,
        )
        self.window.sent += 1
        self.in_flight += 1
        try:
            outcome = self._attempt(client, endpoint, operation, body)
        finally:
            self.in_flight -= 1
        done_ns = boot_ns()
        self.history.complete(
            identity,
            outcome.outcome,
            status=outcome.status,
            error=outcome.error,
            value=outcome.value,
            t_ns=done_ns,
        )
        latency_ns = done_ns - intended_ns
        self.window.complete(op, outcome.outcome, latency_ns, unmet=outcome.unmet)
        return outcome, latency_ns

    def _attempt(self, client: Client, endpoint: int, operation: Operation, body: bytes) -> Outcome:
        try:
            response = client.call(endpoint, API[operation.op], body)
        except NotSent as error:
            self.endpoints.failed(endpoint, boot_ns() / NS)
            return Outcome("fail", 0, str(error), None)
        except MaybeSent as error:
            self.endpoints.failed(endpoint, boot_ns() / NS)
            return Outcome("unknown", 0, str(error), None)
        if response.status in (500, 503):
            self.endpoints.errored(endpoint, boot_ns() / NS)
        else:
            self.endpoints.succeeded(endpoint)
        return outcome_of(operation, response.status, response.body, self._item_bytes)

    def take_window(self) -> Window:
        """The window so far, added to the totals; a new one begins."""
        window, self.window = self.window, Window()
        self.totals.add(window)
        return window

    def close(self) -> None:
        self.history.close()


class Session(Caller):
    """Open-model load: see the module. Times in seconds are on the boot clock unless they count from the start."""

    def __init__(self, config: LoadConfig, control: Callable[[], Control] | None = None) -> None:
        super().__init__(config)
        self.plan = Plan(
            config.profile_, table=config.table, keys=config.key_count, seed=config.seed, writer=config.writer
        )
        shape, seed = config.offered_shape, f"{config.seed}/{config.writer}/arrivals"
        poisson = config.arrivals == "poisson"
        self.arrivals = Arrivals(arrival_times(shape, seed, poisson=poisson), config.patience_s)
        self._offered = Offered(arrival_times(shape, seed, poisson=poisson))
        self._read_control = control or (lambda: read_control(config.control))
        self.start_s = config.start_boot_s
        self.stop_s = config.stop_boot_s
        self.failure: OSError | None = None
        self.defect: str | None = None
        self.on_complete: OnComplete | None = None
        self._begun = Event()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the load began; negative before that."""
        assert self.start_s is not None, "the session has no start time yet"
        return boot_ns() / NS - self.start_s

    def stop(self) -> None:
        """Take no further arrivals from now on; what is in flight goes on."""
        now = boot_ns() / NS
        self.stop_s = now if self.stop_s is None else min(self.stop_s, now)

    @property
    def error(self) -> str | None:
        """Why the load is not to be trusted: its evidence could not be written, or a user broke down by a defect."""
        return str(self.failure) if self.failure else self.defect

    def stopped(self) -> bool:
        return self.failure is not None or (self.stop_s is not None and boot_ns() / NS >= self.stop_s)

    def poll(self) -> None:
        """Read the control file: it may set or move the start until that is reached, and the stop until it is over."""
        control = self._read_control()
        if control.start_boot_s is not None and (self.start_s is None or self.start_s > boot_ns() / NS):
            self.start_s = control.start_boot_s
        if control.stop_boot_s is not None and not self.stopped():
            self.stop_s = control.stop_boot_s

    def ready_line(self) -> dict[str, Any]:
        """The first line of the stats file: everything slow is done, the load can begin at once."""
        config = self.config
        return {"event": "ready", "boot": boot_ns() / NS, "pid": os.getpid(), "az": config.az, "writer": config.writer}

    def await_start(self) -> None:
        """Poll until the start is reached or the session stopped, then let the users go."""
        while not self.stopped():
            self.poll()
            ahead_s = CONTROL_POLL_S if self.start_s is None else -self.elapsed_s
            if ahead_s <= 0:
                break
            gevent.sleep(min(ahead_s, CONTROL_POLL_S))
        self._begun.set()

    def user(self) -> None:
        """One user: operations until the session has stopped or the schedule ends."""
        self._begun.wait()
        client = self.client()
        try:
            while not self.stopped():
                due_s = self.arrivals.take(self.elapsed_s)
                if due_s is None or not self._wait_until(due_s):
                    return
                self._one(client, due_s)
        finally:
            client.close()

    def _wait_until(self, due_s: float) -> bool:
        """Wait for an arrival's time; False if the session stopped first. In slices, as the stop may move."""
        while (ahead_s := due_s - self.elapsed_s) > 0:
            gevent.sleep(min(ahead_s, STOP_SLICE_S))
            if self.stopped():
                return False
        return True

    def _one(self, client: Client, due_s: float) -> None:
        assert self.start_s is not None
        operation = self.plan.next()
        try:
            outcome, latency_ns = self.perform(client, operation, int((self.start_s + due_s) * NS))
        except OSError as error:
            # No record, no request: a generator that cannot write its evidence must not go on.
            self.failure = self.failure or error
            return
        teach(self.plan, operation, outcome)
        if self.on_complete is not None:
            self.on_complete(operation, outcome, latency_ns)

    def end_second(self, until_s: float, *, last: bool = False) -> Window:
        """Close the window of the second that ended ``until_s`` seconds after the start.

        In the ``last`` one whatever fell due and was not sent is skipped: the arrivals still queued, and those that a
        user had taken but woke up for after the stop. From then on offered is sent and skipped, to the operation.
        """
        window, totals = self.window, self.totals
        window.offered += self._offered.until(until_s)
        self.arrivals.expire(until_s)
        window.skipped = self.arrivals.skipped - totals.skipped
        if last:
            sent = totals.sent + window.sent
            window.skipped = max(window.skipped, totals.offered + window.offered - sent - totals.skipped)
        return self.take_window()
