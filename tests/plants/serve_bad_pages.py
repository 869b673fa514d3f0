"""Pages are served whether or not their checksum matches, and the scrub of the disk looks at nothing."""

from __future__ import annotations

from functools import partial
from typing import Any

from cluster.node.host import Host
from cluster.node.process import Node
from cluster.store.pagevfs import PAGE_BYTES, MainFile, WalFile


def install(node: Node) -> None:
    host = getattr(node.role, "host", None)
    if not isinstance(host, Host) or node.config.role != "storage":
        return
    vfs = host.upkeep.pool.vfs
    opened = vfs.xOpen

    def planted(name: Any, flags: list[int]) -> MainFile | WalFile:
        file = opened(name, flags)
        file.xRead = partial(page_as_it_is if isinstance(file, MainFile) else frame_as_it_is, file)  # type: ignore
        return file

    async def blind(replica: Any, start: int, count: int) -> tuple[list[Any], None]:
        return [], None

    vfs.xOpen = planted  # type: ignore[method-assign]
    host.upkeep.scrub_some = blind  # type: ignore[method-assign]


def page_as_it_is(file: MainFile, length: int, offset: int) -> bytes:
    page, within = divmod(offset, PAGE_BYTES)
    return file.read_page(page + 1)[within : within + length]


def frame_as_it_is(file: WalFile, length: int, offset: int) -> bytes:
    return file.file.read(offset, length)
