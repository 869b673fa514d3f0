"""Paths of a run directory, and how one is made and opened."""

from __future__ import annotations

import os
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from reports.rundir.events import EventLog
from reports.rundir.indexrows import IndexRows
from reports.rundir.records import Leftovers, Plan, Scrub
from reports.rundir.verdict import Verdict

T = TypeVar("T")


class RunDirError(Exception):
    """A run directory cannot be made, or one of its files cannot be read; the message says what to do."""

    exit_code = 2


class RunDir:
    """One run's directory. ``create`` makes it, ``open`` takes an existing one; attributes are paths.

    ``start_boot_s`` is the second on the boot clock from which ``t`` counts in all its files.
    """

    def __init__(self, path: Path, start_boot_s: float) -> None:
        self.path = path
        self.start_boot_s = start_boot_s
        self.playbook = path / "playbook.yaml"
        self.plan = path / "plan.json"
        self.events = path / "events.jsonl"
        self.history = path / "history"
        self.load = path / "load"
        self.canaries = path / "canaries"
        self.nodes = path / "nodes"
        self.ledger = path / "corruption.jsonl"
        self.scrub = path / "scrub.json"
        self.indexes = path / "indexes.json"
        self.leftovers = path / "leftovers.json"
        self.verdict = path / "verdict.json"
        self.report = path / "report.html"
        self.junit = path / "junit.xml"

    @classmethod
    def create(cls, out: str | os.PathLike[str], playbook: str, seed: int) -> RunDir:
        """Make ``out``/<utc time>-<playbook>-<seed> with its sub-directories; the run begins (``t`` = 0) now.

        Two runs in the same second get different directories. Raises :class:`RunDirError`.
        """
        slug = re.sub(r"[^A-Za-z0-9_.-]+", "-", playbook).strip("-.") or "run"
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{slug}-{seed}"
        for suffix in ("", *(f".{n}" for n in range(2, 100))):
            path = Path(out) / (name + suffix)
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                continue
            except OSError as error:
                raise RunDirError(f"cannot make {path}: {error.strerror}; choose another place with --out") from error
            run = cls(path.resolve(), time.clock_gettime(time.CLOCK_BOOTTIME))
            for directory in (run.history, run.load, run.canaries, run.nodes):
                directory.mkdir()
            return run
        raise RunDirError(f"{Path(out) / name} and 98 like it exist already; choose another place with --out")

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> RunDir:
        """Take the run directory at ``path``. Raises :class:`RunDirError` if it is none."""
        where = Path(path).resolve()
        if not where.is_dir():
            raise RunDirError(f"{where} is not a directory; give a run directory, as `blackstart run` prints it")
        run = cls(where, 0.0)
        if not run.plan.exists():
            raise RunDirError(f"{where} has no plan.json: it is no run directory, or its run ended before it planned")
        run.start_boot_s = run.read_plan().start_boot_s
        return run

    def event_log(self) -> EventLog:
        """The timeline, for appending."""
        return EventLog(self.events, self.start_boot_s)

    def write_plan(self, plan: Plan) -> None:
        """Store the plan; ``start_boot_s`` is filled in if it is zero."""
        if not plan.start_boot_s:
            plan = msgspec.structs.replace(plan, start_boot_s=self.start_boot_s)
        self._write(self.plan, plan)

    def read_plan(self) -> Plan:
        """The plan. Raises :class:`RunDirError`."""
        return self._read(self.plan, Plan)

    def write_scrub(self, scrub: Scrub) -> None:
        """Store what the replicas' digests were."""
        self._write(self.scrub, scrub)

    def read_scrub(self) -> Scrub | None:
        """What the replicas' digests were; None if no scrub was made. Raises :class:`RunDirError`."""
        return self._read(self.scrub, Scrub) if self.scrub.exists() else None

    def write_index_rows(self, rows: IndexRows) -> None:
        """Store what tables with indexes and these indexes held."""
        self._write(self.indexes, rows)

    def read_index_rows(self) -> IndexRows | None:
        """What tables with indexes and these indexes held; None if it was not read. Raises :class:`RunDirError`."""
        return self._read(self.indexes, IndexRows) if self.indexes.exists() else None

    def write_leftovers(self, leftovers: Leftovers) -> None:
        """Store the host's state before and after."""
        self._write(self.leftovers, leftovers)

    def read_leftovers(self) -> Leftovers | None:
        """The host before and after; None if it was not looked at. Raises :class:`RunDirError`."""
        return self._read(self.leftovers, Leftovers) if self.leftovers.exists() else None

    def write_verdict(self, verdict: Verdict) -> None:
        """Store the verdict."""
        self._write(self.verdict, verdict)

    def read_verdict(self) -> Verdict | None:
        """The stored verdict; None if the run has none. Raises :class:`RunDirError`."""
        return self._read(self.verdict, Verdict) if self.verdict.exists() else None

    @staticmethod
    def _write(path: Path, value: Any) -> None:
        """Replace a file whole: a reader, or a controller that dies now, never leaves half of one."""
        draft = path.with_name(path.name + ".new")
        draft.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n")
        draft.replace(path)

    @staticmethod
    def _read(path: Path, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(path.read_bytes(), type=kind)
        except OSError as error:
            raise RunDirError(f"cannot read {path}: {error.strerror}") from error
        except msgspec.DecodeError as error:
            raise RunDirError(f"{path} is damaged or of another version: {error}") from error
