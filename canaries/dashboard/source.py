"""Which run directory is shown, and what its files say: followed while they are written, by another process or none.

Anything may be missing, torn, damaged or new at any moment. What cannot be read is counted, and the page says so.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

import msgspec

from canaries.dashboard.state import State
from canaries.series import Stretch, read_days
from reports.rundir import Plan, Probe, Verdict
from reports.rundir.probes import parse_probe
from reports.rundir.tail import Tail

LAST_BYTES: Final = 4 << 20
"""Of files that are there already at most this much of their end is read: canaries may have been at it all week."""
EVENTS_LAST_BYTES: Final = 16 << 20
ALIVE_S: Final = 15.0
"""A directory that was written to within this time is a run that goes on."""
FIND_EVERY_S: Final = 1.0
DAYS_EVERY_S: Final = 60.0
WEEK_S: Final = 7 * 86400.0
SWEEP: Final = "sweep-"
"""Files of the closing sweep lie among those of the load, and are none of it."""

_event = msgspec.json.Decoder(dict[str, Any]).decode
_plan = msgspec.json.Decoder(Plan).decode
_verdict = msgspec.json.Decoder(Verdict).decode


class Follower:
    """One run directory and the state that its files add up to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state = State(path.name)
        self.age_s: float | None = None
        """Seconds since anything was last written there; None before the first look."""
        self._events = Tail(path / "events.jsonl", EVENTS_LAST_BYTES)
        self._probes: dict[str, Tail] = {}
        self._load: dict[str, Tail] = {}
        self._verdict_at = 0
        self.days: list[Stretch] = []
        """The last week, where canaries have been left running."""
        self._days_at = 0.0
        self._start_boot_s: float | None = None
        self._began_boot_s: float | None = None

    def look(self) -> None:
        """Take in what was written since the last look."""
        self._read_plan()
        for line in self._events.lines():
            self._take_event(line)
        if self._start_boot_s is not None:
            for az, tail in self._tails("canaries", self._probes):
                for line in tail.lines():
                    self._take_probe(az, line)
            for az, tail in self._tails("load", self._load):
                for line in tail.lines():
                    self._take_load(az, line)
        self._read_verdict()
        if time.monotonic() >= self._days_at:
            self._days_at = time.monotonic() + DAYS_EVERY_S
            self.days = read_days(self.path / "canaries" / "series.sqlite", time.time() - WEEK_S)
        self.age_s = age_s(self.path)

    @property
    def unreadable(self) -> int:
        """Lines that could not be understood."""
        tails = [self._events, *self._probes.values(), *self._load.values()]
        return self.state.unreadable + sum(tail.skipped for tail in tails)

    @property
    def alive(self) -> bool:
        """Whether somebody still writes: no end was told, and the files are fresh."""
        return not self.state.ended and self.age_s is not None and self.age_s < ALIVE_S

    def now_s(self) -> float:
        """The present, in seconds of the run: the boot clock while it goes on, its last moment once it is over."""
        plan = self.state.plan
        start = self._start_boot_s
        if start is None or not self.alive or (plan is not None and plan.runtime == "simulated"):
            return self.state.t
        now = time.clock_gettime(time.CLOCK_BOOTTIME) - start
        # A directory that was brought here from another machine has another boot clock.
        return now if self.state.t - 5 <= now <= self.state.t + 60 else self.state.t

    def close(self) -> None:
        """Let go of the files."""
        for tail in [self._events, *self._probes.values(), *self._load.values()]:
            tail.close()

    def _take_event(self, line: bytes) -> None:
        try:
            event = _event(line)
        except msgspec.DecodeError:
            self.state.unreadable += 1
            return
        if self._start_boot_s is None and isinstance(event.get("boot"), int | float):
            t = event.get("t")
            if isinstance(t, int | float):
                self._start_boot_s = float(event["boot"]) - float(t)
        self.state.take_event(event)

    def _take_probe(self, az: str, line: bytes) -> None:
        assert self._start_boot_s is not None
        try:
            entry = parse_probe(line)
        except msgspec.DecodeError:
            self.state.unreadable += 1
            return
        if isinstance(entry, Probe):
            self.state.take_probe(entry, self._start_boot_s)

    def _take_load(self, az: str, line: bytes) -> None:
        assert self._start_boot_s is not None
        try:
            self.state.take_load(az, _event(line), self._start_boot_s)
        except msgspec.DecodeError:
            self.state.unreadable += 1

    def _tails(self, kind: str, tails: dict[str, Tail]) -> list[tuple[str, Tail]]:
        """The tails of ``<kind>/<az>.jsonl``; files that were moved aside have a number in their name."""
        for path in sorted((self.path / kind).glob("*.jsonl")):
            az = path.name.removesuffix(".jsonl")
            if az not in tails and "." not in az and not az.startswith(SWEEP):
                tails[az] = Tail(path, LAST_BYTES)
        return sorted(tails.items())

    def _read_plan(self) -> None:
        if self.state.plan is not None:
            return
        try:
            self.state.plan = _plan((self.path / "plan.json").read_bytes())
        except FileNotFoundError:
            return
        except (OSError, msgspec.DecodeError):
            self.state.unreadable = max(1, self.state.unreadable)
            return
        self._start_boot_s = self.state.plan.start_boot_s or self._start_boot_s

    def _read_verdict(self) -> None:
        path = self.path / "verdict.json"
        try:
            changed = path.stat().st_mtime_ns
            if changed == self._verdict_at:
                return
            self.state.verdict = _verdict(path.read_bytes())
            self._verdict_at = changed
        except (OSError, msgspec.DecodeError):
            return


