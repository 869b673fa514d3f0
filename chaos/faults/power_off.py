"""Power-off that loses what was not synced.

``docker kill`` is no power-off: the page cache survives, and the kernel says goodbye to every peer. Here the node's
packets are dropped on the host's bridge first, so that peers see silence; then it is frozen, its file system is shut
down without flushing its journal, and only then it is killed. Boot is a start like any other: the journal is replayed.

Where the targets are all of a zone's nodes, the addresses of its canaries go silent with them, in the same transaction
and for as long: who stands in a zone without power has no path anywhere. The canaries' processes and records are ours
and stay. The zone's load keeps its path: it stands for customers, whom a regional endpoint takes to another zone.

The proof is a mark written, unsynced, to each data volume just before the cut: after the boot its bytes must be gone.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from chaos import nft
from chaos.faults.base import Effect, FaultUnavailable, Spec
from chaos.targets import zones_within

if TYPE_CHECKING:
    from chaos.journal import Entry
    from cluster.runtime.base import Cluster, Node

MARK = ".blackstart-unsynced"
PEER_PORT = 7000
PROBES_MAX = 3
PROBE_TIMEOUT_S = 0.6
BOOT_TIMEOUT_S = 60.0
DEATH_TIMEOUT_S = 10.0


class PowerOff:
    """See the module's text."""

    kind = "power-off"

    def preflight(self, cluster: Cluster, spec: Spec) -> None:
        """nft must take a bridge table, and every target with a disk must have one of its own."""
        try:
            cluster.host.call("nft", text=nft.replace_table(nft.table_name(cluster.id, "preflight")))
        except Exception as error:
            raise FaultUnavailable(
                f"power-off needs nftables in the bridge family on this host: {error}",
                hint="blackstart doctor says what to install.",
            ) from error

    def undo(self, cluster: Cluster, entry_id: str, spec: Spec) -> dict[str, Any]:
        canaries = canaries_within(cluster, spec.targets)
        nodes = [cluster.nodes[name].address for name in spec.targets]
        return {
            "table": nft.table_name(cluster.id, entry_id),
            "addresses": nodes + [address for own in canaries.values() for address in own],
            "canaries": canaries,
            "nodes": list(spec.targets),
            "processes": {
                name: power_target(cluster.nodes[name])
                for name in spec.targets
                if cluster.nodes[name].pid() is not None
            },
            "boot_stagger_s": float(spec.options.get("boot-stagger", 0.0)),
            "marked": spec.options.get("unsynced", "lose") == "lose",
        }

    def inject(self, cluster: Cluster, entry: Entry, spec: Spec) -> str:
        nodes = [cluster.nodes[name] for name in spec.targets]
        cluster.host.call("nft", text=nft.silence(entry.undo["table"], entry.undo["addresses"], entry.lease_s))
        running = [node for node in nodes if node.process() is not None]
        if spec.options.get("unsynced", "lose") == "keep":
            cluster.kill([node.name for node in running])
            return f"{len(running)} nodes killed; what the kernel had been given is kept{without_path(entry)}"
        write_marks(cluster, running)
        done = cluster.host.call("power_off", nodes=[power_target(node) for node in running])
        skew_ms = (max(done["frozen"]) - min(done["frozen"])) * 1000 if done["frozen"] else 0.0
        return (
            f"{len(running)} nodes stood still within {skew_ms:.1f} ms of one another; {len(done['shut'])} file "
            f"systems shut down, all dead {1000 * (done['killed'] - done['begun']):.0f} ms after the cut began"
            f"{without_path(entry)}"
        )

    def verify(self, cluster: Cluster, entry: Entry, spec: Spec) -> Effect:
        """Dead, and silent: a probe from a node that is up must hear nothing at all, not even a reset.

        So must one to a canary without a path: it runs on, and would else refuse the connection.
        """
        try:
            cluster.wait_dead(list(spec.targets), timeout_s=DEATH_TIMEOUT_S)
        except Exception as error:
            return Effect("mismatch", str(error))
        dark = [(name, cluster.nodes[name].address) for name in spec.targets][:PROBES_MAX]
        canaries = entry.undo.get("canaries", {})
        dark += [(f"zone {az}'s canary at {address}", address) for az, own in canaries.items() for address in own]
        watcher = next((n for n in cluster.nodes.values() if n.name not in spec.targets and n.pid()), None)
        if watcher is None:
            return Effect("confirmed", f"{_gone(len(spec.targets))}; nobody is left to probe from")
        pid = watcher.pid()
        with ThreadPoolExecutor(2 * PROBES_MAX) as pool:
            heard = list(pool.map(lambda one: probe(cluster, pid, one[1]), dark))
        wrong = [f"{name}: {answer}" for (name, _), answer in zip(dark, heard, strict=True) if answer != "silent"]
        if wrong:
            return Effect("mismatch", f"probed from {watcher.name}, expected silence: {', '.join(wrong)}")
        them = "it" if len(spec.targets) == 1 else "them"
        whom = f"{them} and the canaries of zone {', '.join(canaries)}" if canaries else them
        found = f"{_gone(len(spec.targets))}; silence from {whom} when probed from {watcher.name}"
        return Effect("confirmed", found)

    def renew(self, cluster: Cluster, entry: Entry) -> None:
        text = nft.renew_silence(entry.undo["table"], entry.undo["addresses"], entry.lease_s)
        cluster.host.call("nft", text=text)

    def heal(self, cluster: Cluster, entry: Entry) -> Effect | None:
        names = [name for name in entry.undo["nodes"] if name in cluster.nodes]
        finish_half_done(cluster, entry)
        cluster.host.call("nft", text=nft.delete_table(entry.undo["table"]))
        stagger_s = entry.undo["boot_stagger_s"]
        if stagger_s > 0:
            for name in names:
                cluster.boot([name], timeout_s=BOOT_TIMEOUT_S)
                time.sleep(stagger_s)
        else:
            cluster.boot(names, timeout_s=BOOT_TIMEOUT_S)
        return check_marks(cluster, names) if entry.undo["marked"] else None


