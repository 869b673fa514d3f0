"""Requests per second and core of the load generator itself: the whole driver against the stand-in server.

More is offered than it can send, so that it runs flat out; arrivals it could not send are counted by it, as always.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

OFFERED = 15_000.0


def measure(seconds: float, profile: str = "mixed") -> dict[str, Any]:
    """``{"per_second", "per_core", "cpu_us", "operations"}`` of one driver process.

    ``per_core`` divides by the CPU it used, start-up excluded; ``cpu_us`` is that CPU per operation.
    """
    server = subprocess.Popen([sys.executable, "-m", "benchmarks.standin"], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        port = int(server.stdout.readline())
        with tempfile.TemporaryDirectory(prefix="blackstart-load-") as home:
            return _drive(Path(home), port, seconds, profile)
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def _drive(home: Path, port: int, seconds: float, profile: str) -> dict[str, Any]:
    stats = home / "a.jsonl"
    control = home / "control.json"
    config: dict[str, Any] = {"az": "a", "endpoints": [f"http://127.0.0.1:{port}"], "access_key": "AK"}
    config |= {"secret_key": "SK", "region": "local-1", "table": "bench", "profile": profile, "rate": OFFERED}
    config |= {"history": str(home / "load-a.log"), "stats": str(stats), "control": str(control)}
    (home / "load.json").write_text(json.dumps(config))
    command = [sys.executable, "-m", "loadgen.driver", "--config", str(home / "load.json")]
    driver = subprocess.Popen(command)
    while not stats.exists() or b'"ready"' not in stats.read_bytes():
        if driver.poll() is not None:
            raise RuntimeError(f"the load driver ended with code {driver.returncode}")
        time.sleep(0.02)
    start = time.clock_gettime(time.CLOCK_BOOTTIME) + 0.1
    control.write_text(json.dumps({"start_boot_s": start, "stop_boot_s": start + seconds}))
    before = _cpu_s(driver.pid)
    _, status, usage = os.wait4(driver.pid, 0)
    driver.returncode = os.waitstatus_to_exitcode(status)
    last = json.loads(stats.read_text().splitlines()[-1])["totals"]
    done = last["ok"] + last["failed"] + last["unknown"]
    used = usage.ru_utime + usage.ru_stime - before
    return {
        "per_second": done / seconds,
        "per_core": done / used,
        "cpu_us": used / done * 1e6,
        "operations": done,
    }


def _cpu_s(pid: int) -> float:
    from benchmarks.cpu import cpu_s

    return cpu_s([pid])
