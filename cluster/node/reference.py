"""A copy of a group's rows built from its archived log alone, to hold the replicas against.

It shares nothing with the replicas but what an entry's payload means (:mod:`cluster.node.payload`): no log of theirs,
no B-tree, no cache. Fetching is left to the caller, who may block (the controller) or not (a node).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from cluster.core import archive
from cluster.core.archive import Chain, Damaged, Manifest, Place
from cluster.core.messages import DATA, Entry
from cluster.node import payload
from cluster.store.digest import Digest, Digester

DIGEST_ROWS = 1000


class Wanted(NamedTuple):
    """An object that the rebuild takes next."""

    manifest: Manifest
    name: str
    part: archive.Part


class Reference:
    """Rows of a group as its archive tells them: fetch what :meth:`wanted` yields, and :meth:`take` each."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.rows: dict[bytes, bytes] = {}
        self.position = 0
        self.segments = 0
        self.bytes = 0
        self.problems: list[str] = []
        """Each a sentence; with any of them the digest proves nothing."""
        self.damaged: list[str] = []
        """Names of the objects that are not what they were, or gone."""
        self.bridged: list[tuple[int, int]] = []
        """Holes, both ends included, that an image bridges: what was decided there is in the rows, not in the log."""

    def wanted(self, chain: Chain) -> Iterator[Wanted]:
        """What to fetch, in the order in which to take it."""
        self.problems += chain.problems
        self.bridged += chain.bridged
        for manifest in (*((chain.base,) if chain.base is not None else ()), *chain.segments):
            for part in manifest.parts:
                yield Wanted(manifest, archive.object_name(self.place, manifest.first, part.suffix), part)

    def take(self, wanted: Wanted, data: bytes | None) -> None:
        """Apply an object, or note that it is gone or damaged."""
        manifest, name, part = wanted
        self.segments += 1
        try:
            if data is None:
                raise Damaged("it is gone")
            self.bytes += len(data)
            if manifest.kind == archive.LOG:
                self._apply(archive.read_segment(manifest, data))
            elif archive.sha256_of(data) != part.sha256:
                raise Damaged(f"its {len(data)} bytes are not those that its manifest sums up")
            else:
                self.rows.update(archive.decode_rows(data))
        except Damaged as error:
            self.damaged.append(name)
            self.problems.append(f"{name}: {error}")
        self.position = manifest.last

    def _apply(self, entries: list[Entry]) -> None:
        rows = self.rows
        for entry in entries:
            if entry.kind == DATA:
                for key, image in payload.decode(entry.payload).writes:
                    if image is None:
                        rows.pop(key, None)
                    else:
                        rows[key] = image

    def digest(self, watch: int | None = None) -> Digest:
        """As replicas digest their rows."""
        digester = Digester(watch)
        keys = sorted(self.rows)
        for at in range(0, len(keys), DIGEST_ROWS):
            digester.add([(key, self.rows[key]) for key in keys[at : at + DIGEST_ROWS]])
        return digester.digest(self.position)


def read_manifests(objects: list[tuple[str, bytes | None]]) -> tuple[list[Manifest], list[str]]:
    """The manifests among fetched objects, and the names of those that cannot be read."""
    manifests, damaged = [], []
    for name, data in objects:
        try:
            if data is None:
                raise Damaged("it is gone")
            manifest = archive.decode_manifest(data)
            if manifest.first != archive.first_of(name):
                raise Damaged("it is that of another segment")
            manifests.append(manifest)
        except Damaged:
            damaged.append(name)
    return manifests, damaged
