"""The scrub from outside: every replica of every partition at one barrier, held against each other and the archive.

What is done to one group is :func:`cluster.node.scrubbing.scrub_group`, the same as nodes do in the background; here
are the ways to call it (a real cluster from threads, a simulated one on its own time) and its records. The copy that is
built from the archived log is built here, by the controller: what is judged has no part in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from chaos.engine.watch import SYSTEM, Calls, View, placement
from cluster.core import archive
from cluster.core.archive import Place
from cluster.node.reference import Reference, read_manifests
from cluster.node.scrubber import as_event
from cluster.node.scrubbing import Calls as AsyncCalls
from cluster.node.scrubbing import Difference, Scrubbed, scrub_group

if TYPE_CHECKING:
    from cluster.runtime.base import Cluster
    from reports.rundir import Scrub, ScrubDisk, ScrubGroup, ScrubReference

ARCHIVED_WAIT_S = 45.0
"""How long the barrier may take to come into the archive: an outage just before may have left much to upload."""
ARCHIVED_LOOK_S = 0.5
DISK_TIMEOUT_S = 120.0
TRIES = 5
RETRY_S = 0.5
OVERTAKEN_TRIES = 3
OVERTAKEN = "the archive began anew with an image beyond"
"""A problem that another barrier cures."""
AT_ONCE = 4

DAMAGE_TOLD = ("replica-damage", "scrub-unsettled", "healed", "heal-failed", "archive-disagrees", "archive-refused")
"""What nodes tell of rows and archive by themselves; damaged pages and logs are in the ledger's care."""

Tell = Callable[..., object]
"""``tell(event, **fields)``: an event for the timeline."""


class ArchiveReader(Protocol):
    """Reading archived objects, blocking: :class:`cluster.store.objects.Objects` is one."""

    def get_now(self, name: str) -> bytes | None: ...

    def list_now(self, prefix: str) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be scrubbed: a cluster's groups, and its archive where it has one."""

    cluster: str
    roles: Mapping[str, str]
    zones: Mapping[str, str]
    reader: ArchiveReader | None = None
    heal: bool = False
    tell: Tell = lambda event, **fields: None


@dataclass(frozen=True, slots=True)
class Partition:
    """A group as the placement has it."""

    group: str
    table: str
    number: int
    start: bytes
    end: bytes


class ControlCalls:
    """The controller's blocking calls, for a coroutine that has a thread of its own."""

    def __init__(self, control: Calls) -> None:
        self._control = control

    async def call(self, node: str, method: str, params: Any, timeout_s: float) -> Any:
        return self._control.call(node, method, params, timeout_s)

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251  # nothing else runs in this thread's loop

    def now(self) -> float:
        return time.monotonic()


def reader_of(cluster: Cluster) -> ArchiveReader | None:
    """The cluster's archive, as the controller on the host reaches it; None where it has none."""
    from cluster.runtime.state import archive_of
    from cluster.store.objects import Objects

    where = archive_of(cluster.state)
    return None if where is None else Objects(where["url"], where["access_key"], where["secret_key"], cluster.region)


def scrub(
    cluster: Cluster,
    control: Calls,
    view: View,
    roles: Mapping[str, str],
    check: Callable[[], None],
    *,
    reader: ArchiveReader | None = None,
    heal: bool = False,
    disks: bool = False,
    tell: Tell = lambda event, **fields: None,
) -> Scrub:
    """Scrub every group of every table. A group that cannot be scrubbed is in the result with its error.

    ``disks``: read every node's disk first, past the caches. ``heal``: rebuild replicas that differ from those that
    agree, and have damaged objects of the archive stored again.
    """
    from reports.rundir import Scrub

    zones = {name: node.az for name, node in cluster.nodes.items()}
    target = Target(getattr(cluster, "id", ""), roles, zones, reader, heal, tell)
    read = read_disks(control, roles, check) if disks else []
    known = [group.view.group for group in view.groups if group.view.table != SYSTEM]
    parts = partitions(placement(control, roles), known)

    def job(part: Partition) -> ScrubGroup:
        return asyncio.run(scrub_one(ControlCalls(control), target, part))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        jobs = [pool.submit(job, part) for part in parts]
        groups = []
        for started in jobs:
            check()
            groups.append(started.result())
    return Scrub(groups=groups, archived=reader is not None, disks=read)


