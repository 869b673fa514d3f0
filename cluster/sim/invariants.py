"""Checkers that look inside a simulated cluster while it runs: what must hold at every step, not only in the end.

::

    sim = Simulation(seed)
    watch = Invariants(sim)
    ... node = Node(world, config); watch.attach(node.role.host); await node.run() ...
    sim.run_for(10)                  # raises Violation at the first step that broke one of PROPERTIES

They judge with the eyes of a god: true time, and the bytes that are on the disks in fact. The theory they rest on is in
:mod:`cluster.core.group` and :mod:`cluster.core.leadership`. They read and never write: a run with them is the same to
the bit as one without.

How. Wherever a host makes a replica, a few of that replica's methods are wrapped on the object itself: a turn is
followed by a look at its group, a vote is looked at before it leaves. That costs microseconds per turn, where asking
every replica at every step would cost more than the cluster. A violation is noted at once and raised when time is
about to pass, from the loop's ``watchers``, so that it never unwinds a node's own code.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from cluster.core.ballot import NO_BALLOT, Ballot
from cluster.core.config import Configuration, Member
from cluster.core.group import Role
from cluster.core.log import Log
from cluster.core.messages import Accepted, AcceptReply, Entry, Installed, Message, Promise, Promised, Record
from cluster.core.side import is_side
from cluster.core.transactions import LEDGER, unpack_pending
from cluster.node.host import Host
from cluster.node.replica import Replica
from cluster.sim.decisions import Decisions, stamp_of
from cluster.sim.simulation import Simulation

ONE_LEADER: Final = "one-leader-per-ballot"
ONE_VALUE: Final = "one-value-per-slot"
NOTHING_LOST: Final = "no-committed-entry-lost"
LEASE: Final = "leases-exclusive"
STATES: Final = "applied-states-equal"
DURABLE: Final = "acknowledged-is-durable-on-a-quorum"
SPEECH: Final = "durable-before-spoken"
AMNESIA: Final = "no-vote-by-an-amnesiac"
OVERLAP: Final = "configurations-overlap"
ATOMIC: Final = "transactions-whole"

PROPERTIES: Final[dict[str, str]] = {
    ONE_LEADER: "a ballot has one leader, in one life of one node",
    ONE_VALUE: "a decided slot has one value, on every replica, for ever",
    NOTHING_LOST: "whoever becomes leader has everything that was decided under lower ballots",
    LEASE: "no replica holds a lease once another one was elected under a higher ballot",
    STATES: "replicas that applied the same position applied the same writes",
    DURABLE: "what is committed or acknowledged is on the disks of a quorum that spans two zones",
    SPEECH: "a vote leaves a node only when what it promises or accepts is on that node's disk",
    AMNESIA: "a replica that came back without a vote it had given never votes again",
    OVERLAP: "the quorums of consecutive configurations intersect",
    ATOMIC: "a transaction is decided once, and each of its items goes the way of the decision",
}
"""What is looked at, in words."""


_VOTES: Final = (AcceptReply, Promise)


class Violation(Exception):
    """A property was broken. ``prop`` is its name in :data:`PROPERTIES`."""

    def __init__(self, prop: str, text: str, at_s: float, group: str = "") -> None:
        super().__init__(f"{prop}: {text} (at {at_s:.6f} s)")
        self.prop = prop
        self.text = text
        self.at_s = at_s
        self.group = group


@dataclass(slots=True)
class _Truth:
    """What one replica id has on its disk in fact, and what it said; over all lives of its node."""

    held: dict[int, Ballot] = field(default_factory=dict)
    """Slots of its log and their ballots, as durable; at and below ``base`` everything is."""
    base: int = 0
    last: int = 0
    promised: Ballot = NO_BALLOT
    pending: deque[tuple[int, Record]] = field(default_factory=deque)
    """(position in the node's log, record) of this life that may not be durable yet."""
    said_promised: Ballot = NO_BALLOT
    said_end: tuple[Ballot, int] = (NO_BALLOT, 0)
    acked: dict[Ballot, int] = field(default_factory=dict)
    """The highest slot it acknowledged to the leader of each ballot."""
    ever: set[tuple[int, Ballot]] = field(default_factory=set)
    """Entries that were on its disk at some time; only asked, never gone through."""
    meant: dict[int, tuple[int, Ballot]] = field(default_factory=dict)
    """By the identity of an acknowledgement that waits for its fsync: which entry it is about."""
    amnesiac: str = ""

    def take(self, record: Record) -> None:
        """A record became durable."""
        if isinstance(record, Accepted):
            slot, ballot, _, _ = record.entry
            for beyond in range(slot + 1, self.last + 1):
                self.held.pop(beyond, None)
            self.held[slot] = ballot
            self.ever.add((slot, ballot))
            self.last = slot
        elif isinstance(record, Promised):
            self.promised = max(self.promised, record.ballot)
        elif isinstance(record, Installed):
            if record.slot > self.last or self.held.get(record.slot, record.ballot) != record.ballot:
                self.held.clear()
                self.last = record.slot
            self.held[record.slot] = record.ballot
            self.ever.add((record.slot, record.ballot))
            self.base = max(self.base, record.slot)

    def replace(self, log: Log, promised: Ballot) -> None:
        """A life begins with what recovery found, which recovery made durable."""
        self.pending.clear()
        self.meant.clear()
        self.base, self.last, self.promised = log.base_slot, log.last_slot, promised
        self.held = {slot: log.ballot_at(slot) for slot in range(log.base_slot, log.last_slot + 1)}
        self.ever.update(self.held.items())

    def holds(self, slot: int, ballot: Ballot) -> bool:
        return slot < self.base or self.held.get(slot) == ballot


class _Journal:
    """How much of a node's log is durable in fact, whatever the node believes. One for each life of a node."""

    def __init__(self, host: Host, files: dict[str, Any]) -> None:
        self._wal = host.wal
        self._files = files
        self._batches: deque[tuple[Any, int, int]] = deque()
        self._durable = 0
        write = host.wal._write

        def watched() -> tuple[int, int]:
            result = write()
            content = self._files[self._wal._file.name]
            self._batches.append((content, content.size, self._wal._appended))
            return result

        host.wal._write = watched  # type: ignore[method-assign]

    def durable(self) -> int:
        """The log is on the disk up to this position."""
        batches = self._batches
        while batches and batches[0][0].durable_size >= batches[0][1]:
            self._durable = batches.popleft()[2]
        return self._durable


@dataclass(slots=True)
class _Group:
    """What is known of one group by all that was ever seen of it."""

    decided: dict[int, Entry] = field(default_factory=dict)
    high: int = 0
    decided_by: dict[Ballot, int] = field(default_factory=dict)
    """The highest slot that each leader decided."""
    leaders: dict[Ballot, tuple[str, int]] = field(default_factory=dict)
    top: Ballot = NO_BALLOT
    states: dict[int, int] = field(default_factory=dict)
    """A checksum over all writes up to each position."""
    truths: dict[int, _Truth] = field(default_factory=dict)
    views: list[_View] = field(default_factory=list)


@dataclass(slots=True)
class _View:
    """One replica in one life of its node."""

    replica: Replica
    group: _Group
    truth: _Truth
    journal: _Journal
    life: int
    commit: int
    role: str = "new"
    seen: Role | None = None
    """The role, as the group has it."""
    ballot: Ballot = NO_BALLOT
    config: Configuration | None = None
    state: int | None = 0
    """The checksum at its applied position; None after a snapshot of a position that nobody was seen at."""
    position: int = 0

    @property
    def where(self) -> str:
        spec = self.replica.spec
        return f"replica {spec.replica} of {spec.group} on {self.replica.host.name}"

    @property
    def alive(self) -> bool:
        host = self.replica.host
        return not host.world.life.over and host.replicas.get(self.replica.spec.group) is self.replica  # type: ignore[attr-defined]


class Invariants:
    """Watches the hosts that are attached to it. ``transitions`` counts the changes of role that it saw, ``broken`` how
    often each property was found broken; with ``raising`` off it goes on after the first time."""

    def __init__(self, sim: Simulation) -> None:
        self.sim = sim
        self.violation: Violation | None = None
        self.raising = True
        self.broken: Counter[str] = Counter()
        self.transitions: Counter[str] = Counter()
        self.decisions = Decisions()
        self._groups: dict[str, _Group] = {}
        self._journals: dict[int, _Journal] = {}
        self._views: dict[int, _View] = {}
        self._stale: list[_View] = []

    def attach(self, host: Host) -> None:
        """Watch every replica of a host; call it before the host starts, and before anything else wraps it."""
        host.on_replica.append(self._adopt)
        outbox = host.outbox

        def watched(node: str, replica: Replica, to: int, message: Message) -> None:
            if type(message) in _VOTES:
                self._voted(replica, message)  # type: ignore[arg-type]
            outbox(node, replica, to, message)

        host.outbox = watched  # type: ignore[method-assign]

    def decided(self, group: str) -> int:
        """The highest slot of a group that is known to be decided."""
        return self._groups[group].high if group in self._groups else 0

    @property
    def groups(self) -> list[str]:
        """Every group seen so far."""
        return list(self._groups)

    # --- a replica comes to be ---

    def _adopt(self, replica: Replica) -> None:
        host, state = replica.host, replica.group._state
        group = self._groups.setdefault(replica.spec.group, _Group())
        truth = group.truths.setdefault(replica.spec.replica, _Truth())
        node = self.sim.nodes[host.name]
        journal = self._journals.get(id(host.wal))
        if journal is None:
            journal = self._journals[id(host.wal)] = _Journal(host, node.disk.memory.log.contents)
        log = state.log
        if state.promised < truth.said_promised:
            truth.amnesiac = f"it promised {truth.said_promised} and came back with {state.promised}"
        elif log.end < truth.said_end:
            said, found = _end(truth.said_end), _end(log.end)
            truth.amnesiac = f"it accepted up to {said} and came back with a log that ends at {found}"
        truth.replace(log, state.promised)
        view = _View(replica, group, truth, journal, node.lives, log.base_slot)
        self._set_position(view, replica.applied)
        for other in [other for other in group.views if not other.alive]:
            group.views.remove(other)
            del self._views[id(other.replica)]
        group.views.append(view)
        self._views[id(replica)] = view
        _wrap(replica, view, self)
        if replica.spec.table:
            _wrap_transactions(replica, view, self)

    # --- after a turn ---

    def looked(self, view: _View) -> None:
        """A replica has had its turn."""
        state = view.replica.group._state
        role, ballot = state.role if state.leading is None else Role.LEADER, state.promised
        if role is not view.seen or (ballot is not view.ballot and ballot != view.ballot):
            view.seen = role
            self._role_changed(view, role.value, ballot)
        if state.commit != view.commit:
            self._committed(view, state)
        if state.log.config is not view.config:
            self._configured(view, state)

    def _role_changed(self, view: _View, role: str, ballot: Ballot) -> None:
        self.transitions[f"{view.role} to {role}" if role != view.role else f"{role} under a higher ballot"] += 1
        view.role, view.ballot = role, ballot
        group = view.group
        if role == "leader":
            self._elected(view, ballot)
        stale = [v for v in self._stale if v is not view]
        stale += [v for v in group.views if v.ballot < group.top and v not in stale]
        self._stale = [v for v in stale if v.role == "leader" and v.alive]
        self._attend()

    def _elected(self, view: _View, ballot: Ballot) -> None:
        group, here = view.group, (view.replica.host.name, view.life)
        known = group.leaders.setdefault(ballot, here)
        if known != here or ballot.replica != view.replica.spec.replica:
            lives = f"{known[0]} in life {known[1]} and {here[0]} in life {here[1]}"
            self.fail(ONE_LEADER, f"ballot {ballot} was led from {lives}", view)
        truth = view.truth
        truth.said_promised = max(truth.said_promised, ballot)
        log = view.replica.group._state.log
        must = max([slot for by, slot in group.decided_by.items() if by < ballot], default=0)
        entry = group.decided.get(must)
        if entry is not None and log.base_slot < must and not log.holds(must, entry.ballot):
            self.fail(
                NOTHING_LOST,
                f"{view.where} leads under {ballot} without slot {must}, decided as {_name(entry)}; its log ends at "
                f"{_end(log.end)}",
                view,
            )
        group.top = max(group.top, ballot)

    def _committed(self, view: _View, state: Any) -> None:
        group, log, before = view.group, state.log, view.commit
        if state.commit < before:
            self.fail(NOTHING_LOST, f"{view.where} took back commits from {before} to {state.commit}", view)
        view.commit = state.commit
        for slot in range(max(before, log.base_slot) + 1, state.commit + 1):
            entry = log.entry(slot)
            known = group.decided.setdefault(slot, entry)
            if known != entry:
                text = f"slot {slot} was decided as {_name(known)}, and as {_name(entry)} on {view.where}"
                self.fail(ONE_VALUE, text, view)
        if state.leading is not None and state.commit > group.decided_by.get(state.promised, 0):
            if state.commit > group.high:
                self._decided(view, state, state.commit)
            group.decided_by[state.promised] = state.commit
        group.high = max(group.high, state.commit)

    def _decided(self, view: _View, state: Any, slot: int) -> None:
        """A leader says that everything up to ``slot`` is decided, before anybody else did."""
        ballot = state.log.ballot_at(slot)
        truth = view.truth
        if truth.acked.get(ballot, 0) < slot and self._on_disk(view, slot, ballot):
            truth.acked[ballot] = slot
            truth.said_end = max(truth.said_end, (ballot, slot))
        if ballot != state.promised:
            text = f"{view.where}, leading under {state.promised}, decided slot {slot} by votes of {ballot}"
            self.fail(DURABLE, text, view)
        elif short := self._short_of_quorum(view, slot, ballot):
            self.fail(DURABLE, f"{view.where} decided slot {slot} of ballot {ballot} with {short}", view)

    def _short_of_quorum(self, view: _View, slot: int, ballot: Ballot) -> str:
        """Which voters have the entry on their disks, where they are no quorum; empty where they are one."""
        truths = view.group.truths
        for voters in view.replica.group.config.voter_sets():
            have = [m for m in voters if m.replica in truths and truths[m.replica].acked.get(ballot, 0) >= slot]
            spans = len({m.zone for m in have}) > 1 or len({m.zone for m in voters}) == 1
            if len(have) <= len(voters) // 2 or not spans:
                return f"{_names(have) or 'nobody'} of {_names(voters)} having it on disk"
        return ""

    def _on_disk(self, view: _View, slot: int, ballot: Ballot) -> bool:
        self._settle(view)
        return view.truth.holds(slot, ballot)

    def _settle(self, view: _View) -> None:
        """What is durable by now is on the disk of this replica."""
        pending = view.truth.pending
        if pending:
            durable = view.journal.durable()
            while pending and pending[0][0] <= durable:
                view.truth.take(pending.popleft()[1])

    def _configured(self, view: _View, state: Any) -> None:
        view.config = state.log.config
        chain = [state.log.base_config, *(config for _, config in state.log._configs)]
        for old, new in pairwise(chain):
            if old.voters and not _intersect(old, new):
                text = f"{_names(old.voting())} and {_names(new.voting())} follow each other in the log of {view.where}"
                self.fail(OVERLAP, text, view)

    # --- votes and acknowledgements ---

    def _voted(self, replica: Replica, message: AcceptReply | Promise) -> None:
        """A vote is about to leave."""
        view = self._views.get(id(replica))
        if view is None:
            return
        truth = view.truth
        if truth.amnesiac:
            self.fail(AMNESIA, f"{view.where} votes although {truth.amnesiac}", view)
            return
        slot, ballot = truth.meant.pop(id(message), (0, NO_BALLOT))
        self._settle(view)
        if truth.promised < message.ballot:
            self.fail(SPEECH, f"{view.where} votes under {message.ballot}; on its disk is {truth.promised}", view)
        elif slot and (slot, ballot) not in truth.ever:
            self.fail(SPEECH, f"{view.where} acknowledges slot {slot} of {ballot}, which never was on its disk", view)
        truth.said_promised = max(truth.said_promised, message.ballot)
        truth.said_end = max(truth.said_end, (ballot, slot))
        for led in (ballot, message.ballot):
            truth.acked[led] = max(truth.acked.get(led, 0), slot)

    def acknowledged(self, view: _View, slot: int, ballot: Ballot, code: str) -> None:
        """Writers are told what became of the entry of ``ballot`` at ``slot``; an empty code says: it is durable."""
        if code:
            return
        self.looked(view)
        entry = view.group.decided.get(slot)
        if entry is None or entry.ballot != ballot:
            short = self._short_of_quorum(view, slot, ballot) or "no leader having decided it"
            self.fail(DURABLE, f"{view.where} acknowledged slot {slot} of ballot {ballot} with {short}", view)

    # --- applied states ---

    def _set_position(self, view: _View, position: int) -> None:
        view.position = position
        view.state = view.group.states.get(position) if position else 0

    def advanced(self, view: _View, position: int) -> None:
        """A replica goes on to ``position``: what it applied so far is final."""
        if view.state is None:
            view.state = view.group.states.get(view.position)
        else:
            known = view.group.states.setdefault(view.position, view.state)
            if known != view.state:
                self.fail(STATES, f"{view.where} differs from the others at position {view.position}", view)
                view.state = None
        view.position = position

    # --- leases, and raising ---

    def _attend(self) -> None:
        """Look when time is about to pass, as long as there is anything that only then shows."""
        watchers, needed = self.sim.loop.watchers, bool(self._stale) or self.violation is not None
        if needed and self._look not in watchers:
            watchers.append(self._look)
        elif not needed and self._look in watchers:
            watchers.remove(self._look)

    def _look(self) -> None:
        for view in self._stale:
            leading = view.replica.group._state.leading
            if leading is not None and view.alive:
                now, remembered = view.replica.host.world.now(), leading.lease_until
                holds = view.replica.group.lease_until(now) > now
                leading.lease_until = remembered  # as if nobody had asked
                if holds:
                    text = f"{view.where} holds the lease of {view.ballot}, and {view.group.top} was elected"
                    self.fail(LEASE, text, view)
        if self.violation is not None and self.raising:
            raise self.violation

    def fail(self, prop: str, text: str, view: _View) -> None:
        """Note a violation; the first is what is raised."""
        self.broken[prop] += 1
        if self.violation is None:
            self.violation = Violation(prop, text, self.sim.now, view.replica.spec.group)
            self._attend()


def _wrap(replica: Replica, view: _View, watch: Invariants) -> None:
    """Put the watch around the methods of one replica that matter."""
    turn, persist, installed = replica.turn, replica._persist, replica.installed
    advance, apply = replica.rows.advance, replica.rows.apply
    proposed, truth = replica.machine.proposed, view.truth

    def watched_turn(now: float) -> None:
        turn(now)
        watch.looked(view)

    def watched_persist(effects: Any) -> None:
        persist(effects)
        for _, message, _ in effects.sends:
            if type(message) is AcceptReply:
                log, matched = replica.group._state.log, message.matched
                if log.base_slot < matched <= log.last_slot:
                    truth.meant[id(message)] = (matched, log.ballot_at(matched))
        if effects.persist:
            for at, (_, record) in enumerate(effects.persist, -len(effects.persist)):
                truth.pending.append((replica.persisting[at][0], record))

    def watched_installed(slot: int) -> None:
        installed(slot)
        if slot >= view.position:
            watch._set_position(view, slot)

    def watched_advance(position: int) -> None:
        watch.advanced(view, position)
        advance(position)

    def watched_apply(position: int, key: bytes, image: bytes | None) -> None:
        if view.state is not None:
            view.state = hash((view.state, position, key, image))  # only ever compared, within this process
        apply(position, key, image)

    def watched_proposed(slot: int, ballot: Ballot) -> None:
        proposed(slot, ballot)
        waiters: list[Callable[[str], None]] = replica.machine._in_flight[slot].waiters
        waiters.append(lambda code: watch.acknowledged(view, slot, ballot, code))

    replica.turn = watched_turn  # type: ignore[method-assign]
    replica._persist = watched_persist  # type: ignore[method-assign]
    replica.installed = watched_installed  # type: ignore[method-assign]
    replica.rows.advance = watched_advance  # type: ignore[method-assign]
    replica.rows.apply = watched_apply  # type: ignore[method-assign]
    replica.machine.proposed = watched_proposed  # type: ignore[method-assign]


def _wrap_transactions(replica: Replica, view: _View, watch: Invariants) -> None:
    """Watch what becomes of transactions: the ledger's rows, and the items that let go of one."""
    apply, advance, held = replica.rows.apply, replica.rows.advance, replica.machine.held_applied
    written: list[tuple[bytes, bytes | None]] = []
    is_ledger = replica.spec.table == LEDGER

    def watched_advance(position: int) -> None:
        written.clear()
        advance(position)

    def watched_apply(position: int, key: bytes, image: bytes | None) -> None:
        apply(position, key, image)
        written.append((key, image))
        if is_ledger and (text := watch.decisions.recorded(key, image)):
            watch.fail(ATOMIC, f"{view.where}: {text}", view)

    def watched_held(key: bytes, row: bytes | None) -> None:
        before = replica.machine._applied_held.get(key)
        held(key, row)
        text = ""
        if is_side(key) and row is not None:
            text = watch.decisions.whole(unpack_pending(row))
        elif is_side(key) and before is not None:
            text = watch.decisions.forgotten(unpack_pending(before))
        elif before is not None and row is None:
            stamps = [stamp_of(image) for item, image in written if item == key]
            text = watch.decisions.let_go(unpack_pending(before), stamps)
        if text:
            watch.fail(ATOMIC, f"{view.where}: {text}", view)

    replica.rows.advance = watched_advance  # type: ignore[method-assign]
    replica.rows.apply = watched_apply  # type: ignore[method-assign]
    replica.machine.held_applied = watched_held  # type: ignore[method-assign]


def _intersect(old: Configuration, new: Configuration) -> bool:
    """Whether some active set of each is such that any two of their majorities share a member."""
    for before in old.voter_sets():
        for after in new.voter_sets():
            both = len({m.replica for m in (*before, *after)})
            if len(before) // 2 + 1 + len(after) // 2 + 1 > both:
                return True
    return False


def _names(members: list[Member] | tuple[Member, ...]) -> str:
    return ", ".join(f"{m.replica} on {m.node}" for m in members)


def _end(end: tuple[Ballot, int]) -> str:
    return f"slot {end[1]} of {end[0]}"


def _name(entry: Entry) -> str:
    return f"{('a no-op', 'writes', 'a configuration')[entry.kind]} of ballot {entry.ballot}"
