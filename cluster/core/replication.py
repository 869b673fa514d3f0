"""Phase 2: one leader's log into everybody's, in order; deciding; repairing what was lost.

The leader sends without waiting for answers, within a window per follower, all that was proposed since the last take
in one Accept. A follower takes entries only where it has the one before them; else it says from where it needs them
(``need``). Followers hear of a commit with the next entries, or at once where none are under way. While writes follow
upon each other that word is one-way, since the acknowledgement of the next entries says that it came; where none have
come for a while it is an Accept, whose answer does. All effects of losing a message are repaired from one deadline,
which runs only while some live member has yet to acknowledge entries, the commit position, or the lease.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.core import election, leadership, membership
from cluster.core.ballot import NO_BALLOT
from cluster.core.effects import Send
from cluster.core.failures import Busy, NotLeader, ProtocolBroken
from cluster.core.log import ENTRY_OVERHEAD_BYTES, weight
from cluster.core.messages import (
    DATA,
    NOOP,
    OUTBID,
    Accept,
    AcceptReply,
    Decided,
    Entry,
    Gone,
    Installed,
    Refuse,
    Snapshot,
)
from cluster.core.state import Candidacy, Leading, Progress, State, check_payloads

# --- the leader -------------------------------------------------------------------------------------------------------


def lead(state: State, candidacy: Candidacy, adopted: Sequence[Entry], now: float) -> None:
    """A quorum has promised: make the adopted log one's own, and open the ballot with a NOOP."""
    for entry in adopted:
        if not state.log.holds(entry.slot, entry.ballot):
            state.accept(entry)
    if adopted and state.log.end != (adopted[-1].ballot, adopted[-1].slot):
        raise ProtocolBroken(f"{state.group}: adopting up to {adopted[-1].slot} ended at {state.log.last_slot}")
    known = max([answer.commit for answer in candidacy.answers.values()], default=0)
    state.commit_to(max(state.commit, known))
    log = state.log
    leading = Leading(first_slot=log.last_slot + 1, lease_deadline=now + state.options.step_down_s)
    state.candidacy, state.deadline, state.attempts = None, None, 0
    state.leading, state.leader = leading, state.promised
    state.changed = True
    for member in log.config.members():
        if member.replica != state.me:
            progress = leading.progress[member.replica] = Progress(member, next=log.last_slot + 1)
            answer = candidacy.answers.get(member.replica)
            if answer is not None:
                same = log.holds(answer.end[1], answer.end[0])
                progress.matched = answer.end[1] if same else answer.commit
                progress.next = progress.matched + 1
                leading.acked[member.replica] = progress.matched
    leading.uncommitted_bytes = weight(log.slice(state.commit + 1, log.last_slot))
    append(state, leading, [(NOOP, b"")])


def propose(state: State, payloads: Sequence[bytes], now: float) -> int:
    """See :meth:`cluster.core.group.Group.propose`."""
    state.now = now
    leading = state.leading
    if leading is None:
        raise NotLeader(state.leader_member())
    check_payloads(payloads)
    if leading.uncommitted_bytes >= state.options.uncommitted_bytes:
        raise Busy(f"{leading.uncommitted_bytes} bytes are proposed and not committed; wait for commits")
    return append(state, leading, [(DATA, payload) for payload in payloads])


def append(state: State, leading: Leading, values: Sequence[tuple[int, bytes]]) -> int:
    """Put values of the own ballot at the end of the log; the first one's slot."""
    first = state.log.last_slot + 1
    ballot = state.promised
    size = 0
    for slot, (kind, payload) in enumerate(values, first):
        state.accept(Entry(slot, ballot, kind, payload))
        size += len(payload) + ENTRY_OVERHEAD_BYTES
    leading.uncommitted_bytes += size
    return first


def on_persisted(state: State, now: float) -> None:
    """The leader's own votes count from now."""
    leading = state.leading
    if leading is None:
        return
    if state.stable_slot > leading.acked.get(state.me, 0):
        leading.acked[state.me] = state.stable_slot
        decide(state, leading)


