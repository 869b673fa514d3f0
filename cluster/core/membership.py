"""Changes of the configuration: one at a time, each an entry of the log, voters by way of a joint configuration.

A change is proposed only by a leader that has committed an entry of its own ballot, and only once the configuration
before it is committed. So of the configurations that different leaders may act under at one time, any two are the
same or neighbours in the chain, whose quorums intersect; without the first condition two leaders could each be one
change away from a third configuration and two from each other (Ongaro's message of 2015 on single-server changes).
"""

from __future__ import annotations

from cluster.core import config as configuration
from cluster.core import leadership, replication
from cluster.core.config import Change, Configuration
from cluster.core.effects import Send
from cluster.core.failures import ChangeRefused, NotLeader
from cluster.core.messages import CONFIG, Accept
from cluster.core.state import Leading, Progress, State


def propose_config(state: State, change: Change, now: float) -> int:
    """See :meth:`cluster.core.group.Group.propose_config`."""
    state.now = now
    leading = state.leading
    if leading is None:
        raise NotLeader(state.leader_member())
    if state.commit < leading.first_slot:
        raise ChangeRefused("the leader has committed nothing under its own ballot yet; try again in a moment")
    if state.log.config_slot > state.commit:
        raise ChangeRefused("the last change of membership is not committed yet; try again in a moment")
    return _append(state, leading, configuration.successor(state.log.config, change))


def on_commit(state: State, leading: Leading) -> None:
    """Go on where a committed configuration asks for it: leave a joint one; let go of members, even of oneself."""
    log = state.log
    if leading.seen_through is log.config or log.config_slot > state.commit or state.commit < leading.first_slot:
        return
    leading.seen_through = log.config
    if log.config.joint:
        _append(state, leading, configuration.left(log.config))
        return
    gone = [replica for replica in leading.progress if log.config.find(replica) is None]
    for replica in gone:
        _tell_removed(state, leading.progress[replica])
        del leading.progress[replica]
        leading.acked.pop(replica, None)
        state.missing.pop(replica, None)
        state.behind.pop(replica, None)
    if not log.config.votes(state.me):
        for progress in leading.progress.values():
            progress.poke = True  # with the commit position: whoever learns it knows that we are out
        leadership.relinquish(state, state.now, None)


def _append(state: State, leading: Leading, config: Configuration) -> int:
    slot = replication.append(state, leading, [(CONFIG, configuration.encode(config))])
    for member in config.members():
        if member.replica != state.me and member.replica not in leading.progress:
            leading.progress[member.replica] = Progress(member, next=slot)
    leadership.forget_lease(state, state.now)
    return slot


def _tell_removed(state: State, progress: Progress) -> None:
    """One last message, so that a removed member learns of it if it has the entry; if not, its node learns from
    placement."""
    last = min(progress.matched, state.commit)
    if last >= state.log.base_slot:
        ballot = state.log.ballot_at(last)
        message = Accept(state.promised, state.leases.node, last, ballot, (), state.commit, 0)
        state.sends.append(Send(progress.member, message, 0))
