"""What this machine remembers of its clusters, so that any later process can look into one or take it down.

One directory per cluster under ``$XDG_STATE_HOME/blackstart/clusters/<id>/`` (``~/.local/state`` by default)::

    cluster.json    the record below, mode 0600: it holds the keys
    config/         node.json of every node
    events/         every node's events and stderr; on the host, so that a power-off does not take them
    disks/          the image behind each node's file system
    mounts/         (local runtime) where a node mounts its own

Ids, names and address ranges are given out under a lock, so that two runs on one machine never collide. The record is
written before anything else is made: whatever exists can be found from it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from cluster.topology import ZONES_MAX, NodeSpec, Topology

RECORD = "cluster.json"
ARCHIVE_PORT = 9000
ARCHIVE_BUCKET = "blackstart"
SUBNETS = 512
"""How many /24 there are in 198.18.0.0/15."""

PORT_FIRST = 18000
PORTS_EACH = 8
PORT_LAST = 32000
"""Endpoints are published on loopback below the ports that the kernel gives out by itself; every range has its own."""

_ID = re.compile(r"bs[0-9a-f]{6}")


class StateError(Exception):
    """A cluster's record cannot be used."""

    exit_code = 4


@dataclass(frozen=True, slots=True)
class Disk:
    """A node's file system: ext4 in ``image``, on the loop ``device`` (which changes only if the host restarts)."""

    image: Path
    device: str
    size: int


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A node as the record has it."""

    name: str
    role: str
    az: str
    rack: str
    address: str
    data: str
    disk: Disk | None = None


@dataclass(frozen=True, slots=True)
class ClusterState:
    """The record of one cluster. ``images`` are image tags by target (docker only)."""

    id: str
    kind: str
    directory: Path
    subnet: str
    bridge: str
    topology: Topology
    key: str
    access_key: str
    secret_key: str
    nodes: dict[str, NodeRecord]
    endpoints: dict[str, str] = field(default_factory=dict)
    images: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    plant: str | None = None
    plant_path: Path | None = None
    command: tuple[str, ...] = ()
    uses_helper: bool = False

    def __repr__(self) -> str:
        return f"ClusterState({self.id}, {self.kind}, {self.subnet}, {len(self.nodes)} nodes)"

    @property
    def gateway(self) -> str:
        """The host's own address on the cluster's bridge."""
        return self.address(1)

    def address(self, host: int) -> str:
        """The address in the cluster's /24 with that last byte."""
        return f"{self.subnet.rsplit('.', 1)[0]}.{host}"

    def node(self, name: str) -> NodeRecord:
        return self.nodes[name]

    @property
    def events(self) -> Path:
        return self.directory / "events"

    def events_of(self, name: str) -> Path:
        return self.events / f"{name}.jsonl"

    def errors_of(self, name: str) -> Path:
        return self.events / f"{name}.err"

    def config_of(self, name: str) -> Path:
        return self.directory / "config" / f"{name}.json"

    def port_of(self, az: str) -> int | None:
        """The port of loopback on which the zone's router is published; None where the zone has none."""
        url = self.endpoints.get(az)
        return None if url is None else int(url.rsplit(":", 1)[1])

    def published_router(self, az: str) -> NodeRecord | None:
        """The router behind the zone's endpoint: the first by name."""
        routers = [n for n in self.nodes.values() if n.role == "router" and n.az == az]
        return min(routers, key=lambda n: n.name, default=None)

    def with_disks(self, devices: Mapping[str, str]) -> ClusterState:
        """The same with the loop device of each node that has a disk."""
        nodes = dict(self.nodes)
        for name, device in devices.items():
            disk = nodes[name].disk
            assert disk is not None, name
            nodes[name] = replace(nodes[name], disk=replace(disk, device=device))
        return replace(self, nodes=nodes)

    def save(self) -> None:
        """Write the record durably, replacing the last."""
        value: dict[str, Any] = {k: v for k, v in self._fields() if k not in {"directory", "topology", "nodes"}}
        value["schema"] = 1
        value["topology"] = self.topology.model_dump()
        value["nodes"] = {name: asdict(node) for name, node in self.nodes.items()}
        write_private(self.directory / RECORD, json.dumps(value, default=str, indent=1).encode())

    def _fields(self) -> Iterator[tuple[str, Any]]:
        for name in self.__dataclass_fields__:
            yield name, getattr(self, name)

    def remove(self) -> None:
        """Forget the cluster: the directory goes. Disks must have been released before."""
        shutil.rmtree(self.directory, ignore_errors=True)


def write_private(path: Path, data: bytes) -> None:
    """Replace a file atomically and durably; only its owner may read it."""
    aside = path.with_name(path.name + ".new")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)
    aside.rename(path)


