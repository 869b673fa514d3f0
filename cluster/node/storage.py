"""The storage node: very many replicas, one log, commands for the groups it leads and reads for all it holds."""

from __future__ import annotations

from typing import Any

from cluster.core.commands import Command
from cluster.node.archiver import Archiver
from cluster.node.backfill import Backfills
from cluster.node.config import NodeConfig
from cluster.node.groups import GroupServices
from cluster.node.host import Host
from cluster.node.indexrows import IndexRows
from cluster.node.propagate import Propagator
from cluster.node.rangereads import RangeReads
from cluster.node.rpc import Responder, Rpc
from cluster.node.scrubber import Scrubber
from cluster.node.shapes import ShapeServices
from cluster.node.transacting import Transacting
from cluster.node.ttl import Expirer
from cluster.node.world import World


class StorageNode:
    """The role ``storage``."""

    def __init__(self, world: World, config: NodeConfig, rpc: Rpc) -> None:
        self.host = Host(world, config, rpc)
        self.services = GroupServices(self.host)
        self.ranges = RangeReads(self.host)
        ShapeServices(self.host)
        self.propagator = Propagator(self.host)
        self.index_rows = IndexRows(self.host)
        self.backfills = Backfills(self.host)
        self.scrubber = Scrubber(self.host)
        self.archiver = None if world.objects is None or config.archive is None else Archiver(self.host, world.objects)
        self._expirer = Expirer(self.host)
        Transacting(self.host)
        self._commands = 0
        rpc.register("command", self._command, tuple[str, Command])

    async def start(self) -> None:
        await self.host.start()
        self.services.start()
        self._expirer.start()
        self.scrubber.start()
        if self.archiver is not None:
            self.archiver.start()

    async def stop(self) -> None:
        await self.host.stop()

    def status(self) -> dict[str, Any]:
        return {
            "incarnation": self.host.superblock.incarnation,
            "disk": self.host.disk,
            "commands": self._commands,
            "expired_items": self._expirer.expired,
            "replicas": self.services.status(),
            "scrub": self.scrubber.status(),
            "archived": self.archiver.status() if self.archiver is not None else None,
        }

    def _command(self, sender: str, params: tuple[str, Command], responder: Responder) -> None:
        group, command = params
        self._commands += 1
        replica = self.host.replicas.get(group)
        if replica is None or not replica.spec.holds(command.key):
            responder.refuse("no-replica", group)
            return

        def done(code: str, result: Any) -> None:
            if not code:
                responder.reply(result)
            elif code == "not-leader":
                leader = replica.group.leader
                responder.refuse(code, leader.node if leader is not None else "")
            else:
                responder.refuse(code, result)

        if command.kind == "get" and not command.consistent:
            replica.read(command, done)
        else:
            replica.execute(command, done)
