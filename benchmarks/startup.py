"""From the command to a serving cluster, beside starting as many containers (or namespaces) that do nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

THREADS = 8


def empty_containers(count: int, image: str) -> float:
    """Seconds to start ``count`` containers of ``python -c pass`` from an image that is present, and see them end."""

    def one(index: int) -> None:
        subprocess.run(
            ["docker", "run", "--rm", "--network", "none", "--entrypoint", "python", image, "-c", "pass"],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    began = time.monotonic()
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(one, range(count)))
    return time.monotonic() - began


def empty_processes(count: int) -> float:
    """Seconds to start ``count`` network namespaces with a ``python -c pass`` in each, and see them end."""
    began = time.monotonic()
    processes = [subprocess.Popen(["unshare", "--net", "--mount", sys.executable, "-c", "pass"]) for _ in range(count)]
    codes = [process.wait() for process in processes]
    if any(codes):
        raise RuntimeError("unshare failed: namespaces need root")
    return time.monotonic() - began


def empty(kind: str, count: int, image: str | None) -> float:
    """The yardstick for a runtime of that kind."""
    return empty_containers(count, image) if kind == "docker" and image else empty_processes(count)
