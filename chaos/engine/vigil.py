"""Canaries that are left running beside a cluster: one directory for as long as they last, and across restarts.

What a game day's engine tells by itself is found out here by looking: who answers, who leads, which faults somebody has
put into the journal. The directory has the form of a run's, so that whatever reads runs reads it, too; it is bounded.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chaos.engine.watch import Watcher
from chaos.errors import InputError, PlatformError
from chaos.journal import Journal, boot_s, host_boot_id
from reports.rundir import EventLog, NodeInfo, Plan, RunDir
from reports.rundir.tail import Tail

if TYPE_CHECKING:
    from cluster.runtime.base import Cluster

POLL_S = 1.0
KEEP_BYTES = 16 << 20
"""Of every canary's probes, about a day and a half of them: the series has the windows of the weeks before."""
REMEMBERED_BYTES = 4 << 20
"""How much of the event log is read back after a restart."""


class Vigil:
    """The directory, its event log, and the eye on the cluster."""

    def __init__(self, cluster: Cluster, out: Path) -> None:
        self.cluster = cluster
        self.run = self._directory(out)
        self._lock = self._locked()
        self.firing: set[str] = set()
        """Alarms that were on when an earlier vigil in this directory ended."""
        self._faults: dict[str, tuple[str, list[str]]] = {}
        self._remember()
        self.log = EventLog(self.run.events, self.run.start_boot_s)
        self._writing = threading.Lock()
        self._journal = Journal(cluster.state_dir)
        self.emit("run", state="begin", playbook="canaries", cluster=cluster.id)
        self._watcher: Watcher | None = None

    def emit(self, event: str, **fields: Any) -> None:
        """Append to the event log; several threads do."""
        with self._writing:
            self.log.append(event, **fields)

    def watch(self) -> None:
        """Ask the nodes for their status from now on."""
        from cluster.control import Control

        self._control = Control(self.cluster.peers, self.cluster.key, self.cluster.id)
        self._watcher = Watcher(self.cluster, self._control, self.emit, POLL_S)
        self._watcher.start()

    def look(self) -> None:
        """Tell of faults that came into the journal or left it."""
        try:
            entries = {entry.name: (entry.kind, list(entry.targets)) for entry in self._journal.entries()}
        except PlatformError:
            return  # half written, or of another version: the next look will tell
        for name, (kind, targets) in entries.items():
            if name not in self._faults:
                self.emit("fault", name=name, fault_kind=kind, targets=targets, state="injecting", detail="")
        for name, (kind, targets) in self._faults.items():
            if name not in entries:
                self.emit("fault", name=name, fault_kind=kind, targets=targets, state="healed", detail="")
        self._faults = entries

    def close(self, ended: str) -> None:
        """Stop looking, and say that nobody does any more."""
        if self._watcher is not None:
            self._watcher.close()
            self._control.close()
        self.emit("run", state="end", ended=ended, reason="")
        self.log.close()
        os.close(self._lock)

    def _directory(self, out: Path) -> RunDir:
        """The directory that earlier canaries on this cluster used, or a new one."""
        suffix = f"-canaries-{self.cluster.id}"
        for path in sorted(out.glob(f"*{suffix}"), reverse=True):
            try:
                found = RunDir.open(path)
                if found.read_plan().extra.get("boot_id") == host_boot_id():
                    return found
            except Exception:
                continue  # not ours, or damaged: a new one does no harm
        path = (out / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}{suffix}").resolve()
        try:
            (path / "canaries").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"cannot make {path}: {error.strerror}", hint="Choose another place with --out."
            ) from error
        run = RunDir(path, boot_s())
        nodes = [NodeInfo(name=n.name, role=n.role, az=n.az, rack=n.rack) for n in self.cluster.nodes.values()]
        run.write_plan(
            Plan(
                playbook="canaries",
                title=f"Canaries on cluster {self.cluster.id}",
                tags=["canaries"],
                runtime=self.cluster.kind,
                started=datetime.now(UTC).isoformat(timespec="seconds"),
                start_boot_s=run.start_boot_s,
                cluster=self.cluster.id,
                region=self.cluster.region,
                topology=self.cluster.topology.name,
                nodes=nodes,
                checks=[],
                extra={"boot_id": host_boot_id()},
            )
        )
        return run

    def _locked(self) -> int:
        """Hold the directory, so that no two vigils write it."""
        descriptor = os.open(self.run.path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise InputError(
                f"canaries watch cluster {self.cluster.id} already, into {self.run.path}",
                hint="`blackstart dashboard` shows them; another --out takes canaries of its own.",
            ) from error
        return descriptor

    def _remember(self) -> None:
        """What was on when an earlier vigil ended: alarms that have not cleared, faults that were not healed."""
        import msgspec

        tail = Tail(self.run.events, REMEMBERED_BYTES)
        for line in tail.lines(2 * REMEMBERED_BYTES):
            try:
                event = msgspec.json.decode(line, type=dict[str, Any])
                if event["event"] == "alarm":
                    (self.firing.add if event["state"] == "fired" else self.firing.discard)(event["name"])
                elif event["event"] == "fault" and event["state"] == "healed":
                    self._faults.pop(event["name"], None)
                elif event["event"] == "fault":
                    self._faults[event["name"]] = (event["fault_kind"], event["targets"])
            except (msgspec.DecodeError, KeyError, TypeError):
                continue
        tail.close()


def wall_of(boot: float) -> float:
    """A moment on the boot clock as Unix seconds."""
    return time.time() - (boot_s() - boot)
