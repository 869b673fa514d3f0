"""Deploys a cluster into a simulation: the same names, roles and configurations as the other runtimes give."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from hashlib import sha256
from typing import Any, Final

from cluster.node.config import Archive, Identity, NodeConfig, Peer, Scrub, Timing
from cluster.sim import objects
from cluster.sim.simulation import Simulation
from cluster.sim.world import SimWorld

RunNode = Callable[[SimWorld, NodeConfig], Coroutine[Any, Any, Any]]
"""The main coroutine of a node of any role."""

ZONES: Final = ("a", "b", "c")
SINGLE_ROLES: Final = (("router", 1), ("memds", 1), ("identity", 1), ("autoadmin", 2), ("gac", 2))
"""Roles of which a zone has one node, with the rack it stands in."""
ACCESS_KEY: Final = "SIMULATEDACCESSKEY00"
SECRET_KEY: Final = "simulated-secret-key"


def peers(
    zones: Sequence[str] = ZONES,
    *,
    storage_per_zone: int = 2,
    roles: Sequence[str] = ("router", "memds", "identity", "autoadmin", "gac"),
    clients: bool = True,
    archive: bool = False,
) -> list[Peer]:
    """The nodes of a cluster with two racks a zone. Fewer roles make a smaller cluster, for quicker simulations."""
    found: list[Peer] = []
    for zone in zones:
        names = [(f"storage-{zone}{n}", "storage", f"{zone}{1 + (n - 1) % 2}") for n in range(1, storage_per_zone + 1)]
        names += [(f"{role}-{zone}", role, f"{zone}{rack}") for role, rack in SINGLE_ROLES if role in roles]
        if clients:
            names.append((f"client-{zone}", "client", f"{zone}1"))
        for name, role, rack in names:
            found.append(Peer(name, role, zone, rack, f"198.18.0.{16 + len(found)}"))
    if archive:
        found.append(Peer(objects.ROLE, objects.ROLE, "", "", "198.18.0.240"))
    return found


def configs(
    seed: int,
    nodes: list[Peer],
    timing: Timing | None = None,
    plant: str | None = None,
    scrub: Scrub | None = None,
    hold_bytes: int = 32 << 20,
) -> list[NodeConfig]:
    """A configuration for each node, as the deployment would write it. Where an archive is among them, storage nodes
    are told of it."""
    archive = Archive("sim://archive", hold_bytes=hold_bytes)
    archived = any(peer.role == objects.ROLE for peer in nodes)
    key = sha256(f"simulation {seed}".encode()).hexdigest()
    return [
        NodeConfig(
            cluster=f"bs{seed & 0xFFFFFF:06x}",
            region="simulated-1",
            name=peer.name,
            role=peer.role,
            az=peer.az,
            rack=peer.rack,
            listen=peer.address,
            data="",
            events="",
            key=key,
            peers=nodes,
            identity=Identity(ACCESS_KEY, SECRET_KEY) if peer.role == "identity" else None,
            timing=timing or Timing(),
            archive=archive if archived and peer.role == "storage" else None,
            scrub=scrub if scrub is not None and peer.role == "storage" else Scrub(),
            plant=plant,
        )
        for peer in nodes
    ]


def deploy(
    simulation: Simulation,
    run_node: RunNode,
    nodes: list[Peer] | None = None,
    *,
    timing: Timing | None = None,
    plant: str | None = None,
    scrub: Scrub | None = None,
    hold_bytes: int = 32 << 20,
) -> list[NodeConfig]:
    """Add and start every node but the clients, which belong to whoever simulates the load."""
    made = configs(simulation.seed, nodes if nodes is not None else peers(), timing, plant, scrub, hold_bytes)
    for config in sorted(made, key=lambda config: config.role != objects.ROLE):  # the store before those that use it
        if config.role == objects.ROLE:
            simulation.add_node(config.name, lambda world: objects.serve(world, simulation))
        elif config.role != "client":
            simulation.add_node(config.name, _factory(run_node, config))
    return made


def _factory(run_node: RunNode, config: NodeConfig) -> Callable[[SimWorld], Coroutine[Any, Any, Any]]:
    return lambda world: run_node(world, config)


def zone_of(configs: list[NodeConfig], az: str) -> list[str]:
    """Names of the nodes of one zone that are part of the cluster."""
    return [config.name for config in configs if config.az == az and config.role != "client"]