def decide(state: State, leading: Leading) -> None:
    """Commit what a quorum has durably, once that includes an entry of the own ballot: a majority holding an *older*
    ballot's entry proves nothing (Ongaro, section 3.6.2), since a greater log may still replace it."""
    slot = state.quorum.decided(leading.acked)
    if slot > state.commit and slot >= leading.first_slot:
        leading.uncommitted_bytes -= weight(state.log.slice(state.commit + 1, slot))
        state.commit_to(slot)
        # An Accept that is still to be acknowledged will be followed by others, and they tell of the commit, too. Where
        # none is, followers would serve old values to eventual reads for as long as this waits.
        riding = slot < state.log.last_slot
        at = state.now + (state.options.commit_delay_s if riding else 0.0)
        leading.commit_at = at if leading.commit_at is None else min(leading.commit_at, at)
        membership.on_commit(state, leading)


def on_accept_reply(state: State, sender: int, message: AcceptReply, now: float) -> None:
    state.now = now
    leading = state.leading
    if leading is None or message.ballot != state.promised:
        return
    progress = leading.progress.get(sender)
    if progress is None:
        return
    state.missing.pop(sender, None)
    progress.heard_at = now
    progress.commit = max(progress.commit, message.commit)
    if message.epoch:
        _note_confirmation(state, progress, message, now)
    if message.matched > progress.matched:
        _advance(state, leading, progress, message.matched)
    if message.need:
        _resend_from(state, progress, message.need, now)


def _resend_from(state: State, progress: Progress, need: int, now: float) -> None:
    """A follower has a gap. What it asks for may lie at or below what it has acknowledged durably: after a restart it
    knows how far its log reaches, but not how far that is ours; then the entry after ``matched`` tells it. Either way
    the same gap, which every Accept under way reports anew, is filled once in a while."""
    slot = max(need, progress.matched + 1)
    again = slot == progress.rewound or need <= progress.matched
    if again and now < progress.rewound_at + state.options.resend_s:
        return
    progress.rewound, progress.rewound_at = slot, now
    progress.rewind(slot)


def _advance(state: State, leading: Leading, progress: Progress, matched: int) -> None:
    if matched > state.log.last_slot:
        last = state.log.last_slot
        raise ProtocolBroken(f"{state.group}: {progress.member} claims slot {matched} of a log that ends at {last}")
    progress.matched = matched
    progress.next = max(progress.next, matched + 1)
    while progress.in_flight and progress.in_flight[0][0] <= matched:
        progress.in_flight_bytes -= progress.in_flight.popleft()[1]
    if matched >= state.log.base_slot:
        state.behind.pop(progress.member.replica, None)
    leading.acked[progress.member.replica] = matched
    if matched > state.commit:
        decide(state, leading)


def _note_confirmation(state: State, progress: Progress, message: AcceptReply, now: float) -> None:
    confirmed = (message.epoch, message.incarnation)
    if confirmed[0] >= progress.confirmed[0] and confirmed[1] >= progress.confirmed[1]:
        progress.confirmed = confirmed
    granted = state.leases.granted(progress.member.node, now)
    if granted is not None and progress.confirmed == (granted.epoch, granted.incarnation):
        progress.unconfirmed = False
        leadership.watch_lease(state, now)


def on_gone(state: State, sender: int, message: Gone, now: float) -> None:
    state.now = now
    leading = state.leading
    if leading is not None and sender in leading.progress:
        state.missing[sender] = leading.progress[sender].member
    elif leading is None:
        election.on_gone_for_good(state, sender, message.token, now)


def wake(state: State, leading: Leading, now: float) -> None:
    """Send alone what found nothing to ride on, and again what was not acknowledged."""
    state.now = now
    if leading.commit_at is not None and now >= leading.commit_at:
        _tell(state, leading)
    if leading.resend_at is not None and now >= leading.resend_at:
        leading.resend_at = None
        again = []
        for progress in leading.progress.values():
            if not _owed(state, progress):
                continue
            there = state.leases.granted(progress.member.node, now) is not None
            patient_until = progress.heard_at + state.options.resend_s
            if now >= patient_until:
                # Who may not be there is only asked, and says what it needs: it would be sent all that it lacks, over
                # and over, for as long as its zone is dark.
                if there:
                    progress.rewind(progress.matched + 1)
                progress.poke = True
            elif there:
                again.append(patient_until)
        if again:
            leading.resend_at = min(again)


