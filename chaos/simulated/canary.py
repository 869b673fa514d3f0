"""The canaries of a simulated game day: the rounds, windows and alarms of :mod:`canaries` over simulated HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import ModuleType
from typing import Any, Final

from canaries.board import Board, alarm_of, event_of
from canaries.plan import STEPS, Judged, Round, Rounds
from chaos.playbook.model import CanarySpec
from chaos.simulated.clock import HostClock
from chaos.simulated.faults import canary_of
from chaos.simulated.traffic import TABLE
from cluster.sim.client import NoAnswer, NotSent, SimClient
from cluster.sim.simulation import Simulation
from loadgen.plan import Operation
from loadgen.translate import API, Outcome, body_of, outcome_of
from reports.rundir import Probe, ProbeLog, RunDir

ITEM_BYTES: Final = 256
GRACE_S: Final = 0.5
Emit = Callable[..., object]
Spawn = Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]]


class Canaries:
    """One canary a zone and the board of their alarms. ``routers`` is the router of every zone."""

    def __init__(
        self,
        sim: Simulation,
        run: RunDir,
        spec: CanarySpec,
        routers: dict[str, str],
        spawn: Spawn,
        emit: Emit,
        plant: ModuleType | None = None,
        *,
        indexed: bool = False,
    ) -> None:
        self._sim = sim
        self._spec = spec
        self._clock = HostClock(sim)
        self._zones = tuple(sorted(routers))
        self._routers = routers
        self._spawn = spawn
        self._emit = emit
        self._clients = {
            (az, where): SimClient(sim, canary_of(az), routers[where]) for az in self._zones for where in self._zones
        }
        """By canary and the zone of the router: their connections last, as those of real canaries do."""
        self._logs = {az: ProbeLog(run.canaries / f"{az}.jsonl") for az in self._zones}
        self._board: Board | None = None
        self._stopping = False
        self._plant = plant
        self._indexed = indexed
        if plant is not None and hasattr(plant, "install_canary"):
            plant.install_canary(self)

    def judge(self, current: Round, operation: Operation, outcome: Outcome) -> Judged:
        """What an answer is worth, by what the canary knows of the key."""
        return current.key.judge(operation, outcome)

    def start(self) -> None:
        """Let every canary begin, and judge windows from now on."""
        spec = self._spec
        self._board = Board(
            self._zones,
            self._clock.boot_s(),
            window_s=spec.window,
            grace_s=2 * spec.timeout + GRACE_S,
            threshold=spec.threshold,
            judged=lambda window: self._emit("window", **event_of(window, self._zones)),
        )
        if self._plant is not None and hasattr(self._plant, "install_board"):
            self._plant.install_board(self._board)
        self._emit("canaries", state="begin", **self._board.described())
        for index, az in enumerate(self._zones):
            self._logs[az].append({"event": "ready", "boot": self._clock.boot_s(), "az": az})
            self._spawn(self._canary(index, az))
        self._spawn(self._judge())

    def firing(self) -> list[str]:
        """Names of the alarms that are on."""
        return [] if self._board is None else self._board.firing()

    def stop(self) -> None:
        """Begin no further round; what is still in flight is of no more interest."""
        if self._board is not None and not self._stopping:
            self._emit("canaries", state="end")
        self._stopping = True

    def close(self) -> None:
        """Close the records."""
        self.stop()
        for log in self._logs.values():
            log.close()

    async def _canary(self, index: int, az: str) -> None:
        rounds = Rounds(f"canary-{az}", TABLE, len(self._zones), index)
        while not self._stopping:
            self._spawn(self._round(az, rounds, rounds.begin()))
            await asyncio.sleep(self._spec.interval)

    async def _round(self, az: str, rounds: Rounds, current: Round) -> None:
        where = self._zones[current.endpoint]
        client = self._clients[az, where]
        for op in STEPS:
            if self._stopping:
                return
            await self._probe(az, where, client, current, current.operation(op))
        rounds.end(current)

    async def _probe(self, az: str, where: str, client: SimClient, current: Round, operation: Operation) -> None:
        began = self._clock.boot_s()
        judged = self.judge(current, operation, await self._attempt(client, operation))
        if self._stopping:
            return
        probe = Probe(
            boot=round(began, 4),
            az=az,
            endpoint=f"http://{self._routers[where]}:8000",
            endpoint_az=where,
            op=operation.op,  # type: ignore[arg-type]
            key=operation.key,
            outcome=judged.outcome,  # type: ignore[arg-type]
            ms=round((self._clock.boot_s() - began) * 1000, 2),
            status=judged.status,
            error=judged.error,
        )
        self._logs[az].append(probe)
        if self._board is not None:
            self._board.take(probe)

    async def _attempt(self, client: SimClient, operation: Operation) -> Outcome:
        try:
            body = body_of(operation, ITEM_BYTES, indexed=self._indexed)
            response = await client.exchange(API[operation.op], body, self._spec.timeout)
        except NotSent as error:
            return Outcome("fail", 0, f"ConnectFailed: {error}", None)
        except NoAnswer as error:
            return Outcome("unknown", 0, str(error), None)
        return outcome_of(operation, response.status, response.body, ITEM_BYTES)

    async def _judge(self) -> None:
        assert self._board is not None
        while not self._stopping:
            await asyncio.sleep(0.25)
            for change in self._board.tick(self._clock.boot_s()):
                self._emit("alarm", **alarm_of(change, self._spec.threshold))
