"""The receiving end of index changes: the leader of an index's group applies each of them once, in order.

Together with the rows, in the same log entry, goes the mark up to which the sender's partition has been heard; see
:mod:`cluster.core.marks` for why that is enough.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cluster.core.ballot import Ballot
from cluster.core.marks import MARK, MARK_END, Marks
from cluster.node.outbox import Sent
from cluster.node.payload import Write
from cluster.node.rangereads import read_rows
from cluster.node.rpc import RpcError

if TYPE_CHECKING:
    from cluster.node.host import Host
    from cluster.node.replica import Replica


class _Heard:
    """The marks of a group over proposed state, while its replica here leads under one ballot."""

    __slots__ = ("ballot", "marks", "proposed", "replica")

    def __init__(self, replica: Replica, ballot: Ballot, marks: Marks) -> None:
        self.replica = replica
        self.ballot = ballot
        self.marks = marks
        self.proposed = 0
        """Entries under way that raise marks."""


class IndexRows:
    """Served by storage nodes: ``index-apply``."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._heard: dict[str, _Heard] = {}
        self._void: dict[str, _Heard] = {}
        host.rpc.register_async("index-apply", self._apply, tuple[str, bytes, bytes, list[Sent]])

    async def _apply(self, sender: str, params: tuple[str, bytes, bytes, list[Sent]]) -> int:
        """Apply what is new of the changes of a partition ``[start, end)``; answers once all of them are committed.

        Refused as ``no-replica`` where a row does not belong here, ``not-leader``, ``not-yet``: send it all again.
        """
        group, start, end, changes = params
        replica = self._host.replicas.get(group)
        if replica is None or any(not replica.spec.holds(change.key) for change in changes):
            raise RpcError("no-replica", group)
        heard = await self._hear(replica)
        self._check(replica)
        marks, ballot = heard.marks, heard.ballot
        if self._heard.get(group) is not heard or replica.group.ballot != ballot or not changes:
            raise RpcError("not-yet", group)
        writes: list[Write] = [(c.key, c.image) for c in changes if c.position > marks.of(c.item)]
        top = max(change.position for change in changes)
        # The mark is written even where it was there: the answer waits for it, and so for whoever raised it before.
        writes += marks.raise_to(start, end, top) or [marks.row(start)]
        heard.proposed += 1
        code = await replica.write(writes)
        heard.proposed -= 1
        if code:
            self._forget(group, heard)
            raise RpcError("not-leader" if code != "unknown" else "not-yet", "")
        return top

    def _check(self, replica: Replica) -> None:
        if not replica.serving:
            leader = replica.group.leader
            raise RpcError("not-leader", leader.node if leader is not None else "")

    async def _hear(self, replica: Replica) -> _Heard:
        """The group's marks, read from its rows when this replica has begun to lead."""
        self._check(replica)
        group, ballot = replica.spec.group, replica.group.ballot
        known = self._heard.get(group)
        if known is not None and known.replica is replica and known.ballot == ballot:
            return known
        void = self._void.get(group)
        if void is not None and void.replica is replica and void.ballot == ballot and void.proposed:
            raise RpcError("not-yet", group)  # what is under way must be decided before the rows tell the marks
        rows: list[tuple[bytes, bytes]] = []
        at: bytes | None = MARK
        while at is not None:
            page = await read_rows(self._host, replica, at, MARK_END)
            if page is None:
                raise RpcError("not-yet", group)
            rows += page[0]
            at = page[1]
        if self._heard.get(group) is known:  # nobody else has read them meanwhile
            self._heard[group] = _Heard(replica, ballot, Marks(rows))
        return self._heard[group]

    def _forget(self, group: str, heard: _Heard) -> None:
        """A proposal came to nothing, or may have: its mark may be one that is not in the rows."""
        if self._heard.get(group) is heard:
            del self._heard[group]
            self._void[group] = heard
