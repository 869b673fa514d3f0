"""Clusters of containers: one for each node, on a bridge network of the cluster's own.

A node's disk is an ext4 image on a loop device, which Docker mounts as a volume when the container starts and unmounts
when it ends: kill and start is power-off and journal replay. Containers keep their static addresses over restarts, run
as the user who started them and hold no capabilities. Everything carries the label ``blackstart.cluster``, by which
:meth:`DockerRuntime.remove` finds it again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from cluster.runtime import engine, helper, native, processes, state
from cluster.runtime.base import (
    HTTP_PORT,
    MOUNT_OPTIONS,
    NODE_PROGRAM,
    POLL_S,
    READY_TIMEOUT_S,
    Client,
    Cluster,
    NodeFailed,
    NoSuchCluster,
    Process,
    Progress,
    Runtime,
    RuntimeFailed,
)
from cluster.runtime.disks import make_disks
from cluster.runtime.engine import LABEL, OWNER, at_once
from cluster.runtime.host import HostError, is_root
from cluster.runtime.image import Images
from cluster.runtime.state import ClusterState, Disk
from cluster.topology import Topology

DATA = "/data"
EVENTS = "/var/log/blackstart"
CONFIG = "/etc/blackstart/node.json"
PLANTS = "/plants"
SCRATCH = "16m"
TO_FILE = 'log=$1; shift; exec "$@" >> "$log" 2>&1'
"""A shell line that becomes the program after the file for its output."""

NETWORK_TRIES = 5
STOPPED_TIMEOUT_S = 20.0


def user() -> str:
    """Nodes and clients run as whoever started them, so that what they write on the host is theirs."""
    return f"{os.getuid()}:{os.getgid()}"


def scratch(disk: Disk | None) -> dict[str, str]:
    """What a node without a disk has for one: memory that is its user's, and gone with its power."""
    return {} if disk is not None else {DATA: f"size={SCRATCH},mode=0700,uid={os.getuid()},gid={os.getgid()}"}


def container_of(cluster_id: str, name: str) -> str:
    return f"{cluster_id}-{name}"


def pid_of(api: Any, container: str) -> int | None:
    """The main process of a container, or None while it does not run or does not exist."""
    import docker.errors

    try:
        found = api.inspect_container(container)["State"]
    except docker.errors.NotFound:
        return None
    return int(found["Pid"]) if found["Running"] and found["Pid"] else None


KILLED = 128 + 9
"""The exit code of what SIGKILL ended; also that of a container that was removed, for that is how its process ended."""


class DockerClient:
    """A program in the zone's client range, in a container of its own."""

    def __init__(self, api: Any, container: str, az: str, name: str, address: str, log: Path) -> None:
        self.name = name
        self.az = az
        self.address = address
        self.log = log
        self._api = api
        self._container = container

    def pid(self) -> int | None:
        return pid_of(self._api, self._container)

    def poll(self) -> int | None:
        import docker.errors

        try:
            found = self._api.inspect_container(self._container)["State"]
        except docker.errors.NotFound:
            return KILLED  # removed with the rest of its cluster
        return None if found["Running"] or found["Status"] == "created" else int(found["ExitCode"])

    def wait(self, timeout_s: float) -> int:
        import docker.errors
        import requests.exceptions

        try:
            return int(self._api.wait(self._container, timeout=timeout_s)["StatusCode"])
        except docker.errors.NotFound:
            return KILLED
        except (requests.exceptions.ReadTimeout, requests.exceptions.ConnectionError):
            raise TimeoutError(f"{self.name} still runs after {timeout_s:g} s") from None

    def terminate(self) -> None:
        self._signal("SIGTERM")

    def kill(self) -> None:
        self._signal("SIGKILL")

    def _signal(self, name: str) -> None:
        import docker.errors

        # 409: it ended by itself in between, which is what was wanted.
        with contextlib.suppress(docker.errors.APIError):
            self._api.kill(self._container, name)


