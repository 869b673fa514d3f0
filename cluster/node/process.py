"""A node's life: build the role over a World, start it, answer for its status."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Protocol

from cluster.node.config import NodeConfig
from cluster.node.rpc import Responder, Rpc
from cluster.node.world import DiskFailed, World


class Role(Protocol):
    """What every role offers."""

    async def start(self) -> None: ...

    async def stop(self) -> None:
        """Prepare for a clean end; a role that is not stopped loses nothing either."""

    def status(self) -> dict[str, Any]: ...


# By name, so that a node loads the code of its own role only: a cluster starts dozens of them at once.
ROLES: dict[str, tuple[str, str]] = {
    "storage": ("cluster.node.storage", "StorageNode"),
    "router": ("cluster.node.router", "Router"),
    "memds": ("cluster.node.memds", "MemDS"),
    "autoadmin": ("cluster.node.controlplane", "ControlPlaneNode"),
    "gac": ("cluster.node.gac", "GlobalAdmissionControl"),
    "identity": ("cluster.node.identity", "IdentityService"),
    "archive": ("cluster.node.objectstore", "ObjectStoreNode"),
}


class Node:
    """One node of whatever role. ``usage`` reports what the process has used; only a real one can say."""

    def __init__(self, world: World, config: NodeConfig, usage: Any = dict) -> None:
        if config.role not in ROLES:
            raise ValueError(f"node configuration: role {config.role!r} is none of {', '.join(ROLES)}")
        self.world = world
        self.config = config
        self.rpc = Rpc(world)
        self._usage = usage
        self._started_at = world.now()
        module, name = ROLES[config.role]
        self.role: Role = getattr(import_module(module), name)(world, config, self.rpc)
        self.rpc.register("status", self._status)

    async def run(self) -> None:
        """Start the role; returns once it serves."""
        try:
            await self.role.start()
        except DiskFailed as error:
            self.world.exit(f"the disk failed at the start: {error}")
        self.world.event("ready", role=self.config.role)

    async def stop(self) -> None:
        await self.role.stop()

    def _status(self, sender: str, params: Any, responder: Responder) -> None:
        config = self.config
        responder.reply(
            {
                "name": config.name,
                "role": config.role,
                "az": config.az,
                "rack": config.rack,
                "cluster": config.cluster,
                "uptime_s": self.world.now() - self._started_at,
                "malformed": self.rpc.malformed,
                "plant": config.plant,
                "replicas": [],
                **self._usage(),
                **self.role.status(),
            }
        )
