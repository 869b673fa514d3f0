"""A miniature cluster, how to talk to its nodes, and how to find what is left of one."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from cluster import topology
from cluster.runtime import Cluster, engine, hostops, processes

HERE = Path(__file__).resolve().parent
STAND_IN = HERE / "stand_in.py"

TINY = topology.parse(
    """
name: tiny
zones:
  a: {a1: {storage: 1, router: 1}, a2: {storage: 1}}
  b: {b1: {storage: 1, router: 1}}
disks: {storage: 32M}
"""
)


def command(kind: str) -> list[str]:
    """The node program: containers see this directory as /plants."""
    return ["python", str(STAND_IN) if kind == "local" else "/plants/stand_in.py"]


def say(cluster: Cluster, node: str, line: str) -> str:
    """Ask the stand-in something."""
    with socket.create_connection((cluster.nodes[node].address, 7000), timeout=5) as connection:
        stream = connection.makefile("rw")
        stream.write(line + "\n")
        stream.flush()
        return stream.readline().strip()


def traces(cluster_id: str, state_home: Path) -> list[str]:
    """Everything on this machine that still bears the cluster's id."""
    found = [f"link {name}" for name in os.listdir("/sys/class/net") if name.startswith(cluster_id)]
    found += [f"loop {image}" for image in hostops.loops(str(state_home))]
    root = processes.freezer_root()
    assert root is not None
    found += [f"cgroup {path}" for path in root.glob(f"blackstart/{cluster_id}*")]
    found += [f"state {path}" for path in state_home.glob(f"blackstart/clusters/{cluster_id}")]
    found += [f"mount {line}" for line in Path("/proc/self/mountinfo").read_text().splitlines() if cluster_id in line]
    if os.geteuid() == 0 and os.path.exists("/proc/sys/net/bridge"):
        rules = hostops.run(["iptables", "-w", "-S", "FORWARD"]).splitlines()
        found += [f"rule {rule}" for rule in rules if f"blackstart:{cluster_id}" in rule]
    if engine.missing() is None:
        api, label = engine.connect(), {"label": f"{engine.LABEL}={cluster_id}"}
        found += [f"container {c['Names']}" for c in api.containers(all=True, filters=label)]
        found += [f"network {n['Name']}" for n in api.networks(filters=label)]
        found += [f"volume {v['Name']}" for v in api.volumes(filters=label)["Volumes"] or []]
    return found
