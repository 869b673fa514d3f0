"""A group's shape as its own nodes keep it: the control plane sets it, the group's log carries it."""

from __future__ import annotations

from cluster.core.failures import Busy, NotLeader
from cluster.core.shape import Shape
from cluster.node.host import Host
from cluster.node.replica import Replica
from cluster.node.rpc import RpcError

COMMIT_WAIT_S = 1.5


class ShapeServices:
    """Served by storage nodes: ``set-shape``."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._proposed: dict[str, int] = {}
        """By group: the newest version proposed here, so that of two calls at once the older cannot come later."""
        host.rpc.register_async("set-shape", self._set_shape, tuple[str, Shape])

    async def _set_shape(self, sender: str, params: tuple[str, Shape]) -> int:
        """Make a shape the group's; answers with its version once it is committed, and repeats safely.

        Refused as ``stale-plan`` where the group has a newer one, ``not-leader`` with a hint where this replica does
        not lead, ``not-yet`` where it was not committed in time.
        """
        group, shape = params
        if not sender.startswith("autoadmin-"):
            raise RpcError("forbidden", "only the control plane sets shapes")
        replica = self._host.replicas.get(group)
        if replica is None:
            raise RpcError("no-replica", group)
        if not replica.serving:
            leader = replica.group.leader
            raise RpcError("not-leader", leader.node if leader is not None else "")
        applied = replica.shape.version if replica.shape is not None else 0
        known = max(applied, self._proposed.get(group, 0))
        if known > shape.version:
            raise RpcError("stale-plan", f"{group} has the shape of version {known}")
        if applied < shape.version:
            self._proposed[group] = shape.version
            await self._propose(replica, shape)
        return shape.version

    async def _propose(self, replica: Replica, shape: Shape) -> None:
        group = replica.spec.group
        try:
            replica.reshape(shape)
        except (NotLeader, Busy) as error:
            raise RpcError("not-leader", "") from error

        def done() -> bool:
            return replica.shape is not None and replica.shape.version >= shape.version

        if not await replica.wait_for(done, COMMIT_WAIT_S):
            raise RpcError("not-yet", group)
