"""A router's cache of secrets, statically stable: it outlives the identity service [P22 §6.5].

A cached result is refreshed in the background and kept in use, for a stated extended time, while identity cannot be
reached. Only a caller whose key this router has never seen is hurt by an outage.
"""

from __future__ import annotations

from dataclasses import dataclass

from cluster.node.config import NodeConfig
from cluster.node.rpc import Rpc, RpcError
from cluster.node.world import World

REFRESH_AFTER_S = 30.0
KEEP_FOR_S = 12 * 3600.0
"""How long a result is used with identity away."""

UNKNOWN_FOR_S = 5.0
"""How long "no such key" is believed, so that a wrong key cannot be used to hammer identity."""

CALL_TIMEOUT_S = 0.4
CACHED_KEYS_MAX = 10_000


class NotAtHand(Exception):
    """Nothing that may still be used is cached for ``access_key``."""

    def __init__(self, access_key: str) -> None:
        super().__init__(access_key)
        self.access_key = access_key


class IdentityUnavailable(Exception):
    """No identity node answered, and nothing is cached for this key."""


@dataclass(slots=True)
class _Entry:
    secret: str | None
    fetched: float
    refreshing: bool = False


class Credentials:
    """Secrets by access key."""

    def __init__(self, world: World, config: NodeConfig, rpc: Rpc) -> None:
        self._world = world
        self._rpc = rpc
        self._nodes = [peer.name for peer in config.of_role("identity", near=config.az)]
        self._entries: dict[str, _Entry] = {}

    def at_hand(self, access_key: str) -> str | None:
        """The secret, or None for a key that identity does not know; raises :class:`NotAtHand` where identity must be
        asked. Starts a refresh in the background when one is due."""
        entry = self._entries.get(access_key)
        if entry is None:
            raise NotAtHand(access_key)
        age_s = self._world.now() - entry.fetched
        if age_s > KEEP_FOR_S or (entry.secret is None and age_s >= UNKNOWN_FOR_S):
            raise NotAtHand(access_key)
        if entry.secret is not None and age_s > REFRESH_AFTER_S and not entry.refreshing:
            entry.refreshing = True
            self._world.spawn(self._refresh(access_key, entry), "credentials-refresh")
        return entry.secret

    async def fetch(self, access_key: str) -> None:
        """Ask identity, nearest zone first. Raises :class:`IdentityUnavailable`."""
        for node in self._nodes:
            try:
                secret = await self._rpc.call(node, "secret", access_key, CALL_TIMEOUT_S)
            except RpcError:
                continue
            if len(self._entries) >= CACHED_KEYS_MAX:
                self._entries.clear()
            self._entries[access_key] = _Entry(secret, self._world.now())
            return
        raise IdentityUnavailable(access_key)

    async def _refresh(self, access_key: str, entry: _Entry) -> None:
        try:
            await self.fetch(access_key)
        except IdentityUnavailable:
            await self._world.sleep(5.0)
        finally:
            entry.refreshing = False
