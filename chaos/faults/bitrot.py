"""Bit rot: bytes of a node's files change at rest, through the mount, and the page cache forgets what was there.

Unlike every other fault it has no undo, for nothing would be proved by putting the bytes back: the database has to find
and mend the damage itself, and the corruption ledger says whether it did. What is to be changed is decided from the
files as they are, without touching them, and journalled with fingerprints of the old and the new bytes. The change is
made only where the old bytes still stand there; else it is decided anew.

The proof is the range read back through the mount, with the page cache dropped.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from chaos.faults.base import Changed, Effect, FaultUnavailable, Spec
from chaos.faults.damage import READ_BYTES_MAX, Damage, Wanted, choose, damage_of, fingerprint
from chaos.guard import ALL, Disturbance, Hurt

if TYPE_CHECKING:
    from chaos.journal import Entry
    from cluster.runtime.base import Cluster

KIND = "bit-rot"


class MountedFiles:
    """The data directory of a node that is on, as :class:`chaos.faults.damage.Files`."""

    def __init__(self, cluster: Cluster, node: str) -> None:
        self._host = cluster.host
        self.root = data_root(cluster, node)

    def list(self) -> Mapping[str, int]:
        found: dict[str, int] = self._host.call("list_files", directory=self.root)
        return found

    def read(self, name: str, offset: int = 0, length: int = READ_BYTES_MAX) -> bytes:
        answer = self._host.call("read_file", path=f"{self.root}/{name}", offset=offset, length=length)
        return base64.b64decode(str(answer))


def data_root(cluster: Cluster, node: str) -> str:
    """The node's data directory as a host path. Raises :class:`FaultUnavailable` for a node without one."""
    it = cluster.nodes[node]
    mount = it.data_mount()
    if it.disk is None:
        raise FaultUnavailable(f"bit-rot: {node} keeps nothing on a disk", hint="Choose nodes of the role storage.")
    if mount is None:
        raise FaultUnavailable(
            f"bit-rot: {node} is off, and its disk is mounted only while it runs",
            hint="Damage the disk first, then cut the power: the damage is found at the next start.",
        )
    return mount


class BitRot:
    """See the module's text."""

    kind = KIND

    def preflight(self, cluster: Cluster, spec: Spec) -> None:
        for node in spec.targets:
            if node in cluster.nodes:
                MountedFiles(cluster, node).list()

    def undo(self, cluster: Cluster, entry_id: str, spec: Spec) -> dict[str, Any]:
        """What will be changed, from the files as they are: there is nothing else to write down beforehand."""
        disks = {node: MountedFiles(cluster, node) for node in spec.targets}
        rng = random.Random(spec.seed)
        found = choose(entry_id, wanted(spec.options), disks, spec.groups, spec.avoid, rng)
        return {"damage": [damage.to_json() for damage in found]}

    def inject(self, cluster: Cluster, entry: Entry, spec: Spec) -> str:
        found = damages(entry)
        places = [
            {"path": f"{data_root(cluster, one.node)}/{one.file}", "offset": one.offset, "length": one.length,
             "old": one.old, "data": one.data}
            for one in found
        ]  # fmt: skip
        try:
            seen = cluster.host.call("damage", places=places)
        except Exception as error:
            if "changed:" in str(error):
                raise Changed(str(error)) from error
            raise
        wrong = [one.file for one, now in zip(found, seen, strict=True) if now != one.new]
        if wrong:
            raise RuntimeError(f"what was read back is not what was written: {', '.join(wrong)}")
        return describe(found)

    def verify(self, cluster: Cluster, entry: Entry, spec: Spec) -> Effect:
        """The bytes, read through the mount, are not what the database wrote."""
        found = damages(entry)
        try:
            kept = [one for one in found if still(one.old, now_at(cluster, one))]
        except FaultUnavailable as error:
            return Effect("confirmed", f"read back when it was done; now {error}")
        if kept:
            return Effect("mismatch", f"{kept[0].node}: {kept[0].file} at {kept[0].offset} reads as before")
        return Effect("confirmed", f"read back through the mount: {len(found)} of {len(found)} ranges differ")

    def renew(self, cluster: Cluster, entry: Entry) -> None:
        return

    def heal(self, cluster: Cluster, entry: Entry) -> Effect | None:
        """Nothing is put back: the ledger's entry closes when the database has mended it."""
        return None


def wanted(options: Mapping[str, Any]) -> Wanted:
    """The options of an action as :mod:`chaos.faults.damage` wants them."""
    return Wanted(
        options.get("place", "btree"),
        options.get("mode", "bit-flip"),
        options.get("of") or "",
        options.get("space", "live"),
        int(options.get("count", 1)),
    )


def damages(entry: Entry) -> list[Damage]:
    """What an entry of the journal says will have been changed."""
    return [damage_of(value) for value in entry.undo["damage"]]


def describe(found: list[Damage]) -> str:
    """For the event log and the reader."""
    return "; ".join(
        f"{one.node} {one.file} at {one.offset}, {one.length} bytes ({one.what}{'' if one.live else ', free space'})"
        for one in found
    )


def hurt(found: list[Damage], *, healable: bool) -> Disturbance:
    """What the damage means for the guard: free space and archived copies hurt no replica."""
    replicas = [
        Hurt(one.node, group, one.place)
        for one in found
        if one.live and one.place != "archive"
        for group in ((ALL,) if one.place == "log" else one.groups)
    ]
    groups = frozenset(group for one in found for group in one.groups) if healable else frozenset()
    return Disturbance(frozenset(), frozenset(), frozenset(), frozenset(replicas), groups)


def now_at(cluster: Cluster, one: Damage) -> bytes | None:
    """What stands at the place of a damage; None where the file is gone. Raises where its node is off."""
    files = MountedFiles(cluster, one.node)
    return files.read(one.file, one.offset, one.length) if one.file in files.list() else None


def still(known: str, now: bytes | None) -> bool:
    """Whether a range reads as the fingerprint says."""
    return now is not None and fingerprint(now) == known
