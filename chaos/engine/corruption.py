"""The corruption ledger of a run: what was damaged, and what the nodes' own events say found and mended it.

An entry is written, durably, before its damage is done. It is *found* by an event of its node that names the file it is
in (or, for a B-tree, the image: one bad page condemns it whole), *repaired* once the node has another image, another
log, or the group its voters again, and *gone* where the bytes were rewritten before anything read them. Matching is a
pure function of events, so that the simulator's and a real cluster's are judged alike.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from chaos.faults.bitrot import MountedFiles
from chaos.faults.damage import Damage, fingerprint
from chaos.guard import ALL, NOTHING, Disturbance, Hurt
from reports.rundir import append_damage, read_ledger
from reports.rundir.ledger import DamageEntry
from reports.rundir.tail import Tail

if TYPE_CHECKING:
    from cluster.runtime.base import Cluster

Emit = Callable[..., object]
ReadBack = Callable[[DamageEntry], bytes | None]
"""What stands at an entry's place now; None where the file is gone. Raises where its node cannot be asked."""

SETTLE_S = 1.0
"""After a find in the log, until the view of who is whole can be believed to know of it."""
POLL_S = 0.3
SCRUB_TIMEOUT_S = 30.0
MEND_S = 45.0
"""After the last scrub, for what it found to be mended."""
LOST_IN_LOG = ("lost votes", "damaged at rest")
"""What a damage to promised bytes must be called; taken for a torn tail, it would be votes forgotten in silence."""
TELLING = ("tree-damage", "snapshot-installed", "tree-replayed", "recovered", "log-damage", "log-renewed",
           "archive-damage", "archive-repaired", "replica-damage", "healed")  # fmt: skip


