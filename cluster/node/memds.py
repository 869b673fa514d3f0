"""MemDS: the routing map in memory, on every node of its fleet, for every lookup of every router [P22 §6.6].

It is a cache without an origin of its own: the control plane pushes tables, storage nodes push membership, and a node
that starts empty asks both. Losing one costs nothing but its share of the lookups.
"""

from __future__ import annotations

from typing import Any

import msgspec

from cluster.core.routing import RoutingMap, Standing, Table
from cluster.node.config import NodeConfig
from cluster.node.pace import until_next_turn
from cluster.node.rpc import Responder, Rpc, RpcError
from cluster.node.world import World

_export = msgspec.msgpack.Decoder(tuple[int, list[Table] | None])

PULL_INTERVAL_S = 5.0
"""A push can be lost; a pull this often repairs it. It also makes the load on the sources constant."""
COLD_RETRY_S = 0.2
"""Between two attempts of a node that has no map yet."""


class MemDS:
    """The role ``memds``."""

    def __init__(self, world: World, config: NodeConfig, rpc: Rpc) -> None:
        self.world = world
        self.config = config
        self.rpc = rpc
        self.map = RoutingMap()
        self.lookups = 0
        rpc.register("lookup", self._lookup, list[tuple[str, bytes]])
        rpc.register("table", self._table, str)
        rpc.register("tables", self._tables)
        rpc.register("install", self._install, tuple[int, list[Table]])
        rpc.register("standing", self._standing, list[tuple[str, Standing]])
        rpc.register("map", self._map)

    async def start(self) -> None:
        self.world.spawn(self._pull_forever(), "memds-pull")

    async def stop(self) -> None:
        """Nothing is kept that would have to be saved."""

    def status(self) -> dict[str, Any]:
        return {"version": self.map.version, "tables": len(self.map.tables), "lookups": self.lookups}

    def _lookup(self, sender: str, keys: list[tuple[str, bytes]], responder: Responder) -> None:
        """Every key is looked up, whoever else asked for the like; the answer names each partition found once."""
        self.lookups += len(keys)
        floor, found = self.map.floor, {}
        for table, key in keys:
            partition = floor(table, key)
            if partition is not None and partition.group not in found:
                found[partition.group] = (table, self.map.route_of(partition))
        responder.reply((self.map.version, list(found.values())))

    def _table(self, sender: str, name: str, responder: Responder) -> None:
        table = self.map.tables.get(name)
        if self.map.version < 0:
            responder.refuse("cold", "this MemDS node has no map yet")
        else:
            responder.reply((self.map.version, table))

    def _tables(self, sender: str, params: Any, responder: Responder) -> None:
        if self.map.version < 0:
            responder.refuse("cold", "this MemDS node has no map yet")
        else:
            responder.reply([self.map.version, sorted(self.map.tables)])

    def _install(self, sender: str, params: tuple[int, list[Table]], responder: Responder) -> None:
        if not sender.startswith("autoadmin-"):
            responder.refuse("forbidden", "only the control plane installs maps")
            return
        responder.reply(self.map.install(*params))

    def _standing(self, sender: str, params: list[tuple[str, Standing]], responder: Responder) -> None:
        for group, standing in params:
            self.map.observe(group, standing)

    def _map(self, sender: str, params: Any, responder: Responder) -> None:
        responder.reply(map_document(self.map))

    async def _pull_forever(self) -> None:
        sources = [peer.name for peer in self.config.of_role("autoadmin", near=self.config.az)]
        at = 0
        while True:
            try:
                version, tables = await self.rpc.start(
                    sources[at % len(sources)], "export", self.map.version, 1.0, _export
                )
                if tables is not None:
                    self.map.install(version, tables)
            except RpcError:
                at += 1
            if self.map.version >= 0:
                await until_next_turn(self.world, PULL_INTERVAL_S)
            else:
                await self.world.sleep(COLD_RETRY_S)


def map_document(routing: RoutingMap) -> dict[str, Any]:
    """The map as the controller and its tools read it."""
    tables = []
    for table in routing.tables.values():
        partitions = []
        for partition in table.partitions:
            route = routing.route_of(partition)
            members = [member._asdict() for member in routing.members(partition)]
            partitions.append(
                {"group": partition.group, "start": partition.start, "end": partition.end,
                 "members": members, "leader": route.leader}
            )  # fmt: skip
        tables.append({"name": table.name, "id": table.id, "status": table.status, "partitions": partitions})
    return {"version": routing.version, "tables": tables}
