"""The state of one member, and the few things that all transitions do to it: write a record, send, promise, commit.

Only the modules named in :mod:`cluster.core.group` use it. Fields are grouped by who owns them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from cluster.core.ballot import NO_BALLOT, Ballot
from cluster.core.config import Configuration, Member
from cluster.core.effects import Effects, Send
from cluster.core.failures import BrokenHistory, Misuse, ProtocolBroken
from cluster.core.lease import LeaseView
from cluster.core.log import Log
from cluster.core.messages import Accepted, Committed, Decided, Entry, Installed, Message, Promised, Record, Snapshot
from cluster.core.quorum import Quorum


class Rng(Protocol):
    """The randomness that elections need: spread, no secrecy."""

    def random(self) -> float: ...


class Role(Enum):
    FOLLOWER = "follower"
    CANDIDATE = "candidate"
    LEADER = "leader"
    LEARNER = "learner"


@dataclass(frozen=True, slots=True)
class GroupOptions:
    """Limits and delays of one group; seconds, bytes, entries. None of them matters for safety."""

    ask_s: float = 0.15
    """How long a follower that doubts the leader waits for its peers' opinions."""
    settle_s: float = 0.5
    """How long a member that owes no leader a lease waits for one to turn up before it asks around; up to twice
    that."""
    retry_s: float = 0.1
    """First pause after an attempt to be elected; doubles up to ``retry_max_s``, and is spread by half either way."""
    retry_max_s: float = 1.0
    candidacy_s: float = 1.0
    """How long a candidate keeps trying one ballot."""
    resend_s: float = 0.25
    """How long a leader waits for an acknowledgement before it sends again, to members whose nodes are alive."""
    commit_delay_s: float = 0.02
    """How long a commit may wait for an Accept to ride on before it is sent on its own."""
    step_down_s: float = 1.5
    """How long a leader without a lease tries to get it back before it steps down."""
    message_bytes: int = 1 << 20
    """Entries in one message, unless a single one is larger."""
    window_bytes: int = 8 << 20
    """Entries under way to one follower."""
    uncommitted_bytes: int = 64 << 20
    """Entries proposed and not committed; beyond this :class:`Busy`."""


@dataclass(slots=True)
class HardState:
    """What a member knows after a restart (or, ``fresh``, at its creation)."""

    log: Log
    promised: Ballot = NO_BALLOT
    commit: int = 0
    is_fresh: bool = False
    is_reinstalled: bool = False

    @classmethod
    def fresh(cls, config: Configuration) -> HardState:
        """A member that has never run, under an id that nobody has used: founding members get the group's first
        configuration, and learners that join later the one that made them learners. It is recorded by the first
        take."""
        return cls(Log(0, NO_BALLOT, config), is_fresh=True)

    @classmethod
    def replay(cls, records: Iterable[Record]) -> HardState:
        """Rebuild from the records in the order in which they were persisted. Raises :class:`BrokenHistory`."""
        hard: HardState | None = None
        for record in records:
            if hard is None:
                if not isinstance(record, Installed):
                    raise BrokenHistory(f"the first record is {record!r}, not the log's base")
                hard = cls(Log(record.slot, record.ballot, record.config), commit=record.slot)
            else:
                hard._take(record)
        if hard is None:
            raise BrokenHistory("there are no records")
        return hard

    def _take(self, record: Record) -> None:
        log = self.log
        if isinstance(record, Promised):
            self.promised = max(self.promised, record.ballot)
        elif isinstance(record, Committed):
            self.commit = max(self.commit, min(record.slot, log.last_slot))
        elif isinstance(record, Accepted):
            entry = record.entry
            if entry.slot > log.base_slot and not log.holds(entry.slot, entry.ballot):
                if entry.slot <= self.commit:
                    raise BrokenHistory(f"slot {entry.slot} was rewritten although {self.commit} was committed")
                if entry.slot > log.last_slot + 1:
                    raise BrokenHistory(f"slot {entry.slot} follows slot {log.last_slot}: records are missing")
                log.truncate(entry.slot)
                log.append(entry)
            self.commit = max(self.commit, min(record.commit, log.last_slot))
        elif record.slot >= log.base_slot:
            log.install(record.slot, record.config, record.ballot)
            self.commit = max(self.commit, record.slot)

    def install(self, snapshot: Snapshot) -> None:
        """The state machine was replaced by a snapshot, and the restart came before the log knew."""
        self.log.install(snapshot.slot, snapshot.config, snapshot.ballot)
        self.commit = max(self.commit, snapshot.slot)
        self.promised = max(self.promised, snapshot.ballot, snapshot.as_of)
        self.is_reinstalled = True


