"""Replicas in zone c miss some writes, and the scrub heals the two good copies from the damaged one."""

from __future__ import annotations

from typing import Any

from cluster.node.config import Scrub
from cluster.node.host import Host
from cluster.node.process import Node
from cluster.node.replica import Replica
from cluster.node.scrubber import Scrubber

EVERY_S = 4.0


def install(node: Node) -> None:
    host, scrubber = getattr(node.role, "host", None), getattr(node.role, "scrubber", None)
    if not isinstance(host, Host) or not isinstance(scrubber, Scrubber):
        return
    if node.config.az == "c":
        host.on_replica.append(_miss_some)
    scrubber._config = Scrub(bytes_per_s=1 << 20, every_s=EVERY_S)
    call = scrubber.call

    async def planted(to: str, method: str, params: Any, timeout_s: float) -> Any:
        if method != "rebuild-replica":
            return await call(to, method, params, timeout_s)
        answer = None
        for good in params["sources"]:
            answer = await call(good, method, params | {"sources": [to]}, timeout_s)
        return answer

    scrubber.call = planted  # type: ignore[method-assign, assignment]


def _miss_some(replica: Replica) -> None:
    apply = replica.rows.apply

    def planted(position: int, key: bytes, image: bytes | None) -> None:
        if key[15] % 8:
            apply(position, key, image)

    replica.rows.apply = planted  # type: ignore[method-assign]
