"""``python -m benchmarks.run``: the table of figures, each beside its peer or its target, all from one run.

Progress goes to stderr, the tables (or with ``--json`` one object) to stdout. Nothing here fails for being slow.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec

from benchmarks import checking, generator, hops, scrubbing, simulating, startup, watching
from benchmarks.cell import closed_loop, say, spoken
from benchmarks.cpu import cpu_s, resident_mb
from benchmarks.targets import Blackstart, Etcd, Moto, Running, Target
from cluster.runtime import RuntimeFailed

PARTS = ("operations", "transactions", "hops", "generator", "checkers", "simulator", "scrubbing", "watching")
CONCURRENCIES = (1, 32, 128)
IDLE_S = 5.0


def operations(target: Target, seconds: float) -> dict[str, Any]:
    """Puts, then strong gets of what was put, at every concurrency; and the target at rest.

    A target that cannot be had or does not come up is said to be so; the others are still measured.
    """
    reason = target.missing()
    if reason is not None:
        say(f"{target.name}: skipped, {reason}")
        return {"skipped": reason}
    say(f"{target.name}: starting")
    try:
        with target.running() as running:
            return measured(target.name, running, seconds)
    except (RuntimeError, RuntimeFailed, OSError, subprocess.SubprocessError) as error:
        say(f"{target.name}: failed, {error}")
        return {"skipped": f"failed: {error}"}


def measured(name: str, running: Running, seconds: float) -> dict[str, Any]:
    """Every cell of one target's column."""
    idle = at_rest(running)
    fill = {**running.job, "operation": "put", "concurrency": 8, "seconds": 1.0}
    subprocess.run(
        [sys.executable, "-m", "benchmarks.closed_loop"],
        input=msgspec.json.encode(fill),
        stdout=subprocess.DEVNULL,
        check=True,
    )
    cells = {}
    for operation in ("put", "get"):
        for concurrency in CONCURRENCIES:
            cell = closed_loop(running, operation, concurrency, seconds)
            cells[f"{operation} x{concurrency}"] = cell
            say(f"{name}: {operation} x{concurrency}: {spoken(cell)}")
    return {"note": running.note, "idle": idle, "cells": cells, **running.extra}


def transactions(target: Target, seconds: float) -> dict[str, Any]:
    """An item put and read in a transaction of its own, beside the plain operation in the same cluster."""
    with target.running() as running:
        cells = {}
        for operation in ("put", "tput", "tput-token", "get", "tget"):
            for concurrency in CONCURRENCIES[:2]:
                cell = cells[f"{operation} x{concurrency}"] = closed_loop(running, operation, concurrency, seconds)
                say(f"{operation} x{concurrency}: p50 {cell['p50_ms']} ms, {spoken(cell)}")
        return {"kind": running.extra.get("kind"), "cells": cells}


def at_rest(running: Running) -> dict[str, Any]:
    """Memory of each process and CPU of all together while nothing is asked of them."""
    pids = [pid for group in running.groups.values() for pid in group]
    time.sleep(1.0)
    before = cpu_s(pids)
    time.sleep(IDLE_S)
    memory = {name: round(max(resident_mb(pid) for pid in group), 1) for name, group in running.groups.items() if group}
    return {"cpu_percent": (cpu_s(pids) - before) / IDLE_S * 100, "memory_mb_max": memory}


def yardstick(result: dict[str, Any]) -> None:
    """Add the time that as many empty containers or namespaces take."""
    kind, nodes = result.get("kind"), result.get("nodes", 0)
    if kind is None:
        return
    try:
        tag = None
        if kind == "docker":
            tag = subprocess.run(
                ["docker", "images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", "label=blackstart.image=node"],
                capture_output=True,
                text=True,
                check=True,
            ).stdout.split()[0]
        result["empty_s"] = startup.empty(kind, nodes, tag)
    except (RuntimeError, OSError, subprocess.CalledProcessError, IndexError) as error:
        say(f"start-up yardstick: skipped, {error!r}")


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--only", help=f"parts to run, comma-separated, of {', '.join(PARTS)}")
    parser.add_argument("--targets", default="blackstart,moto,etcd", help="for operations, comma-separated")
    parser.add_argument("--runtime", choices=("docker", "local"), help="where our cluster runs")
    parser.add_argument("--seconds", type=float, default=4.0, help="per cell of the table")
    parser.add_argument("--history", type=int, default=1_000_000, help="operations for the checkers")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    arguments = parser.parse_args(argv)
    chosen = arguments.only.split(",") if arguments.only else list(PARTS)
    unknown = [part for part in chosen if part not in PARTS]
    if unknown:
        parser.error(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    arguments.parts = chosen
    return arguments


def main(argv: list[str] | None = None) -> None:
    arguments = parse(argv)
    targets: dict[str, Target] = {"blackstart": Blackstart(arguments.runtime), "moto": Moto(), "etcd": Etcd()}
    report: dict[str, Any] = {"schema": 1, "cores": os.cpu_count(), "seconds": arguments.seconds}
    jobs: dict[str, Callable[[], Any]] = {
        "transactions": lambda: transactions(targets["blackstart"], arguments.seconds),
        "hops": lambda: hops.measure(arguments.runtime, arguments.seconds),
        "generator": lambda: generator.measure(arguments.seconds),
        "checkers": lambda: checking.measure(arguments.history),
        "simulator": simulating.measure,
        "scrubbing": scrubbing.measure,
        "watching": lambda: watching.measure(arguments.seconds),
    }
    for part in arguments.parts:
        if part == "operations":
            report["operations"] = {}
            for name in arguments.targets.split(","):
                if name not in targets:
                    sys.exit(f"benchmarks: no target {name!r}; there are {', '.join(targets)}")
                report["operations"][name] = result = operations(targets[name], arguments.seconds)
                yardstick(result)
        else:
            say(f"{part} ...")
            report[part] = jobs[part]()
    if arguments.json:
        print(json.dumps(report, indent=1))
        return
    from benchmarks.show import show

    show(report)


if __name__ == "__main__":
    main()
