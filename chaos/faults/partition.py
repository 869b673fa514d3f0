"""Partition: packets between two sides are stopped, both sides staying up; in one of three ways.

``drop`` (the default) is silence on the host's bridge: TCP stalls and resumes, no connection is reset, as with a cut
cable. ``new`` drops, in the same place, only what begins a connection. ``reset`` answers with a TCP reset; the bridge
cannot do that, so every node gets a table of its own in its own network namespace, which is not atomic over nodes: the
skew is told. A node that boots meanwhile has a fresh namespace and is cut again at the next renewal.

The pairs are lifted by the kernel when nobody renews them; the tables go with the heal. The proof is a probe through a
cut pair (silence, or a refusal) and through one that is not cut (an answer), and the counter of what was stopped.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from chaos import nft
from chaos.faults.base import Effect, Spec, addresses
from chaos.faults.power_off import PROBES_MAX, PowerOff, probe

if TYPE_CHECKING:
    from chaos.journal import Entry
    from cluster.runtime.base import Cluster


class Partition:
    """See the module's text."""

    kind = "partition"

    def preflight(self, cluster: Cluster, spec: Spec) -> None:
        PowerOff().preflight(cluster, spec)

    def undo(self, cluster: Cluster, entry_id: str, spec: Spec) -> dict[str, Any]:
        how = spec.options.get("how", "drop")
        return {
            "table": nft.table_name(cluster.id, entry_id),
            "how": how,
            "pairs": [
                [source, target]
                for left, right in sorted(spec.pairs)
                for source in addresses(cluster, left)
                for target in addresses(cluster, right)
            ],
            "inside": inside(cluster, spec) if how == "reset" else {},
        }

    def inject(self, cluster: Cluster, entry: Entry, spec: Spec) -> str:
        pairs = [(source, target) for source, target in entry.undo["pairs"]]
        if entry.undo["inside"]:
            begun = time.monotonic()
            reached = cut_inside(cluster, entry)
            skew_ms = (time.monotonic() - begun) * 1000
            return (
                f"{len(spec.pairs)} ordered pairs of nodes reset, by tables in {reached} nodes within {skew_ms:.0f} ms"
            )
        cluster.host.call(
            "nft", text=nft.cut_pairs(entry.undo["table"], pairs, entry.lease_s, new_only=new_only(entry))
        )
        return f"{len(spec.pairs)} ordered pairs of nodes cut in one transaction ({len(pairs)} pairs of addresses)"

    def verify(self, cluster: Cluster, entry: Entry, spec: Spec) -> Effect:
        """A connection through a cut pair must hear nothing, or a refusal; one through an uncut pair an answer."""
        expected = "refused" if entry.undo.get("how") == "reset" else "silent"
        cut, whole = probes(cluster, spec)
        with ThreadPoolExecutor(2 * PROBES_MAX) as pool:
            heard = list(pool.map(lambda pair: hear(cluster, *pair), cut + whole))
        wrong = [f"{a} to {b}: {answer}" for (a, b), answer in zip(cut, heard, strict=False) if answer != expected]
        beyond = [f"{a} to {b}" for (a, b), answer in zip(whole, heard[len(cut) :], strict=True) if answer == expected]
        stopped = sum(nft.packets_dropped(listing) for listing in listings(cluster, entry))
        if wrong:
            return Effect("mismatch", f"expected '{expected}': {', '.join(wrong)}")
        if beyond:
            return Effect("mismatch", f"cut more than was asked: {', '.join(beyond)} is {expected} too")
        if stopped == 0:
            return Effect("not-confirmed", "no packet met the cut: nobody tried to cross it")
        shown = ", ".join(f"{a} to {b}" for a, b in cut)
        what = "new connections refused" if expected == "refused" else "silence"
        return Effect("confirmed", f"{what} from {shown}; {stopped} packets stopped so far")

    def renew(self, cluster: Cluster, entry: Entry) -> None:
        pairs = [(source, target) for source, target in entry.undo["pairs"]]
        if entry.undo.get("inside"):
            cut_inside(cluster, entry)
        else:
            cluster.host.call("nft", text=nft.renew_pairs(entry.undo["table"], pairs, entry.lease_s))

    def heal(self, cluster: Cluster, entry: Entry) -> Effect | None:
        table = entry.undo["table"]
        if not entry.undo.get("inside"):
            cluster.host.call("nft", text=nft.delete_table(table))
        for _, pid in running(cluster, entry):
            cluster.host.call("nft", text=nft.delete_table(table, "ip"), pid=pid)
        return None


def new_only(entry: Entry) -> bool:
    """Whether connections that are there go on."""
    return bool(entry.undo.get("how") == "new")


def inside(cluster: Cluster, spec: Spec) -> dict[str, dict[str, list[list[str]]]]:
    """Which pairs each node must answer with resets: those that end at it, and those from it to a client."""
    found: dict[str, dict[str, list[list[str]]]] = {}
    for left, right in sorted(spec.pairs):
        where, side = (right, "arriving") if right in cluster.nodes else (left, "leaving")
        if where in cluster.nodes:
            table = found.setdefault(where, {"arriving": [], "leaving": []})
            table[side] += [[s, t] for s in addresses(cluster, left) for t in addresses(cluster, right)]
    return found


def running(cluster: Cluster, entry: Entry) -> list[tuple[str, int]]:
    """The nodes that have a table of their own, and are up: the others' namespaces went with them."""
    names = [name for name in entry.undo.get("inside", {}) if name in cluster.nodes]
    return [(name, pid) for name in names if (pid := cluster.nodes[name].pid()) is not None]


def cut_inside(cluster: Cluster, entry: Entry) -> int:
    """Put the tables into the nodes' namespaces, or put them in again; how many."""
    nodes = running(cluster, entry)
    for name, pid in nodes:
        sides = entry.undo["inside"][name]
        arriving, leaving = ([(s, t) for s, t in sides[side]] for side in ("arriving", "leaving"))
        text = nft.reset_inside(entry.undo["table"], arriving, leaving, entry.lease_s)
        cluster.host.call("nft", text=text, pid=pid)
    return len(nodes)


def listings(cluster: Cluster, entry: Entry) -> list[str]:
    """The tables with their counters."""
    table = entry.undo["table"]
    if not entry.undo.get("inside"):
        return [cluster.host.call("run", argv=["nft", "-j", "list", "table", "bridge", table])]
    argv = ["nft", "-j", "list", "table", "ip", table]
    return [cluster.host.call("run", argv=argv, pid=pid) for _, pid in running(cluster, entry)]


def probes(cluster: Cluster, spec: Spec) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Pairs of running nodes to try: some that are cut (in either direction), and one that is not."""
    up = [name for name, node in cluster.nodes.items() if node.pid() is not None]
    cut = [pair for pair in sorted(spec.pairs) if pair[0] in up and pair[1] in up][:PROBES_MAX]
    hurt = sorted({name for pair in spec.pairs for name in pair if name in up})
    whole = [
        (left, right)
        for left in hurt
        for right in up
        if left != right and (left, right) not in spec.pairs and (right, left) not in spec.pairs
    ]
    return cut, whole[:1]


def hear(cluster: Cluster, source: str, target: str) -> str:
    """What ``source`` hears when it connects to ``target``."""
    return probe(cluster, cluster.nodes[source].pid(), cluster.nodes[target].address)
