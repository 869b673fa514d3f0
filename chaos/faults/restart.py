"""Restart: a node is stopped as for maintenance and boots again. Nothing is lost on purpose.

The node gets SIGTERM and time to hand its leaderships over and to mark its log. The proof is that it ended by itself,
with nobody's SIGKILL, and that what runs afterwards is another process.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from chaos.faults.base import Effect, Spec

if TYPE_CHECKING:
    from chaos.journal import Entry
    from cluster.runtime.base import Cluster

STOP_TIMEOUT_S = 10.0
BOOT_TIMEOUT_S = 60.0


class Restart:
    """See the module's text."""

    kind = "restart"

    def preflight(self, cluster: Cluster, spec: Spec) -> None:
        """Signals and boots are what every runtime can do."""

    def undo(self, cluster: Cluster, entry_id: str, spec: Spec) -> dict[str, Any]:
        running = {name: cluster.nodes[name].process() for name in spec.targets}
        return {
            "nodes": list(spec.targets),
            "processes": {name: [p.pid, p.started] for name, p in running.items() if p is not None},
        }

    def inject(self, cluster: Cluster, entry: Entry, spec: Spec) -> str:
        began = time.monotonic()
        processes = list(entry.undo["processes"].values())
        cluster.host.call("kill", processes=processes, signal=15)
        cluster.wait_dead(list(spec.targets), timeout_s=STOP_TIMEOUT_S)
        return f"{len(processes)} nodes ended by themselves {time.monotonic() - began:.2f} s after SIGTERM"

    def verify(self, cluster: Cluster, entry: Entry, spec: Spec) -> Effect:
        there = [name for name in spec.targets if cluster.nodes[name].process() is not None]
        if there:
            return Effect("mismatch", f"{', '.join(there)} runs, or runs again already")
        return Effect("confirmed", f"{', '.join(spec.targets)} stopped in an orderly way")

    def renew(self, cluster: Cluster, entry: Entry) -> None:
        return

    def heal(self, cluster: Cluster, entry: Entry) -> Effect | None:
        """Boot what is off. Idempotent; a node that the injection had not reached runs on."""
        names = [name for name in entry.undo["nodes"] if name in cluster.nodes]
        cluster.boot(names, timeout_s=BOOT_TIMEOUT_S)
        return None