def home() -> Path:
    """Where clusters are remembered: ``$XDG_STATE_HOME/blackstart``, by default ``~/.local/state/blackstart``."""
    base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(base).resolve() / "blackstart"


def clusters() -> Path:
    """The directory that holds one directory per cluster; made on first use."""
    path = home() / "clusters"
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


@contextlib.contextmanager
def lock() -> Iterator[None]:
    """Held while an id and an address range are chosen. Waits for other processes; freed by the kernel if we die."""
    with (clusters().parent / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def is_id(text: str) -> bool:
    """Whether ``text`` has the form of a cluster id."""
    return _ID.fullmatch(text) is not None


def known_ids() -> list[str]:
    """Ids with a state directory, whatever is in it."""
    return sorted(p.name for p in clusters().iterdir() if is_id(p.name))


def load(cluster_id: str) -> ClusterState | None:
    """The record of a cluster, or None where there is none; raises :class:`StateError` where it cannot be read."""
    directory = clusters() / cluster_id
    try:
        value = json.loads((directory / RECORD).read_bytes())
        return _parse(value, directory)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise StateError(
            f"the record of cluster {cluster_id} cannot be read ({error}); "
            f"'blackstart cluster down {cluster_id}' still removes what it made"
        ) from error


def _parse(value: dict[str, Any], directory: Path) -> ClusterState:
    if value.pop("schema") != 1:
        raise ValueError("it was written by another version of Blackstart")
    nodes: dict[str, NodeRecord] = {}
    for name, fields in value.pop("nodes").items():
        disk = fields.pop("disk")
        if disk is not None:
            disk = Disk(Path(disk["image"]), disk["device"], disk["size"])
        nodes[name] = NodeRecord(**fields, disk=disk)
    plant_path = value.pop("plant_path")
    topology = Topology.model_validate(value.pop("topology"))
    command = tuple(value.pop("command"))
    return ClusterState(
        **value,
        directory=directory,
        topology=topology,
        nodes=nodes,
        plant_path=None if plant_path is None else Path(plant_path),
        command=command,
    )


def subnets_in_use() -> set[str]:
    """First three bytes of every network inside 198.18.0.0/15 that the host routes, as ``198.18.7``."""
    found: set[str] = set()
    with contextlib.suppress(OSError):
        for line in Path("/proc/net/route").read_text().splitlines()[1:]:
            raw = bytes.fromhex(line.split()[1])[::-1]
            if raw[0] == 198 and raw[1] in (18, 19):
                found.add(f"{raw[0]}.{raw[1]}.{raw[2]}")
    return found


def choose_subnet(taken: Iterable[str]) -> str:
    """A random free /24 of 198.18.0.0/15. Random, because another user's clusters have a lock of their own."""
    used = set(taken)
    free = [p for n in range(SUBNETS) if (p := f"198.{18 + n // 256}.{n % 256}") not in used]
    if not free:
        raise StateError("all 512 address ranges in 198.18.0.0/15 are in use; take clusters down first")
    return f"{secrets.choice(free)}.0"


def choose_ports(subnet: str) -> list[int]:
    """Free ports of loopback, by rule from the address range, so that clusters do not meet.

    They are fixed for the cluster's life: an endpoint must not move because its router was restarted.
    """
    _, second, third, _ = (int(part) for part in subnet.split("."))
    first = PORT_FIRST + ((second - 18) * 256 + third) * PORTS_EACH
    own = range(first, first + PORTS_EACH)
    free: list[int] = []
    for port in (*own, *range(PORT_FIRST + SUBNETS * PORTS_EACH, PORT_LAST)):
        if len(free) == ZONES_MAX:
            break
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            free.append(port)
    return free


def create(
    kind: str,
    topology: Topology,
    *,
    cluster_id: str | None = None,
    also_taken: Iterable[str] = (),
    data_of: str | None = None,
    plant: str | None = None,
    plant_path: Path | None = None,
    labels: Mapping[str, str] | None = None,
    command: Iterable[str] = (),
    uses_helper: bool = False,
) -> ClusterState:
    """Choose an id and addresses, make the state directory and write the record.

    ``data_of`` is the path of the data volume inside every node; None means a directory of the state directory.
    """
    if cluster_id is not None and not is_id(cluster_id):
        raise StateError(f"'{cluster_id}' is no cluster id; one is bs and six hexadecimal digits")
    with lock():
        chosen = cluster_id or _fresh_id()
        directory = clusters() / chosen
        if directory.exists():
            raise StateError(f"cluster {chosen} exists; 'blackstart cluster down {chosen}' removes it")
        others = [other for known in known_ids() if (other := _load_or_none(known)) is not None]
        taken = {other.subnet.rsplit(".", 1)[0] for other in others} | subnets_in_use() | set(also_taken)
        subnet = choose_subnet(taken)
        directory.mkdir(mode=0o700)
        prefix = subnet.rsplit(".", 1)[0]
        records = {s.name: _record(s, topology, directory, prefix, data_of) for s in topology.nodes()}
        zones = sorted({r.az for r in records.values() if r.role == "router"})
        state = ClusterState(
            id=chosen,
            kind=kind,
            directory=directory,
            subnet=f"{subnet}/24",
            bridge=chosen,
            topology=topology,
            key=secrets.token_hex(32),
            access_key="BS" + secrets.token_hex(9).upper(),
            secret_key=secrets.token_urlsafe(30),
            nodes=records,
            endpoints={az: f"http://127.0.0.1:{port}" for az, port in zip(zones, choose_ports(subnet), strict=False)},
            labels=dict(labels or {}),
            plant=plant,
            plant_path=plant_path,
            command=tuple(command),
            uses_helper=uses_helper,
        )
        state.save()
    for name in ("config", "events", "disks", "mounts"):
        (directory / name).mkdir()
    return state


def _record(spec: NodeSpec, topology: Topology, directory: Path, prefix: str, data_of: str | None) -> NodeRecord:
    size = topology.disk_bytes(spec.role)
    disk = None if size is None else Disk(directory / "disks" / f"{spec.name}.img", "", size)
    data = data_of or str(directory / "mounts" / spec.name)
    return NodeRecord(spec.name, spec.role, spec.az, spec.rack, f"{prefix}.{spec.host}", data, disk)


def _load_or_none(cluster_id: str) -> ClusterState | None:
    try:
        return load(cluster_id)
    except StateError:
        return None


def _fresh_id() -> str:
    while (clusters() / (chosen := "bs" + secrets.token_hex(3))).exists():
        continue
    return chosen


def write_configs(state: ClusterState, *, listen_events: str | None = None, plant_path: str | None = None) -> None:
    """Write ``node.json`` of every node. ``listen_events`` is the directory of events as the nodes see it."""
    peers = [
        {"name": n.name, "role": n.role, "az": n.az, "rack": n.rack, "address": n.address} for n in state.nodes.values()
    ]
    timing = state.topology.timing
    for node in state.nodes.values():
        config: dict[str, Any] = {
            "schema": 1,
            "cluster": state.id,
            "region": state.topology.region,
            "name": node.name,
            "role": node.role,
            "az": node.az,
            "rack": node.rack,
            "listen": node.address,
            "data": node.data,
            "events": f"{listen_events or state.events}/{node.name}.jsonl",
            "key": state.key,
            "peers": peers,
            "timing": {"lease_s": timing.lease, "renewal_s": timing.renewal, "drift": timing.drift},
            "plant": state.plant,
            "plant_path": plant_path,
        }
        if node.role in ("storage", "archive") and (archive := archive_of(state)) is not None:
            config["archive"] = archive
        if node.role == "storage":
            config["scrub"] = {"bytes_per_s": state.topology.scrub.rate, "every_s": state.topology.scrub.every}
        if node.role == "identity":
            config["identity"] = {"access_key": state.access_key, "secret_key": state.secret_key}
        write_private(state.config_of(node.name), json.dumps(config).encode())


def archive_of(state: ClusterState) -> dict[str, Any] | None:
    """Where the cluster's log is archived, with keys; None where it is not. A node of its own gets keys of its own,
    from the cluster's; for a bucket elsewhere they are the deployer's."""
    spec = state.topology.archive
    if spec.url:
        keys = {
            "access_key": os.environ.get("AWS_ACCESS_KEY_ID", ""),
            "secret_key": os.environ.get("AWS_SECRET_ACCESS_KEY", ""),
        }
        return {"url": spec.url, "hold_bytes": spec.hold, **keys}
    server = next((node for node in state.nodes.values() if node.role == "archive"), None)
    if server is None:
        return None
    secret = hashlib.sha256(f"archive {state.key}".encode()).hexdigest()
    url = f"http://{server.address}:{ARCHIVE_PORT}/{ARCHIVE_BUCKET}"
    return {"url": url, "hold_bytes": spec.hold, "access_key": "BSA" + secret[:17].upper(), "secret_key": secret[20:60]}


def kind_of(cluster_id: str) -> str | None:
    """The kind in a cluster's record; None where there is no record, or none that can be read."""
    record = _load_or_none(cluster_id)
    return None if record is None else record.kind
