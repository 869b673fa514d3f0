"""The canaries of all zones as one: launched, awaited, read live, stopped. Used by runs and ``blackstart canaries``."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from canaries.config import OWNER, CanaryConfig, Endpoint
from loadgen.fleet import Credentials, Driver, Launcher
from reports.rundir.probes import Probe, parse_probe
from reports.rundir.tail import Tail

POLL_S = 0.05
STOP_MARGIN_S = 3.0


class CanaryFailed(RuntimeError):
    """A canary did not do its part; the message has what it said."""


class Plant(NamedTuple):
    """A planted bug that canaries load: the file ``module`` in ``directory``, outside the packages."""

    directory: Path
    module: str


class Flock:
    """One canary a zone. ``endpoints`` are by zone, as the canaries see them; files go to ``directory``.

    ``mount`` is what a canary's container must see: the run directory. The secret key stays in its file only until
    every canary has read it.
    """

    def __init__(
        self,
        directory: Path,
        mount: Path,
        zones: Sequence[str],
        endpoints: Mapping[str, str],
        credentials: Credentials,
        *,
        table: str,
        interval_s: float,
        timeout_s: float,
        keep_bytes: int = 0,
        indexed: bool = False,
        plant: Plant | None = None,
    ) -> None:
        if not zones or not endpoints:
            raise CanaryFailed("canaries need at least one zone and one endpoint")
        self.directory = directory
        self.mount = mount
        self.zones = tuple(sorted(zones))
        self.endpoints = tuple(Endpoint(az, url) for az, url in sorted(endpoints.items()))
        self.table = table
        self.interval_s = interval_s
        self.timeout_s = timeout_s
        self.keep_bytes = keep_bytes
        self.indexed = indexed
        self.plant = plant
        self.finished: dict[str, dict[str, Any]] = {}
        self._ready: set[str] = set()
        self._credentials = credentials
        self._secret = directory / ".secret"
        # Distinct between two flocks on one table, so that neither finds the other's values under its keys.
        self._unique = f"{time.time_ns() // 1_000_000:x}"
        self._drivers: dict[str, Driver] = {}
        self._tails: dict[str, Tail] = {}

    @property
    def grace_s(self) -> float:
        """How long after it was sent a probe may take to be recorded and read."""
        return 2 * self.timeout_s + 0.5

    def launch(self, launcher: Launcher) -> None:
        """Start every canary; returns at once."""
        self.directory.mkdir(parents=True, exist_ok=True)
        _write_secret(self._secret, self._credentials.secret_key)
        (self.directory / OWNER).write_text(self._unique)
        for index, az in enumerate(self.zones):
            config = self.directory / f"{az}.json"
            config.write_bytes(msgspec.json.encode(self._config(index, az)))
            # What an earlier canary left in this directory is not ours to count again.
            record = self.directory / f"{az}.jsonl"
            self._tails[az] = Tail(record, last_bytes=0 if record.exists() else None)
            self._tails[az].lines()
            argv = ["python", "-m", "canaries.driver", "--config", str(config)]
            mounts = [self.mount]
            if self.plant is not None:
                argv += ["--plant", str(self.plant.directory / self.plant.module)]
                mounts.append(self.plant.directory)
            self._drivers[az] = launcher(az, argv, mounts=mounts, log=self.directory / f"{az}.log")

    def _config(self, index: int, az: str) -> CanaryConfig:
        return CanaryConfig(
            az=az,
            name=f"canary-{self._unique}-{az}",
            endpoints=self.endpoints,
            access_key=self._credentials.access_key,
            secret_key_file=str(self._secret),
            region=self._credentials.region,
            table=self.table,
            record=str(self.directory / f"{az}.jsonl"),
            interval_s=self.interval_s,
            timeout_s=self.timeout_s,
            offset=index,
            keep_bytes=self.keep_bytes,
            indexed=self.indexed,
            owner=self._unique,
        )

    def await_ready(self, limit_s: float) -> None:
        """Return when every canary probes. Raises :class:`CanaryFailed`."""
        deadline = time.monotonic() + limit_s
        while True:
            self.probes()
            waiting = [az for az in self.zones if az not in self._ready]
            if not waiting:
                self._secret.unlink(missing_ok=True)
                return
            for az in waiting:
                if (code := self._drivers[az].poll()) is not None:
                    raise CanaryFailed(f"the canary of zone {az} ended with code {code}: {self._said(az)}")
            if time.monotonic() > deadline:
                raise CanaryFailed(f"canaries not ready after {limit_s:g} s: zone {', '.join(waiting)}")
            time.sleep(POLL_S)

    def probes(self) -> list[Probe]:
        """The probes recorded since the last call. Events of the drivers are kept aside."""
        found: list[Probe] = []
        for az in self.zones:
            for line in self._tails[az].lines() if az in self._tails else ():
                entry = parse_probe(line)
                if isinstance(entry, Probe):
                    found.append(entry)
                elif entry["event"] == "ready":
                    self._ready.add(az)
                elif entry["event"] == "finished":
                    self.finished[az] = entry
        return found

    def died(self) -> str | None:
        """Which canary has ended, in a sentence; nobody may have asked it to."""
        for az, driver in self._drivers.items():
            if driver.poll() is not None:
                return f"the canary of zone {az} ended by itself; its last words are in canaries/{az}.log: " + (
                    self._said(az)
                )
        return None

    def stop(self) -> list[str]:
        """End every canary and wait for it; a sentence for each that did not end well."""
        for driver in self._drivers.values():
            if driver.poll() is None:
                driver.terminate()
        deadline = time.monotonic() + self.grace_s + STOP_MARGIN_S
        while time.monotonic() < deadline and any(driver.poll() is None for driver in self._drivers.values()):
            time.sleep(POLL_S)
        problems = [
            f"the canary of zone {az} did not end well (code {driver.poll()}): {self._said(az)}"
            for az, driver in self._drivers.items()
            if driver.poll() != 0
        ]
        self.kill()
        return problems

    def kill(self) -> None:
        """End every canary without waiting; idempotent."""
        self._secret.unlink(missing_ok=True)
        for driver in self._drivers.values():
            if driver.poll() is None:
                driver.kill()

    def _said(self, az: str) -> str:
        try:
            return (self.directory / f"{az}.log").read_text(errors="replace").strip()[-500:] or "it said nothing"
        except OSError:
            return "it left no log"


def _write_secret(path: Path, secret: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secret)