def _tell(state: State, leading: Leading) -> None:
    """See that everybody hears of the commit now. Who writes seldom asks for an answer with it: waiting for one from
    the next write would take a message more."""
    leading.commit_at = None
    seldom = state.now >= leading.told_at + state.options.resend_s
    leading.told_at = state.now
    for progress in leading.progress.values():
        if progress.sent_commit < state.commit:
            progress.tell = True
            progress.poke = progress.poke or seldom


def _owed(state: State, progress: Progress) -> bool:
    """Whether the member has yet to acknowledge something."""
    return progress.matched < state.log.last_slot or progress.commit < state.commit or progress.unconfirmed


def flush(state: State) -> None:
    """Turn what has gathered since the last take into messages."""
    if state.reply_due:
        _reply(state)
    leading = state.leading
    if leading is None:
        return
    if leading.commit_at is not None and state.now >= leading.commit_at:
        _tell(state, leading)
    shared: dict[tuple[int, int], Accept] = {}
    last, untold, resent = state.log.last_slot, False, leading.resend_at is not None
    for progress in leading.progress.values():
        if progress.next <= last or progress.poke or progress.tell:
            _send_to(state, leading, progress, shared)
        untold = untold or progress.sent_commit < state.commit
        if not resent and _owed(state, progress) and state.leases.granted(progress.member.node, state.now) is not None:
            leading.resend_at, resent = state.now + state.options.resend_s, True
    if state.sends and not untold:
        leading.commit_at = None  # it rode on entries


def is_due(state: State) -> bool:
    """Whether :func:`flush` may do anything. Sometimes true in vain, never false where it would."""
    if state.reply_due:
        return True
    leading = state.leading
    if leading is None:
        return False
    if leading.commit_at is not None and state.now >= leading.commit_at:
        return True
    last, resting = state.log.last_slot, leading.resend_at is None
    for progress in leading.progress.values():
        if progress.poke or progress.tell or progress.next <= last or (resting and _owed(state, progress)):
            return True
    return False


def _send_to(state: State, leading: Leading, progress: Progress, shared: dict[tuple[int, int], Accept]) -> None:
    """What one follower is due. Followers that are due the same share the message object."""
    log, options = state.log, state.options
    replica = progress.member.replica
    if progress.next <= log.base_slot:
        state.behind[replica] = progress.member
        progress.rewind(log.last_slot + 1)  # only a snapshot helps; its AcceptReply, or its need, gets us going again
    helpless = replica in state.behind
    while progress.next <= log.last_slot and progress.in_flight_bytes < options.window_bytes and not helpless:
        message = _accept(state, progress, shared, with_entries=True)
        size = weight(message.entries)
        progress.next += len(message.entries)
        progress.in_flight.append((progress.next - 1, size))
        progress.in_flight_bytes += size
        progress.poke = False
        state.sends.append(Send(progress.member, message, 0))
    if progress.poke:
        progress.poke = False
        state.sends.append(Send(progress.member, _accept(state, progress, shared, with_entries=False), 0))
    elif progress.tell and progress.sent_commit < state.commit:
        progress.sent_commit = state.commit
        notice = leading.notice
        if notice is None or notice.slot != state.commit:
            notice = leading.notice = Decided(state.promised, state.commit)
        state.sends.append(Send(progress.member, notice, 0))
    progress.tell = False


def _accept(state: State, progress: Progress, shared: dict[tuple[int, int], Accept], *, with_entries: bool) -> Accept:
    epoch = 0
    if progress.unconfirmed:
        granted = state.leases.granted(progress.member.node, state.now)
        epoch = granted.epoch if granted is not None else 0
    progress.sent_commit = state.commit
    key = (progress.next if with_entries else -progress.next, epoch)
    message = shared.get(key)
    if message is None:
        prev = progress.next - 1
        entries = state.log.chunk(progress.next, state.options.message_bytes) if with_entries else ()
        prev_ballot = state.log.ballot_at(prev)
        message = Accept(state.promised, state.leases.node, prev, prev_ballot, entries, state.commit, epoch)
        shared[key] = message
    return message


# --- the follower -----------------------------------------------------------------------------------------------------