class DockerCluster(Cluster):
    """A cluster of containers."""

    kind = "docker"

    def __init__(self, record: ClusterState, api: Any, host: Any) -> None:
        super().__init__(record, host)
        self.api = api
        self._known: dict[str, Process] = {}
        self._lock = threading.Lock()

    def process(self, name: str) -> Process | None:
        known = self._known.get(name)
        if known is not None and known.alive():
            return known
        pid = pid_of(self.api, container_of(self.id, name))
        started = None if pid is None else processes.start_time(pid)
        if pid is None or started is None:
            return None
        found = Process(pid, started)
        with self._lock:
            self._known[name] = found
        return found

    def boot(
        self, names: Sequence[str], *, timeout_s: float = READY_TIMEOUT_S, progress: Progress | None = None
    ) -> None:
        self.check_names(names)
        off = [name for name in names if self.process(name) is None]
        at_once(self._wait_stopped, off)
        devices = [disk.device for name in off if (disk := self.nodes[name].disk) is not None]
        self.host.call("wait_unmounted", devices=devices)
        marks = self.events_mark(off)
        at_once(lambda name: self._start(name), off)
        self.wait_ready(marks, timeout_s=timeout_s, progress=progress)

    def _start(self, name: str) -> None:
        import docker.errors

        try:
            self.api.start(container_of(self.id, name))
        except docker.errors.APIError as error:
            raise NodeFailed(f"{name} cannot be started: {error.explanation}") from error

    def _wait_stopped(self, name: str) -> None:
        """Until the engine has noticed that the node is dead: before that, a start would do nothing at all."""
        deadline = time.monotonic() + STOPPED_TIMEOUT_S
        while self.api.inspect_container(container_of(self.id, name))["State"]["Running"]:
            if time.monotonic() > deadline:
                raise RuntimeFailed(f"the engine takes {name} to be running, but it has no process")
            time.sleep(POLL_S)

    def create_node(self, name: str) -> None:
        """Make the node's volume and container, stopped."""
        node, record = self.nodes[name], self.state
        image = record.images["node"]
        labels = {"blackstart.az": node.az, "blackstart.rack": node.rack, "blackstart.role": node.role}
        binds = {
            str(record.config_of(name)): {"bind": CONFIG, "mode": "ro"},
            str(record.events): {"bind": EVENTS, "mode": "rw"},
            **native.binds(self.api, image),
        }
        if record.plant_path is not None:
            binds[str(record.plant_path)] = {"bind": PLANTS, "mode": "ro"}
        if node.disk is not None:
            volume = container_of(self.id, name)
            options = {"type": "ext4", "device": node.disk.device, "o": MOUNT_OPTIONS}
            self.api.create_volume(volume, driver="local", driver_opts=options, labels=engine.labels(self.id))
            # nocopy: else the engine gives the volume the owner that the directory has in the image.
            binds[volume] = {"bind": DATA, "mode": "rw,nocopy"}
        published = record.published_router(node.az)
        ports = {}
        if published is not None and published.name == name:
            ports[HTTP_PORT] = ("127.0.0.1", record.port_of(node.az))
        program = [*(record.command or NODE_PROGRAM), "--config", CONFIG]
        self._create(
            name,
            image,
            program,
            f"{EVENTS}/{name}.err",
            node.address,
            labels=engine.labels(self.id) | labels | {f"blackstart.label.{k}": v for k, v in record.labels.items()},
            host_config=self._host_config(binds=binds, port_bindings=ports, tmpfs=scratch(node.disk)),
            ports=list(ports),
        )

    def _host_config(self, **settings: Any) -> Any:
        return self.api.create_host_config(
            network_mode=self.id,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            log_config={"Type": "none"},
            **settings,
        )

    def _create(self, name: str, image: str, argv: Sequence[str], log: str, address: str, **settings: Any) -> None:
        endpoint = self.api.create_endpoint_config(ipv4_address=address)
        self.api.create_container(
            image,
            command=["/bin/sh", "-c", TO_FILE, "sh", log, *argv],
            name=container_of(self.id, name),
            hostname=name,
            user=user(),
            networking_config=self.api.create_networking_config({self.id: endpoint}),
            **settings,
        )

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
        paths = {str(path.resolve()) for path in mounts} | {str(self.state.events)}
        binds = {path: {"bind": path, "mode": "rw"} for path in sorted(paths)}
        binds |= native.binds(self.api, self.state.images["load"])
        with state.lock():
            name, address = self._free_client(az, canary)
            output = log or self.state.events / f"{name}.log"
            self._create(
                name,
                self.state.images["load"],
                argv,
                str(output),
                address,
                environment=dict(env or {}),
                labels=engine.labels(self.id)
                | {"blackstart.az": az, "blackstart.role": "client", "blackstart.name": name},
                # An init, because a process that is number 1 ignores the signals it has no handler for.
                host_config=self._host_config(binds=binds, init=True),
            )
        container = container_of(self.id, name)
        self.api.start(container)
        return DockerClient(self.api, container, az, name, address, output)

    def _free_client(self, az: str, canary: bool) -> tuple[str, str]:
        label = [f"{LABEL}={self.id}", "blackstart.role=client", f"blackstart.az={az}"]
        taken = {}
        for found in self.api.containers(all=True, filters={"label": label}):
            taken[found["Labels"]["blackstart.name"]] = found["State"]
        places = self.client_places(az, canary=canary)
        for name, address in places:
            if taken.get(name) in {"exited", "dead"}:
                self.api.remove_container(container_of(self.id, name), force=True)
                del taken[name]
            if name not in taken:
                return name, address
        raise RuntimeFailed(
            f"zone {az} already has {len(places)} {'canaries' if canary else 'clients'}; there are no more addresses"
        )

    def down(self) -> None:
        self.host.close()
        DockerRuntime(self.api).remove(self.id)


