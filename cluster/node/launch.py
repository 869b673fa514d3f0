"""One node as a process: what ``python -m cluster.node`` runs."""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib.util
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from cluster.node.config import NodeConfig, load
from cluster.node.process import Node
from cluster.node.realworld import RealWorld

USAGE_ERROR = 2
GC_YOUNG_MAX = 20_000
"""New objects before the collector looks for cycles among them; Python's own 700 is a few requests."""


def usage() -> dict[str, Any]:
    """What this process has used: seconds of CPU and bytes of memory."""
    pages = int(Path("/proc/self/statm").read_bytes().split()[1])
    return {"cpu_s": time.process_time(), "rss_bytes": pages * os.sysconf("SC_PAGE_SIZE"), "pid": os.getpid()}


def install_plant(config: NodeConfig, node: Node) -> None:
    """Load the planted bug that the configuration names; it lies outside the package, and a wheel has none."""
    if config.plant is None:
        return
    path = Path(config.plant_path or "/plants") / (config.plant.replace("-", "_") + ".py")
    spec = importlib.util.spec_from_file_location(f"plant_{path.stem}", path)
    if spec is None or spec.loader is None or not path.exists():
        raise ValueError(f"no planted bug {config.plant!r} in {path.parent}")
    sys.path.insert(0, str(path.parent))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.install(node)
    node.world.event("planted", plant=config.plant)


async def serve(config: NodeConfig) -> None:
    """Run until SIGTERM."""
    world = RealWorld(config)
    node = Node(world, config, usage)
    install_plant(config, node)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await world.start()
    world.spawn(node.run(), "run")
    # What there is by now is code, and stays: the collector never walks it.
    gc.freeze()
    # A request makes dozens of objects that live as long as it does and form no cycles.
    gc.set_threshold(GC_YOUNG_MAX, 20, 20)
    gc.enable()
    await stopped.wait()
    world.event("stopping")
    await node.stop()
    world.stop()


def main() -> int:
    """Serve until SIGTERM; the exit status. The collector is expected to be off, see ``__main__``."""
    parser = argparse.ArgumentParser(prog="python -m cluster.node", description="one node of a Blackstart cluster")
    parser.add_argument("--config", required=True, help="the node's configuration, JSON")
    arguments = parser.parse_args()
    try:
        config = load(Path(arguments.config).read_bytes())
    except (OSError, ValueError) as error:
        print(f"{arguments.config}: {error}", file=sys.stderr)
        return USAGE_ERROR
    try:
        import uvloop

        run: Any = uvloop.run
    except ImportError:
        run = asyncio.run
    try:
        run(serve(config))
    except ValueError as error:
        print(error, file=sys.stderr)
        return USAGE_ERROR
    sys.stdout.flush()
    sys.stderr.flush()
    # Not through the interpreter's end: threads of the object store's client that answer just then would abort it.
    os._exit(0)
