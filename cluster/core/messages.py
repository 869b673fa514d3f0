"""What is in the log, what is persisted, and what replicas say to each other.

All are NamedTuples of ints, floats, bytes, strings and each other, so that a codec can write them as arrays.
``KINDS`` and ``RECORDS`` give stable tags: append to them, never reorder. The sender's replica id travels beside a
message, not in it. Slots count from 1; slot 0 is the group's first configuration, committed by construction. Times
are seconds.
"""

from __future__ import annotations

from typing import NamedTuple

from cluster.core.ballot import Ballot
from cluster.core.config import Configuration

NOOP, DATA, CONFIG = 0, 1, 2
"""Kinds of entry."""

LEASE, OUTBID, QUIET, AMNESIA = 1, 2, 3, 4
"""Reasons of a :class:`Refuse`."""


class Entry(NamedTuple):
    """One slot's value. ``ballot`` is that of the leader that first proposed it; (slot, ballot) determines the rest."""

    slot: int
    ballot: Ballot
    kind: int
    payload: bytes


# --- records: what a replica must find again after a restart ---------------------------------------------------------


class Promised(NamedTuple):
    """No ballot below this one is promised or accepted any more."""

    ballot: Ballot


class Accepted(NamedTuple):
    """The entry stands in the log at its slot; where it differs from what stood there, that and all above it are
    gone. When it was written, everything up to ``commit`` was known to be decided: a :class:`Committed` that costs no
    record of its own."""

    entry: Entry
    commit: int = 0


class Committed(NamedTuple):
    """Everything up to ``slot`` is decided. Advisory: nothing ever waits for this record."""

    slot: int


class Installed(NamedTuple):
    """The log begins above ``slot`` (trimmed, or replaced by a snapshot). ``ballot`` is that of the entry at
    ``slot``."""

    slot: int
    ballot: Ballot
    config: Configuration


class Snapshot(NamedTuple):
    """What the state machine was replaced with: the state at ``slot``, taken from a member that had promised ``as_of``.

    Not a record of the log: a driver keeps it beside the state machine.
    """

    slot: int
    config: Configuration
    ballot: Ballot
    as_of: Ballot


Record = Promised | Accepted | Committed | Installed
RECORDS: tuple[type, ...] = (Promised, Accepted, Committed, Installed)


# --- messages between replicas of a group ----------------------------------------------------------------------------


class Prepare(NamedTuple):
    """Phase 1a. The candidate on ``node`` asks for a promise, and for what was accepted from ``from_slot`` on.

    ``last_slot`` and ``last_ballot`` name the end of the candidate's own log: who has nothing better sends no entries.
    """

    ballot: Ballot
    node: str
    from_slot: int
    last_slot: int
    last_ballot: Ballot


class Promise(NamedTuple):
    """Phase 1b. ``entries`` follow the entry (``prev_slot``, ``prev_ballot``); more may be asked for by another
    Prepare."""

    ballot: Ballot
    commit: int
    last_slot: int
    last_ballot: Ballot
    prev_slot: int
    prev_ballot: Ballot
    entries: tuple[Entry, ...]


class Refuse(NamedTuple):
    """The message of ``ballot`` was refused. ``promised`` is the refuser's; ``wait_s`` says when asking again makes
    sense."""

    ballot: Ballot
    promised: Ballot
    reason: int
    leader: Ballot
    wait_s: float


class Accept(NamedTuple):
    """Phase 2a; without entries it is the leader's heartbeat.

    ``entries`` follow the entry (``prev_slot``, ``prev_ballot``). ``epoch``, where not 0, asks the receiver to
    confirm the leader's lease under the support epoch that its node granted to ``node``.
    """

    ballot: Ballot
    node: str
    prev_slot: int
    prev_ballot: Ballot
    entries: tuple[Entry, ...]
    commit: int
    epoch: int


class AcceptReply(NamedTuple):
    """Phase 2b. The sender's log equals the leader's up to ``matched``, durably.

    ``need``, where not 0, is the slot from which the leader must send again. ``epoch`` and ``incarnation``, where not
    0, confirm the leader's lease: its ballot holds here while this node, in this incarnation, supports that epoch.
    """

    ballot: Ballot
    matched: int
    need: int
    commit: int
    epoch: int
    incarnation: int


class Ask(NamedTuple):
    """Before a candidacy: do you still hear a leader? ``ballot`` is the highest the asker promised; ``token`` is
    echoed.

    It also says that the asker does not lead, nor ever will under ``ballot`` or a lower one.
    """

    ballot: Ballot
    node: str
    token: int


class AskReply(NamedTuple):
    """``free``: the sender owes nothing to any leader. Otherwise ``wait_s`` says when to ask again at the earliest."""

    token: int
    promised: Ballot
    free: bool
    leader: Ballot
    wait_s: float


class Relinquish(NamedTuple):
    """The owner of ``ballot`` has stopped leading for good; ``successor`` (0: nobody in particular) should take
    over."""

    ballot: Ballot
    successor: int


class Decided(NamedTuple):
    """Everything up to ``slot`` of the log of ``ballot``'s leader is decided. Nobody answers it: whoever has sent
    nothing since that tells of the commit is asked by an :class:`Accept` later."""

    ballot: Ballot
    slot: int


class Gone(NamedTuple):
    """The replica that a message was meant for does not exist on that node, or has lost its memory.

    ``token`` is that of the :class:`Ask` which it answers, 0 for other messages: see :func:`gone_for`.
    """

    token: int = 0


# --- messages between nodes -------------------------------------------------------------------------------------------


class Heartbeat(NamedTuple):
    """One node to another, once an interval: a request for support, and the answer to the last such request.

    Request: the sender, in life ``incarnation``, wants support in ``epoch``; ``sent_at`` is its own clock. Answer: in
    its life ``incarnation`` the sender supports the receiver in ``granted_epoch`` for ``granted_s`` from ``echo_at``
    (the receiver's clock), or, where ``granted_s`` is 0, never again in that epoch. ``granted_epoch`` 0: nothing to
    answer.
    """

    incarnation: int
    epoch: int
    sent_at: float
    granted_epoch: int
    echo_at: float
    granted_s: float


Message = Prepare | Promise | Refuse | Accept | AcceptReply | Ask | AskReply | Relinquish | Gone | Decided
KINDS: tuple[type, ...] = (
    Prepare, Promise, Refuse, Accept, AcceptReply, Ask, AskReply, Relinquish, Gone, Heartbeat, Decided,
)  # fmt: skip


def gone_for(message: Message) -> Gone:
    """What a node answers, in the name of the replica addressed, to a message for a replica that it does not have."""
    return Gone(message.token) if isinstance(message, Ask) else Gone()
