"""The load: one driver in every zone's part of the network, and what they say each second.

Drivers write their histories and statistics into the run directory themselves; the engine reads the statistics for the
live display, the steady state and the stop conditions, and never stands between a driver and its evidence.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chaos.errors import PlatformError
from chaos.journal import boot_s

if TYPE_CHECKING:
    from chaos.playbook.model import LoadSpec
    from cluster.runtime.base import Client, Cluster
    from loadgen.fleet import Fleet
    from loadgen.table import Admin
    from reports.rundir import RunDir

TABLE = "load"
READY_LIMIT_S = 90.0
STOP_LIMIT_S = 20.0
SWEEP_USERS = 48
TAIL_S = 0.25
UNCONDITIONAL = ("put", "delete", "get", "eget")
"""Operations that only ever fail for want of a good answer; others may rightly fail by their condition."""

Line = dict[str, Any]
Emit = Callable[..., object]


class Traffic:
    """Everything the run's clients do."""

    def __init__(self, cluster: Cluster, run: RunDir, spec: LoadSpec, seed: int, emit: Emit) -> None:
        self.cluster = cluster
        self.run = run
        self.spec = spec
        self.seed = seed
        self.emit = emit
        self.azs = sorted({node.az for node in cluster.nodes.values() if node.az})
        self.clients: dict[str, Client] = {}
        self.lines: dict[str, list[Line]] = {az: [] for az in self.azs}
        self.started = False
        self.stopping = False
        self._fleet = self._fleet_of({"workers": 0 if spec.workers == 1 else spec.workers})
        self._closing = threading.Event()
        self._tailer = threading.Thread(target=self._tail, name="load-statistics", daemon=True)

    def create_table(self, limit_s: float) -> None:
        """Make the load's table through the cluster's own API; return once it serves. Raises :class:`PlatformError`."""
        from loadgen.table import TableFailed, ensure_table

        admin = self._admin()
        try:
            ensure_table(admin, TABLE, partitions=self.spec.partitions, limit_s=limit_s, profile=self.spec.profile)
        except TableFailed as error:
            raise PlatformError(f"the load's table could not be made: {error}") from error

    def _admin(self) -> Admin:
        from loadgen.table import Admin

        cluster = self.cluster
        return Admin(list(cluster.endpoints.values()), cluster.access_key, cluster.secret_key, cluster.region)

    def _add_index(self) -> None:
        """Some profiles want an index that is made while the load runs."""
        from loadgen.schema import LATER_S
        from loadgen.table import TableFailed, add_index

        if self._closing.wait(LATER_S):
            return
        try:
            if add_index(self._admin(), TABLE, self.spec.profile):
                self.emit("note", text="a global index is being added to the load's table")
        except TableFailed as error:
            self.emit("note", text=f"no index was added to the load's table: {error}")

    def prepare(self) -> None:
        """Start the drivers and return when each has done everything slow. Raises :class:`PlatformError`."""
        from loadgen.fleet import FleetFailed

        try:
            self._fleet.launch(self._launch)
            self._fleet.await_ready(READY_LIMIT_S)
        except FleetFailed as error:
            raise PlatformError(str(error)) from error

    def start(self) -> None:
        """Let all zones' load begin at the same moment."""
        self._fleet.begin()
        self.started = True
        self._tailer.start()
        threading.Thread(target=self._add_index, name="add-index", daemon=True).start()

    def stop(self) -> list[str]:
        """No further arrivals; what is in flight may end. Returns what went wrong, in sentences."""
        from loadgen.fleet import FleetFailed

        self.stopping = True
        problems: list[str] = []
        if not self.started:
            self._fleet.kill()
            return problems
        self._fleet.stop()
        self._close_tail()
        try:
            self._fleet.wait(STOP_LIMIT_S)
        except FleetFailed as error:
            problems.append(str(error))
            self._fleet.kill()
        return problems

    def close(self) -> None:
        """End whatever still runs; idempotent."""
        self.stopping = True
        self._close_tail()
        self._fleet.kill()

    def died(self) -> str | None:
        """Which driver ended although nobody asked it to."""
        if self.stopping:
            return None
        for az, client in self.clients.items():
            if client.poll() is not None and not self.stopping:
                return f"the load driver of zone {az} ended by itself; its last words are in load/{az}.log of the run"
        return None

    def sweep(self, limit_s: float, check: Callable[[], None]) -> Line:
        """The closing strong read of every key, shared among the zones; the totals of all parts."""
        from loadgen.fleet import FleetFailed
        from loadgen.plan import sweep
        from loadgen.profiles import profile_named

        fleet = self._fleet_of({"mode": "sweep", "limit_s": limit_s, "users": SWEEP_USERS})
        fleet.launch(self._launch)
        deadline = time.monotonic() + limit_s + 30.0
        try:
            while fleet.running() and time.monotonic() < deadline:
                check()
                time.sleep(0.05)
            parts = fleet.wait(0.1)
        except FleetFailed as error:
            return {"keys": self.spec.keys, "answered": 0, "missing": self.spec.keys, "problems": [str(error)]}
        finally:
            fleet.kill()
        total: Line = {"problems": []}
        for field in ("keys", "answered", "missing"):
            total[field] = sum(part.get(field, 0) for part in parts.values())
        wanted = sum(1 for _ in sweep(TABLE, self.spec.keys, workload=profile_named(self.spec.profile).workload))
        if total["keys"] != wanted:
            total["problems"].append(f"the parts of the sweep had {total['keys']} of {wanted} reads")
        return total

    def recent(self, seconds: float) -> list[Line]:
        """The lines of the seconds that lie wholly within the last ``seconds``."""
        until = boot_s()
        return [
            line
            for lines in self.lines.values()
            for line in lines[-int(seconds + 10) :]
            if until - seconds <= line["boot"] and line["boot"] + 1 <= until
        ]

    def _fleet_of(self, more: Line) -> Fleet:
        from loadgen.fleet import Credentials, Fleet, Zone

        zones = [Zone(az, tuple(self.cluster.zone_endpoints(az))) for az in self.azs]
        credentials = Credentials(self.cluster.access_key, self.cluster.secret_key, self.cluster.region)
        shared = {
            "table": TABLE,
            "profile": self.spec.profile,
            "rate": self.spec.rate,
            "users": self.spec.users,
            "keys": self.spec.keys,
            "item_bytes": self.spec.item_bytes,
            "seed": self.seed,
        }
        return Fleet(self.run.path, zones, credentials, {**shared, **more})

    def _launch(self, az: str, argv: Sequence[str], *, mounts: Sequence[Path], log: Path) -> Client:
        client = self.cluster.client(az, argv, mounts=mounts, log=log)
        self.clients[az] = client
        return client

    def _tail(self) -> None:
        while not self._closing.wait(TAIL_S):
            self._read()

    def _close_tail(self) -> None:
        self._closing.set()
        if self._tailer.is_alive():
            self._tailer.join(5.0)
            self._read()

    def _read(self) -> None:
        for az, line in self._fleet.seconds():
            self.lines[az].append(line)
            fields = {key: value for key, value in line.items() if key not in ("boot", "by_op")}
            self.emit("load", az=az, **fields)


def availability(lines: Sequence[Line]) -> float | None:
    """The share of good answers among operations that only fail for want of one; None where there were none."""
    good = bad = 0
    for line in lines:
        for op, outcomes in line.get("by_op", {}).items():
            if op in UNCONDITIONAL:
                good += outcomes.get("ok", 0)
                bad += outcomes.get("fail", 0) + outcomes.get("unknown", 0)
    return good / (good + bad) if good + bad else None
