"""Some archived segments are acknowledged and never stored: holes. Which ones follows from their contents, so that
every agent drops the same and nobody fills the hole; never a group's first, and never one that a barrier ended."""

from __future__ import annotations

from cluster.core import archive
from cluster.core.archive import Manifest
from cluster.core.messages import DATA
from cluster.node import payload
from cluster.node.archiver import Archiver, Lane
from cluster.node.process import Node


def install(node: Node) -> None:
    archiver = getattr(node.role, "archiver", None)
    if not isinstance(archiver, Archiver):
        return
    put = archiver._put

    async def planted(lane: Lane, manifest: Manifest, data: bytes) -> None:
        if not dropped(manifest, data):
            await put(lane, manifest, data)

    archiver._put = planted  # type: ignore[method-assign]


def dropped(manifest: Manifest, data: bytes) -> bool:
    """Whether a segment is not to be: about one in two."""
    last = archive.decode(data)[-1]
    barrier = last.kind == DATA and payload.peek(last.payload).kind == payload.BARRIER
    return manifest.first > 1 and not barrier and int(manifest.content[0], 16) % 2 == 0
