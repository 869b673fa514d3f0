"""Running clusters on this machine: start one, look into it, break it, take it down.

``choose(None).up(topology)`` is all it takes. :mod:`cluster.runtime.base` says what a cluster, a node and a client are;
:mod:`cluster.runtime.hostops` is the complete list of what is done with privilege.
"""

from __future__ import annotations

from cluster.runtime.base import (
    HTTP_PORT,
    PEER_PORT,
    Client,
    Cluster,
    Node,
    NodeFailed,
    NoSuchCluster,
    Process,
    Progress,
    Runtime,
    RuntimeFailed,
    RuntimeUnusable,
)
from cluster.runtime.host import Host, HostError
from cluster.runtime.state import Disk

KINDS = ("docker", "local")

__all__ = [
    "HTTP_PORT",
    "KINDS",
    "PEER_PORT",
    "Client",
    "Cluster",
    "Disk",
    "Host",
    "HostError",
    "NoSuchCluster",
    "Node",
    "NodeFailed",
    "Process",
    "Progress",
    "Runtime",
    "RuntimeFailed",
    "RuntimeUnusable",
    "attach",
    "choose",
    "list_clusters",
    "remove",
    "runtime_of_kind",
]


def runtime_of_kind(kind: str) -> Runtime:
    """The runtime of that name, whether or not it can be used here. Imports are late: docker's take a second."""
    if kind == "docker":
        from cluster.runtime.docker import DockerRuntime

        return DockerRuntime()
    if kind == "local":
        from cluster.runtime.local import LocalRuntime

        return LocalRuntime()
    raise RuntimeFailed(f"there is no runtime '{kind}'; the runtimes are {', '.join(KINDS)}")


def choose(kind: str | None = None) -> Runtime:
    """The runtime asked for, or by default docker where an engine answers, else local.

    Raises :class:`RuntimeFailed` that says what is missing where it cannot be used (:class:`RuntimeUnusable` for one
    that was asked for).
    """
    reasons = []
    for candidate in KINDS if kind is None else (kind,):
        runtime = runtime_of_kind(candidate)
        missing = runtime.missing()
        if missing is None:
            return runtime
        if kind is not None:
            raise RuntimeUnusable(f"the runtime {kind} cannot be used here: {missing}")
        reasons.append(f"{candidate}: {missing}")
    raise RuntimeFailed("\n".join(["no runtime can be used here", *reasons]))


def usable() -> list[Runtime]:
    """Every runtime that can be used here."""
    return [runtime for kind in KINDS if (runtime := runtime_of_kind(kind)).missing() is None]


def list_clusters() -> dict[str, str]:
    """Cluster id to kind, for every cluster of which this machine has a trace; ``unknown`` for a damaged record."""
    from cluster.runtime import state

    found = {cluster_id: runtime.kind for runtime in usable() for cluster_id in runtime.list_clusters()}
    recorded = {cluster_id: state.kind_of(cluster_id) or "unknown" for cluster_id in state.known_ids()}
    return dict(sorted((recorded | found).items()))


def attach(cluster_id: str) -> Cluster:
    """A cluster that another process started, of whichever kind. Raises :class:`NoSuchCluster`."""
    from cluster.runtime import state

    record = state.load(cluster_id) if state.is_id(cluster_id) else None
    if record is None:
        known = ", ".join(state.known_ids()) or "none"
        where = f"under {state.clusters()}; known there: {known}"
        raise NoSuchCluster(f"there is no record of a cluster {cluster_id} {where}")
    return choose(record.kind).attach(cluster_id)


def remove(cluster_id: str) -> None:
    """Remove everything that bears this id, of whichever kind, from whatever trace is left. Idempotent.

    Raises :class:`RuntimeFailed` where the runtime that made it cannot be used now (its engine is stopped, say).
    """
    from cluster.runtime import state

    kind = state.kind_of(cluster_id)
    if kind is not None:
        choose(kind).remove(cluster_id)
        return
    for runtime in usable():
        runtime.remove(cluster_id)
