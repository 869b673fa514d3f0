"""The helper container: host operations for users who are in the docker group but not root.

It shares the host's process ids, network and devices, holds the capabilities it needs by name (``--privileged`` is
refused by some kernels) and listens on a socket in the cluster's state directory that only the user may open.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from cluster.runtime import state
from cluster.runtime.base import POLL_S, RuntimeFailed
from cluster.runtime.engine import labels
from cluster.runtime.host import SOCKET, DirectHost, Host, HostError, SocketHost, is_root

START_TIMEOUT_S = 20.0
CAPABILITIES = ["SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE"]
"""Mount and file-system ioctls; interfaces and nftables; entering the nodes' namespaces."""

DEVICES = ["b 7:* rmw", "c 10:237 rmw"]
"""Loop devices and their control."""


def host_for(api: Any, cluster_id: str, image: Any) -> Host:
    """Direct operations for root; else those of the cluster's helper, started if it is not there.

    ``image`` is called for the helper image's tag only where one has to be started.
    """
    if is_root():
        return DirectHost()
    directory = state.clusters() / cluster_id
    directory.mkdir(mode=0o700, exist_ok=True)
    host = SocketHost(directory / SOCKET)
    if not answers(host):
        start(api, cluster_id, directory, image())
        wait_for(api, cluster_id, host)
    return host


def answers(host: Host) -> bool:
    """Whether the helper is there."""
    try:
        host.call("hello")
    except HostError:
        return False
    return True


def start(api: Any, cluster_id: str, directory: Path, image: str) -> None:
    """Start the helper container, replacing a dead one."""
    import docker.errors

    name = f"{cluster_id}-helper"
    try:
        api.remove_container(name, force=True)
    except docker.errors.NotFound:
        pass
    bind = {str(path): {"bind": str(path), "mode": "rw"} for path in (directory, Path("/dev"), Path("/sys/fs/cgroup"))}
    settings = api.create_host_config(
        binds=bind,
        pid_mode="host",
        network_mode="host",
        cap_add=CAPABILITIES,
        security_opt=["seccomp=unconfined", "apparmor=unconfined"],
        device_cgroup_rules=DEVICES,
    )
    # The host's cgroup namespace: paths in /proc/PID/cgroup must mean the same inside. The client has no option for it.
    settings["CgroupnsMode"] = "host"
    owner = f"{os.getuid()}:{os.getgid()}"
    made = api.create_container(
        image,
        command=["python", "/opt/blackstart/hostops.py", "--listen", str(directory / SOCKET), "--owner", owner],
        name=name,
        labels=labels(cluster_id) | {"blackstart.role": "helper"},
        host_config=settings,
    )
    api.start(made["Id"])


def wait_for(api: Any, cluster_id: str, host: Host) -> None:
    """Until the helper answers; raises :class:`RuntimeFailed` with its last words."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while not answers(host):
        running = api.inspect_container(f"{cluster_id}-helper")["State"]["Running"]
        if not running or time.monotonic() > deadline:
            words = api.logs(f"{cluster_id}-helper", tail=10).decode(errors="replace")
            raise RuntimeFailed(f"the helper container for host operations does not work\n{words}")
        time.sleep(POLL_S)
