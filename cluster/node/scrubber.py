"""The scrub of a storage node: what it answers to whoever scrubs, and its own, in the background, at a bounded rate.

Two things go round for ever. The disk: every page and every batch of the log is read past the caches
(:mod:`cluster.node.diskscrub`). And the rows: of each group that is led here the replicas are compared at a barrier,
and one that differs is healed from those that agree, and looked at again. Comparing with a copy built from the archive
is for the scrub on demand, which has the time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cluster.node.rpc import RpcError
from cluster.node.scrubbing import Difference, Scrubbed, scrub_group

if TYPE_CHECKING:
    from cluster.node.host import Host
    from cluster.node.replica import Replica

REST_S = 1.0
"""Between two rounds over the disk."""


class Scrubber:
    """See the module's text. It is its own :class:`cluster.node.scrubbing.Calls`."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._config = host.config.scrub
        self._compared: dict[str, tuple[float, int]] = {}
        """By group: when its replicas were last compared, and at which slot."""
        self.rounds = 0
        self.bytes_read = 0
        self.compared = 0
        self.found = 0
        rpc = host.rpc
        rpc.register_async("scrub-leaves", self._on_leaves, dict[str, Any])
        rpc.register_async("scrub-watch", self._on_watch, dict[str, Any])
        rpc.register_async("scrub-rows", self._on_rows, dict[str, Any])
        rpc.register_async("rebuild-replica", self._on_rebuild, dict[str, Any])

    def start(self) -> None:
        if self._config.bytes_per_s:
            self._host.world.spawn(self._read_forever(), "scrub-disk")
            self._host.world.spawn(self._compare_forever(), "scrub-rows")

    def status(self) -> dict[str, int]:
        return {
            "rounds": self.rounds,
            "bytes_read": self.bytes_read,
            "compared": self.compared,
            "found": self.found,
        }

    # --- answering ---

    def _replica(self, params: dict[str, Any]) -> Replica:
        replica = self._host.replicas.get(str(params["group"]))
        if replica is None:
            raise RpcError("no-replica", params["group"])
        return replica

    async def _on_leaves(self, sender: str, params: dict[str, Any]) -> list[tuple[int, bytes]]:
        """The digests of ranges of keys at a barrier, by the number of the range."""
        digest = self._replica(params).digests.get(int(params["slot"]))
        if digest is None:
            raise RpcError("forgotten", params["slot"])
        return list(digest.leaves.items())

    async def _on_watch(self, sender: str, params: dict[str, Any]) -> bool:
        """Keep the rows of a range at the next barriers."""
        self._replica(params).watched_leaf = int(params["leaf"])
        return True

    async def _on_rows(self, sender: str, params: dict[str, Any]) -> list[tuple[bytes, bytes]]:
        """Keys, and digests of values, of the range that was asked for, at a barrier."""
        replica = self._replica(params)
        digest = replica.digests.get(int(params["slot"]))
        if digest is None:
            raise RpcError("forgotten", params["slot"])
        replica.watched_leaf = None
        return digest.rows

    async def _on_rebuild(self, sender: str, params: dict[str, Any]) -> bool:
        """Replace this replica's B-tree by that of one of ``sources``."""
        self._host.transfer.rebuild(self._replica(params), str(params["why"]), list(params["sources"]))
        return True

    # --- as the scrubbing procedure calls others ---

    async def call(self, node: str, method: str, params: Any, timeout_s: float) -> Any:
        return await self._host.rpc.call(node, method, params, timeout_s)

    async def sleep(self, seconds: float) -> None:
        await self._host.world.sleep(seconds)

    def now(self) -> float:
        return self._host.world.now()

    # --- in the background ---

    async def _read_forever(self) -> None:
        while True:
            read = await self._host.disk_scrub.once(self._config.bytes_per_s)
            self.rounds += 1
            self.bytes_read += read["bytes"]
            await self._host.world.sleep(REST_S)

    async def _compare_forever(self) -> None:
        world = self._host.world
        # Nodes begin at different moments, or all groups would be digested at once.
        await world.sleep(world.rng.uniform(0.2, 1.0) * self._config.every_s)
        while True:
            for name, replica in sorted(self._host.replicas.items()):
                if self._host.replicas.get(name) is replica and self._due(replica):
                    await self._compare(replica)
            await world.sleep(min(REST_S, self._config.every_s))

    def _due(self, replica: Replica) -> bool:
        """Whether a group is led here, has its interval behind it, and was written since. Reading it costs its size:
        a large group is compared more rarely, so that the rate holds."""
        if not replica.serving or not replica.spec.table or replica.group.config.joint:
            return False
        name, now = replica.spec.group, self._host.world.now()
        last = self._compared.get(name)
        if last is None:
            return True
        digest = replica.digests.get(last[1])
        wait_s = max(self._config.every_s, (digest.bytes if digest else 0) / self._config.bytes_per_s)
        return now - last[0] >= wait_s and replica.applied > last[1]

    async def _compare(self, replica: Replica) -> None:
        group = replica.spec.group
        members = [member.node for member in replica.group.config.voting()]
        result = await scrub_group(
            self, group, self._host.name, members, heal=True, found=lambda d: self._tell(group, d)
        )
        self._compared[group] = (self._host.world.now(), max(result.slot, replica.applied))
        self.compared += 1
        self._conclude(result)

    def _tell(self, group: str, difference: Difference) -> None:
        self.found += 1
        self._host.world.event("replica-damage", by="scrub", **as_event(group, difference))

    def _conclude(self, result: Scrubbed) -> None:
        event = self._host.world.event
        if result.unsettled:
            said = {answer.node: answer.digest or answer.error for answer in result.answers}
            event("scrub-unsettled", group=result.group, slot=result.slot, said=said)
        for difference in result.differences:
            if difference.healed_s is not None:
                event("healed", group=result.group, node_healed=difference.node, seconds=round(difference.healed_s, 3))
            else:
                event("heal-failed", group=result.group, node_damaged=difference.node, detail=difference.what)


def as_event(group: str, difference: Difference) -> dict[str, Any]:
    """A difference as the timeline and the nodes' records have it; keys in hex."""
    return {
        "group": group,
        "node_damaged": difference.node,
        "slot": difference.slot,
        "start": difference.start.hex(),
        "end": difference.end.hex(),
        "key": difference.key.hex() if difference.key is not None else None,
        "detail": difference.what,
    }