def on_accept(state: State, sender: int, message: Accept, now: float) -> None:
    state.now = now
    ballot = message.ballot
    if ballot.replica != sender:
        return
    if ballot < state.promised:
        state.learn(sender, message.node)
        state.send(sender, Refuse(ballot, state.promised, OUTBID, state.leader, 0.0), state.vote_seq)
        return
    if ballot > state.promised:
        state.promise(ballot)
    if state.obligation is not None and state.obligation.ballot < ballot:
        state.obligation = None  # this ballot's quorum proves that the older lease is over
    if state.leader != ballot:
        state.learn(sender, message.node)
        state.leader, state.changed = ballot, True
    state.reply_due = True
    state.reply_need = _take_entries(state, message)
    commit = min(message.commit, state.matched)
    if commit > state.commit:
        state.commit_to(commit)
    epoch = leadership.confirm(state, message, now)
    if epoch:
        state.reply_epoch = epoch
    state.attempts = 0
    if leadership.settled(state, now):
        state.deadline = state.asking = None
    elif state.deadline is None:
        election.unsettle(state, now)  # doubts already under way go on: a leader without a lease may be a lost one


def on_decided(state: State, sender: int, message: Decided, now: float) -> None:
    """Word of a commit from the leader that is followed here; any other's says nothing of this log."""
    state.now = now
    if message.ballot != state.promised or message.ballot != state.leader or message.ballot.replica != sender:
        return
    commit = min(message.slot, state.matched)
    if commit > state.commit:
        state.commit_to(commit)


def _take_entries(state: State, message: Accept) -> int:
    """Accept what follows on what is here. The slot from which the leader should send again, or 0."""
    log = state.log
    if message.prev_slot > log.last_slot:
        return log.last_slot + 1 if state.matched == log.last_slot else state.commit + 1
    if message.prev_slot > state.commit and log.ballot_at(message.prev_slot) != message.prev_ballot:
        return state.commit + 1  # all below is decided, hence the same in the leader's log
    matched = message.prev_slot
    for entry in message.entries:
        matched = entry.slot
        if entry.slot > log.last_slot or (entry.slot > log.base_slot and log.ballot_at(entry.slot) != entry.ballot):
            state.accept(entry)
    state.matched = max(state.matched, matched)
    return 0


def _reply(state: State) -> None:
    state.reply_due = False
    if state.leader == NO_BALLOT:
        return  # it has relinquished meanwhile
    epoch, state.reply_epoch = state.reply_epoch, 0
    need, state.reply_need = state.reply_need, 0
    incarnation = state.leases.incarnation if epoch else 0
    message = AcceptReply(state.promised, state.matched, need, state.commit, epoch, incarnation)
    state.send(state.leader.replica, message, state.vote_seq)


# --- snapshots and trimming -------------------------------------------------------------------------------------------


def install(state: State, snapshot: Snapshot, now: float) -> None:
    """See :meth:`cluster.core.group.Group.snapshot_installed`."""
    state.now = now
    slot, config, ballot = snapshot.slot, snapshot.config, snapshot.ballot
    if state.amnesiac or state.leading is not None:
        return
    if slot <= state.commit:
        state.emitted = max(state.emitted, slot)  # the log is further, but the state machine was not
        return
    log = state.log
    known = max(ballot, snapshot.as_of)
    if known > state.promised:
        state.promise(known)
        election.unsettle(state, now)
    log.install(slot, config, ballot)
    state.vote_seq = state.write(Installed(slot, ballot, config))
    state.commit = state.emitted = slot
    if log.last_slot == slot:
        state.unstable.clear()
        state.stable_slot = slot
    else:
        state.stable_slot = max(state.stable_slot, slot)
    state.recorded_commit = max(state.recorded_commit, slot)
    state.matched = max(state.matched, slot)
    state.note_config()
    if state.leader != NO_BALLOT:
        state.reply_due = True


def trim(state: State, slot: int) -> None:
    """See :meth:`cluster.core.group.Group.trim`."""
    log = state.log
    slot = min(slot, state.emitted)
    if slot > log.base_slot:
        log.trim(slot)
        state.write(Installed(log.base_slot, log.base_ballot, log.base_config))