def damage_told(cluster: Cluster) -> list[dict[str, Any]]:
    """What the nodes' own records tell of replicas that differed and archives that disagreed, oldest first."""
    told: list[dict[str, Any]] = []
    for node in cluster.nodes.values():
        try:
            lines = node.events.read_bytes().splitlines()
        except OSError:
            continue
        for line in lines:
            if any(f'"{name}"'.encode() in line for name in DAMAGE_TOLD):
                with contextlib.suppress(ValueError):
                    event = json.loads(line)
                    told += [event] if event.get("event") in DAMAGE_TOLD else []
    return sorted(told, key=lambda event: float(event.get("boot", 0.0)))


def partitions(placed: Mapping[str, Any], known: Sequence[str] = ()) -> list[Partition]:
    """Every group of every table in order of name, also those that are only known to be there."""
    found = {
        str(part["group"]): Partition(
            str(part["group"]), str(table["name"]), number, part.get("start", b""), part.get("end", b"")
        )
        for table in placed.get("tables", [])
        for number, part in enumerate(table.get("partitions", []))
    }
    lost = {name: Partition(name, "", 0, b"", b"") for name in known if name not in found}
    return [part for _, part in sorted((found | lost).items())]


def read_disks(control: Calls, roles: Mapping[str, str], check: Callable[[], None]) -> list[ScrubDisk]:
    """Have every node read its disk through, one after another."""
    from reports.rundir import ScrubDisk

    found = []
    for node in sorted(name for name, role in roles.items() if role in ("storage", "autoadmin")):
        check()
        try:
            said = control.call(node, "scrub-disk", {}, DISK_TIMEOUT_S)
            found.append(
                ScrubDisk(node=node, bytes=int(said["bytes"]), seconds=float(said["seconds"]), bad=int(said["bad"]))
            )
        except Exception as error:
            found.append(ScrubDisk(node=node, error=str(error)))
    return found


async def scrub_one(calls: AsyncCalls, target: Target, part: Partition) -> ScrubGroup:
    """One group: barrier, digests, the copy from the archive, and where they differ."""
    from reports.rundir import ScrubGroup

    about: dict[str, Any] = {"group": part.group, "table": part.table, "partition": part.number}
    for _ in range(TRIES):
        members = await find_members(calls, part.group, target.roles)
        leader = next((node for node, replica in members.items() if replica.get("leader")), None)
        if leader is not None:
            break
        await calls.sleep(RETRY_S)
    else:
        return ScrubGroup(**about, error="no leader")
    named = sorted({*members[leader].get("voters", []), *members[leader].get("learners", [])})
    reader = target.reader if part.table else None

    async def rebuild(slot: int) -> Reference:
        assert reader is not None
        place = Place(target.cluster, part.table, part.group, part.start, part.end)
        return await rebuild_at(calls, reader, place, slot)

    def found(difference: Difference) -> None:
        target.tell("replica-damage", by="scrub", **as_event(part.group, difference))

    for _ in range(OVERTAKEN_TRIES):
        result = await scrub_group(
            calls, part.group, leader, named, rebuild if reader is not None else None, heal=target.heal, found=found
        )
        if not any(problem.startswith(OVERTAKEN) for problem in result.problems):
            break
    for name in result.damaged_objects:
        await tell_archive(calls, target, part, named, name)
    voters = len(members[leader].get("voters", []))
    return record(result, about, max(3, voters), members, target.zones, archived=reader is not None)


