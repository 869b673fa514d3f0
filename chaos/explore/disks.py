"""The faults of disks: power off that loses them, rot at rest, errors, fullness, slowness.

Rot is what ``bit-rot`` of real game days does, by the same choice of places (:mod:`chaos.faults.damage`): flipped bits,
sectors that were written elsewhere (misdirected) or never (lost), ends that are gone. Torn writes come with power-off.
The database is expected to survive all of it while no two replicas of a group are hurt at once, so rot stays on one
node of a scenario: damage to a log is latent until somebody reads it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from chaos.errors import InputError
from chaos.explore.scenario import Action, Skipped
from chaos.faults.damage import Wanted, choose
from chaos.simulated.rot import SimFiles
from chaos.targets import GroupView
from cluster.sim.disk import DiskProfile

if TYPE_CHECKING:
    from chaos.explore.faults import Faults
    from chaos.explore.stage import Stage

SCRUB_LIMIT_S = 5.0


def disk_loss(faults: Faults, action: Action, targets: list[str]) -> Callable[[], None]:
    if not faults.stage.whole() or faults.rotten not in ("", targets[0]):
        raise Skipped  # a second lost disk could be the last one with a vote
    faults.crash(targets[0], lose=True)
    faults.sim.nodes[targets[0]].disk.wipe()
    return lambda: faults.boot(targets[0])


def failed_fsync(faults: Faults, action: Action, targets: list[str]) -> Callable[[], None]:
    return _failing(faults, targets, "fail_syncs")


def disk_error(faults: Faults, action: Action, targets: list[str]) -> Callable[[], None]:
    """EIO: reads fail, or writes do."""
    return _failing(faults, targets, "fail_reads" if action.with_["op"] == "read" else "fail_writes")


def full_disk(faults: Faults, action: Action, targets: list[str]) -> Callable[[], None]:
    return _failing(faults, targets, "full")


def _failing(faults: Faults, targets: list[str], how: str) -> Callable[[], None]:
    for name in targets:
        setattr(faults.sim.nodes[name].disk.memory, how, True)

    def well_again() -> None:
        for name in targets:
            setattr(faults.sim.nodes[name].disk.memory, how, False)
            faults.boot(name)

    return well_again


def slow_disk(faults: Faults, action: Action, targets: list[str]) -> Callable[[], None]:
    shortest, longest = action.with_["sync_s"]
    for name in targets:
        faults.sim.nodes[name].disk.profile = DiskProfile(shortest, longest)

    def fast_again() -> None:
        for name in targets:
            faults.sim.nodes[name].disk.profile = faults.stage.calm_disk()

    return fast_again


def bit_rot(faults: Faults, action: Action, targets: list[str]) -> Callable[[], None] | None:
    """Damage files of one node, and have it read them: at a restart, by a scrub of its disk, or whenever it comes."""
    name, options = faults.rotten or targets[0], action.with_
    if (faults.applied["disk-loss"] or faults.applied["move"]) and not faults.stage.whole():
        raise Skipped  # a replica that is only just being made elsewhere is hurt already
    wanted = Wanted(options["place"], options["mode"], "", "live", int(options["count"]))
    files = SimFiles(faults.sim, name)
    try:
        found = choose(
            "", wanted, {name: files}, group_views(faults.stage), frozenset(), random.Random(options["seed"])
        )
    except InputError as error:
        raise Skipped from error  # nothing there yet
    faults.rotten = name
    for one in found:
        files.damage(one)
        faults.sim.note("rot", file=one.file, offset=one.offset, mode=one.mode, what=one.what)
    if options["then"] == "scrub":
        faults.stage.call_later(name, "scrub-disk", SCRUB_LIMIT_S)
    elif options["then"] == "restart" and faults.crash(name, lose=False):
        return lambda: faults.boot(name)
    return None


def group_views(stage: Stage) -> list[GroupView]:
    """The groups as the choice of places wants them."""
    found: dict[str, Any] = {}
    for host in stage.hosts():
        for name, replica in host.replicas.items():
            config = replica.group.config
            if name not in found or config.number > found[name][1].number:
                found[name] = (replica.spec.table, config)
    return [
        GroupView(name, table, tuple(m.node for m in config.voters), None)
        for name, (table, config) in sorted(found.items())
    ]
