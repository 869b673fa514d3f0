"""The archive's agent on every replica: committed log goes to the object store, checked, and nobody waits for it.

The leader's replica uploads each segment as soon as it is whole; a follower does so where the leader has not for a
while. Whoever finds a segment there already compares it with its own log: everybody the manifest, one of them (the
*second agent*) the whole segment, downloaded. What is compared is what was decided: positions and payloads.

While the store is away, log is kept up to a stated limit (``hold_bytes`` of the node, shared by its replicas) and
archived when the store returns. Beyond the limit it is let go of, and the archive has a hole, which is not papered
over: the chain goes on with an image of the group's rows whose manifest names the positions that are missing.

Nothing here is on the way of a write: the agent looks at the log once a second, in memory.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from cluster.core import archive
from cluster.core.archive import Cutter, Damaged, Manifest, Place, Tip
from cluster.core.messages import DATA, Entry
from cluster.core.side import is_side
from cluster.node import payload
from cluster.node.pace import next_turn
from cluster.node.reference import read_manifests
from cluster.node.rpc import RpcError
from cluster.node.world import ObjectFailed, ObjectStore
from cluster.store.pagevfs import ImageDamaged
from cluster.store.snapshot import SnapshotExpired

if TYPE_CHECKING:
    from cluster.node.host import Host
    from cluster.node.replica import Replica

LOOK_S = 1.0
"""Between looks at the logs; a segment's age when it is uploaded is mostly that of its first entry."""
AWAY_RETRY_S = 2.0
"""Between attempts while the store does not answer."""
PATIENCE_S = 6.0
PATIENCE_STEP_S = 3.0
"""How long followers leave a whole segment to the leader; the next follower waits longer by the step."""
LACKING_LOOK_S = 3.0
LACKING_MAX_S = 20.0
"""How long a leader that lacks the next segment's log waits for another replica to upload it, with the store there."""
DISAGREE_RETRY_S = 30.0
ENTRIES_PER_LOOK = 4096
SEGMENTS_PER_STEP = 4
IMAGE_ROWS = 512


class Segment:
    """A whole segment of a replica's own log, not yet known to be archived."""

    __slots__ = ("begun_ms", "content", "ended_ms", "first", "last", "since")

    def __init__(self, entries: list[Entry], begun_ms: int, ended_ms: int, now: float) -> None:
        self.first, self.last = entries[0].slot, entries[-1].slot
        self.begun_ms, self.ended_ms = begun_ms, ended_ms
        self.content = archive.content_of(entries)
        """Summed up when it was decided; what is uploaded, maybe much later, must still be that."""
        self.since = now


class Lane:
    """What one replica's agent knows: where the archive ends, and how far its own log was cut."""

    __slots__ = (
        *("cutter", "ended_ms", "lacking_since", "leads", "limit_told", "looked_at", "not_before", "place", "replica"),
        *("tip", "whole"),
    )

    def __init__(self, replica: Replica, place: Place) -> None:
        self.replica = replica
        self.place = place
        self.tip: Tip | None = None
        self.cutter = Cutter(1)
        self.ended_ms = 0
        self.whole: Segment | None = None
        self.not_before = 0.0
        self.lacking_since: float | None = None
        self.leads = False
        """Whether its replica led when it last looked for a segment: only leaders begin a chain anew."""
        self.looked_at = 0.0
        self.limit_told = -1
        """The end of the archive at which it was last said that log beyond it had to go."""

    def move(self, tip: Tip) -> None:
        """The archive ends at ``tip``: the next segment begins behind it."""
        self.tip = tip
        self.cutter = Cutter(tip.last + 1)
        self.ended_ms = 0
        self.whole = None
        self.lacking_since = None