@dataclass(frozen=True, slots=True)
class Obligation:
    """A lease that this member backs: no promise above ``ballot`` while its node supports (``node``, ``epoch``)."""

    ballot: Ballot
    node: str
    epoch: int


@dataclass(slots=True)
class Asking:
    """A round of questions before a candidacy: who is free to promise?"""

    token: int
    free: set[int]


@dataclass(slots=True)
class Answer:
    """One member's promise, with what it sent of its log so far."""

    commit: int
    end: tuple[Ballot, int]
    prev_slot: int
    prev_ballot: Ballot
    entries: list[Entry]

    @property
    def complete(self) -> bool:
        """Whether all of the member's log above ``prev_slot`` is here."""
        return (self.entries[-1].slot if self.entries else self.prev_slot) == self.end[1]


@dataclass(slots=True)
class Candidacy:
    """Phase 1 under way."""

    ballot: Ballot
    seq: int
    give_up_at: float
    asked: dict[int, Member] = field(default_factory=dict)
    answers: dict[int, Answer] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)
    own_durable: bool = False


@dataclass(slots=True)
class Progress:
    """What a leader knows of one other member."""

    member: Member
    next: int
    matched: int = 0
    commit: int = 0
    sent_commit: int = 0
    in_flight: deque[tuple[int, int]] = field(default_factory=deque)
    in_flight_bytes: int = 0
    heard_at: float = 0.0
    rewound: int = 0
    rewound_at: float = 0.0
    poke: bool = True
    """Whether it is to be sent an Accept in any case, and so to answer."""
    tell: bool = False
    """Whether it is to be told of the commit, if nothing else that tells it goes out."""
    confirmed: tuple[int, int] = (0, 0)
    unconfirmed: bool = True

    def rewind(self, slot: int) -> None:
        """Send from ``slot`` again; what is under way is taken as lost."""
        self.next = slot
        self.in_flight.clear()
        self.in_flight_bytes = 0


@dataclass(slots=True)
class Leading:
    """Phase 2 under way: what only a leader has."""

    first_slot: int
    """The slot of the NOOP that opened this ballot: slots from here on are of the own ballot, those below are not."""
    progress: dict[int, Progress] = field(default_factory=dict)
    acked: dict[int, int] = field(default_factory=dict)
    uncommitted_bytes: int = 0
    seen_through: Configuration | None = None
    """The committed configuration whose consequences were drawn."""
    lease_until: float = 0.0
    lease_deadline: float | None = None
    resend_at: float | None = None
    commit_at: float | None = None
    """When those who were not told of the commit by then are told of it."""
    told_at: float = 0.0
    """When that was last done."""
    notice: Decided | None = None
    """The last word of a commit, which goes to several as the same message."""

    def matched(self, replica: int) -> int:
        progress = self.progress.get(replica)
        return progress.matched if progress is not None else 0


