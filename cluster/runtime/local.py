"""Clusters without a container engine: every node a process in its own network and mount namespace.

A node is started through a small shell launcher that waits until the host has plugged the node's interface into the
bridge, configures it, mounts the node's disk in a mount namespace of its own and becomes the node program. Nothing has
a name in the host's file system: when the node's process ends, the kernel takes its namespaces, its interface, its
sockets and its mount away, as a power cut would. What finds a node again is its cgroup, ``blackstart/<id>/<node>``.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cluster
from cluster.runtime import processes, state
from cluster.runtime.base import (
    HTTP_PORT,
    MOUNT_OPTIONS,
    NODE_PROGRAM,
    READY_TIMEOUT_S,
    Client,
    Cluster,
    NodeFailed,
    NoSuchCluster,
    Process,
    Progress,
    Runtime,
    RuntimeFailed,
    tail,
)
from cluster.runtime.disks import make_disks
from cluster.runtime.host import DirectHost, HostError, is_root
from cluster.runtime.state import ClusterState
from cluster.topology import Topology

PARENT = "blackstart"
FORWARDER = "forwarder"
TOOLS = {"unshare": "util-linux", "mount": "mount", "ip": "iproute2", "mkfs.ext4": "e2fsprogs", "nft": "nftables"}
SPAWN_TIMEOUT_S = 15.0

LAUNCHER = """\
set -e
while read -r _ _ _ _ point rest; do
  case "$rest" in *" - ext4 /dev/loop"*) umount -l "$(printf %b "$point")" || true ;; esac
done < /proc/self/mountinfo
IFS= read -r go
test "$go" = go
echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6
printf 'link set lo up\\naddr add %s/24 dev eth0\\nlink set eth0 up\\n' "$BS_ADDRESS" | ip -batch -
test -z "$BS_DEVICE" || mount -t ext4 -o "$BS_MOUNT" "$BS_DEVICE" "$BS_DATA"
unset BS_ADDRESS BS_DEVICE BS_DATA BS_MOUNT
exec "$@" < /dev/null
"""
"""The loop first lets go of what the new mount namespace copied from the host: the volumes of somebody's containers. A
copy would keep their file systems alive after their power-off, and their nodes from ever mounting them again."""


@dataclass(frozen=True, slots=True)
class Launch:
    """A process to be started in namespaces of its own; ``name`` is also its cgroup's."""

    name: str
    address: str
    argv: tuple[str, ...]
    log: Path
    device: str = ""
    data: str = ""
    mount: str = ""
    env: tuple[tuple[str, str], ...] = ()


def cgroup_of(cluster_id: str, name: str = "") -> Path:
    """The cgroup of a cluster, or of one of its processes."""
    root = processes.freezer_root()
    if root is None:
        raise RuntimeFailed(f"no cgroup file system with a freezer is mounted under {processes.CGROUPS}")
    return root / PARENT / cluster_id / name


def mac_of(address: str) -> str:
    """A hardware address that follows from the IP address, so that peers' neighbour tables outlive a restart."""
    return "02:42:" + ":".join(f"{int(part):02x}" for part in address.split("."))


def program(argv: Sequence[str]) -> tuple[str, ...]:
    """``argv`` with ``python`` replaced by the interpreter that runs us."""
    return (sys.executable, *argv[1:]) if argv[0] == "python" else tuple(argv)


def oldest(pids: Iterable[int]) -> Process | None:
    """The process that has run longest: the node itself, whatever was put into its cgroup later (a stressor, say)."""
    alive = [Process(pid, started) for pid in pids if (started := processes.start_time(pid)) is not None]
    return min(alive, key=lambda p: (p.started, p.pid), default=None)


class LocalClient:
    """A program in the zone's client range; a child of this process."""

    def __init__(self, launch: Launch, az: str, child: subprocess.Popen[bytes], cgroup: Path) -> None:
        self.name = launch.name
        self.az = az
        self.address = launch.address
        self.log = launch.log
        self._child = child
        self._cgroup = cgroup

    def pid(self) -> int | None:
        return None if self.poll() is not None else self._child.pid

    def poll(self) -> int | None:
        code = self._child.poll()
        if code is not None:
            with contextlib.suppress(OSError):  # not empty: it left children, which end with the cluster
                self._cgroup.rmdir()
        return code

    def wait(self, timeout_s: float) -> int:
        try:
            self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{self.name} still runs after {timeout_s:g} s") from None
        code = self.poll()
        assert code is not None
        return code

    def terminate(self) -> None:
        self._child.terminate()

    def kill(self) -> None:
        self._child.kill()


