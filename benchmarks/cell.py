"""One figure of a table: a closed loop in a process of its own, and the CPU of every hop while it ran."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import msgspec

from benchmarks.cpu import CpuMeter
from benchmarks.targets import Running


def say(text: str) -> None:
    print(f"benchmarks: {text}", file=sys.stderr, flush=True)


def closed_loop(running: Running, operation: str, concurrency: int, seconds: float, **more: Any) -> dict[str, Any]:
    """One cell of the table: a client process of its own, and what every hop used meanwhile. ``more`` is of the job
    (:class:`benchmarks.closed_loop.Job`)."""
    job = {**running.job, **more, "operation": operation, "concurrency": concurrency, "seconds": seconds}
    client = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.closed_loop"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    meter = CpuMeter(running.groups)
    out, _ = client.communicate(msgspec.json.encode(job), timeout=seconds * 10 + 60)
    if client.returncode:
        raise RuntimeError(f"the client ended with code {client.returncode}")
    result: dict[str, Any] = msgspec.json.decode(out)
    result["per_second"] = result["requests"] / seconds
    # The hops are metered over the warm-up too, so what they used is divided by everything that was sent.
    result["hops_us"] = {name: used / max(1, result["sent"]) * 1e6 for name, used in meter.used().items()}
    result["client_us"] = result["cpu_s"] / max(1, result["requests"]) * 1e6
    return result


def spoken(cell: dict[str, Any]) -> str:
    """A cell in a few words."""
    trouble = f", {cell['errors']} errors: {cell['first_error']}" if cell["errors"] else ""
    return f"{cell['per_second']:,.0f}/s{trouble}"
