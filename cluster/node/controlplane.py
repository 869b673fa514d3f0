"""The role ``autoadmin``: the control plane, with the replica of the system group beneath it."""

from __future__ import annotations

from typing import Any

from cluster.node.autoadmin import AutoAdmin
from cluster.node.config import NodeConfig
from cluster.node.groups import GroupServices
from cluster.node.host import Host
from cluster.node.rpc import Rpc
from cluster.node.world import World


class ControlPlaneNode:
    """A host of replicas whose one group is the system group."""

    def __init__(self, world: World, config: NodeConfig, rpc: Rpc) -> None:
        self.host = Host(world, config, rpc)
        self.services = GroupServices(self.host)
        self.admin = AutoAdmin(world, config, rpc, self.host)

    async def start(self) -> None:
        await self.host.start()
        self.services.start()
        await self.admin.start()

    async def stop(self) -> None:
        await self.host.stop()

    def status(self) -> dict[str, Any]:
        host = self.host
        return {
            "incarnation": host.superblock.incarnation,
            "disk": host.disk,
            "replicas": self.services.status(),
            **self.admin.status(),
        }
