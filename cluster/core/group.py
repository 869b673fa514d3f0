"""A replication group's member: Multi-Paxos in primary order, as a pure machine. This is the public face of
replication.

Theory
------
*Paxos on logs.* What a ballot decides is not one value but the leader's whole log up to a slot (Lamport's Multi-Paxos
with the primary order that Junqueira, Reed and Serafini ask for in "Zab", DSN 2011). Our entries are **effects,
computed by a leader on top of everything before them in its own log**: to choose each slot's highest-ballot value on
its own, as textbook Multi-Paxos may, could revive slot 9 of a dead leader on top of another leader's slot 8, an
effect computed on a state that never was. So an entry keeps the ballot under which it was first proposed, the ballots
along a log never fall, and

* (slot, ballot) identifies an entry **and all before it**: a follower takes entries only after an entry that it has;
* phase 1 adopts, of all logs promised to it, the one whose last entry has the highest (ballot, slot), as a whole; the
  candidate may lack entries: it receives them with the promises (unlike Raft, where it then must not lead);
* phase 2 commits slot n once a quorum has n durably **and the entry at n is of the leader's own ballot**: the
  leader's own NOOP, the first entry of each ballot, is what turns the adopted log into votes for this ballot.

A quorum is a majority of every active set of voters, and spans two zones where the voters do (so placement keeps
three voters in three zones: two survivors in one zone could decide nothing, not even a replacement). Slot 0 is the
group's first configuration, the same for all by construction; the first free slot is 1.

*Leadership* is worth something only with a **lease** (:mod:`cluster.core.leadership`, :mod:`cluster.core.lease`): a
valid lease says that no other replica of the group can have become leader. Strong reads need it; deciding a write
does not.

Modules: :mod:`~cluster.core.election` (phase 1), :mod:`~cluster.core.replication` (phase 2),
:mod:`~cluster.core.leadership` (leases, and what a leader does beside), :mod:`~cluster.core.membership`
(configurations), :mod:`~cluster.core.log`, :mod:`~cluster.core.quorum`; their common state is in
:mod:`~cluster.core.state`.

The driver's duties
-------------------
After any calls, call :meth:`Group.take` and carry out what it returns (several calls may share one take: that is
batching):

1. **Persist** the records in order, in one log with those of earlier takes. When everything up to a sequence number is
   durable (fsync returned), call :meth:`Group.persisted` with it. If that ever fails, end the process: never retry.
2. **Send** each message only once the records up to its ``after`` are durable; messages with ``after`` 0, or already
   durable, go at once. Order, uniqueness and delivery are not needed, but keeping order saves work. A node that
   receives a message for a replica that it does not have answers :func:`~cluster.core.messages.gone_for` it, in that
   replica's name.
3. **Apply** the committed entries in slot order. They come out only once they are durable in this member's own log
   too, so that the state machine never gets ahead of the log. What is lost from the state machine must still be in
   the log: :meth:`Group.trim` only below a durable, verified checkpoint.
4. **Wake**: call :meth:`Group.wake` at ``wake_at``, which replaces any earlier one. No timer otherwise: an idle,
   healthy group returns None and costs nothing.
5. Pass on what :class:`~cluster.core.lease.Liveness` reports: ``peer_lapsed``, ``peer_regained``, ``support_changed``.
6. ``now`` is the Liveness's clock and never decreases. One thread.

To answer a **write**: propose, and answer when an entry of *that ballot* comes out committed in that slot; if another
ballot's does, it did not happen; if the role is lost first, it may have happened. To answer a **strong read**:
apply what was handed out, require :attr:`Group.ready_to_serve`, read what is applied with the leader's own proposals
over it, then require ``lease_until(now) > now`` with a fresh ``now``. Answers that depend on proposed state wait until
that is committed.

Restart: replay the records into :meth:`HardState.replay`; where the log was damaged pass ``amnesiac=True`` and have the
replica replaced. A replica that lost its records never comes back under its id.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.core import election, leadership, membership, replication
from cluster.core.ballot import NO_BALLOT, Ballot
from cluster.core.config import Change, Configuration, Member
from cluster.core.effects import Effects
from cluster.core.failures import Misuse
from cluster.core.lease import LeaseView
from cluster.core.messages import (
    Accept,
    AcceptReply,
    Ask,
    AskReply,
    Committed,
    Decided,
    Entry,
    Gone,
    Installed,
    Message,
    Prepare,
    Promise,
    Promised,
    Record,
    Refuse,
    Relinquish,
    Snapshot,
)
from cluster.core.state import GroupOptions, HardState, Rng, Role, State

__all__ = ["Group", "GroupOptions", "HardState", "Rng", "Role"]

_HANDLERS = {
    Accept: replication.on_accept,
    AcceptReply: replication.on_accept_reply,
    Decided: replication.on_decided,
    Prepare: election.on_prepare,
    Promise: election.on_promise,
    Refuse: election.on_refuse,
    Ask: election.on_ask,
    AskReply: election.on_ask_reply,
    Relinquish: election.on_relinquish,
    Gone: replication.on_gone,
}


class Group:
    """One member of one replication group. See the module's text for what the caller owes it."""

    __slots__ = ("_state",)

    def __init__(
        self,
        group: str,
        replica: int,
        hard: HardState,
        liveness: LeaseView,
        options: GroupOptions,
        rng: Rng,
        now: float,
        *,
        applied: int = 0,
        snapshot: Snapshot | None = None,
        amnesiac: bool = False,
    ) -> None:
        """``hard``: :meth:`HardState.fresh` for a new member, :meth:`HardState.replay` after a restart.

        ``applied`` is the position of the state machine: entries above it come out of :meth:`take` (again).
        ``snapshot``: what the state machine was last replaced with (as given to :meth:`snapshot_installed`; keep it
        beside the state), since the restart may have come before the log recorded that. ``amnesiac``: the replica may
        have forgotten votes; it answers everything with Gone and waits to be replaced.
        """
        self._state = State.start(group, replica, hard, liveness, options, rng, applied, snapshot, amnesiac)
        election.start(self._state, now)

    # --- events -------------------------------------------------------------------------------------------------------

    def step(self, sender: int, message: Message, now: float) -> None:
        """Take a message from replica ``sender`` of this group. Old and doubled messages do no harm."""
        state = self._state
        handler = _HANDLERS.get(type(message))
        if handler is None:
            raise Misuse(f"{type(message).__name__} is not a message between replicas")
        if sender == state.me:
            raise Misuse("a replica does not send messages to itself")
        if state.amnesiac:
            leadership.answer_gone(state, sender, message)
        else:
            handler(state, sender, message, now)  # type: ignore[operator]

    def propose(self, payloads: Sequence[bytes], now: float) -> int:
        """Put DATA entries at the end of the log, in order, and return the first one's slot.

        Raises :class:`NotLeader` (with a hint) or :class:`Busy`; then nothing was proposed. A leader that is not yet
        :attr:`ready_to_serve`, or whose lease is over, does propose: whether it may is the caller's business.
        """
        return replication.propose(self._state, payloads, now)

    def propose_config(self, change: Change, now: float) -> int:
        """Start a change of membership and return its slot. A :class:`ChangeVoters` finishes by itself, in two entries.

        Raises :class:`NotLeader`, or :class:`ChangeRefused` where the change is wrong or another one is still under
        way.
        """
        return membership.propose_config(self._state, change, now)

    def persisted(self, seq: int, now: float) -> None:
        """Every record up to sequence number ``seq`` is durable. Only now may own votes count."""
        if seq > self._state.seq:
            raise Misuse(f"sequence number {seq} was never handed out; the last is {self._state.seq}")
        if seq > self._state.durable_seq:
            self._state.durable(seq)
            election.on_persisted(self._state, now)
            replication.on_persisted(self._state, now)

    def wake(self, now: float) -> None:
        """``wake_at`` has come. Calling it early or twice does no harm."""
        if not self._state.amnesiac:
            election.wake(self._state, now)
            leadership.wake(self._state, now)

    def peer_lapsed(self, node: str, now: float) -> None:
        """This node no longer supports ``node``: if the leader lives there it is suspect."""
        election.on_support_given_changed(self._state, node, now)

    def peer_regained(self, node: str, now: float) -> None:
        """This node supports ``node`` in a new epoch, in which nothing is confirmed yet."""
        election.on_support_given_changed(self._state, node, now)

    def support_changed(self, node: str, now: float) -> None:
        """The support that ``node`` gives this one began, ended, or changed epoch or incarnation."""
        leadership.on_support_received_changed(self._state, node, now)

    def relinquish(self, now: float, to: int | None = None) -> None:
        """Stop leading at once, so that ``to`` (or the most advanced voter) need not wait for the lease. No-op
        elsewhere."""
        leadership.relinquish(self._state, now, to)

    def campaign(self, now: float) -> None:
        """Try to become leader now: the first election of a new group, or a nudge. Needs no doubt about the leader,
        so it is refused by members that owe one a lease. No-op for learners, leaders, candidates and while quiet."""
        election.campaign(self._state, now)

    def snapshot_installed(
        self, slot: int, config: Configuration, ballot: Ballot, now: float, as_of: Ballot = NO_BALLOT
    ) -> None:
        """The state machine now durably holds the state at ``slot``, from :meth:`snapshot_point` of another member.

        ``as_of`` is the other member's :attr:`ballot` at that time (or later): whatever is decided was decided under
        a ballot that its witnesses had promised, so this member must promise no less, or it could help a leader that
        was passed over long ago to decide the same slots differently. Whatever the log holds up to ``slot`` is
        replaced. Ignored where this member has come further by itself.
        """
        replication.install(self._state, Snapshot(slot, config, ballot, as_of), now)

    def trim(self, slot: int) -> None:
        """Forget entries up to ``slot``, which must be committed and durable in the state machine (never trims
        more)."""
        replication.trim(self._state, slot)

    def take(self) -> Effects:
        """Everything to do since the last take, as of the last ``now``."""
        replication.flush(self._state)
        return self._state.collect()

    @property
    def has_effects(self) -> bool:
        """Whether a :meth:`take` is worth its while: where this is False, it would hand over nothing that the last one
        did not. Much cheaper than a take; most messages of a settled group only confirm something."""
        return self._state.gathered or replication.is_due(self._state)

    # --- what a driver may want to know -------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self._state.group

    @property
    def replica(self) -> int:
        """This member's own id."""
        return self._state.me

    @property
    def role(self) -> Role:
        return self._state.role

    @property
    def leader(self) -> Member | None:
        """Who leads, as far as this member knows: a hint. None: nobody it knows of."""
        return self._state.leader_member()

    @property
    def ballot(self) -> Ballot:
        """The highest ballot promised; the own one for a leader."""
        return self._state.promised

    @property
    def commit(self) -> int:
        """Every slot up to this one is decided."""
        return self._state.commit

    @property
    def config(self) -> Configuration:
        """The active configuration: the newest in the log, committed or not."""
        return self._state.log.config

    @property
    def config_committed(self) -> bool:
        """Whether the active configuration is decided; a change is refused until it is."""
        return self._state.log.config_slot <= self._state.commit

    @property
    def removed(self) -> bool:
        """A decided configuration is without this member: it may be destroyed."""
        state = self._state
        config = state.log.config
        return 0 <= state.member_number < config.number and self.config_committed and config.find(state.me) is None

    @property
    def last_slot(self) -> int:
        return self._state.log.last_slot

    @property
    def first_slot(self) -> int:
        """The first slot still in the log; everything below was trimmed."""
        return self._state.log.base_slot + 1

    def decided(self, first: int, last: int) -> list[Entry]:
        """Decided entries ``first .. last`` as they stand in the log. Raises :class:`Misuse` where some are trimmed
        away or not decided."""
        state = self._state
        if not state.log.base_slot < first <= last + 1 <= state.commit + 1:
            raise Misuse(f"slots {first} to {last} are not between {self.first_slot} and {state.commit}, the decided")
        return state.log.slice(first, last)

    @property
    def ready_to_serve(self) -> bool:
        """Leader, and an entry of its own ballot was handed out as committed, and with it all that earlier leaders
        decided: whoever has applied what :meth:`take` gave knows what they answered. Reads still need a lease.

        Decided is not enough: followers may have the entry durably before this member has, which hands out nothing
        that it could lose."""
        leading = self._state.leading
        return leading is not None and self._state.emitted >= leading.first_slot

    def lease_until(self, now: float) -> float:
        """Until when (this node's clock) no other replica can be leader; 0.0 without a lease. Cheap; may be lower than
        what renewals since have earned, never higher."""
        return leadership.lease_until(self._state, now)

    def acked(self, replica: int) -> int:
        """The last slot that a member is known to have durably, as leader; 0 where nothing is known."""
        leading = self._state.leading
        if leading is None:
            return 0
        return self._state.stable_slot if replica == self._state.me else leading.matched(replica)

    def snapshot_point(self, slot: int) -> tuple[int, Configuration, Ballot]:
        """What :meth:`snapshot_installed` needs beside the state at ``slot``, a committed slot that is not trimmed away
        (the last trimmed one will do). Raises :class:`Misuse` for others."""
        log = self._state.log
        if not log.base_slot <= slot <= self._state.commit:
            raise Misuse(f"slot {slot} is not between trimmed {log.base_slot} and committed {self._state.commit}")
        return slot, log.config_at(slot), log.ballot_at(slot)

    def hard_state(self) -> list[Record]:
        """Records that alone restore this member: what a driver writes at the head of a new log file before it drops
        old ones. Includes records of takes not yet made, so persist those after it as usual."""
        state = self._state
        log = state.log
        records: list[Record] = [Installed(log.base_slot, log.base_ballot, log.base_config), Promised(state.promised)]
        records.extend(log.records())
        records.append(Committed(state.commit))
        return records
