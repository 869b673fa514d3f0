"""Ranges of rows out of one replica: what is in memory merged over the B-tree, a piece at a time.

A piece is read from the B-tree in a disk thread and then, without letting go of the event loop, merged with the rows
that are not there yet; so each piece is the applied state at one moment, a later one for a later piece. That is what
is promised of a strong read of many items: each is as new as the request, none is of a write that is not committed.
The lease is checked before the first piece, which makes the state new enough, and after the last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cluster.core.ranges import Gathering, RangePage, RangeRead, clip, overlay, rest_of
from cluster.node.rpc import Responder, RpcError
from cluster.wire.json import CODEC

if TYPE_CHECKING:
    from cluster.node.host import Host
    from cluster.node.replica import Replica

PIECE_BYTES = 128 * 1024
PIECE_ROWS = 512
PIECE_ROWS_MIN = 8
"""How much of a page is done at once; between two pieces others have their turn."""


class RangeReads:
    """The rpc ``range`` of a node that holds replicas."""

    def __init__(self, host: Host) -> None:
        self._host = host
        host.rpc.register("range", self._on_range, tuple[str, RangeRead])
        host.rpc.register_async("group-rows", self._group_rows, tuple[str, bytes, bytes])

    def _on_range(self, sender: str, params: tuple[str, RangeRead], responder: Responder) -> None:
        self._host.world.spawn(self._serve(params, responder), "range")

    async def _group_rows(self, sender: str, params: tuple[str, bytes, bytes]) -> Any:
        """A piece of a group's rows as they are stored, its own rows included, and where to go on: for who verifies.
        Only the leader under its lease answers, with what is committed."""
        group, start, end = params
        replica = self._host.replicas.get(group)
        if replica is None:
            raise RpcError("no-replica", group)
        if not replica.serving:
            raise RpcError("not-leader", "")
        piece = await read_rows(self._host, replica, start, end)
        if piece is None or not replica.serving:
            raise RpcError("not-serving", "")
        return piece

    async def _serve(self, params: tuple[str, RangeRead], responder: Responder) -> None:
        group, read = params
        replica = self._host.replicas.get(group)
        try:
            if replica is None:
                raise RpcError("no-replica", group)
            responder.reply(await read_range(self._host, replica, read))
        except RpcError as error:
            responder.refuse(error.code, error.detail)


async def read_range(host: Host, replica: Replica, read: RangeRead) -> RangePage:
    """One page. Raises :class:`RpcError`: ``no-replica`` where the range begins elsewhere, ``not-leader``,
    ``not-serving``."""
    part = clip(read, replica.spec.start, replica.spec.end)
    if part is None:
        raise RpcError("no-replica", replica.spec.group)
    _check(replica, read)
    gathering = Gathering(read, CODEC)
    start, end = part.start, part.end
    done = bool(end) and start >= end
    while not done:
        rows_max = min(PIECE_ROWS, max(PIECE_ROWS_MIN, part.limit - gathering.scanned)) if part.limit else PIECE_ROWS
        piece = await host.upkeep.read_range(replica, start, end, part.reverse, rows_max, PIECE_BYTES)
        if piece is None:
            raise RpcError("not-serving", "")
        rows, done = piece
        upper, lower = end, start
        if not done:  # what follows the last row is not known yet
            if part.reverse:
                lower = end = rows[-1][0]
            else:
                upper = start = rows[-1][0] + b"\0"
        layers = replica.rows.layers(lower, upper, part.reverse)
        for key, image in overlay([*layers, rows], reverse=part.reverse) if layers else rows:
            if not gathering.take(key, image):
                done = True
                break
    _check(replica, read)
    return gathering.page(rest_of(read, part))


async def read_rows(
    host: Host, replica: Replica, start: bytes, end: bytes
) -> tuple[list[tuple[bytes, bytes]], bytes | None] | None:
    """A piece of a range as it is stored, whatever part of the key space the group is for (its own rows lie outside
    it), and where to go on (None at the end); None where the B-tree cannot be read."""
    piece = await host.upkeep.read_range(replica, start, end, False, PIECE_ROWS, PIECE_BYTES)
    if piece is None:
        return None
    rows, done = piece
    upper = end if done else rows[-1][0] + b"\0"
    layers = replica.rows.layers(start, upper, False)
    return list(overlay([*layers, rows])) if layers else rows, None if done else upper


def _check(replica: Replica, read: RangeRead) -> None:
    if read.consistent:
        if not replica.serving:
            leader = replica.group.leader
            raise RpcError("not-leader", leader.node if leader is not None else "")
    elif replica.damaged or not replica.caught_up:
        raise RpcError("not-serving", "")
