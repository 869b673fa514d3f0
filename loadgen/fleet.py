"""The load drivers of all zones as one: launched ahead, begun together, read live, stopped together.

Whoever starts processes in the zones' part of the network is handed in as a :class:`Launcher`
(``cluster.runtime.Cluster.client`` is one; :func:`on_this_host` starts plain processes).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec

POLL_S = 0.05


class Driver(Protocol):
    """A started program."""

    def poll(self) -> int | None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


class Launcher(Protocol):
    """Starts ``argv`` in zone ``az``; ``python`` as ``argv[0]`` is the launcher's own interpreter."""

    def __call__(self, az: str, argv: Sequence[str], *, mounts: Sequence[Path], log: Path) -> Driver: ...


class FleetFailed(RuntimeError):
    """A driver did not do its part; the message has what it said."""


@dataclass(frozen=True, slots=True)
class Zone:
    """Where one zone's driver sends its traffic, in order of preference."""

    az: str
    endpoints: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who the drivers are to the database."""

    access_key: str
    secret_key: str
    region: str


class Fleet:
    """One driver a zone. ``load`` has the fields of :class:`loadgen.config.LoadConfig` that all share.

    ``rate`` and ``users`` are those of the whole fleet and are divided; a sweep (``mode``) divides the keys and gives
    every zone all ``users``. Files go to ``run``/load and ``run``/history; the secret key stays there only until the
    drivers have read it.
    """

    def __init__(self, run: Path, zones: Sequence[Zone], credentials: Credentials, load: Mapping[str, Any]) -> None:
        if not zones:
            raise FleetFailed("load needs at least one zone")
        self.run = run
        self.zones = tuple(zones)
        self.sweeping = load.get("mode") == "sweep"
        self.control = run / "load" / "control.json"
        self._secret = run / "load" / (".secret-sweep" if self.sweeping else ".secret")
        self._start: float | None = None
        self._credentials = credentials
        self.load = dict(load)
        self._drivers: dict[str, Driver] = {}
        self._offsets: dict[str, int] = {}
        self.finished: dict[str, dict[str, Any]] = {}

    def launch(self, launcher: Launcher) -> None:
        """Start every driver; they import, connect nothing, and wait for :meth:`begin`. Returns at once."""
        (self.run / "load").mkdir(parents=True, exist_ok=True)
        (self.run / "history").mkdir(parents=True, exist_ok=True)
        _write(self._secret, self._credentials.secret_key.encode(), mode=0o600)
        for index, zone in enumerate(self.zones):
            config = self._file(zone.az, "json")
            _write(config, msgspec.json.encode(self._config(index, zone)))
            argv = ["python", "-m", "loadgen.driver", "--config", str(config)]
            log = self._file(zone.az, "log")
            self._drivers[zone.az] = launcher(zone.az, argv, mounts=[self.run], log=log)

    def _file(self, az: str, suffix: str) -> Path:
        return self.run / "load" / f"{'sweep-' if self.sweeping else ''}{az}.{suffix}"

    def _config(self, index: int, zone: Zone) -> dict[str, Any]:
        config = dict(self.load)
        count, users = len(self.zones), int(config.get("users", 50))
        if self.sweeping:
            config |= {"part": index, "parts": count}
        else:
            config["rate"] = float(config.get("rate", 100.0)) / count
            config["users"] = max(1, users // count + (1 if index < users % count else 0))
            if config.get("shape"):
                config["shape"] = [[at, rate / count] for at, rate in config["shape"]]
        return config | {
            "az": zone.az,
            "endpoints": list(zone.endpoints),
            "access_key": self._credentials.access_key,
            "secret_key_file": str(self._secret),
            "region": self._credentials.region,
            "history": str(self.run / "history" / f"{'sweep' if self.sweeping else 'load'}-{zone.az}.log"),
            "stats": str(self._file(zone.az, "jsonl")),
            "control": str(self.control),
        }

    def await_ready(self, limit_s: float = 30.0) -> None:
        """Return when every driver has said ``ready``. Raises :class:`FleetFailed`."""
        waiting = {zone.az for zone in self.zones}
        deadline = time.monotonic() + limit_s
        while waiting:
            for az in sorted(waiting):
                if any(line.get("event") == "ready" for line in self._new_lines(az)):
                    waiting.discard(az)
                elif (code := self._drivers[az].poll()) is not None:
                    raise FleetFailed(f"the load driver of zone {az} ended with code {code}: {self._said(az)}")
            if waiting and time.monotonic() > deadline:
                raise FleetFailed(f"load drivers not ready after {limit_s:.0f} s: zone {', '.join(sorted(waiting))}")
            time.sleep(POLL_S)
        self._secret.unlink(missing_ok=True)

    def begin(self, start_boot_s: float | None = None) -> float:
        """Let the load begin, by default in 0.3 s; returns the boot-clock second."""
        start = time.clock_gettime(time.CLOCK_BOOTTIME) + 0.3 if start_boot_s is None else start_boot_s
        self._start = start
        _write(self.control, msgspec.json.encode({"start_boot_s": start}))
        return start

    def stop(self, stop_boot_s: float | None = None) -> None:
        """End the load now, or at a boot-clock second; what is in flight ends by itself."""
        stop = time.clock_gettime(time.CLOCK_BOOTTIME) if stop_boot_s is None else stop_boot_s
        _write(self.control, msgspec.json.encode({"start_boot_s": self._start, "stop_boot_s": stop}))

    def seconds(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The per-second lines that were written since the last call, with their zone."""
        for zone in self.zones:
            for line in self._new_lines(zone.az):
                if "second" in line:
                    yield zone.az, line

    def running(self) -> bool:
        return any(driver.poll() is None for driver in self._drivers.values())

    def wait(self, limit_s: float) -> dict[str, dict[str, Any]]:
        """Wait until every driver has ended; zone to its last line. Raises :class:`FleetFailed` for one that failed or
        said nothing, after the others have ended too."""
        deadline = time.monotonic() + limit_s
        while self.running() and time.monotonic() < deadline:
            time.sleep(POLL_S)
        self._secret.unlink(missing_ok=True)
        problems = []
        for zone in self.zones:
            code = self._drivers[zone.az].poll()
            for _ in self._new_lines(zone.az):
                pass
            last = self.finished.get(zone.az)
            if code is None:
                problems.append(f"zone {zone.az}: still running after {limit_s:.0f} s")
            elif last is None or last.get("error"):
                problems.append(f"zone {zone.az}: {last['error'] if last else self._said(zone.az)} (code {code})")
        if problems:
            raise FleetFailed("load drivers failed: " + "; ".join(problems))
        return self.finished

    def kill(self) -> None:
        """End every driver without waiting for anything; idempotent."""
        self._secret.unlink(missing_ok=True)
        for driver in self._drivers.values():
            if driver.poll() is None:
                driver.kill()

    def _new_lines(self, az: str) -> list[dict[str, Any]]:
        path = self._file(az, "jsonl")
        try:
            with path.open("rb") as file:
                file.seek(self._offsets.get(az, 0))
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._offsets[az] = self._offsets.get(az, 0) + len(whole)
        lines = [msgspec.json.decode(line, type=dict[str, Any]) for line in whole.splitlines() if line]
        for line in lines:
            if line.get("event") == "finished":
                self.finished[az] = line
        return lines

    def _said(self, az: str) -> str:
        try:
            return self._file(az, "log").read_text(errors="replace").strip()[-500:] or "it said nothing"
        except OSError:
            return "it left no log"


def on_this_host(az: str, argv: Sequence[str], *, mounts: Sequence[Path], log: Path) -> Driver:
    """A :class:`Launcher` for targets that are reached from here: a plain process of our own interpreter."""
    command = [sys.executable if argv[0] == "python" else argv[0], *argv[1:]]
    with log.open("ab") as out:
        # A session of its own: Ctrl-C at the terminal is the controller's to handle.
        return subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True, preexec_fn=_die_with_parent)


def _die_with_parent() -> None:
    """A controller killed with SIGKILL leaves no load behind."""
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _write(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Replace a file whole, so that a poller never sees half of it."""
    draft = path.with_name(path.name + ".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    draft.replace(path)