class Ledger:
    """The ledger of one run. Safe for several threads. ``emit`` is told of everything as it becomes known."""

    def __init__(self, path: Path, start_boot_s: float, emit: Emit) -> None:
        self.path = path
        self._start = start_boot_s
        self._emit = emit
        self._lock = threading.RLock()
        self._entries: dict[str, DamageEntry] = {entry.id: entry for entry in read_ledger(path)}
        self._done: set[str] = set()
        """Faults whose damage was done."""
        self._closed: set[str] = set()
        """Faults of which it was said that everything is mended."""
        self._targets: dict[str, tuple[str, list[str]]] = {}

    @property
    def entries(self) -> list[DamageEntry]:
        with self._lock:
            return list(self._entries.values())

    def planned(self, fault: str, kind: str, found: Iterable[Damage], now_boot_s: float) -> None:
        """Write down, durably, what is about to be done. A second attempt of the same fault replaces the first."""
        with self._lock:
            found = list(found)
            self._targets[fault] = (kind, sorted({one.node for one in found}))
            for one in found:
                self._put(
                    DamageEntry(
                        id=one.id, node=one.node, file=one.file, mode=one.mode, offset=one.offset, length=one.length,
                        old=one.old, new=one.new, injected_s=self._t(now_boot_s), live=one.live, fault=fault,
                        place=one.place, what=one.what, groups=list(one.groups), extent=list(one.extent),
                    )
                )  # fmt: skip

    def abandoned(self, fault: str) -> None:
        """The damage was not done after all: its place had been rewritten."""
        with self._lock:
            for entry in [e for e in self._entries.values() if e.fault == fault]:
                self._put(msgspec.structs.replace(entry, live=False, what="nothing: the place had been rewritten"))

    def injected(self, fault: str) -> None:
        """The damage is done."""
        with self._lock:
            self._done.add(fault)
        for entry in self.entries:
            if entry.fault == fault:
                space = "live" if entry.live else "free space"
                self._tell(entry, "injected", f"{entry.mode} in {entry.file} at {entry.offset}: {entry.what}, {space}")
        self._close_faults()

    def take(self, event: Mapping[str, Any]) -> None:
        """Learn from an event of a node."""
        if event.get("event") not in TELLING:
            return
        with self._lock:
            at = self._t(float(event.get("boot", 0.0)))
            for entry in list(self._entries.values()):
                changed = after(entry, event, at)
                if changed is not entry:
                    self._put(changed)
                    if changed.found_s is not None and entry.found_s is None:
                        self._tell(changed, "found", f"by {changed.found_by}, {changed.found_how}")
                    if changed.repaired_s is not None and entry.repaired_s is None:
                        self._tell(changed, "repaired", str(event["event"]))
        self._close_faults()

    def whole(self, now_boot_s: float) -> None:
        """Every group has its voters again: what recovery had found in a log is made good."""
        with self._lock:
            now = self._t(now_boot_s)
            for entry in list(self._entries.values()):
                lost = entry.place == "log" and entry.found_by == "recovery" and entry.repaired_s is None
                if lost and entry.found_s is not None and now >= entry.found_s + SETTLE_S:
                    mended = msgspec.structs.replace(entry, repaired_s=now)
                    self._put(mended)
                    self._tell(mended, "repaired", "every group has its voters again")
        self._close_faults()

    def settle(self, read_back: ReadBack, now_boot_s: float) -> None:
        """At the end: what nothing found may have been rewritten meanwhile. Read it and see."""
        with self._lock:
            for entry in [e for e in self._entries.values() if e.found_s is None and e.live]:
                now = read_back(entry)
                if now is None or fingerprint(now) != entry.new:
                    rewritten = msgspec.structs.replace(entry, gone_s=self._t(now_boot_s))
                    self._put(rewritten)
                    self._tell(rewritten, "gone", "rewritten before anything read it")
        self._close_faults()

    def wants_archive(self) -> bool:
        """Whether archived objects were damaged that nobody has found: agents compare a segment when it is new."""
        return any(entry.place == "archive" and entry.found_s is None for entry in self.open())

    def telling(self, now: Callable[[], float]) -> Callable[..., None]:
        """For a scrub from outside: puts on the timeline what it tells, and lets the ledger learn from it."""

        def tell(event: str, **fields: Any) -> None:
            self._emit(event, **fields)
            self.take({"boot": now(), **fields, "event": event})

        return tell

    def mending(self) -> bool:
        """Whether something that was found is not mended yet."""
        return any(entry.found_s is not None for entry in self.open())

    def open(self) -> list[DamageEntry]:
        """What is in live bytes and not yet mended."""
        return [e for e in self.entries if e.live and e.repaired_s is None and e.gone_s is None]

    def standing(self) -> Disturbance:
        """What the guard must count with: damaged replicas, until they are mended."""
        open_ = [entry for entry in self.open() if entry.place != "archive"]
        hurt = frozenset(
            Hurt(entry.node, group, entry.place)
            for entry in open_
            for group in ([ALL] if entry.place == "log" else entry.groups)
        )
        helix = frozenset(group for entry in open_ if entry.mode == "helix" for group in entry.groups)
        return NOTHING._replace(hurt=hurt, healable=helix)

    def _put(self, entry: DamageEntry) -> None:
        append_damage(self.path, entry)
        self._entries[entry.id] = entry

    def _tell(self, entry: DamageEntry, state: str, detail: str) -> None:
        self._emit("corruption", id=entry.id, node=entry.node, file=entry.file, state=state, detail=detail)

    def _close_faults(self) -> None:
        """A fault of this kind is over when the database has mended all of it."""
        with self._lock:
            open_ = {entry.fault for entry in self.open()}
            for fault, (kind, targets) in self._targets.items():
                if fault in self._done and fault not in open_ and fault not in self._closed:
                    self._closed.add(fault)
                    self._emit("fault", name=fault, fault_kind=kind, targets=targets, state="healed",
                               detail="")  # fmt: skip

    def _t(self, boot_s: float) -> float:
        return round(boot_s - self._start, 3)


def after(entry: DamageEntry, event: Mapping[str, Any], at_s: float) -> DamageEntry:
    """The entry once an event of a node is known; the same object where the event says nothing about it."""
    what = str(event.get("event"))
    if at_s < entry.injected_s or entry.gone_s is not None:
        return entry
    if entry.place == "archive":
        return after_archive(entry, what, event, at_s)
    # What compares replicas runs where the group is led, and names the one that differs.
    if event.get("node_damaged", event.get("node_healed", event.get("node"))) != entry.node:
        return entry
    name = entry.file.rpartition("/")[2]
    if entry.place == "btree" and event.get("group") in entry.groups:
        if what == "tree-damage" and entry.found_s is None:
            return found(entry, event, at_s, "by name" if covers(entry, name, event) else "with the image it is in")
        if what == "replica-damage" and entry.found_s is None:
            return found(entry, event, at_s, "as rows that differ from the other replicas'")
        mended = what in ("snapshot-installed", "tree-replayed", "healed")
        if mended and entry.found_s is not None and entry.repaired_s is None:
            return msgspec.structs.replace(entry, repaired_s=at_s)
    if entry.place == "btree" and what == "recovered" and entry.found_by == "recovery" and entry.repaired_s is None:
        # Given up at the start, the image begins anew, and the node's own log fills it unless a peer's does.
        return msgspec.structs.replace(entry, repaired_s=at_s)
    if entry.place == "log":
        same_file = event.get("file") == name or entry.mode == "truncate"
        if what == "log-damage" and event.get("what") in LOST_IN_LOG and same_file and entry.found_s is None:
            return found(entry, event, at_s, f"as {event['what']}")
        if what == "log-renewed" and entry.found_by == "scrub" and entry.repaired_s is None:
            return msgspec.structs.replace(entry, repaired_s=at_s)
    return entry