class Archiver:
    """See the module's text."""

    def __init__(self, host: Host, store: ObjectStore) -> None:
        config = host.config.archive
        assert config is not None
        self._host = host
        self._world = host.world
        self._store = store
        self._hold_bytes = config.hold_bytes
        self._lanes: dict[str, Lane] = {}
        self._away_since: float | None = None
        self._wake = asyncio.Event()
        host.archiver = self
        host.rpc.register("archived", self._on_archived, str)
        host.rpc.register_async("archive-mend", self._on_mend, tuple[str, int])

    def start(self) -> None:
        self._world.spawn(self._run(), "archiver")

    def status(self) -> dict[str, int]:
        """The last archived position of each group, as this node's replicas have verified it; -1: not known yet."""
        return {name: lane.tip.last if lane.tip else -1 for name, lane in sorted(self._lanes.items())}

    def trim(self, replica: Replica, checkpoint: int) -> None:
        """Let go of the log below ``checkpoint`` as far as it is archived, or the limit forces it."""
        lane = self._lanes.get(replica.spec.group)
        known = lane is not None and lane.replica is replica and lane.tip is not None
        archived = lane.tip.last if known else replica.group.first_slot - 1  # type: ignore[union-attr]
        share = self._hold_bytes // max(1, len(self._host.replicas))
        gone = replica.trim_below(checkpoint, archived, share)
        if gone > archived and (lane is None or lane.limit_told != archived):
            if lane is not None:
                lane.limit_told = archived
            self._world.event("archive-limit", group=replica.spec.group, archived=archived, trimmed=gone, bytes=share)

    def _on_archived(self, sender: str, group: str, responder: Any) -> None:
        """Somebody uploaded a segment of a group: look soon."""
        if group in self._lanes:
            self._wake.set()

    # --- the loop ---

    async def _run(self) -> None:
        while True:
            timer = self._world.call_at(next_turn(self._world.now(), LOOK_S), self._wake.set)
            await self._wake.wait()
            timer.cancel()
            self._wake.clear()
            try:
                for name, replica in sorted(self._host.replicas.items()):
                    if self._host.replicas.get(name) is replica and replica.spec.table:
                        await self._step(self._lane(replica))
                self._answers()
            except ObjectFailed as error:
                self._silent(error)
                await self._world.sleep(AWAY_RETRY_S)
            for name in [name for name in self._lanes if name not in self._host.replicas]:
                del self._lanes[name]

    def _answers(self) -> None:
        if self._away_since is not None:
            away_s = self._world.now() - self._away_since
            self._away_since = None
            self._world.event("archive-back", seconds=round(away_s, 3))

    def _silent(self, error: ObjectFailed) -> None:
        if self._away_since is None:
            self._away_since = self._world.now()
            self._world.event("archive-away", why=str(error))

    def _lane(self, replica: Replica) -> Lane:
        lane = self._lanes.get(replica.spec.group)
        if lane is None or lane.replica is not replica:
            spec = replica.spec
            place = Place(self._host.config.cluster, spec.table, spec.group, spec.start, spec.end)
            lane = self._lanes[spec.group] = Lane(replica, place)
        return lane

    async def _step(self, lane: Lane) -> None:
        """Carry a group's archive on by a few segments."""
        now = self._world.now()
        if now < lane.not_before:
            return
        if lane.tip is None:
            lane.move(await self._find_tip(lane))
        for _ in range(SEGMENTS_PER_STEP):
            if lane.cutter.first < lane.replica.group.first_slot or lane.cutter.next < lane.replica.group.first_slot:
                await self._lacking(lane)
                return
            segment = self._cut(lane)
            if segment is None or not await self._settle(lane, segment):
                return

    def _cut(self, lane: Lane) -> Segment | None:
        """The next whole segment of this replica's log, if it is there."""
        if lane.whole is not None:
            return lane.whole
        replica, cutter = lane.replica, lane.cutter
        last = min(replica.applied, cutter.next + ENTRIES_PER_LOOK - 1)
        if last < cutter.next:
            return None
        for entry in self._entries(replica, cutter.next, last):
            wall_ms, barrier = 0, False
            if entry.kind == DATA:
                heading = payload.peek(entry.payload)
                wall_ms, barrier = heading.wall_ms, heading.kind == payload.BARRIER
            lane.ended_ms = wall_ms or lane.ended_ms
            if cutter.ends(entry, wall_ms, barrier):
                entries = self._entries(replica, cutter.first, entry.slot)
                lane.whole = Segment(entries, cutter.begun_ms, lane.ended_ms, self._world.now())
                return lane.whole
        return None

    def _entries(self, replica: Replica, first: int, last: int) -> list[Entry]:
        """Committed entries, as this replica's log has them: never others."""
        return replica.group.decided(first, last)

    # --- one segment ---

    async def _settle(self, lane: Lane, segment: Segment) -> bool:
        """See that a segment is archived, as this replica has it; False where that has to wait."""
        found = await self._store.get(archive.manifest_name(lane.place, segment.first))
        if found is None:
            if not self._may_upload(lane, segment):
                return False
            # A leader may have begun the chain anew, of which nobody is told. Who leads already would know.
            if not lane.leads and await self._overtaken(lane):
                return False
        lane.leads = lane.replica.leading
        if self._gone(lane, segment):
            return False
        entries = self._entries(lane.replica, segment.first, segment.last)
        assert lane.tip is not None
        times = segment.begun_ms, segment.ended_ms
        manifest, data = await self._world.offload(archive.seal, lane.place, lane.tip, entries, *times)
        if found is None:
            return await self._upload(lane, segment, entries, manifest, data)
        return await self._compare(lane, segment, found, manifest, data)

    def _gone(self, lane: Lane, segment: Segment) -> bool:
        """Whether the log or the lane moved on while we waited."""
        return lane.whole is not segment or segment.first < lane.replica.group.first_slot

    def _may_upload(self, lane: Lane, segment: Segment) -> bool:
        """The leader may at once; the others in turn, where the leader has not for a while."""
        replica = lane.replica
        if replica.leading:
            return True
        rank = self._others(replica).index(replica.spec.replica) if replica.spec.replica in self._others(replica) else 2
        return self._world.now() - segment.since >= PATIENCE_S + rank * PATIENCE_STEP_S

    def _others(self, replica: Replica) -> list[int]:
        """The group's voters but its leader, in order: the first of them is the second agent."""
        leader = replica.group.leader
        return [m.replica for m in replica.group.config.voting() if leader is None or m.replica != leader.replica]

    async def _upload(
        self, lane: Lane, segment: Segment, entries: list[Entry], manifest: Manifest, data: bytes
    ) -> bool:
        """Check the segment, then upload it, then its manifest, which makes it count."""
        world = self._world
        wrong = await world.offload(self._check, lane, segment, entries, manifest)
        if wrong:
            lane.not_before = world.now() + DISAGREE_RETRY_S
            world.event("archive-refused", group=lane.place.group, first=segment.first, last=segment.last, why=wrong)
            return False
        await self._put(lane, manifest, data)
        lag_s = world.wall() - segment.begun_ms / 1000 if segment.begun_ms else 0.0
        world.event("archived", group=lane.place.group, first=segment.first, last=segment.last, bytes=len(data),
                    lag_s=round(lag_s, 3))  # fmt: skip
        if not self._gone(lane, segment):
            lane.move(archive.tip_after(manifest))
        for member in lane.replica.group.config.members():
            if member.node != self._host.name:
                self._host.rpc.notify(member.node, "archived", lane.place.group)
        return True

    def _check(self, lane: Lane, segment: Segment, entries: list[Entry], manifest: Manifest) -> list[str]:
        """What is wrong with a segment that is about to be uploaded [P22 §5]: does it belong there, do its checksums
        hold, is any position missing?"""
        assert lane.tip is not None
        wrong = archive.check_manifest(lane.place, lane.tip, manifest) + archive.check_positions(manifest, entries)
        if manifest.content != segment.content:
            wrong.append("its entries are not those that were decided")
        for entry in entries if not wrong else ():
            for key, _ in payload.decode(entry.payload).writes if entry.kind == DATA else ():
                if not is_side(key) and not lane.place.holds(key):
                    return [f"the entry at slot {entry.slot} writes key {key.hex()}, which belongs elsewhere"]
        return wrong

    async def _put(self, lane: Lane, manifest: Manifest, data: bytes) -> None:
        await self._store.put(archive.object_name(lane.place, manifest.first, "log"), data)
        await self._store.put(archive.manifest_name(lane.place, manifest.first), archive.encode_manifest(manifest))

    async def _compare(self, lane: Lane, segment: Segment, found: bytes, mine: Manifest, data: bytes) -> bool:
        """A segment is there already: is it what this replica's log says?"""
        world = self._world
        name = archive.manifest_name(lane.place, segment.first)
        try:
            theirs = archive.decode_manifest(found)
        except Damaged as error:
            return await self._mend(lane, mine, data, name, str(error))
        if theirs.identity != mine.identity:
            if not await self._overtaken(lane):
                await self._disagree(lane, theirs, data)
            return False
        others = self._others(lane.replica)
        if others and others[0] == lane.replica.spec.replica:
            name = archive.object_name(lane.place, segment.first, "log")
            held = await self._store.get(name)
            if held is None:
                return await self._mend(lane, mine, data, name, "it is gone")
            assert lane.tip is not None
            wrong = await world.offload(archive.check_segment, lane.place, lane.tip, theirs, held)
            if wrong:
                return await self._mend(lane, mine, data, name, wrong[0])
        if not self._gone(lane, segment):
            lane.move(archive.tip_after(theirs))
        return True

    async def _mend(self, lane: Lane, mine: Manifest, data: bytes, name: str, why: str) -> bool:
        """What is stored is damaged, and this replica still has it: store it again."""
        group, first = lane.place.group, mine.first
        self._world.event("archive-damage", group=group, object=name, by="archive compare", first=first, detail=why)
        await self._put(lane, mine, data)
        self._world.event("archive-repaired", group=group, object=name, how="rewritten")
        lane.move(archive.tip_after(mine))
        return True

    async def _disagree(self, lane: Lane, theirs: Manifest, data: bytes) -> None:
        """What is stored is sound, but not what this replica's log says: never overwritten, always told."""
        held = await self._store.get(archive.object_name(lane.place, theirs.first, "log"))
        slot = None
        try:
            slot = archive.differing(archive.decode(data), archive.decode(held)) if held is not None else None
        except Damaged:
            pass  # the object is damaged on top of it, which the second agent tells
        lane.not_before = self._world.now() + DISAGREE_RETRY_S
        detail = f"it holds slots {theirs.first} to {theirs.last}"
        self._world.event("archive-disagrees", group=lane.place.group, replica=lane.replica.spec.replica,
                          by="archive compare", first=theirs.first, slot=slot, detail=detail)  # fmt: skip

    async def _on_mend(self, sender: str, params: tuple[str, int]) -> str:
        """The segment that begins at a slot is damaged or gone: store it again, where this replica's log has it."""
        group, first = params
        lane = self._lanes.get(group)
        if lane is None or lane.tip is None:
            raise RpcError("no-replica", group)
        try:
            return await self._rewrite(lane, first)
        except ObjectFailed as error:
            raise RpcError("archive-away", str(error)) from error

    async def _rewrite(self, lane: Lane, first: int) -> str:
        """Cut the segment from the log again, behind what stands before it in the archive."""
        replica, place = lane.replica, lane.place
        before, _ = read_manifests(await self._manifests(place, first))
        tip = archive.tip_after(max(before, key=lambda m: m.first)) if before else archive.ORIGIN
        if tip.last + 1 != first or first < replica.group.first_slot:
            raise RpcError("not-here", f"slot {first} is not in the log any more, which begins at "
                           f"{replica.group.first_slot}")  # fmt: skip
        again = Lane(replica, place)
        again.move(tip)
        while (segment := self._cut(again)) is None:
            if again.cutter.next > replica.applied:
                raise RpcError("not-here", f"the segment at slot {first} is not whole here")
        entries = self._entries(replica, segment.first, segment.last)
        times = segment.begun_ms, segment.ended_ms
        manifest, data = await self._world.offload(archive.seal, place, tip, entries, *times)
        held = await self._store.get(archive.manifest_name(place, first))
        if held is not None and archive.is_other(held, manifest):
            raise RpcError(
                "disagrees", f"what is archived from slot {first} on is sound, and not what the log says here"
            )
        await self._put(lane, manifest, data)
        name = archive.object_name(place, first, "log")
        self._world.event("archive-repaired", group=place.group, object=name, how="rewritten")
        return "rewritten"

    async def _manifests(self, place: Place, below: int) -> list[tuple[str, bytes | None]]:
        """Every manifest of a chain that begins before a slot."""
        names = [name for name in await self._store.list(place.prefix) if name.endswith(".manifest")]
        return [(name, await self._store.get(name)) for name in names if archive.first_of(name) < below]

    # --- the chain's end ---

    async def _find_tip(self, lane: Lane) -> Tip:
        """Where the archive of a group ends, by its last readable manifest."""
        names = [name for name in await self._store.list(lane.place.prefix) if name.endswith(".manifest")]
        for name in sorted(names, key=archive.first_of, reverse=True):
            data = await self._store.get(name)
            if data is not None:
                try:
                    return archive.tip_after(archive.decode_manifest(data))
                except Damaged:
                    continue  # found again, and mended, by whoever comes to its position
        return archive.ORIGIN

    async def _overtaken(self, lane: Lane) -> bool:
        """Whether an image begins the chain anew where this lane ends, or beyond: then it goes on from there."""
        tip = lane.tip
        assert tip is not None
        names = [name for name in await self._store.list(lane.place.prefix) if name.endswith(".manifest")]
        for name in sorted(names, key=archive.first_of, reverse=True):
            if archive.first_of(name) < tip.last:
                return False
            try:
                manifest = archive.decode_manifest(await self._store.get(name) or b"")
            except Damaged:
                continue
            if manifest.kind == archive.IMAGE:
                anew = archive.tip_after(manifest)
                if anew != tip:
                    lane.move(anew)
                return anew != tip
        return False

    async def _lacking(self, lane: Lane) -> None:
        """The log that comes next is not here: this replica was made of a snapshot, or had to let go of it."""
        now = self._world.now()
        if lane.lacking_since is None:
            lane.lacking_since = now
        if now - lane.looked_at < LACKING_LOOK_S:
            return
        lane.looked_at = now
        tip, since = await self._find_tip(lane), lane.lacking_since
        if tip != lane.tip:
            lane.move(tip)
        elif lane.replica.leading and now - since >= LACKING_MAX_S and not lane.replica.damaged:
            await self._restart(lane, tip)

    async def _restart(self, lane: Lane, tip: Tip) -> None:
        """Nobody has the log that comes next: go on with an image of the rows, and say what is missing."""
        world, replica, place = self._world, lane.replica, lane.place
        replica.seal()
        await self._host.flush(replica)
        async with replica.tree_lock:
            view = await self._host.upkeep.view(replica)
        if view is None:
            return  # it is being rebuilt
        parts: list[archive.Part] = []
        rows, count = b"", 0
        try:
            while page := await world.offload(view.read, IMAGE_ROWS):
                count += len(page)
                rows += archive.encode_rows(page)
                if len(rows) >= archive.IMAGE_PART_BYTES:
                    parts.append(await self._put_part(place, view.position, len(parts), rows))
                    rows = b""
            if rows:
                parts.append(await self._put_part(place, view.position, len(parts), rows))
        except (ImageDamaged, SnapshotExpired):
            return  # tried again at the next look
        finally:
            view.close()
        if await self._find_tip(lane) != tip:
            return  # somebody had the log after all
        manifest = archive.image_manifest(place, tip, view.position, count, parts)
        await self._store.put(archive.manifest_name(place, view.position), archive.encode_manifest(manifest))
        world.event("archive-restarted", group=place.group, hole=[tip.last + 1, view.position], rows=count)
        lane.move(archive.tip_after(manifest))

    async def _put_part(self, place: Place, slot: int, number: int, data: bytes) -> archive.Part:
        part = archive.image_part(number, data)
        await self._store.put(archive.object_name(place, slot, part.suffix), data)
        return part
