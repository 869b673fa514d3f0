"""What a runtime is to everyone above it: clusters of nodes that can be started, stopped, killed and looked into.

The ``docker`` and ``local`` runtimes reduce to one notion of a node: a process id, a cgroup, a network namespace, an
address and a data volume. Faults are written once against that notion, with :class:`~cluster.runtime.host.Host` for
what needs privilege. Capabilities are small protocols, so that a runtime which lacks one simply does not have it.
"""

from __future__ import annotations

import contextlib
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from cluster.runtime import processes
from cluster.runtime.state import ClusterState, Disk

if TYPE_CHECKING:
    from cluster.runtime.host import Host
    from cluster.topology import Topology

PEER_PORT = 7000
HTTP_PORT = 8000
READY_TIMEOUT_S = 60.0
POLL_S = 0.02

NODE_PROGRAM = ("python", "-m", "cluster.node")
"""What a node runs, but for ``--config FILE``."""

MOUNT_OPTIONS = "noatime"
"""How a node's disk is mounted. Nodes say themselves when to sync."""

Progress = Callable[[str, int, int], None]
"""``progress(what, done, total)``; called from any thread."""


class RuntimeFailed(Exception):
    """The runtime could not do what it was asked; the text says what to do about it."""

    exit_code = 4


class RuntimeUnusable(RuntimeFailed):
    """The runtime that was asked for by name cannot be used on this machine, or by this user."""

    exit_code = 2


class NoSuchCluster(RuntimeFailed):
    """There is no cluster of that id on this machine."""

    exit_code = 2


class NodeFailed(RuntimeFailed):
    """A node ended, or did not become ready in time; the text has the end of its stderr."""