class Source:
    """The run that is shown: one that was named, or the latest below ``runs``, whichever that is at the moment.

    ``cluster`` limits it to the runs of one cluster.
    """

    def __init__(self, runs: Path, run: Path | None = None, cluster: str | None = None) -> None:
        self.runs = runs
        self.cluster = cluster
        self.follower: Follower | None = Follower(run) if run is not None else None
        self._fixed = run is not None
        self._known: set[str] = set()
        self._find_at = 0.0

    def look(self) -> Follower | None:
        """What is shown now; None while there is no run."""
        if not self._fixed and time.monotonic() >= self._find_at:
            self._find_at = time.monotonic() + FIND_EVERY_S
            self._find()
        if self.follower is not None:
            self.follower.look()
        return self.follower

    def _find(self) -> None:
        there = [path for path in run_directories(self.runs) if self._ours(path)]
        fresh = [path for path in there if path.name not in self._known]
        self._known.update(path.name for path in there)
        if not fresh or (self.follower is not None and fresh[-1].name < self.follower.path.name):
            return
        # A run that goes on is of more interest than one that is over, a later one than an earlier.
        chosen = max(fresh, key=lambda path: ((age_s(path) or 1e9) < ALIVE_S, path.name))
        if self.follower is not None:
            self.follower.close()
        self.follower = Follower(chosen)

    def _ours(self, path: Path) -> bool:
        return self.cluster is None or cluster_of(path) == self.cluster


def run_directories(runs: Path) -> list[Path]:
    """Every directory that something was told in, by name, which begins with its time."""
    try:
        return sorted(path for path in runs.iterdir() if path.is_dir() and (path / "events.jsonl").exists())
    except OSError:
        return []


def cluster_of(path: Path) -> str:
    """Which cluster a run was on, by the first line of its events; empty where that does not say."""
    try:
        with (path / "events.jsonl").open("rb") as file:
            event = _event(file.readline(1 << 16))
    except (OSError, msgspec.DecodeError):
        return ""
    return str(event.get("cluster") or "")


def age_s(path: Path) -> float | None:
    """Seconds since the newest of a run's growing files was written; None where there is none."""
    newest = 0.0
    for file in [path / "events.jsonl", path / "verdict.json", *(path / "canaries").glob("*.jsonl")]:
        try:
            newest = max(newest, file.stat().st_mtime)
        except OSError:
            continue
    return max(0.0, time.time() - newest) if newest else None
