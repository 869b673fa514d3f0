"""The leader's lease, and what a leader does beside replicating: having it confirmed, keeping time, stepping down.

The lease
---------
A member *confirms* ballot b under an epoch: "my node, in this incarnation, supports the leader's node in that epoch,
and until that ends I promise nobody else a ballot above b". That is its :class:`~cluster.core.state.Obligation`, kept
in memory only: should the node restart, its ``quiet_until`` stands in for it. The leader holds the lease while
members that are a majority of every active set of voters have confirmed b in exactly the epoch and incarnation in
which their nodes still support its own; it counts itself.

Why nobody else can be leader meanwhile: a higher ballot needs promises of a quorum, which shares a member with those.
That member confirmed b first (afterwards it would have refused the Accept of b), and then either still supports the
leader's node, and refuses; or had stopped, by when the leader had stopped counting on it; or is the leader itself,
which by promising ceases to lead. Three things release a member early, each only after the leader is no leader any
more: the leader says so (Relinquish, or an Ask or Prepare of its own), its node says that the replica is gone, or a
still higher ballot sends an Accept, whose quorum proves that the lease was over.
"""

from __future__ import annotations

from cluster.core import election, replication
from cluster.core.ballot import NO_BALLOT
from cluster.core.effects import Send
from cluster.core.messages import LEASE, QUIET, Accept, Ask, Message, Prepare, Relinquish, gone_for
from cluster.core.state import Leading, Obligation, State

# --- as a member ------------------------------------------------------------------------------------------------------


def objection(state: State, candidate: int, now: float) -> tuple[int, float] | None:
    """Why this member may not promise ``candidate`` a higher ballot now (reason, seconds until it is worth asking
    again); None: it may. The member itself as a candidate is no exception."""
    if now < state.leases.quiet_until:
        return QUIET, state.leases.quiet_until - now
    if state.leading is not None and candidate != state.me and lease_until(state, now) > now:
        return LEASE, state.options.settle_s
    owed = state.obligation
    if owed is not None and owed.ballot.replica != candidate and state.leases.supporting(owed.node, owed.epoch, now):
        return LEASE, state.options.ask_s
    return None


def confirm(state: State, message: Accept, now: float) -> int:
    """Back the lease of the leader that sent ``message``, whose ballot is promised: the epoch confirmed, or 0."""
    if not message.epoch or not state.leases.supporting(message.node, message.epoch, now):
        return 0
    state.obligation = Obligation(message.ballot, message.node, message.epoch)
    return message.epoch


def settled(state: State, now: float) -> bool:
    """Whether this member backs the lease of a leader that is here to stay. If not, it must have a deadline."""
    owed = state.obligation
    return (
        owed is not None
        and owed.ballot == state.leader
        and state.log.config.find(owed.ballot.replica) is not None
        and state.leases.supporting(owed.node, owed.epoch, now)
    )


def answer_gone(state: State, sender: int, message: Message) -> None:
    """This member has lost its memory: to the others it does not exist."""
    if isinstance(message, Accept | Prepare | Ask):
        state.learn(sender, message.node)
        state.send(sender, gone_for(message))


# --- as the leader ----------------------------------------------------------------------------------------------------


def lease_until(state: State, now: float) -> float:
    """Until when no other replica can become leader; 0.0: it may have happened already."""
    leading = state.leading
    if leading is None:
        return 0.0
    if leading.lease_until <= now:  # what was earned stays true, so it is worked out again only when it has run out
        leading.lease_until = _earned(state, leading, now)
    return leading.lease_until if leading.lease_until > now else 0.0


def _earned(state: State, leading: Leading, now: float) -> float:
    untils = {state.me: float("inf")}
    for replica, progress in leading.progress.items():
        granted = state.leases.granted(progress.member.node, now)
        if granted is not None and progress.confirmed == (granted.epoch, granted.incarnation):
            untils[replica] = granted.until
    return state.quorum.until(untils)


def forget_lease(state: State, now: float) -> None:
    """Who must back the lease has changed: what was earned from others is void."""
    if state.leading is not None:
        state.leading.lease_until = 0.0
        watch_lease(state, now)


def watch_lease(state: State, now: float) -> None:
    """Without a lease, set a limit to how long to try for it; with one, none is needed until the support changes."""
    leading = state.leading
    if leading is None:
        return
    if lease_until(state, now) > now:
        leading.lease_deadline = None
    elif leading.lease_deadline is None:
        leading.lease_deadline = now + state.options.step_down_s


def on_support_received_changed(state: State, node: str, now: float) -> None:
    """``node`` supports this one in another epoch or incarnation than before, or no more."""
    state.now = now
    leading = state.leading
    if leading is None:
        return
    for progress in leading.progress.values():
        if progress.member.node == node:
            granted = state.leases.granted(node, now)
            progress.unconfirmed = granted is None or progress.confirmed != (granted.epoch, granted.incarnation)
            if granted is not None:
                progress.poke = True
                progress.rewind(progress.matched + 1)
    watch_lease(state, now)


def doubted_by(state: State, sender: int) -> None:
    """A member asks around whether it should replace this leader: it has not heard enough of it."""
    progress = state.leading.progress.get(sender) if state.leading is not None else None
    if progress is not None:
        progress.unconfirmed = progress.poke = True


def wake(state: State, now: float) -> None:
    """One of the leader's deadlines may have come."""
    leading = state.leading
    if leading is None:
        return
    if leading.lease_deadline is not None and now >= leading.lease_deadline:
        leading.lease_deadline = None
        if lease_until(state, now) <= now:
            relinquish(state, now, None)
            return
    replication.wake(state, leading, now)


def on_outbid(state: State, now: float) -> None:
    """A member has promised a higher ballot. While our lease holds, nobody can have won that: bid higher, so that the
    member can follow again. Otherwise somebody may have; give way."""
    if state.votes and lease_until(state, now) > now:
        state.leading = None
        election.campaign(state, now)
    else:
        relinquish(state, now, None)


def relinquish(state: State, now: float, to: int | None) -> None:
    """Stop leading and tell everybody."""
    state.now = now
    leading = state.leading
    if leading is None:
        return
    voters = [member.replica for member in state.log.config.voting() if member.replica != state.me]
    if to is not None and to not in voters:
        to = None
    if to is None and lease_until(state, now) > now and voters:
        alive = [r for r in voters if state.leases.granted(leading.progress[r].member.node, now) is not None]
        to = max(alive or voters, key=leading.matched)
    replication.flush(state)
    message = Relinquish(state.promised, to or 0)
    for progress in leading.progress.values():
        state.sends.append(Send(progress.member, message, 0))
    state.stepped_down = state.promised
    state.leading, state.leader = None, NO_BALLOT
    state.matched = state.commit
    state.missing.clear()
    state.behind.clear()
    state.changed = True
    election.unsettle(state, now)