async def find_members(calls: AsyncCalls, group: str, roles: Mapping[str, str]) -> dict[str, Mapping[str, Any]]:
    """Node to what it says of its replica of the group."""
    found: dict[str, Mapping[str, Any]] = {}
    for node in sorted(name for name, role in roles.items() if role == "storage"):
        try:
            answer = await calls.call(node, "status", {}, 1.0)
        except Exception:
            continue
        for replica in answer.get("replicas", []):
            if replica["group"] == group:
                found[node] = replica
    return found


async def rebuild_at(calls: AsyncCalls, reader: ArchiveReader, place: Place, slot: int) -> Reference:
    """The group's rows at ``slot`` from its archived log, once that has come so far."""
    deadline = calls.now() + ARCHIVED_WAIT_S
    known: dict[str, bytes | None] = {}
    while True:
        for name in reader.list_now(place.prefix):
            if name.endswith(".manifest") and known.get(name) is None:
                known[name] = reader.get_now(name)
        manifests, unreadable = read_manifests(sorted(known.items()))
        if any(manifest.last >= slot for manifest in manifests) or calls.now() > deadline:
            break
        await calls.sleep(ARCHIVED_LOOK_S)
    reference = Reference(place)
    ends = any(manifest.last == slot for manifest in manifests)
    if not ends and any(manifest.kind == archive.IMAGE and manifest.first > slot for manifest in manifests):
        reference.problems.append(f"{OVERTAKEN} slot {slot}: ask at a later one")
    reference.damaged += unreadable
    reference.problems += [f"{name}: the manifest cannot be read" for name in unreadable]
    for wanted in reference.wanted(archive.plan_rebuild(place, manifests, slot)):
        reference.take(wanted, reader.get_now(wanted.name))
    return reference


async def tell_archive(calls: AsyncCalls, target: Target, part: Partition, members: Sequence[str], name: str) -> None:
    """An archived object is damaged: on record, and, where healing is wanted, stored again by whoever has that log."""
    target.tell("archive-damage", by="archive compare", object=name, group=part.group)
    for node in members if target.heal else ():
        try:
            await calls.call(node, "archive-mend", (part.group, archive.first_of(name)), 20.0)
            target.tell("archive-repaired", object=name, group=part.group, how="rewritten", node=node)
            return
        except Exception as error:
            why = str(error)
    if target.heal:
        target.tell("note", text=f"{name} could not be stored again: {why}")


def record(
    result: Scrubbed,
    about: Mapping[str, Any],
    expected: int,
    members: Mapping[str, Mapping[str, Any]],
    zones: Mapping[str, str],
    *,
    archived: bool,
) -> ScrubGroup:
    """A group's result as ``scrub.json`` has it."""
    from reports.rundir import ScrubGroup, ScrubReplica

    if result.error is not None:
        return ScrubGroup(**about, error=result.error)
    differs = {difference.node: difference for difference in result.differences}
    replicas = []
    for answer in result.answers:
        found = differs.get(answer.node)
        replicas.append(
            ScrubReplica(
                replica=str(members[answer.node]["replica"]) if answer.node in members else "?",
                node=answer.node,
                az=zones.get(answer.node, ""),
                digest=answer.digest,
                items=answer.items,
                bytes=answer.bytes,
                slot=result.slot,
                error=answer.error,
                start=found.start.hex() if found is not None else None,
                end=found.end.hex() if found is not None else None,
                key=found.key.hex() if found is not None and found.key is not None else None,
                difference=found.what if found is not None else "",
                healed_s=found.healed_s if found is not None else None,
            )
        )
    reference = as_record(result) if archived else None
    return ScrubGroup(**about, slot=result.slot, expected=expected, replicas=replicas, reference=reference)


def as_record(result: Scrubbed) -> ScrubReference:
    """The copy from the archive, as ``scrub.json`` has it."""
    from reports.rundir import ScrubReference

    copy = result.reference
    return ScrubReference(
        digest=copy.digest if copy is not None else None,
        items=copy.items if copy is not None else 0,
        bytes=copy.bytes if copy is not None else 0,
        segments=result.segments,
        archived_bytes=result.archived_bytes,
        problems=result.problems,
        bridged=result.bridged,
        damaged=result.damaged_objects,
    )
