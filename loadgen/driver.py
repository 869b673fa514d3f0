"""``python -m loadgen.driver --config load.json``: one zone's load generator (or the closing sweep).

A life: read the configuration, import Locust, open the history, start the users, write ``{"event": "ready"}`` to the
stats file, wait for ``start_boot_s`` (from the configuration or the polled control file), work until ``stop_boot_s``
or SIGTERM, let what is in flight end (bounded by the timeouts), write ``{"event": "finished"}``, exit. Everything
slow is before ``ready``. Every second of load gives one line in the stats file: ``{"second", "boot", "offered",
"sent", ...}``.

Exit codes: 0 done, 2 the configuration cannot be used, 4 the evidence could not be written (or a worker died).
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import msgspec

from loadgen.config import CONTROL_POLL_S, LoadConfig, load
from loadgen.stats import Window
from reports.rundir.history import boot_ns

EXIT_OK, EXIT_CONFIG, EXIT_FAILED = 0, 2, 4
DRAIN_MARGIN_S = 1.0
NS = 1_000_000_000

Emit = Callable[[dict[str, Any]], None]


class StatsFile:
    """JSON lines, each one ``write`` in append mode."""

    def __init__(self, path: str) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def write(self, line: dict[str, Any]) -> None:
        os.write(self._fd, msgspec.json.encode(line) + b"\n")


def second_line(second: int, start_s: float, window: Window) -> dict[str, Any]:
    """The line of second ``second`` since the start."""
    return {"second": second, "boot": round(start_s + second, 3), **window.line()}


def finished_line(totals: Window, error: str | None) -> dict[str, Any]:
    """The last line: totals of the whole load, and why it ended early if it did. The totals are apart, so that whoever
    adds up the lines of a file does not count everything twice."""
    return {"event": "finished", "boot": boot_ns() / NS, "error": error, "totals": totals.line()}


def run_seconds(session: Any, busy: Callable[[], bool], emit: Callable[[int, Window], None]) -> None:
    """Wait for the start, then close a window every second until the session stopped and nobody is ``busy``.

    After the stop the users have one attempt's time bound and a margin to finish; then they are given up.
    """
    session.await_start()
    if session.start_s is None:
        return
    second, drain_until_s = 0, float("inf")
    while True:
        ahead_s = second + 1 - session.elapsed_s
        if ahead_s > 0:
            gevent.sleep(min(ahead_s, CONTROL_POLL_S))
            session.poll()
        stopped = session.stopped()
        if stopped and drain_until_s == float("inf"):
            drain_until_s = session.elapsed_s + session.config.timeouts.attempt_s + DRAIN_MARGIN_S
        end_s = second + 1.0
        if stopped and session.stop_s is not None:
            end_s = min(end_s, session.stop_s - session.start_s)
        # Looked late, on a busy machine, and all over by now: the seconds until the stop are still to be told.
        last = session.failure is not None or session.stop_s is None or end_s >= session.stop_s - session.start_s
        done = stopped and last and (not busy() or session.elapsed_s >= drain_until_s)
        if not done and session.elapsed_s < second + 1:
            continue
        window = session.end_second(end_s, last=done)
        if window.offered or window.sent or window.outcomes or not done:
            emit(second, window)
        second += 1
        if done:
            return


def run_local(config: LoadConfig) -> int:
    """One process: Locust's local runner."""
    from loadgen.locustuser import environment_for
    from loadgen.session import Session

    stats = StatsFile(config.stats)
    session = Session(config)
    runner = environment_for(session).create_local_runner()
    _on_signals(session.stop)
    runner.start(config.users, spawn_rate=config.users)
    runner.spawning_greenlet.join()
    stats.write(session.ready_line())

    def emit(second: int, window: Window) -> None:
        assert session.start_s is not None
        stats.write(second_line(second, session.start_s, window))

    run_seconds(session, lambda: runner.user_count > 0, emit)
    runner.quit()
    return _finish(session, stats)


def _finish(session: Any, stats: StatsFile) -> int:
    """Close the history and write the last line; exit code."""
    if session.failure is None:
        session.close()
    stats.write(finished_line(session.totals, session.error))
    return EXIT_FAILED if session.error else EXIT_OK


def run_sweep(config: LoadConfig) -> int:
    """The closing strong reads; no Locust."""
    from loadgen.sweep import Sweep

    stats = StatsFile(config.stats)
    sweep = Sweep(config)
    _on_signals(sweep.stop)
    sweep.run()
    if sweep.failure is None:
        sweep.close()
    stats.write(sweep.result())
    return EXIT_FAILED if sweep.failure else EXIT_OK


def _on_signals(stop: Callable[[], None]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, stop)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadgen.driver", description="One zone's load generator.")
    parser.add_argument("--config", required=True, metavar="FILE", help="load.json, see loadgen/config.py")
    parser.add_argument("--workers", type=int, help="processes, by Locust's distributed mode (0: this one alone)")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--master-port", type=int, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run one driver to its end; the exit code."""
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr)
    arguments = parse(argv)
    try:
        config = load(arguments.config)
        if arguments.workers is not None:
            config = msgspec.structs.replace(config, workers=arguments.workers)
        if config.mode == "sweep":
            return run_sweep(config)
        if arguments.worker is not None:
            from loadgen.distributed import run_worker

            return run_worker(config, arguments.worker, arguments.master_port)
        if config.workers > 0:
            from loadgen.distributed import run_master

            return run_master(config, arguments.config)
        return run_local(config)
    except FileExistsError as error:
        print(f"loadgen: {error.filename} exists: one history file is one generator's life", file=sys.stderr)
        return EXIT_CONFIG
    except ValueError as error:
        print(f"loadgen: {error}", file=sys.stderr)
        return EXIT_CONFIG


if __name__ == "__main__":
    # Leave without unwinding greenlets and threads of Locust's; everything of ours is written with plain writes.
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
