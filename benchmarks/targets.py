"""What is compared: our cluster, moto server and etcd, each started for the benchmark and removed after it.

A target says why it cannot be had (:meth:`Target.missing`) rather than vanish from the table.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from loadgen.address import Address
from loadgen.table import Admin, ensure_table

START_LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Running:
    """A target that serves: what a job needs, and its processes by hop. ``cluster``: ours, where it is ours."""

    job: dict[str, Any]
    groups: dict[str, list[int]]
    note: str = ""
    extra: dict[str, Any] = field(default_factory=dict)
    cluster: Any = None


class Target(Protocol):
    """Something to measure."""

    name: str

    def missing(self) -> str | None: ...
    def running(self) -> Any: ...


def free_ports(count: int) -> list[int]:
    """Ports on loopback that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(listener.getsockname()[1]) for listener in sockets]
    for listener in sockets:
        listener.close()
    return ports


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Moto:
    """moto server: a DynamoDB API in one Python process, in memory, no durability: the API peer."""

    name = "moto server"

    def missing(self) -> str | None:
        try:
            import moto.server  # noqa: F401
        except ImportError:
            return "moto is not installed: pip install 'moto[server]'"
        return None

    @contextmanager
    def running(self) -> Iterator[Running]:
        (port,) = free_ports(1)
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            url = f"http://127.0.0.1:{port}"
            ensure_table(Admin([url], "AK", "SK", "us-east-1"), "bench", limit_s=START_LIMIT_S)
            job = {"protocol": "dynamodb", "endpoints": [url]}
            yield Running(job, {"server": [process.pid]}, "one process, in memory, not durable")
        finally:
            _end([process])


class Etcd:
    """etcd: three members on this machine, each with its own fsynced log: the consensus peer."""

    name = "etcd, 3 members"

    def missing(self) -> str | None:
        return None if shutil.which("etcd") else "etcd is not installed: apt-get install etcd-server"

    @contextmanager
    def running(self) -> Iterator[Running]:
        ports = free_ports(6)
        home = Path(tempfile.mkdtemp(prefix="blackstart-etcd-"))
        names = ["e0", "e1", "e2"]
        peers = ",".join(f"{name}=http://127.0.0.1:{port}" for name, port in zip(names, ports[3:], strict=True))
        processes = [
            self._member(home, name, ports[index], ports[3 + index], peers) for index, name in enumerate(names)
        ]
        urls = [f"http://127.0.0.1:{port}" for port in ports[:3]]
        try:
            _await_health(urls)
            job = {"protocol": "etcd", "endpoints": urls}
            yield Running(job, {"members": [process.pid for process in processes]}, "fsync, HTTP/JSON gateway")
        finally:
            _end(processes)
            shutil.rmtree(home, ignore_errors=True)

    @staticmethod
    def _member(home: Path, name: str, client: int, peer: int, peers: str) -> subprocess.Popen[bytes]:
        command = ["etcd", "--name", name, "--data-dir", str(home / name), "--logger", "zap", "--log-level", "error"]
        for flag in ("--listen-client-urls", "--advertise-client-urls"):
            command += [flag, f"http://127.0.0.1:{client}"]
        for flag in ("--listen-peer-urls", "--initial-advertise-peer-urls"):
            command += [flag, f"http://127.0.0.1:{peer}"]
        command += ["--initial-cluster", peers]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _await_health(urls: list[str]) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    for url in urls:
        while True:
            try:
                with urllib.request.urlopen(f"{url}/health", timeout=2) as answer:
                    if b'"true"' in answer.read():
                        break
            except OSError:
                pass
            if time.monotonic() > deadline:
                raise RuntimeError(f"{url} did not become healthy within {START_LIMIT_S:.0f} s")
            time.sleep(0.1)


def _reachable(cluster: Any) -> list[str]:
    """The routers themselves where this process can reach them, else their published ports (a forwarder in between)."""
    direct: list[str] = cluster.zone_endpoints(sorted(cluster.endpoints)[0])
    try:
        for url in direct:
            address = Address.of(url)
            socket.create_connection((address.ip, address.port), timeout=1).close()
    except OSError:
        return [url for _, url in sorted(cluster.endpoints.items())]
    return direct


def make_images(kind: Any) -> None:
    """Build the images of this code where there are none yet, as there are none after every change of it: starting a
    cluster is measured beside starting containers from an image that is present."""
    if kind.kind != "docker":
        return
    from cluster.runtime import native
    from cluster.runtime.image import Images

    for target in ("node", "load"):
        native.binds(kind.api, Images(kind.api).ensure(target))


class Blackstart:
    """Our small topology: three zones, 21 nodes, every write fsynced by a majority over two zones."""

    name = "blackstart"

    def __init__(self, kind: str | None = None, topology: str = "small", partitions: int | None = None) -> None:
        """``partitions``: of the table; None: as many as one on demand has."""
        self.kind = kind
        self._topology = topology
        self._partitions = partitions

    def missing(self) -> str | None:
        from cluster import runtime

        try:
            runtime.choose(self.kind)
        except runtime.RuntimeFailed as error:
            return str(error)
        return None

    @contextmanager
    def running(self) -> Iterator[Running]:
        from cluster import runtime, topology

        kind = runtime.choose(self.kind)
        make_images(kind)
        began = time.monotonic()
        cluster = kind.up(topology.load(self._topology))
        try:
            up_s = time.monotonic() - began
            urls = _reachable(cluster)
            admin = Admin(urls, cluster.access_key, cluster.secret_key, cluster.region)
            ensure_table(admin, "bench", partitions=self._partitions, limit_s=START_LIMIT_S)
            serving_s = time.monotonic() - began
            groups: dict[str, list[int]] = {}
            for node in cluster.nodes.values():
                pid = node.pid()
                if pid is not None:
                    groups.setdefault(node.role, []).append(pid)
            job = {
                "protocol": "dynamodb",
                "endpoints": urls,
                "access_key": cluster.access_key,
                "secret_key": cluster.secret_key,
                "region": cluster.region,
            }
            note = f"{len(cluster.nodes)} nodes, {cluster.kind}, fsync on two zones"
            yield Running(
                job,
                groups,
                note,
                {"up_s": up_s, "serving_s": serving_s, "kind": cluster.kind, "nodes": len(cluster.nodes)},
                cluster,
            )
        finally:
            cluster.down()
