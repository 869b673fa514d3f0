"""How the system group comes to be, once, and how a control-plane node that lost its disk does not found a second one.

The first control-plane node by name founds it: when every one of the others answers that it holds nothing, or only the
untouched beginnings of this same attempt, it has each create its replica and creates its own last. If any of them has a
system group that was ever used, then this node's empty disk means amnesia, and it waits to be taken in as a learner.
"""

from __future__ import annotations

from cluster.core.config import Configuration, Member
from cluster.node.catalog import SYSTEM_GROUP
from cluster.node.config import NodeConfig
from cluster.node.host import Host, Spec
from cluster.node.rpc import Rpc, RpcError
from cluster.node.world import World

RETRY_S = 0.1
CALL_TIMEOUT_S = 0.5

EMPTY, INITIAL, USED = "empty", "initial", "used"


class Bootstrap:
    """Founds the system group when it is this node's turn."""

    def __init__(self, world: World, config: NodeConfig, rpc: Rpc, host: Host) -> None:
        self._world = world
        self._config = config
        self._rpc = rpc
        self._host = host
        self._admins = config.of_role("autoadmin")
        rpc.register("system-state", lambda sender, params, responder: responder.reply(self._state()))
        rpc.register_async("system-create", self._create)

    async def run(self) -> None:
        while self._state() == EMPTY:
            founder = self._admins[0].name == self._config.name
            if founder and await self._others_unused() and await self._create_everywhere():
                self._world.event("system-group-founded", members=[peer.name for peer in self._admins])
                self._host.replicas[SYSTEM_GROUP].campaign()
                return
            await self._world.sleep(RETRY_S)

    def _state(self) -> str:
        replica = self._host.replicas.get(SYSTEM_GROUP)
        if replica is None:
            return EMPTY
        return USED if replica.ever_used else INITIAL

    async def _others_unused(self) -> bool:
        for peer in self._admins[1:]:
            try:
                state = await self._rpc.call(peer.name, "system-state", None, CALL_TIMEOUT_S)
            except RpcError:
                return False
            if state not in (EMPTY, INITIAL):
                return False
        return True

    async def _create_everywhere(self) -> bool:
        for peer in self._admins[1:]:
            try:
                await self._rpc.call(peer.name, "system-create", None, CALL_TIMEOUT_S)
            except RpcError as error:
                if error.code != "lost-votes":  # it was there, and the others will replace it
                    return False
        try:
            await self._create(self._config.name, None)
        except RpcError:
            return False  # lost votes: the others found the group by themselves
        return True

    async def _create(self, sender: str, params: object) -> None:
        if sender != self._admins[0].name:
            raise RpcError("forbidden", "only the first control-plane node founds the system group")
        if self._state() != EMPTY:
            return
        members = tuple(Member(n, p.name, p.az, p.rack) for n, p in enumerate(self._admins, start=1))
        mine = next(member for member in members if member.node == self._config.name)
        spec = Spec(SYSTEM_GROUP, "", b"", b"", mine.replica, Configuration(members))
        await self._host.create(spec)
