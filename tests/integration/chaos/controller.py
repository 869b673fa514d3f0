"""A controller that dies: brings a fault in on a running cluster and SIGKILLs itself at the moment it is told.

``controller.py CLUSTER KIND MOMENT LEASE_S`` — MOMENT is journalled, frozen, shut, half (one of two places written), or
in.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

from chaos import reaper
from chaos.faults import cuts, fault_of
from chaos.faults.base import Spec, node_refs
from chaos.journal import Entry, Journal, boot_s, host_boot_id
from cluster.runtime import attach, hostops


def die(*_: Any, **__: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at_second_write() -> None:
    """The first place of the damage is written, the second one never."""
    write, count = os.pwrite, 0

    def once(*args: Any) -> int:
        nonlocal count
        count += 1
        return write(*args) if count == 1 else int(die())

    hostops.os.pwrite = once


def main(cluster_id: str, kind: str, moment: str, lease_s: float) -> None:
    cluster = attach(cluster_id)
    refs = {ref.name: ref for ref in node_refs(cluster)}
    storage = [ref for ref in refs.values() if ref.role == "storage"]
    target = refs["storage-b1"]
    pairs = cuts.between([target], storage) if kind == "partition" else frozenset()
    options = {"place": "log", "count": 2} if kind == "bit-rot" else {"unsynced": "lose"}
    targets = (target.name,) if kind == "bit-rot" else (target.name, "router-b")
    spec = Spec("doomed", targets, options, pairs, seed="1")
    fault = fault_of(kind)
    fault.preflight(cluster, spec)
    reaper.start(cluster.id, cluster.state_dir)
    entry = Entry(
        "f0", cluster.id, cluster.kind, kind, spec.name, spec.targets, fault.undo(cluster, "f0", spec), lease_s,
        boot_s() + lease_s, host_boot_id(), time.time(),
    )  # fmt: skip
    Journal(cluster.state_dir).write(entry)
    if moment == "journalled":
        die()
    if moment == "frozen":
        hostops.shutdown_fs = die
    if moment == "shut":
        hostops.kill = die
    if moment == "half":
        die_at_second_write()
    if moment == "stopped":
        type(cluster).wait_dead = die
    fault.inject(cluster, entry, spec)
    effect = fault.verify(cluster, entry, spec)
    print(effect.state, effect.detail, flush=True)
    die()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]))
