"""fsync of the log does nothing: bytes are written, and nobody waits until they are on the disk.

The durable marks in the log stay where they were, as in a database that never synced: with honest marks recovery would
notice the loss by itself and refuse to vote.
"""

from __future__ import annotations

from typing import Any

from cluster.node.host import Host
from cluster.node.process import Node

HONEST_SLOTS = 10
"""The log is synced until every table here has taken this many entries: the table itself is there after the power cut.
"""


class Unsynced:
    """A log file whose sync returns at once, once there is something to lose."""

    def __init__(self, file: Any, host: Host) -> None:
        self._file = file
        self._host = host

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    async def sync(self) -> None:
        if honest(self._host):
            await self._file.sync()


def honest(host: Host) -> bool:
    return min((r.group.last_slot for r in host.replicas.values()), default=0) < HONEST_SLOTS


def install(node: Node) -> None:
    host = getattr(node.role, "host", None)
    if not isinstance(host, Host) or node.config.role != "storage":
        return
    directory = node.world.log
    create = directory.create
    directory.create = lambda name: Unsynced(create(name), host)  # type: ignore[method-assign,assignment,return-value]
    host.upkeep.open_tree = _empty_tree(host)  # type: ignore[method-assign]
    host._mark_forever = _never  # type: ignore[method-assign]
    host.on_replica.append(lambda replica: _keep_mark(replica.host))


def _empty_tree(host: Host) -> Any:
    """B-trees are made anew from the log: the kernel may have written more of them than of it by its own decision, and
    one that is ahead of its log gives the loss away."""

    async def open_tree(group: str) -> tuple[Any, None]:
        return await host.upkeep.new_tree(group), None

    return open_tree


async def _never() -> None:
    """Marks are synced files of their own; with fsync off there are none."""


def _keep_mark(host: Host) -> None:
    wal = host.wal
    if "_write" in vars(wal):
        return
    write, mark = wal._write, wal._synced

    def planted() -> tuple[int, int]:
        if not honest(host):
            wal._synced = mark
        return write()

    wal._write = planted  # type: ignore[method-assign]