@dataclass(slots=True)
class State:
    group: str
    me: int
    leases: LeaseView
    options: GroupOptions
    rng: Rng
    # What must survive a restart; changed only beside a record.
    log: Log
    promised: Ballot
    commit: int
    # What was handed out.
    emitted: int
    seq: int = 0
    durable_seq: int = 0
    vote_seq: int = 0
    recorded_commit: int = 0
    stable_slot: int = 0
    """The log up to here is durable on this member; it applies nothing beyond."""
    unstable: deque[tuple[int, int]] = field(default_factory=deque)
    """(sequence number, slot) of the entries above."""
    persist: list[tuple[int, Record]] = field(default_factory=list)
    sends: list[Send] = field(default_factory=list)
    changed: bool = True
    wake_told: float | None = None
    missing: dict[int, Member] = field(default_factory=dict)
    behind: dict[int, Member] = field(default_factory=dict)
    # As acceptor and follower.
    amnesiac: bool = False
    votes: bool = False
    """Whether the active configuration gives this member a vote."""
    member_number: int = -1
    """The newest configuration that this member saw itself in."""
    leader: Ballot = NO_BALLOT
    obligation: Obligation | None = None
    matched: int = 0
    reply_due: bool = False
    reply_need: int = 0
    reply_epoch: int = 0
    known: dict[int, Member] = field(default_factory=dict)
    # Elections: at most one of asking, candidacy and leading is set.
    now: float = 0.0
    deadline: float | None = None
    attempts: int = 0
    token: int = 0
    round_seen: int = 0
    stepped_down: Ballot = NO_BALLOT
    asking: Asking | None = None
    candidacy: Candidacy | None = None
    leading: Leading | None = None
    quorum_cache: Quorum | None = None

    @classmethod
    def start(
        cls,
        group: str,
        replica: int,
        hard: HardState,
        leases: LeaseView,
        options: GroupOptions,
        rng: Rng,
        applied: int,
        snapshot: Snapshot | None,
        amnesiac: bool,
    ) -> State:
        log = hard.log
        if snapshot is not None and snapshot.slot > hard.commit:
            hard.install(snapshot)
        if not amnesiac and not log.base_slot <= applied <= log.last_slot:
            raise BrokenHistory(f"applied up to {applied}, but the log holds {log.base_slot} to {log.last_slot}")
        state = cls(group, replica, leases, options, rng, log, hard.promised, max(hard.commit, applied), applied)
        state.amnesiac = amnesiac
        state.matched = state.recorded_commit = state.commit
        state.stable_slot = log.last_slot
        state.note_config()
        if hard.is_reinstalled:
            state.write(Promised(state.promised))
        if hard.is_fresh or hard.is_reinstalled:
            state.vote_seq = state.write(Installed(log.base_slot, log.base_ballot, log.base_config))
        return state

    # --- reading ------------------------------------------------------------------------------------------------------

    @property
    def role(self) -> Role:
        if self.leading is not None:
            return Role.LEADER
        if self.candidacy is not None:
            return Role.CANDIDATE
        return Role.FOLLOWER if self.votes else Role.LEARNER

    @property
    def quorum(self) -> Quorum:
        config = self.log.config
        if self.quorum_cache is None or self.quorum_cache.config is not config:
            self.quorum_cache = Quorum(config)
        return self.quorum_cache

    def member(self, replica: int) -> Member:
        """Where a replica lives, as well as is known."""
        return self.log.config.find(replica) or self.known.get(replica) or Member(replica, "", "", "")

    def leader_member(self) -> Member | None:
        if self.leading is not None:
            return self.member(self.me)
        if self.leader == NO_BALLOT:
            return None
        member = self.member(self.leader.replica)
        return member if member.node else None

    # --- doing --------------------------------------------------------------------------------------------------------

    def learn(self, replica: int, node: str) -> None:
        """Remember where a replica lives that may not be in any configuration known here."""
        if replica not in self.known or self.known[replica].node != node:
            self.known[replica] = Member(replica, node, "", "")

    def note_config(self) -> None:
        """The active configuration may have changed."""
        self.changed = True
        config = self.log.config
        self.votes = config.votes(self.me)
        if config.number > self.member_number and config.find(self.me) is not None:
            self.member_number = config.number

    def write(self, record: Record) -> int:
        """Have a record persisted; its sequence number."""
        self.seq += 1
        self.persist.append((self.seq, record))
        return self.seq

    def send(self, replica: int, message: Message, after: int = 0) -> None:
        self.sends.append(Send(self.member(replica), message, after))

    def accept(self, entry: Entry) -> None:
        """Put an entry at its slot, in place of what stood there and above."""
        log = self.log
        if entry.slot <= log.last_slot:
            if entry.slot <= self.commit:
                raise ProtocolBroken(f"{self.group}: slot {entry.slot} of {self.commit} decided ones may not change")
            log.truncate(entry.slot)
            self.stable_slot = min(self.stable_slot, entry.slot - 1)
            while self.unstable and self.unstable[-1][1] >= entry.slot:
                self.unstable.pop()
            self.note_config()
        config = log.config
        log.append(entry)
        if log.config is not config:
            self.note_config()
        self.recorded_commit = self.commit
        self.vote_seq = self.write(Accepted(entry, self.commit))
        self.unstable.append((self.vote_seq, entry.slot))

    def promise(self, ballot: Ballot) -> None:
        """Be bound to ``ballot``, and whatever this member was under a lower one, be it no more."""
        if ballot <= self.promised:
            raise ProtocolBroken(f"{self.group}: promise of {ballot} after {self.promised}")
        if self.leading is not None:
            self.stepped_down = self.promised
        self.promised = ballot
        self.vote_seq = self.write(Promised(ballot))
        self.leader = NO_BALLOT
        self.leading = self.candidacy = self.asking = None
        self.matched = self.commit
        self.reply_due = False
        self.reply_need = self.reply_epoch = 0
        self.missing.clear()
        self.behind.clear()
        self.changed = True

    def durable(self, seq: int) -> None:
        """Records up to ``seq`` are durable."""
        self.durable_seq = seq
        unstable = self.unstable
        while unstable and unstable[0][0] <= seq:
            self.stable_slot = unstable.popleft()[1]

    def commit_to(self, slot: int) -> None:
        """Everything up to ``slot`` is decided."""
        if slot < self.commit or slot > self.log.last_slot:
            raise ProtocolBroken(f"{self.group}: commit from {self.commit} to {slot} of {self.log.last_slot}")
        self.commit = slot

    @property
    def gathered(self) -> bool:
        """Whether there is anything to hand over, if only another time to be woken at."""
        if self.persist or self.sends or self.changed or self.missing or self.behind:
            return True
        return self.emitted < min(self.commit, self.stable_slot) or self._wake_at() != self.wake_told

    def collect(self) -> Effects:
        """Hand over what has gathered."""
        if self.persist and self.commit > self.recorded_commit:
            self.recorded_commit = self.commit
            self.write(Committed(self.commit))
        self.wake_told = self._wake_at()
        effects = Effects(self.persist, self.sends, [], self.wake_told, self.changed)
        upto = min(self.commit, self.stable_slot)
        if self.emitted < upto:
            effects.committed = self.log.slice(self.emitted + 1, upto)
            self.emitted = upto
        if self.missing:
            effects.missing = tuple(self.missing.values())
        if self.behind:
            effects.needs_snapshot = tuple(self.behind.values())
        self.persist, self.sends, self.changed = [], [], False
        return effects

    def _wake_at(self) -> float | None:
        leading = self.leading
        if leading is None:
            return self.deadline
        wake_at, at = leading.resend_at, leading.commit_at
        if at is not None and (wake_at is None or at < wake_at):
            wake_at = at
        at = leading.lease_deadline
        return at if at is not None and (wake_at is None or at < wake_at) else wake_at


def check_payloads(payloads: Iterable[bytes]) -> None:
    """Entries are bytes; anything else would only be noticed by a codec, far away."""
    for payload in payloads:
        if not isinstance(payload, bytes):
            raise Misuse(f"a payload must be bytes, not {type(payload).__name__}")
