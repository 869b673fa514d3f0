"""Several processes for one zone's load, by Locust's own distributed mode.

The master starts the workers and dispatches the users; each worker has its share of the rate, its own writer and
history file, and sends its windows to the master, which adds them up into the one stats file. Start and stop come
from the control file, which every worker polls itself, so that no arrival depends on a message's way through the
master.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import gevent

from loadgen.config import CONTROL_POLL_S, LoadConfig
from loadgen.driver import (
    EXIT_FAILED,
    EXIT_OK,
    NS,
    StatsFile,
    _on_signals,
    finished_line,
    run_seconds,
    second_line,
)
from loadgen.stats import Window
from reports.rundir.history import boot_ns

READY, SECOND, FINISHED = "blackstart-ready", "blackstart-second", "blackstart-finished"
START_LIMIT_S = 60.0


class Merger:
    """Adds up the windows of the workers: a second is complete when every worker still alive has passed it. Pure."""

    def __init__(self, workers: int) -> None:
        self._passed = dict.fromkeys(range(workers), -1)
        self._windows: dict[int, Window] = {}
        self._next = 0
        self.totals = Window()

    def add(self, worker: int, second: int, window: Window) -> None:
        """A worker's window; one that comes after its second was given out counts in the next."""
        self._passed[worker] = max(self._passed.get(worker, -1), second)
        self._windows.setdefault(max(second, self._next), Window()).add(window)
        self.totals.add(window)

    def leave(self, worker: int) -> None:
        """A worker has finished or died: nobody waits for it any more."""
        self._passed.pop(worker, None)

    def complete(self) -> Iterator[tuple[int, Window]]:
        """The seconds that are now complete, in order."""
        limit = min(self._passed.values()) if self._passed else max(self._windows, default=-1)
        while self._next <= limit:
            yield self._next, self._windows.pop(self._next, Window())
            self._next += 1


class Master:
    """The processes of the workers, and what they report."""

    def __init__(self, config: LoadConfig, config_path: str) -> None:
        from loadgen.locustuser import environment_for

        self.config = config
        self.stats = StatsFile(config.stats)
        self.merger = Merger(config.workers)
        self.ready: set[int] = set()
        self.finished: dict[int, str | None] = {}
        self.start_s = 0.0
        self.runner = environment_for(None).create_master_runner("127.0.0.1", 0)
        self.runner.register_message(READY, self._on_ready)
        self.runner.register_message(SECOND, self._on_second)
        self.runner.register_message(FINISHED, self._on_finished)
        command = [sys.executable, "-m", "loadgen.driver", "--config", config_path, "--workers", str(config.workers)]
        command += ["--master-port", str(self.runner.server.port)]
        self.processes = [subprocess.Popen([*command, "--worker", str(index)]) for index in range(config.workers)]

    def _on_ready(self, environment: Any, msg: Any, **_: Any) -> None:
        self.ready.add(msg.data["worker"])

    def _on_second(self, environment: Any, msg: Any, **_: Any) -> None:
        data = msg.data
        self.start_s = data["start_s"]
        self.merger.add(data["worker"], data["second"], Window.unpack(data["window"]))
        self._flush()

    def _on_finished(self, environment: Any, msg: Any, **_: Any) -> None:
        self.finished[msg.data["worker"]] = msg.data["error"]
        self.merger.leave(msg.data["worker"])
        self._flush()

    def _flush(self) -> None:
        for second, window in self.merger.complete():
            self.stats.write(second_line(second, self.start_s, window))

    def reap(self) -> None:
        """Notice workers that died without a word."""
        for index, process in enumerate(self.processes):
            if process.poll() is not None and index not in self.finished:
                gevent.sleep(CONTROL_POLL_S)  # its last message may still be on the way
                if index not in self.finished:
                    self.finished[index] = f"worker {index} died with code {process.returncode}"
                    self.merger.leave(index)
                    self._flush()

    def terminate(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.terminate()

    def assemble(self) -> bool:
        """Wait until every worker has connected and started its users; False where one died or none came in time."""
        limit = time.monotonic() + START_LIMIT_S
        while len(self.runner.clients.ready) < self.config.workers:
            self.reap()
            if self.finished or time.monotonic() > limit:
                return False
            gevent.sleep(0.02)
        self.runner.start(self.config.users, spawn_rate=self.config.users)
        while len(self.ready) < self.config.workers:
            self.reap()
            if self.finished or time.monotonic() > limit:
                return False
            gevent.sleep(0.02)
        return True

    def close(self) -> str | None:
        """End what still runs, write the last line; the errors of the workers, or None."""
        self.terminate()
        for process in self.processes:
            try:
                process.wait(timeout=self.config.timeouts.attempt_s + 5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        errors = [error for _, error in sorted(self.finished.items()) if error]
        missing = [str(index) for index in range(self.config.workers) if index not in self.finished]
        if missing:
            errors.append(f"no report from worker {', '.join(missing)}")
        error = "; ".join(errors) or None
        self.stats.write(finished_line(self.merger.totals, error))
        return error


def run_master(config: LoadConfig, config_path: str) -> int:
    """Start the workers, add up what they report, until all have finished."""
    master = Master(config, config_path)
    _on_signals(master.terminate)
    if master.assemble():
        line = {"event": "ready", "boot": boot_ns() / NS, "pid": os.getpid(), "az": config.az}
        master.stats.write({**line, "writer": config.writer, "workers": config.workers})
        while len(master.finished) < config.workers:
            gevent.sleep(CONTROL_POLL_S)
            master.reap()
    return EXIT_FAILED if master.close() else EXIT_OK


def run_worker(config: LoadConfig, index: int, master_port: int) -> int:
    """One worker: a session of its own, its users dispatched by the master."""
    from loadgen.locustuser import environment_for
    from loadgen.session import Session

    share = config.worker(index)
    session = Session(share)
    environment = environment_for(session)
    runner = environment.create_worker_runner("127.0.0.1", master_port)
    environment.parsed_options = argparse.Namespace()  # else Locust would read the command line's configuration files
    _on_signals(session.stop)
    parent = os.getppid()
    while runner.worker_state != "running" and not session.stopped():
        _stop_if_orphaned(session, parent)
        gevent.sleep(0.02)
    runner.send_message(READY, {"worker": index})

    def emit(second: int, window: Window) -> None:
        _stop_if_orphaned(session, parent)
        data = {"worker": index, "second": second, "start_s": session.start_s, "window": window.pack()}
        runner.send_message(SECOND, data)

    run_seconds(session, lambda: runner.user_count > 0, emit)
    if session.failure is None:
        session.close()
    runner.send_message(FINISHED, {"worker": index, "error": session.error})
    runner._send_stats()  # Locust's own totals, which it would otherwise send every three seconds
    gevent.sleep(0.2)  # ZeroMQ sends from a thread of its own
    return EXIT_FAILED if session.error else EXIT_OK


def _stop_if_orphaned(session: Any, parent: int) -> None:
    """A worker whose master was killed has nobody to report to: it stops loading."""
    if os.getppid() != parent:
        session.stop()
