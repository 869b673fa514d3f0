"""The region's object store as a process of its own, as the runtimes start it."""

from __future__ import annotations

import contextlib
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from cluster.store.objects import Objects
from tests.unit.loadgen.load_servers import ROOT, free_port

ACCESS_KEY, SECRET_KEY, REGION, BUCKET = "BSATEST", "a secret of tests", "eu-west-1", "blackstart"
LIMIT_S = 30.0


class ArchiveServer:
    """One archive node on a loopback address of its own; ``data`` outlives it."""

    def __init__(self, home: Path) -> None:
        self.data = home / "data"
        self.url = ""
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, file_bytes_max: int = resource.RLIM_INFINITY) -> None:
        """``file_bytes_max``: what the disk takes of one file, by the kernel's limit."""
        self.data.mkdir(parents=True, exist_ok=True)
        port = free_port()
        listen = f"127.{port >> 8}.{port & 255}.9"  # the port for peers is always the same
        self.url = f"http://{listen}:{port}/{BUCKET}"
        events = self._home / f"{port}.jsonl"
        config = {
            "cluster": "bs000001",
            "region": REGION,
            "name": "archive",
            "role": "archive",
            "az": "",
            "rack": "",
            "listen": listen,
            "data": str(self.data),
            "events": str(events),
            "key": "00" * 32,
            "peers": [],
            "archive": {"url": self.url, "access_key": ACCESS_KEY, "secret_key": SECRET_KEY},
        }
        file = self._home / "node.json"
        file.write_text(json.dumps(config))
        self._process = subprocess.Popen([sys.executable, "-m", "cluster.node", "--config", str(file)], cwd=ROOT)
        resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (file_bytes_max, file_bytes_max))
        deadline = time.monotonic() + LIMIT_S
        while not (events.exists() and '"ready"' in events.read_text()):
            assert self._process.poll() is None, "the archive node ended"
            assert time.monotonic() < deadline, "the archive node does not get ready"
            time.sleep(0.02)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def client(self, url: str = "", secret_key: str = SECRET_KEY, access_key: str = ACCESS_KEY) -> Objects:
        return Objects(url or self.url, access_key, secret_key, REGION)


@contextlib.contextmanager
def serving(home: Path) -> Iterator[ArchiveServer]:
    server = ArchiveServer(home)
    try:
        server.start()
        yield server
    finally:
        server.kill()
