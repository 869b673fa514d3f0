"""The canaries of a run: started at warm-up, read live, their alarms in the timeline while they happen.

The canaries write their probes into the run directory themselves; what is judged here is what they wrote.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from chaos.engine.traffic import TABLE
from chaos.errors import PlatformError
from chaos.journal import boot_s

if TYPE_CHECKING:
    from canaries.alarms import Change
    from canaries.board import Board
    from canaries.fleet import Flock
    from chaos.playbook.model import AlarmPromise, CanarySpec
    from cluster.runtime.base import Cluster
    from loadgen.fleet import Launcher
    from reports.rundir import RunDir

READY_LIMIT_S = 90.0
LOOK_S = 0.25
Emit = Callable[..., object]


class Canaries:
    """One canary a zone, on the load's table, and the board of their alarms."""

    def __init__(
        self, flock: Flock, launcher: Launcher, spec: CanarySpec, emit: Emit, plant: ModuleType | None = None
    ) -> None:
        self.launcher = launcher
        self.spec = spec
        self.emit = emit
        self.plant = plant
        self.stopping = False
        self.failure: str | None = None
        self._flock = flock
        self._board: Board | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="canaries", daemon=True)

    def launch(self) -> None:
        """Start the processes; they take a while to be ready. The load's table must exist."""
        self._flock.launch(self.launcher)

    def await_ready(self) -> None:
        """Return when every canary probes. Raises :class:`PlatformError`."""
        from canaries.fleet import CanaryFailed

        try:
            self._flock.await_ready(READY_LIMIT_S)
        except CanaryFailed as error:
            raise PlatformError(str(error)) from error

    def start(self) -> None:
        """Judge windows from now on: what the canaries saw of a cluster that was still warming up raises no alarm."""
        from canaries.board import Board, event_of

        zones = self._flock.zones
        self._board = Board(
            zones,
            boot_s(),
            window_s=self.spec.window,
            grace_s=self._flock.grace_s,
            threshold=self.spec.threshold,
            judged=lambda window: self.emit("window", **event_of(window, zones)),
        )
        if self.plant is not None and hasattr(self.plant, "install_board"):
            self.plant.install_board(self._board)
        self.emit("canaries", state="begin", **self._board.described())
        self._thread.start()

    def died(self) -> str | None:
        """What went wrong with the canaries although nobody asked them to end."""
        if self.stopping:
            return None
        return self.failure or self._flock.died()

    def await_clear(self, promises: list[AlarmPromise], healed_s: float | None, check: Callable[[], None]) -> None:
        """Go on until every alarm that is promised to clear has, or is too late; ``healed_s`` on the boot clock."""
        if healed_s is None or self._board is None:
            return
        for promise in promises:
            limit = healed_s + (promise.clears_within or 0.0) + self.spec.window
            while promise.name in self._board.firing() and boot_s() < limit:
                check()
                time.sleep(LOOK_S)

    def stop(self) -> list[str]:
        """End the canaries; what went wrong, in sentences."""
        if self.stopping:
            return []
        self.stopping = True
        self._close()
        self.emit("canaries", state="end")
        problems = self._flock.stop()
        self._flock.probes()  # their last lines, which say what they cost
        for az, line in sorted(self._flock.finished.items()):
            self.emit("canary", az=az, sent=line["sent"], good=line["good"], cpu_s=line["cpu_s"])
        return problems

    def close(self) -> None:
        """End whatever still runs; idempotent."""
        self.stopping = True
        self._close()
        self._flock.kill()

    def _close(self) -> None:
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def _run(self) -> None:
        while not self._closing.wait(LOOK_S):
            try:
                self._look()
            except Exception as error:
                # Alarms that nobody raises any more must end the run, not look like quiet.
                self.failure = f"the canaries' alarms failed: {type(error).__name__}: {error}"
                return

    def _look(self) -> None:
        assert self._board is not None
        for probe in self._flock.probes():
            self._board.take(probe)
        for change in self._board.tick(boot_s()):
            self._tell(change)

    def _tell(self, change: Change) -> None:
        from canaries.board import alarm_of

        self.emit("alarm", **alarm_of(change, self.spec.threshold))


def canaries_of(
    cluster: Cluster,
    run: RunDir,
    spec: CanarySpec,
    emit: Emit,
    plant: str | None,
    plant_path: Path | None,
    *,
    indexed: bool = False,
) -> Canaries:
    """The canaries of all zones, each pointed at every zone's router as it is reached inside the network.

    ``indexed``: the load's profile has a table with indexes, whose items have a sort key.

    A planted bug that is one of canaries or alarms has ``install_canary(canary)`` or ``install_board(board)``.
    """
    from canaries.fleet import Flock, Plant
    from chaos.plants import file_of, module_of
    from loadgen.fleet import Credentials

    planted = None if plant is None or plant_path is None else module_of(plant, plant_path)
    in_canary = planted is not None and hasattr(planted, "install_canary")

    zones = sorted({node.az for node in cluster.nodes.values() if node.az})
    flock = Flock(
        run.canaries,
        run.path,
        zones,
        {az: cluster.zone_endpoints(az)[0] for az in zones},
        Credentials(cluster.access_key, cluster.secret_key, cluster.region),
        table=TABLE,
        interval_s=spec.interval,
        timeout_s=spec.timeout,
        indexed=indexed,
        plant=Plant(plant_path.resolve(), file_of(plant)) if in_canary and plant and plant_path else None,
    )
    return Canaries(flock, partial(cluster.client, canary=True), spec, emit, planted)
