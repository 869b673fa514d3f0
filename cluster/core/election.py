"""Phase 1: doubting the leader, asking around, and collecting promises.

States of a member that does not lead::

    settled ──support for leader's node ends──▶ waiting ──deadline──▶ asking ──quorum is free──▶ candidate ──▶ leader
       ▲                                          │ ▲                   │                           │
       └───── backs the leader's lease (Accept) ──┘ └◀── not enough ────┴◀── refused, outbid, late ─┘

A voter is either *settled* (it backs a leader's lease, see :mod:`cluster.core.leadership`) and has no deadline, or it
has one. Asking does two things at once: it keeps a member that alone has lost sight of the leader from disturbing
anybody (gray failures: DynamoDB 2022, section 5.2), and, because no ballot is raised before a quorum is free to
promise, it keeps such a member from coming back with a ballot that nobody can work with (Ongaro's pre-vote, section
9.6).

What makes it safe is in :func:`on_prepare` (promise only what is not owed elsewhere; speak only when durable) and in
:func:`_try_to_win` (adopt the greatest log of a quorum *of the configuration in that log*).
"""

from __future__ import annotations

from cluster.core import leadership, replication
from cluster.core.ballot import NO_BALLOT, Ballot
from cluster.core.config import Configuration
from cluster.core.config import decode as decode_config
from cluster.core.messages import (
    CONFIG,
    LEASE,
    OUTBID,
    QUIET,
    Ask,
    AskReply,
    Entry,
    Prepare,
    Promise,
    Refuse,
    Relinquish,
)
from cluster.core.quorum import Quorum
from cluster.core.state import Answer, Asking, Candidacy, State

# --- waiting ----------------------------------------------------------------------------------------------------------


def start(state: State, now: float) -> None:
    """A member begins (again) knowing of no leader."""
    state.now = now
    if not state.amnesiac and state.votes:
        _wait(state, max(now, state.leases.quiet_until), state.options.settle_s)


def unsettle(state: State, now: float) -> None:
    """Give a leader some time to turn up, then ask around."""
    state.asking = None
    state.deadline = None
    if state.votes or _owes_farewell(state):
        _wait(state, now, state.options.settle_s)


def on_support_given_changed(state: State, node: str, now: float) -> None:
    """This node's support for ``node`` has ended, or moved to another epoch."""
    state.now = now
    owed = state.obligation
    if state.amnesiac or owed is None or owed.node != node or state.leases.supporting(node, owed.epoch, now):
        return
    if state.leading is None and state.candidacy is None and state.asking is None and state.votes:
        if state.leases.support_epoch(node, now):
            unsettle(state, now)  # the node is back already: its leader may only have to have its lease confirmed anew
        else:
            state.deadline = now + state.rng.random() * state.options.ask_s


def wake(state: State, now: float) -> None:
    """A deadline of a member that does not lead may have come."""
    state.now = now
    if state.leading is not None or state.deadline is None or now < state.deadline:
        return
    if state.candidacy is not None:
        _press_on(state, state.candidacy, now)
    elif state.asking is not None:
        state.asking = None
        _back_off(state, now)
    elif leadership.settled(state, now):
        state.deadline = None
    else:
        _ask(state, now)


def _wait(state: State, start: float, seconds: float) -> None:
    state.deadline = start + seconds * (1 + state.rng.random())


def _back_off(state: State, now: float, at_least_s: float = 0.0) -> None:
    pause = min(state.options.retry_max_s, state.options.retry_s * 2.0 ** min(state.attempts, 10))
    state.attempts += 1
    state.deadline = now + max(at_least_s, pause * (0.5 + state.rng.random()))


def _owes_farewell(state: State) -> bool:
    """This member led the highest ballot it knows of and stopped: the others may still wait for it, so it keeps
    saying so."""
    return state.stepped_down == state.promised != NO_BALLOT


# --- asking -----------------------------------------------------------------------------------------------------------


def _ask(state: State, now: float) -> None:
    """Ask every voter, and the leader that this member owes a lease, whether it is free."""
    votes = state.votes
    if not votes and not _owes_farewell(state):
        state.deadline = None
        return
    state.token += 1
    state.asking = Asking(state.token, set())
    state.deadline = now + state.options.ask_s
    if votes and leadership.objection(state, state.me, now) is None:
        state.asking.free.add(state.me)
        if state.quorum.won(state.asking.free):
            campaign(state, now)
            return
    # An Ask renounces its ballot for good, so it waits until a restart could not make us use that ballot again.
    question = Ask(state.promised, state.leases.node, state.token)
    asked = [member.replica for member in state.log.config.voting()]
    if state.obligation is not None and state.obligation.ballot.replica not in asked:
        asked.append(state.obligation.ballot.replica)
    for replica in asked:
        if replica != state.me:
            state.send(replica, question, state.vote_seq)


