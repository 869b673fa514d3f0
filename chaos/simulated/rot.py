"""Bit rot on simulated disks: the same choice of places as on real ones, and the same proof."""

from __future__ import annotations

import base64
import random
from collections.abc import Mapping

from chaos.faults.base import Effect, Spec
from chaos.faults.bitrot import describe, wanted
from chaos.faults.damage import LOG, OBJECTS, PAGES, READ_BYTES_MAX, Damage, choose, fingerprint
from chaos.simulated.faults import Injected
from cluster.sim.simulation import Simulation
from cluster.store.memory import Content


class SimFiles:
    """A simulated node's disk, as :class:`chaos.faults.damage.Files`; what the archive keeps are objects."""

    def __init__(self, sim: Simulation, node: str) -> None:
        memory = sim.nodes[node].disk.memory
        log = OBJECTS if node == "archive" else LOG
        self._contents: dict[str, Content] = {
            **{PAGES + name: content for name, content in memory.pages.contents.items()},
            **{log + name: content for name, content in memory.log.contents.items()},
        }

    def list(self) -> Mapping[str, int]:
        return {name: content.durable_size for name, content in sorted(self._contents.items())}

    def read(self, name: str, offset: int = 0, length: int = READ_BYTES_MAX) -> bytes:
        return self._contents[name].read(offset, length)

    def damage(self, one: Damage) -> None:
        """Change what is on the disk, and what readers see."""
        content, new = self._contents[one.file], base64.b64decode(one.data)
        for data in (content.data, content.durable):
            if new:
                data[one.offset : one.offset + one.length] = new
            else:
                del data[one.offset :]


def plan_rot(sim: Simulation, entry_id: str, spec: Spec) -> list[Damage]:
    """What to damage; touches nothing."""
    disks = {node: SimFiles(sim, node) for node in spec.targets}
    return choose(entry_id, wanted(spec.options), disks, spec.groups, spec.avoid, random.Random(spec.seed))


def rot(sim: Simulation, found: list[Damage]) -> Injected:
    """Do it. There is nothing to heal: that is the database's part."""
    for one in found:
        SimFiles(sim, one.node).damage(one)

    def verify() -> Effect:
        wrong = [one for one in found if read_back(sim, one.node, one.file, one.offset, one.length) == one.old]
        if wrong:
            return Effect("mismatch", f"{wrong[0].node}: {wrong[0].file} at {wrong[0].offset} reads as before")
        return Effect("confirmed", f"read back: {len(found)} of {len(found)} ranges differ")

    return Injected(describe(found), verify, lambda: None)


def read_back(sim: Simulation, node: str, file: str, offset: int, length: int) -> str | None:
    """The fingerprint of a range as it is now; None where the file is gone."""
    files = SimFiles(sim, node)
    return fingerprint(files.read(file, offset, length)) if file in files.list() else None