class Boot(Protocol):
    """Turn nodes on."""

    def boot(self, names: Sequence[str], *, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Start the nodes at once and return when each has said that it is ready. Running ones are left alone."""
        ...


class Kill(Protocol):
    """End node processes, keeping what the kernel had already been given (no power-off: see chaos/faults)."""

    def kill(self, names: Sequence[str]) -> None:
        """SIGKILL the nodes and return when they are dead."""
        ...


class Stop(Protocol):
    """Turn nodes off in an orderly way."""

    def stop(self, names: Sequence[str], *, timeout_s: float = 10.0) -> None:
        """SIGTERM the nodes and return when they have ended; SIGKILL for those that have not after the timeout."""
        ...


@dataclass(frozen=True, slots=True)
class Process:
    """A process that can be told from a later one with the same id: ``started`` is its start time in clock ticks."""

    pid: int
    started: int

    def alive(self) -> bool:
        """Whether this very process still exists and is no zombie."""
        return processes.start_time(self.pid) == self.started


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a running cluster.

    ``data`` is the path of its data volume as the node itself sees it; ``disk`` the file system behind that, or None
    for a role that keeps nothing. ``events`` and ``errors`` are files on the host that survive a power-off.
    """

    name: str
    role: str
    az: str
    rack: str
    address: str
    data: str
    disk: Disk | None
    events: Path
    errors: Path
    cluster: Cluster = field(repr=False, compare=False)

    def process(self) -> Process | None:
        """The node's process, or None while it is off."""
        return self.cluster.process(self.name)

    def pid(self) -> int | None:
        """The node's process id on the host, or None while it is off. ``/proc/PID/ns/net`` is its network namespace."""
        process = self.process()
        return None if process is None else process.pid

    def cgroup(self) -> str | None:
        """The host directory of the cgroup that freezes the node, or None while it is off."""
        pid = self.pid()
        return None if pid is None else processes.freezer_of(pid)

    def data_mount(self) -> str | None:
        """The node's data volume as a host path (readable through :class:`Host`), or None while it is off."""
        pid = self.pid()
        return None if pid is None else f"/proc/{pid}/root{self.data}"


class Client(Protocol):
    """A program of ours (load driver, canary) in a zone's own part of the network, beside the cluster's nodes."""

    name: str
    az: str
    address: str
    log: Path
    """Its stdout and stderr."""

    def pid(self) -> int | None: ...

    def poll(self) -> int | None:
        """Its exit code, or None while it runs."""
        ...

    def wait(self, timeout_s: float) -> int:
        """Its exit code; raises ``TimeoutError``."""
        ...

    def terminate(self) -> None:
        """SIGTERM; it may take a while to finish what it is doing."""
        ...

    def kill(self) -> None: ...


class Cluster(ABC):
    """A cluster that is up, or was: nodes by name, endpoints by zone, and the way to take all of it down."""

    kind: str

    def __init__(self, state: ClusterState, host: Host) -> None:
        self.state = state
        self.host = host
        self.nodes: dict[str, Node] = {name: self._node(name) for name in state.nodes}

    def _node(self, name: str) -> Node:
        record = self.state.node(name)
        return Node(
            name=record.name,
            role=record.role,
            az=record.az,
            rack=record.rack,
            address=record.address,
            data=record.data,
            disk=record.disk,
            events=self.state.events_of(name),
            errors=self.state.errors_of(name),
            cluster=self,
        )

    @property
    def id(self) -> str:
        return self.state.id

    @property
    def topology(self) -> Topology:
        return self.state.topology

    @property
    def region(self) -> str:
        return self.state.topology.region

    @property
    def endpoints(self) -> dict[str, str]:
        """Zone to the URL of its router, published on loopback."""
        return dict(self.state.endpoints)

    @property
    def access_key(self) -> str:
        return self.state.access_key

    @property
    def secret_key(self) -> str:
        return self.state.secret_key

    @property
    def key(self) -> bytes:
        """The cluster's own key, with which its nodes (and the controller) know each other."""
        return bytes.fromhex(self.state.key)

    @property
    def peers(self) -> dict[str, str]:
        """Node name to address: what :class:`cluster.control.Control` wants."""
        return {node.name: node.address for node in self.nodes.values()}

    @property
    def state_dir(self) -> Path:
        return self.state.directory

    @property
    def bridge(self) -> str:
        """The host's bridge to which every node and client is attached."""
        return self.state.bridge

    @property
    def subnet(self) -> str:
        return self.state.subnet

    def client_addresses(self, az: str) -> tuple[str, ...]:
        """Every address that belongs to the zone's clients, used or not; a cut of the zone must list them too."""
        return tuple(self.state.address(host) for host in self.topology.client_hosts(az))

    def canary_addresses(self, az: str) -> tuple[str, ...]:
        """Those of them that are given to the zone's canaries, used or not."""
        return tuple(self.state.address(host) for host in self.topology.canary_hosts(az))

    def client_places(self, az: str, *, canary: bool) -> list[tuple[str, str]]:
        """Names and addresses for the zone's canaries, or its other clients, in the order in which they are used."""
        own = self.canary_addresses(az)
        addresses = own if canary else [it for it in self.client_addresses(az) if it not in own]
        stem = f"{'canary' if canary else 'client'}-{az}"
        return [(f"{stem}-{number}" if number > 1 else stem, it) for number, it in enumerate(addresses, 1)]

    def zone_endpoints(self, az: str) -> list[str]:
        """The routers' URLs as seen inside the cluster's network, the zone's own first: for load and canaries."""
        routers = sorted((n for n in self.nodes.values() if n.role == "router"), key=lambda n: (n.az != az, n.name))
        return [f"http://{node.address}:{HTTP_PORT}" for node in routers]

    @abstractmethod
    def process(self, name: str) -> Process | None:
        """The process of a node, or None while it is off."""

    @abstractmethod
    def boot(self, names: Sequence[str], *, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Start the nodes at once and return when each is ready. Raises :class:`NodeFailed`."""

    @abstractmethod
    def client(
        self,
        az: str,
        argv: Sequence[str],
        *,
        mounts: Iterable[Path] = (),
        env: Mapping[str, str] | None = None,
        log: Path | None = None,
        canary: bool = False,
    ) -> Client:
        """Run a program in the zone's client range. ``python`` as ``argv[0]`` means the runtime's own interpreter.

        ``mounts`` are host directories that it sees, writable, under the same paths. ``log`` gets its output; it must
        lie in one of the mounts, and defaults to a file beside the nodes' events. ``canary``: at one of the addresses
        that lose their path with the zone's power.
        """

    @abstractmethod
    def down(self) -> None:
        """Remove everything the cluster has on this machine. Idempotent; works after the controller was killed."""

    def kill(self, names: Sequence[str]) -> None:
        """SIGKILL the nodes and return when they are dead."""
        running = self._running(names)
        self.host.call("kill", processes=[[p.pid, p.started] for p in running.values()], signal=9)
        self.wait_dead(names, timeout_s=10.0)

    def stop(self, names: Sequence[str], *, timeout_s: float = 10.0) -> None:
        """SIGTERM the nodes and return when they have ended; SIGKILL for those that have not after the timeout."""
        running = self._running(names)
        self.host.call("kill", processes=[[p.pid, p.started] for p in running.values()], signal=15)
        try:
            self.wait_dead(names, timeout_s=timeout_s)
        except RuntimeFailed:
            self.kill(names)

    def wait_dead(self, names: Sequence[str], *, timeout_s: float) -> None:
        """Return when none of the nodes runs; raises :class:`RuntimeFailed` naming those that still do."""
        self.check_names(names)
        deadline = time.monotonic() + timeout_s
        while alive := [name for name in names if self.process(name) is not None]:
            if time.monotonic() > deadline:
                raise RuntimeFailed(f"still running after {timeout_s:g} s: {', '.join(alive)}")
            time.sleep(POLL_S)

    def check_names(self, names: Iterable[str]) -> None:
        """Raise :class:`RuntimeFailed` for a name that is no node of this cluster."""
        unknown = [name for name in names if name not in self.nodes]
        if unknown:
            raise RuntimeFailed(f"cluster {self.id} has no node {', '.join(unknown)}; it has {', '.join(self.nodes)}")

    def _running(self, names: Sequence[str]) -> dict[str, Process]:
        self.check_names(names)
        return {name: found for name in names if (found := self.process(name)) is not None}

    def events_mark(self, names: Sequence[str]) -> dict[str, int]:
        """Where each node's event file ends now; what a later :meth:`wait_ready` starts from."""
        return {name: _size(self.nodes[name].events) for name in names}

    def wait_ready(
        self, marks: Mapping[str, int], *, timeout_s: float, progress: Progress | None = None, what: str = "ready"
    ) -> None:
        """Return when each node has appended ``ready`` past its mark; raises :class:`NodeFailed` for one that ended."""
        deadline = time.monotonic() + timeout_s
        waiting = dict(marks)
        while waiting:
            for name in [n for n in waiting if says_ready(self.nodes[n].events, waiting[n])]:
                del waiting[name]
                if progress is not None:
                    progress(what, len(marks) - len(waiting), len(marks))
            if not waiting:
                return
            for name in waiting:
                # Asked twice: it may have said ready and ended in between, which is not our failure to report.
                if self.process(name) is None and not says_ready(self.nodes[name].events, waiting[name]):
                    raise NodeFailed(f"{name} ended before it was ready\n{tail(self.nodes[name].errors)}")
            if time.monotonic() > deadline:
                name = next(iter(waiting))
                raise NodeFailed(
                    f"not ready after {timeout_s:g} s: {', '.join(waiting)}\n{tail(self.nodes[name].errors)}"
                )
            time.sleep(POLL_S)


class Runtime(ABC):
    """One way of running clusters on this machine."""

    kind: str

    @abstractmethod
    def missing(self) -> str | None:
        """Why this runtime cannot be used here and what to do about it, or None where it can."""

    @abstractmethod
    def up(
        self,
        topology: Topology,
        *,
        cluster_id: str | None = None,
        plant: str | None = None,
        plant_path: Path | None = None,
        progress: Progress | None = None,
        labels: Mapping[str, str] | None = None,
        command: Sequence[str] | None = None,
    ) -> Cluster:
        """Start a cluster and return when every node is ready; on failure whatever was made is removed again.

        ``plant`` names a planted bug in the directory ``plant_path``. ``command`` replaces the node program (tests).
        """

    @abstractmethod
    def attach(self, cluster_id: str) -> Cluster:
        """A cluster that another process started. Raises :class:`NoSuchCluster`."""

    @abstractmethod
    def list_clusters(self) -> list[str]:
        """Ids of everything of this kind found here, also what only labels or cgroups still remember."""

    @abstractmethod
    def remove(self, cluster_id: str) -> None:
        """Remove everything that bears this id, from whatever trace is left of it."""


def says_ready(path: Path, offset: int) -> bool:
    """Whether an event file has a ``ready`` event past ``offset``. A torn last line counts as not yet written."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            lines = file.read().split(b"\n")[:-1]
    except FileNotFoundError:
        return False
    for line in lines:
        with contextlib.suppress(ValueError):
            if b'"ready"' in line and json.loads(line).get("event") == "ready":
                return True
    return False


def tail(path: Path, lines: int = 15) -> str:
    """The end of a text file, for an error message; says so where there is nothing."""
    try:
        text = path.read_bytes()[-8192:].decode(errors="replace").strip()
    except OSError:
        text = ""
    return "\n".join(text.splitlines()[-lines:]) or f"(nothing in {path})"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