def canaries_within(cluster: Cluster, targets: Iterable[str]) -> dict[str, list[str]]:
    """The canaries' addresses of each zone that has no node left beside the targets."""
    zones = {node.name: node.az for node in cluster.nodes.values()}
    return {az: list(cluster.canary_addresses(az)) for az in zones_within(zones, targets)}


def without_path(entry: Entry) -> str:
    """For the account of an injection: whose canaries lost their path with it."""
    zones = entry.undo.get("canaries", {})
    return f"; no path for the canaries of zone {', '.join(zones)}" if zones else ""


def power_target(node: Node) -> dict[str, Any]:
    """A node as the host's ``power_off`` wants it. Raises RuntimeError where it ended a moment ago."""
    process, cgroup = node.process(), node.cgroup()
    if process is None or cgroup is None:
        raise RuntimeError(f"{node.name} ended by itself while its power was being cut")
    data = node.data_mount() if node.disk is not None else None
    return {"pid": process.pid, "started": process.started, "cgroup": cgroup, "data": data}


def finish_half_done(cluster: Cluster, entry: Entry) -> None:
    """A controller killed in the middle of the injection leaves nodes frozen, or alive on a dead file system.

    Those are ended, so that the boot begins from a clean stop. A node that the injection had not reached is left alone.
    """
    for name, was in entry.undo["processes"].items():
        process = cluster.nodes[name].process() if name in cluster.nodes else None
        if process is None or [process.pid, process.started] != [was["pid"], was["started"]]:
            continue
        if cluster.host.call("is_frozen", cgroup=was["cgroup"]) or not writable(cluster, was["data"]):
            cluster.host.call("kill", processes=[[process.pid, process.started]], signal=9)
            cluster.host.call("thaw", cgroups=[was["cgroup"]])
            cluster.wait_dead([name], timeout_s=10.0)


def writable(cluster: Cluster, data: str | None) -> bool:
    """Whether the file system still takes writes; one that was shut down does not."""
    if data is None:
        return True
    path = f"{data}/{MARK}"
    answer = cluster.host.call("run", argv=["sh", "-c", ': > "$1" && rm -f "$1" && echo yes; exit 0', "try", path])
    return str(answer).strip() == "yes"


def probe(cluster: Cluster, pid: int | None, address: str) -> str:
    """What a TCP connection attempt from a node's own network hears."""
    answer = cluster.host.call("probe_tcp", pid=pid, address=address, port=PEER_PORT, timeout_s=PROBE_TIMEOUT_S)
    return str(answer["result"])


def write_marks(cluster: Cluster, nodes: list[Node]) -> None:
    """Leave a few bytes on every data volume, in the page cache only."""
    paths = [f"{node.data_mount()}/{MARK}" for node in nodes if node.disk is not None]
    if paths:
        script = 'for path; do printf "not synced: must not survive\\n" > "$path" || exit 1; done'
        cluster.host.call("run", argv=["sh", "-c", script, "mark", *paths])


def check_marks(cluster: Cluster, names: list[str]) -> Effect | None:
    """After the boot: a mark whose bytes are still there means that unsynced data survived. Marks are removed."""
    nodes = [node for node in map(cluster.nodes.__getitem__, names) if node.disk is not None]
    paths = {f"{node.data_mount()}/{MARK}": node.name for node in nodes if node.pid() is not None}
    if not paths:
        return None
    script = 'for path; do [ -s "$path" ] && echo "$path"; rm -f "$path"; done; exit 0'
    kept = cluster.host.call("run", argv=["sh", "-c", script, "mark", *paths]).split()
    if kept:
        survivors = ", ".join(paths.get(path, path) for path in kept)
        return Effect("mismatch", f"data that was never synced survived the power-off on {survivors}")
    return Effect("confirmed", f"what was not synced is gone on all {len(paths)} disks")


def _gone(processes: int) -> str:
    return "its process is gone" if processes == 1 else f"all {processes} processes are gone"
