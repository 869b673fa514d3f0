"""What it costs to watch: a canary's processor and memory, and the live page's, over a few seconds.

Three canaries as they are left running, one round of five operations a second each, against the stand-in server; the
page follows what they write, with its drawings, for one reader.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.cpu import cpu_s, resident_mb
from canaries.dashboard.server import Board
from canaries.dashboard.source import Source
from canaries.fleet import Flock
from loadgen.fleet import Credentials, on_this_host
from reports.rundir import NodeInfo, Plan

ZONES = ("a", "b", "c")
READY_S = 60.0
SECONDS_MIN = 10.0
LOOK_S = 0.5


def measure(seconds: float) -> dict[str, Any]:
    """``{"canary": {...}, "page": {...}}``: per cent of a core, microseconds a probe, MB."""
    server = subprocess.Popen([sys.executable, "-m", "benchmarks.standin"], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        port = int(server.stdout.readline())
        with tempfile.TemporaryDirectory(prefix="blackstart-watching-") as home:
            return _watch(Path(home), f"http://127.0.0.1:{port}", max(seconds, SECONDS_MIN))
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def _watch(home: Path, url: str, seconds: float) -> dict[str, Any]:
    started = time.clock_gettime(time.CLOCK_BOOTTIME)
    nodes = [NodeInfo(name=f"{role}-{az}", role=role, az=az, rack=f"{az}1") for az in ZONES for role in ("router", "x")]
    plan = Plan(playbook="canaries", tags=["canaries"], nodes=nodes, start_boot_s=started)
    (home / "plan.json").write_bytes(msgspec.json.encode(plan))
    event = {"t": 0.0, "boot": started, "wall": 0.0, "event": "run", "state": "begin"}
    (home / "events.jsonl").write_bytes(msgspec.json.encode(event) + b"\n")
    endpoints = dict.fromkeys(ZONES, url)
    credentials = Credentials("AK", "SK", "local-1")
    flock = Flock(
        home / "canaries", home, ZONES, endpoints, credentials, table="bench", interval_s=1.0, timeout_s=1.5,
        keep_bytes=1 << 20,
    )  # fmt: skip
    pids: list[int] = []

    def launch(az: str, argv: Sequence[str], *, mounts: Sequence[Path], log: Path) -> Any:
        driver: Any = on_this_host(az, argv, mounts=mounts, log=log)
        pids.append(driver.pid)
        return driver

    flock.launch(launch)
    try:
        flock.await_ready(READY_S)
        board = Board(Source(home, home))
        board.look()
        flock.probes()
        before, probes = cpu_s(pids), 0
        deadline = time.monotonic() + seconds
        looks = 0
        page_s = 0.0
        while time.monotonic() < deadline:
            began = time.process_time()
            board.look()
            page_s += time.process_time() - began
            looks += 1
            probes += len(flock.probes())
            time.sleep(LOOK_S)
        used = cpu_s(pids) - before
        return {
            "canary": {
                "cpu_percent": used / seconds / len(ZONES) * 100,
                "cpu_us_per_probe": used / max(1, probes) * 1e6,
                "memory_mb": max(resident_mb(pid) for pid in pids),
                "probes": probes,
            },
            "page": {"cpu_percent": page_s / seconds * 100, "look_ms": page_s / looks * 1000},
        }
    finally:
        flock.kill()


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.watching", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    print(json.dumps(measure(parser.parse_args(argv).seconds), indent=1))


if __name__ == "__main__":
    main()