def on_ask(state: State, sender: int, message: Ask, now: float) -> None:
    state.now = now
    state.learn(sender, message.node)
    _release(state, sender, message.ballot, now)
    objection = leadership.objection(state, sender, now)
    leader = state.promised if state.leading is not None else state.leader
    wait_s = 0.0 if objection is None else objection[1]
    state.send(sender, AskReply(message.token, state.promised, objection is None, leader, wait_s), state.vote_seq)
    if state.leading is not None:
        leadership.doubted_by(state, sender)
    elif objection is None and state.deadline is not None and state.asking is None and state.candidacy is None:
        state.deadline = max(state.deadline, now + state.options.ask_s * (1 + state.rng.random()))  # let it go first


def on_ask_reply(state: State, sender: int, message: AskReply, now: float) -> None:
    state.now = now
    state.round_seen = max(state.round_seen, message.promised.round)
    if message.promised > state.stepped_down:
        state.stepped_down = NO_BALLOT  # somebody else took over, or is about to
    asking = state.asking
    if asking is None or message.token != asking.token or not message.free:
        return
    asking.free.add(sender)
    if state.me in asking.free and state.quorum.won(asking.free):
        campaign(state, now)


def on_relinquish(state: State, sender: int, message: Relinquish, now: float) -> None:
    state.now = now
    if message.ballot.replica != sender:
        return
    _release(state, sender, message.ballot, now)
    if message.successor == state.me and message.ballot >= state.promised:
        campaign(state, now)


def on_gone_for_good(state: State, sender: int, token: int, now: float) -> None:
    """A replica does not exist (any more). If it answers a question put after we came to owe it a lease, it cannot be
    leading; older news of its absence could date from before it was made."""
    owed = state.obligation
    if owed is not None and owed.ballot.replica == sender and state.asking is not None and state.asking.token == token:
        _release(state, sender, owed.ballot, now)


def _release(state: State, owner: int, ballot: Ballot, now: float) -> None:
    """The owner of ``ballot`` does not lead under it or a lower one, and never will again."""
    owed = state.obligation
    released = owed is not None and owed.ballot.replica == owner and owed.ballot <= ballot
    if released:
        state.obligation = None
    if state.leader.replica == owner and state.leader <= ballot and state.leader != NO_BALLOT:
        state.leader = NO_BALLOT
        state.changed = released = True
    if released and state.leading is None and state.candidacy is None and state.asking is None:
        unsettle(state, now)


# --- candidacy --------------------------------------------------------------------------------------------------------


def campaign(state: State, now: float) -> None:
    """Phase 1a: promise oneself a ballot above all seen, and ask the others."""
    state.now = now
    if state.amnesiac or state.leading is not None or state.candidacy is not None or not state.votes:
        return
    objection = leadership.objection(state, state.me, now)
    if objection is not None:
        state.asking = None
        _back_off(state, now, objection[1])
        return
    ballot = Ballot(max(state.promised.round, state.round_seen) + 1, state.me)
    state.promise(ballot)
    state.obligation = None
    candidacy = Candidacy(ballot, state.vote_seq, now + state.options.candidacy_s * (1 + state.rng.random()))
    state.candidacy = candidacy
    state.deadline = now + state.options.resend_s
    _prepare(state, candidacy, state.log.config)


def on_persisted(state: State, now: float) -> None:
    state.now = now
    candidacy = state.candidacy
    if candidacy is not None and not candidacy.own_durable and state.durable_seq >= candidacy.seq:
        candidacy.own_durable = True
        _try_to_win(state, candidacy, now)


def on_prepare(state: State, sender: int, message: Prepare, now: float) -> None:
    """Phase 1b: promise, unless a higher ballot is promised or a leader is owed its lease."""
    state.now = now
    state.learn(sender, message.node)
    ballot = message.ballot
    if ballot.replica != sender:
        return
    state.round_seen = max(state.round_seen, ballot.round)
    if ballot < state.promised:
        state.send(sender, Refuse(ballot, state.promised, OUTBID, state.leader, 0.0), state.vote_seq)
        return
    if ballot > state.promised:
        objection = leadership.objection(state, sender, now)
        if objection is not None:
            leader = state.promised if state.leading is not None else state.leader
            state.send(sender, Refuse(ballot, state.promised, objection[0], leader, objection[1]), state.vote_seq)
            return
        state.promise(ballot)
        state.obligation = None
        unsettle(state, now)
    log = state.log
    prev_slot, prev_ballot, entries = state.commit, NO_BALLOT, tuple[Entry, ...]()
    if log.end > (message.last_ballot, message.last_slot):
        first = min(max(message.from_slot, log.base_slot + 1), log.last_slot + 1)
        prev_slot, prev_ballot = first - 1, log.ballot_at(first - 1)
        entries = log.chunk(first, state.options.message_bytes)
    promise = Promise(ballot, state.commit, log.last_slot, log.last_ballot, prev_slot, prev_ballot, entries)
    state.send(sender, promise, state.vote_seq)