def after_archive(entry: DamageEntry, what: str, event: Mapping[str, Any], at_s: float) -> DamageEntry:
    """As :func:`after`, for an object that any replica's agent may find and mend."""
    if not entry.file.endswith(str(event.get("object") or "\0")):
        return entry
    if what == "archive-damage" and entry.found_s is None:
        return found(entry, event, at_s, "by name")
    if what == "archive-repaired" and entry.found_s is not None and entry.repaired_s is None:
        return msgspec.structs.replace(entry, repaired_s=at_s)
    return entry


def found(entry: DamageEntry, event: Mapping[str, Any], at_s: float, how: str) -> DamageEntry:
    return msgspec.structs.replace(
        entry, found_by=str(event.get("by") or "an event without a finder"), found_s=at_s, found_how=how
    )


def covers(entry: DamageEntry, name: str, event: Mapping[str, Any]) -> bool:
    """Whether the page that an event names is the damaged one."""
    begin, length = entry.extent or (entry.offset, entry.length)
    offset = event.get("offset")
    return event.get("file") == name and isinstance(offset, int) and begin <= offset < begin + length


class NodeEvents:
    """Follows the event files of a cluster's nodes and feeds the ledger, in a thread of its own."""

    def __init__(self, cluster: Cluster, ledger: Ledger, whole: Callable[[], bool], now: Callable[[], float]) -> None:
        self._ledger = ledger
        self._whole = whole
        self._now = now
        self._tails = [Tail(node.events) for node in cluster.nodes.values() if node.disk is not None]
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def look(self) -> None:
        """Read what the nodes have said since the last look."""
        whole, at = self._whole(), self._now()
        with self._lock:
            for tail in self._tails:
                for line in tail.lines():
                    if any(name.encode() in line for name in TELLING):
                        self._ledger.take(msgspec.json.decode(line))
            if whole:
                self._ledger.whole(at)

    def close(self) -> None:
        """Stop, after one more look."""
        if self._closing.is_set():
            return
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(5.0)
        self.look()
        for tail in self._tails:
            tail.close()

    def _run(self) -> None:
        while not self._closing.wait(POLL_S):
            if self._ledger.entries:
                self.look()


class Calls(Protocol):
    """The part of :class:`cluster.control.Control` that is used here."""

    def call(self, node: str, method: str, params: Mapping[str, Any] | None = None, timeout_s: float = 2.0) -> Any: ...


def scrub_disks(control: Calls, nodes: Iterable[str], check: Callable[[], None]) -> str:
    """Have every node read all of its disk now; what came of it, in a sentence."""
    read, bad, silent = 0, 0, []
    for node in nodes:
        check()
        try:
            answer = control.call(node, "scrub-disk", {}, SCRUB_TIMEOUT_S)
            read, bad = read + int(answer["bytes"]), bad + int(answer["bad"])
        except Exception as error:
            # What this node has on its disk stays unread: an entry in it will show as not found.
            silent.append(f"{node} ({error})")
    said = f"disks read through: {read} bytes past the caches, {bad} bad places"
    return said + (f"; no answer from {', '.join(silent)}" if silent else "")


def reader(cluster: Cluster) -> ReadBack:
    """Reads an entry's range through the mount of its node."""

    def read_back(entry: DamageEntry) -> bytes | None:
        files = MountedFiles(cluster, entry.node)
        return files.read(entry.file, entry.offset, entry.length) if entry.file in files.list() else None

    return read_back