class LocalCluster(Cluster):
    """A cluster of processes in namespaces."""

    kind = "local"

    def __init__(self, record: ClusterState) -> None:
        super().__init__(record, DirectHost())
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def process(self, name: str) -> Process | None:
        child = self._children.get(name)
        if child is not None and child.poll() is not None:
            del self._children[name]
        return oldest(processes.members(cgroup_of(self.id, name)))

    def boot(
        self, names: Sequence[str], *, timeout_s: float = READY_TIMEOUT_S, progress: Progress | None = None
    ) -> None:
        self.check_names(names)
        off = [name for name in names if self.process(name) is None]
        devices = [disk.device for name in off if (disk := self.nodes[name].disk) is not None]
        self.host.call("wait_unmounted", devices=devices)
        marks = self.events_mark(off)
        self._children |= self.spawn([self._launch(name) for name in off])
        self.wait_ready(marks, timeout_s=timeout_s, progress=progress)

    def _launch(self, name: str) -> Launch:
        node = self.nodes[name]
        argv = (*program(self.state.command or NODE_PROGRAM), "--config", str(self.state.config_of(name)))
        if node.disk is None:
            return Launch(name, node.address, argv, node.errors)
        mount = MOUNT_OPTIONS
        return Launch(name, node.address, argv, node.errors, node.disk.device, node.data, mount)

    def spawn(self, launches: Sequence[Launch]) -> dict[str, subprocess.Popen[bytes]]:
        """Start the processes at once, plug them in and let them go."""
        cgroups = {item.name: cgroup_of(self.id, item.name) for item in launches}
        self.host.call("make_cgroups", paths=[str(path) for path in cgroups.values()])
        children = {item.name: self._fork(item, cgroups[item.name]) for item in launches}
        try:
            self._wait_unshared(children, {item.name: item.log for item in launches})
            # Fresh names: the interface of a node that just ended may not have vanished yet.
            ports = [
                {
                    "pid": children[item.name].pid,
                    "veth": f"{self.id}-{os.urandom(3).hex()}",
                    "mac": mac_of(item.address),
                }
                for item in launches
            ]
            self.host.call("attach_ports", bridge=self.bridge, ports=ports)
            for child in children.values():
                assert child.stdin is not None
                with child.stdin:
                    child.stdin.write(b"go\n")
        except BaseException:
            for child in children.values():
                child.kill()
                child.wait()
            raise
        return children

    def _fork(self, item: Launch, cgroup: Path) -> subprocess.Popen[bytes]:
        home = str(Path(cluster.__file__).resolve().parents[1])
        env = {"PATH": os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin", "LANG": "C.UTF-8", "PYTHONPATH": home}
        env["PYTHONSAFEPATH"] = "1"  # another checkout in the directory that we were called from is not the code to run
        env |= dict(item.env) | {"BS_ADDRESS": item.address, "BS_DEVICE": item.device, "BS_DATA": item.data}
        env["BS_MOUNT"] = item.mount
        if item.data:
            Path(item.data).mkdir(exist_ok=True)
        launcher = ["unshare", "--net", "--mount", "--propagation", "private", "/bin/sh", "-c", LAUNCHER, "launcher"]
        with item.log.open("ab") as log:
            child = subprocess.Popen(
                [*launcher, *item.argv], stdin=subprocess.PIPE, stdout=log, stderr=log, env=env, start_new_session=True
            )
        (cgroup / "cgroup.procs").write_text(str(child.pid))
        return child

    def _wait_unshared(self, children: Mapping[str, subprocess.Popen[bytes]], logs: Mapping[str, Path]) -> None:
        """Until every child has left our network namespace: an interface given to it earlier would land in ours."""
        own = Path("/proc/self/ns/net").readlink()
        deadline = time.monotonic() + SPAWN_TIMEOUT_S
        for name, child in children.items():
            while True:
                with contextlib.suppress(OSError):
                    if Path(f"/proc/{child.pid}/ns/net").readlink() != own:
                        break
                if child.poll() is not None or time.monotonic() > deadline:
                    raise NodeFailed(f"{name} could not be given namespaces of its own\n{tail(logs[name])}")
                time.sleep(0.001)

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
        # The mounts need nothing done: the program sees the host's files under the same paths.
        with state.lock():
            name, address = self._free_client(az, canary)
            launch = Launch(
                name, address, program(argv), log or self.state.events / f"{name}.log", env=tuple((env or {}).items())
            )
            child = self.spawn([launch])[name]
        return LocalClient(launch, az, child, cgroup_of(self.id, name))

    def _free_client(self, az: str, canary: bool) -> tuple[str, str]:
        places = self.client_places(az, canary=canary)
        for name, address in places:
            if not processes.members(cgroup_of(self.id, name)):
                return name, address
        raise RuntimeFailed(
            f"zone {az} already has {len(places)} {'canaries' if canary else 'clients'}; there are no more addresses"
        )

    def start_forwarder(self) -> None:
        """Publish every zone's router on its port of loopback."""
        routers = {}
        for az in self.endpoints:
            router, port = self.state.published_router(az), self.state.port_of(az)
            assert router is not None
            routers[str(port)] = f"{router.address}:{HTTP_PORT}"
        cgroup = cgroup_of(self.id, FORWARDER)
        self.host.call("make_cgroups", paths=[str(cgroup)])
        source = Path(__file__).with_name("forwarder.py")
        with (self.state.events / "forwarder.err").open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-I", str(source), json.dumps(routers)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        (cgroup / "cgroup.procs").write_text(str(child.pid))
        self._children[FORWARDER] = child
        assert child.stdout is not None
        with child.stdout:
            if not child.stdout.readline():
                raise RuntimeFailed(f"the forwarder ended\n{tail(self.state.events / 'forwarder.err')}")

    def down(self) -> None:
        self.host.close()
        LocalRuntime().remove(self.id)
        for child in self._children.values():
            child.wait()
        self._children.clear()


class LocalRuntime(Runtime):
    """Namespaces, loop devices and a bridge: wants root, and nothing that is not in Debian's base packages."""

    kind = "local"

    def missing(self) -> str | None:
        if not is_root():
            return "it makes network namespaces and loop devices and wants root; run it with sudo, or install Docker"
        absent = [tool for tool in TOOLS if shutil.which(tool, path=os.environ.get("PATH", "") + ":/usr/sbin") is None]
        if absent:
            packages = " ".join(sorted({TOOLS[tool] for tool in absent}))
            return f"{', '.join(absent)} not found; apt-get install -y {packages}"
        if processes.freezer_root() is None:
            return f"no cgroup file system with a freezer is mounted under {processes.CGROUPS}"
        if not Path("/dev/loop-control").exists():
            return "/dev/loop-control does not exist; 'modprobe loop' makes it"
        return None

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
    ) -> LocalCluster:
        plants = None if plant_path is None else plant_path.resolve()
        record = state.create(
            self.kind,
            topology,
            cluster_id=cluster_id,
            plant=plant,
            plant_path=plants,
            labels=labels,
            command=command or (),
        )
        try:
            return self._build(record, progress)
        except BaseException:
            with contextlib.suppress(HostError):
                self.remove(record.id)
            raise

    def _build(self, record: ClusterState, progress: Progress | None) -> LocalCluster:
        host = DirectHost()
        state.write_configs(record, plant_path=None if record.plant_path is None else str(record.plant_path))
        host.call("make_bridge", name=record.bridge, address=f"{record.gateway}/24", comment=f"blackstart:{record.id}")
        record = make_disks(record, host, owner=(0, 0))
        if progress is not None:
            progress("disks", len(record.nodes), len(record.nodes))
        made = LocalCluster(record)
        made.start_forwarder()
        made.boot(list(made.nodes), progress=progress)
        return made

    def attach(self, cluster_id: str) -> LocalCluster:
        record = state.load(cluster_id)
        if record is None or record.kind != self.kind:
            raise NoSuchCluster(f"there is no local cluster {cluster_id} here")
        return LocalCluster(record)

    def list_clusters(self) -> list[str]:
        root = cgroup_of("").parent
        running = {p.name for p in root.iterdir() if state.is_id(p.name)} if root.is_dir() else set()
        return sorted(running | {known for known in state.known_ids() if state.kind_of(known) == self.kind})

    def remove(self, cluster_id: str) -> None:
        if state.kind_of(cluster_id) not in {None, self.kind}:
            return
        host = DirectHost()
        group = cgroup_of(cluster_id)
        host.call("remove_cgroups", root=str(group))
        with contextlib.suppress(OSError):
            group.parent.rmdir()
        host.call("remove_bridge", name=cluster_id, comment=f"blackstart:{cluster_id}")
        directory = state.clusters() / cluster_id
        host.call("release_disks", directory=str(directory / "disks"))
        shutil.rmtree(directory, ignore_errors=True)
