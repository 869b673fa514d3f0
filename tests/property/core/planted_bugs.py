"""Bugs that people make in consensus, as context managers. The simulator must find each; core has no branch for
them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from cluster.core import config, election, leadership, lease, membership, replication, state
from cluster.core.ballot import NO_BALLOT


@contextmanager
def _patched(owner: Any, name: str, replacement: Any) -> Iterator[None]:
    original = getattr(owner, name)
    setattr(owner, name, replacement)
    try:
        yield
    finally:
        setattr(owner, name, original)


@contextmanager
def forget_promises() -> Iterator[None]:
    """A restart forgets what was promised, so a replica may vote twice."""
    original = state.HardState.replay.__func__  # type: ignore[attr-defined]

    def replay(cls: Any, records: Any) -> Any:
        hard = original(cls, records)
        hard.promised = NO_BALLOT
        return hard

    with _patched(state.HardState, "replay", classmethod(replay)):
        yield


@contextmanager
def ignore_leases() -> Iterator[None]:
    """Promises are made whatever lease the member backs."""
    with _patched(leadership, "objection", lambda state, candidate, now: None):
        yield


@contextmanager
def no_quiet_restart() -> Iterator[None]:
    """A restarted node promises at once, although it may have granted support that still holds."""
    original = leadership.objection

    def objection(at: Any, candidate: int, now: float) -> Any:
        found = original(at, candidate, now)
        return None if found is not None and found[0] == leadership.QUIET else found

    with _patched(leadership, "objection", objection):
        yield


@contextmanager
def count_any_incarnation() -> Iterator[None]:
    """The leader counts support although the member that confirmed its ballot has restarted since."""

    def earned(at: Any, leading: Any, now: float) -> float:
        untils = {at.me: float("inf")}
        for replica, progress in leading.progress.items():
            granted = at.leases.granted(progress.member.node, now)
            if granted is not None and progress.confirmed[0]:
                untils[replica] = granted.until
        return float(at.quorum.until(untils))

    with _patched(leadership, "_earned", earned):
        yield


@contextmanager
def revive_lapsed_support() -> Iterator[None]:
    """Support that lapsed is given again in the same epoch."""

    def take_request(self: Any, peer: str, message: Any, now: float, out: Any) -> bool:
        given = self._given.setdefault(peer, lease._Given())
        if message.epoch < given.epoch:
            return False
        given.unanswered = True
        if message.epoch > given.epoch:
            out.regained.append(peer)
        given.epoch, given.until, given.supporting = message.epoch, now + self.options.lease_s, True
        given.request_sent_at = message.sent_at
        return False

    with _patched(lease.Liveness, "_take_request", take_request):
        yield


@contextmanager
def count_old_ballots() -> Iterator[None]:
    """A leader decides an older ballot's entry because a majority holds it (the figure-8 bug of Raft)."""

    def decide(at: Any, leading: Any) -> None:
        slot = at.quorum.decided(leading.acked)
        if slot > at.commit:
            leading.uncommitted_bytes = 0
            at.commit_to(slot)
            leading.commit_at = at.now
            membership.on_commit(at, leading)

    with _patched(replication, "decide", decide):
        yield


@contextmanager
def commit_before_durable() -> Iterator[None]:
    """The leader counts its own vote before its fsync."""
    original = replication.append

    def append(at: Any, leading: Any, values: Any) -> int:
        first = original(at, leading, values)
        leading.acked[at.me] = at.log.last_slot
        return first

    with _patched(replication, "append", append), _patched(membership.replication, "append", append):
        yield


@contextmanager
def speak_before_durable() -> Iterator[None]:
    """A follower acknowledges before its fsync."""
    original = replication._reply

    def reply(at: Any) -> None:
        kept, at.vote_seq = at.vote_seq, 0
        original(at)
        at.vote_seq = kept

    with _patched(replication, "_reply", reply):
        yield


@contextmanager
def change_without_joint() -> Iterator[None]:
    """Voters are swapped in one step, so that old and new quorums need not overlap."""
    original = config.successor

    def successor(old: Any, change: Any) -> Any:
        new = original(old, change)
        return new._replace(voters=new.incoming, incoming=()) if new.incoming else new

    with _patched(config, "successor", successor):
        yield


@contextmanager
def longest_log_wins() -> Iterator[None]:
    """A candidate adopts the longest log instead of the one with the highest last ballot."""

    def best(at: Any, candidacy: Any) -> int:
        found, end = at.me, at.log.last_slot
        for replica, answer in candidacy.answers.items():
            if answer.end[1] > end:
                found, end = replica, answer.end[1]
        return int(found)

    with _patched(election, "_best", best):
        yield


@contextmanager
def minority_elects() -> Iterator[None]:
    """One promise too few makes a leader."""
    original = election.Quorum.won

    def won(self: Any, granted: Any) -> bool:
        everybody = {m.replica for voters in self.config.voter_sets() for m in voters}
        return any(original(self, {*granted, one}) for one in sorted(everybody))

    with _patched(election.Quorum, "won", won):
        yield


@contextmanager
def overlook_replies() -> Iterator[None]:
    """A driver that asks whether a take is worth its while is not told of an answer that is due."""
    original = replication.is_due

    def is_due(at: Any) -> bool:
        return at.leading is not None and original(at)

    with _patched(replication, "is_due", is_due):
        yield


PLANTS: dict[str, Callable[[], Any]] = {
    plant.__name__: plant
    for plant in (
        forget_promises,
        ignore_leases,
        no_quiet_restart,
        count_any_incarnation,
        revive_lapsed_support,
        count_old_ballots,
        commit_before_durable,
        speak_before_durable,
        change_without_joint,
        longest_log_wins,
        minority_elects,
        overlook_replies,
    )
}