class SubnetTaken(RuntimeFailed):
    """Somebody else's network already has the address range that was chosen."""


class DockerRuntime(Runtime):
    """Containers of a Docker engine on this machine; wants root or membership in the docker group."""

    kind = "docker"

    def __init__(self, api: Any = None) -> None:
        self._api = api

    @property
    def api(self) -> Any:
        if self._api is None:
            self._api = engine.connect()
        return self._api

    def missing(self) -> str | None:
        return engine.missing()

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
    ) -> DockerCluster:
        taken: set[str] = set()
        for _ in range(NETWORK_TRIES):
            record = state.create(
                self.kind,
                topology,
                cluster_id=cluster_id,
                also_taken=taken,
                data_of=DATA,
                plant=plant,
                plant_path=None if plant_path is None else plant_path.resolve(),
                labels=labels,
                command=command or (),
                uses_helper=not is_root(),
            )
            try:
                return self._build(record, progress or (lambda what, done, total: None))
            except SubnetTaken:
                taken.add(record.subnet.rsplit(".", 1)[0])
                self.remove(record.id)
            except BaseException:
                with contextlib.suppress(HostError, RuntimeFailed):
                    self.remove(record.id)
                raise
        raise RuntimeFailed(f"no free address range was found in {NETWORK_TRIES} tries; see 'docker network ls'")

    def _build(self, record: ClusterState, progress: Progress) -> DockerCluster:
        images = Images(self.api, progress)
        state.write_configs(record, listen_events=EVENTS, plant_path=None if record.plant_path is None else PLANTS)
        with ThreadPoolExecutor(4) as pool:
            wanted = {target: pool.submit(images.ensure, target) for target in ("node", "load")}
            network = pool.submit(self._make_network, record)
            host = helper.host_for(self.api, record.id, lambda: images.ensure("helper"))
            record = make_disks(record, host, owner=(os.getuid(), os.getgid()))
            network.result()
            record = replace(record, images={target: tag.result() for target, tag in wanted.items()})
            at_once(lambda tag: native.binds(self.api, tag), record.images.values())
        record.save()
        made = DockerCluster(record, self.api, host)
        names = list(made.nodes)
        marks = made.events_mark(names)
        self._start_all(made, names, progress)
        made.wait_ready(marks, timeout_s=READY_TIMEOUT_S, progress=progress)
        return made

    def _start_all(self, made: DockerCluster, names: Sequence[str], progress: Progress) -> None:
        done: list[str] = []

        def start(name: str) -> None:
            made.create_node(name)
            made._start(name)
            done.append(name)
            progress("containers", len(done), len(names))

        at_once(start, names)

    def _make_network(self, record: ClusterState) -> None:
        import docker.errors
        import docker.types

        pool = docker.types.IPAMPool(subnet=record.subnet, gateway=record.gateway)
        try:
            self.api.create_network(
                record.id,
                driver="bridge",
                ipam=docker.types.IPAMConfig(pool_configs=[pool]),
                options={"com.docker.network.bridge.name": record.bridge},
                labels=engine.labels(record.id),
            )
        except docker.errors.APIError as error:
            if "overlap" in str(error.explanation).lower():
                raise SubnetTaken(f"{record.subnet}: {error.explanation}") from error
            raise RuntimeFailed(f"the cluster's network cannot be made: {error.explanation}") from error

    def attach(self, cluster_id: str) -> DockerCluster:
        record = state.load(cluster_id)
        if record is None or record.kind != self.kind:
            raise NoSuchCluster(f"there is no docker cluster {cluster_id} here")
        return DockerCluster(record, self.api, self._host(cluster_id))

    def _host(self, cluster_id: str) -> Any:
        return helper.host_for(self.api, cluster_id, lambda: Images(self.api).ensure("helper"))

    def list_clusters(self) -> list[str]:
        label = {"label": [LABEL, f"{OWNER}={os.getuid()}"]}
        found = {c["Labels"][LABEL] for c in self.api.containers(all=True, filters=label)}
        found |= {n["Labels"][LABEL] for n in self.api.networks(filters=label)}
        found |= {v["Labels"][LABEL] for v in self.api.volumes(filters=label)["Volumes"] or []}
        return sorted(found | {known for known in state.known_ids() if state.kind_of(known) == self.kind})

    def remove(self, cluster_id: str) -> None:
        kind = state.kind_of(cluster_id)
        if kind not in {None, self.kind}:
            return
        label = {"label": f"{LABEL}={cluster_id}"}
        containers = self.api.containers(all=True, filters=label)
        nodes = [c["Id"] for c in containers if c["Labels"].get("blackstart.role") != "helper"]
        at_once(lambda c: self._gone(self.api.remove_container, c, force=True), nodes)
        volumes = self.api.volumes(filters=label)["Volumes"] or []
        at_once(lambda v: self._gone(self.api.remove_volume, v["Name"], force=True), volumes)
        directory = state.clusters() / cluster_id
        # Without a record the disks may be those of a local cluster, whose processes must end first: see local.py.
        ours = kind == self.kind or not is_root()
        disks = directory / "disks"
        try:
            if ours and disks.is_dir() and any(disks.iterdir()):
                # Through the helper, which goes last: only it may release what it made.
                host = self._host(cluster_id)
                host.call("release_disks", directory=str(disks))
                host.close()
        finally:
            self._gone(self.api.remove_container, f"{cluster_id}-helper", force=True)
            for network in self.api.networks(filters=label):
                self._remove_network(cluster_id, network["Id"])
        if ours:
            shutil.rmtree(directory, ignore_errors=True)

    def _remove_network(self, cluster_id: str, network: str) -> None:
        try:
            self._gone(self.api.remove_network, network)
        except RuntimeFailed as error:
            if self.api.inspect_network(network)["Containers"]:
                raise
            # Docker 20.10 keeps a count of a network's endpoints beside the endpoints, and has been seen to lose count
            # when a region's containers were killed and started; it counts anew only when it starts (moby 42119).
            raise RuntimeFailed(
                f"{error}, but no container is in it: the engine has lost count of its endpoints. Restart the engine, "
                f"then: blackstart cluster down {cluster_id}"
            ) from error

    def _gone(self, remove: Callable[..., Any], name: str, **options: Any) -> None:
        """Remove something, waiting where somebody else is just doing the same; no error where it does not exist."""
        import docker.errors

        deadline = time.monotonic() + STOPPED_TIMEOUT_S
        while True:
            try:
                remove(name, **options)
                return
            except docker.errors.NotFound:
                return
            except docker.errors.APIError as error:
                # In use, in progress, active endpoints: the engine lags behind what it has already accepted.
                if time.monotonic() > deadline:
                    raise RuntimeFailed(f"{name} cannot be removed: {error.explanation}") from error
                time.sleep(POLL_S * 5)