def on_promise(state: State, sender: int, message: Promise, now: float) -> None:
    state.now = now
    candidacy = state.candidacy
    if candidacy is None or message.ballot != candidacy.ballot:
        return
    answer = candidacy.answers.get(sender)
    if answer is None:
        end = (message.last_ballot, message.last_slot)
        entries = list(message.entries)
        candidacy.answers[sender] = Answer(message.commit, end, message.prev_slot, message.prev_ballot, entries)
    elif answer.entries and message.entries and message.prev_slot == answer.entries[-1].slot:
        answer.entries.extend(message.entries)
    else:
        return
    candidacy.refused.discard(sender)
    _try_to_win(state, candidacy, now)


def on_refuse(state: State, sender: int, message: Refuse, now: float) -> None:
    state.now = now
    state.round_seen = max(state.round_seen, message.promised.round)
    if state.leading is not None:
        if message.reason == OUTBID and message.ballot == state.promised < message.promised:
            leadership.on_outbid(state, now)
        return
    candidacy = state.candidacy
    if candidacy is None or message.ballot != candidacy.ballot:
        return
    candidacy.refused.add(sender)
    hopeful = {replica for replica in candidacy.asked if replica not in candidacy.refused} | {state.me}
    if message.reason == OUTBID or not state.quorum.won(hopeful):
        _give_up(state, candidacy, now, message.wait_s if message.reason in (LEASE, QUIET) else 0.0)


def _press_on(state: State, candidacy: Candidacy, now: float) -> None:
    if now >= candidacy.give_up_at:
        _give_up(state, candidacy, now)
        return
    state.deadline = min(candidacy.give_up_at, now + state.options.resend_s)
    best = _best(state, candidacy)
    for replica in list(candidacy.asked):
        if replica not in candidacy.answers:
            _prepare_one(state, candidacy, replica, state.commit + 1)
        elif replica == best and not candidacy.answers[replica].complete:
            _ask_for_more(state, candidacy, replica)


def _give_up(state: State, candidacy: Candidacy, now: float, wait_s: float = 0.0, successor: int = 0) -> None:
    """Abandon the ballot for good. With a ``successor`` it is handed over to who is in a better position to win."""
    state.candidacy = None
    state.changed = True
    if successor:
        state.send(successor, Relinquish(candidacy.ballot, successor))
    _back_off(state, now, max(wait_s, state.options.settle_s if successor else 0.0))


def _prepare(state: State, candidacy: Candidacy, config: Configuration) -> None:
    for member in config.voting():
        if member.replica != state.me and member.replica not in candidacy.asked:
            candidacy.asked[member.replica] = member
            state.known.setdefault(member.replica, member)
            _prepare_one(state, candidacy, member.replica, state.commit + 1)


def _prepare_one(state: State, candidacy: Candidacy, replica: int, from_slot: int) -> None:
    log = state.log
    message = Prepare(candidacy.ballot, state.leases.node, from_slot, log.last_slot, log.last_ballot)
    state.send(replica, message, candidacy.seq)


def _ask_for_more(state: State, candidacy: Candidacy, replica: int) -> None:
    answer = candidacy.answers[replica]
    _prepare_one(state, candidacy, replica, (answer.entries[-1].slot if answer.entries else answer.prev_slot) + 1)


def _best(state: State, candidacy: Candidacy) -> int:
    """Whose log is the greatest of those promised; the own one where there is no better."""
    best, end = state.me, state.log.end
    for replica, answer in candidacy.answers.items():
        if answer.end > end:
            best, end = replica, answer.end
    return best


def _try_to_win(state: State, candidacy: Candidacy, now: float) -> None:
    """Take the greatest log, see which configuration it says, and lead if a quorum of *that* has promised."""
    if not candidacy.own_durable:
        return
    best = _best(state, candidacy)
    config = state.log.config
    if best != state.me:
        answer = candidacy.answers[best]
        if not state.log.holds(answer.prev_slot, answer.prev_ballot):
            _give_up(state, candidacy, now, successor=best)  # what we lack is trimmed there: we need a snapshot to lead
            return
        if not answer.complete:
            _ask_for_more(state, candidacy, best)
            return
        config = state.log.config_at(answer.prev_slot)
        for entry in answer.entries:
            if entry.kind == CONFIG:
                config = decode_config(entry.payload)
    if not config.votes(state.me):
        _give_up(state, candidacy, now, successor=best if best != state.me else 0)
        return
    if Quorum(config).won({state.me, *candidacy.answers}):
        entries = candidacy.answers[best].entries if best != state.me else []
        replication.lead(state, candidacy, entries, now)
    else:
        _prepare(state, candidacy, config)
