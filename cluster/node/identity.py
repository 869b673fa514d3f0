"""The identity service (IAM in small): access keys and their secrets, one node a zone.

Routers cache what it answers and go on with it while it is away (static stability, P22 §6.5), so that it may be killed.
"""

from __future__ import annotations

from typing import Any

from cluster.node.config import NodeConfig
from cluster.node.rpc import Responder, Rpc
from cluster.node.world import World


class IdentityService:
    """The role ``identity``."""

    def __init__(self, world: World, config: NodeConfig, rpc: Rpc) -> None:
        self._secrets = {config.identity.access_key: config.identity.secret_key} if config.identity else {}
        self._asked = 0
        rpc.register("secret", self._secret, str)

    async def start(self) -> None:
        """Nothing to do: it serves from memory."""

    async def stop(self) -> None:
        """Nothing is kept that would have to be saved."""

    def status(self) -> dict[str, Any]:
        return {"keys": len(self._secrets), "asked": self._asked}

    def _secret(self, sender: str, access_key: str, responder: Responder) -> None:
        self._asked += 1
        if not sender.startswith("router-"):
            responder.refuse("forbidden", "secrets are handed to routers only")
        else:
            responder.reply(self._secrets.get(access_key))
