"""Membership of a replication group: members, configurations, and the changes that lead from one to the next.

A configuration is an entry of the group's own log. It is *active* on a replica as soon as that replica has it in its
log, committed or not (Ongaro's dissertation, section 4.1). Changes form a chain: each is proposed only once its
predecessor is committed, so that the quorums of neighbours in the chain always intersect:

* a change of learners leaves the voters as they are;
* a change of voters goes through a *joint* configuration (``voters`` and ``incoming``), in which every decision needs a
  majority of both (section 4.3); :mod:`cluster.core.membership` leaves it as soon as it is committed.

``number`` counts the chain; of two configurations of a group the one with the higher number is the newer.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from cluster.core.failures import ChangeRefused

MEMBERS_MAX = 16
"""Members of one configuration, of all kinds; far above what placement asks for."""


class Member(NamedTuple):
    """A replica and where it lives. ``replica`` is never reused within the group, even where the node returns."""

    replica: int
    node: str
    zone: str
    rack: str


class Configuration(NamedTuple):
    """Who votes (``voters``, and ``incoming`` too while joint) and who only listens (``learners``)."""

    voters: tuple[Member, ...]
    incoming: tuple[Member, ...] = ()
    learners: tuple[Member, ...] = ()
    number: int = 0

    @property
    def joint(self) -> bool:
        return bool(self.incoming)

    def voter_sets(self) -> tuple[tuple[Member, ...], ...]:
        """The sets of which every decision needs a majority each."""
        return (self.voters, self.incoming) if self.incoming else (self.voters,)

    def voting(self) -> tuple[Member, ...]:
        """Every member that votes in some set, each once, in a stable order."""
        return _unique(self.voters + self.incoming)

    def members(self) -> tuple[Member, ...]:
        """Everybody, each once, in a stable order."""
        return _unique(self.voters + self.incoming + self.learners)

    def find(self, replica: int) -> Member | None:
        for member in self.voters + self.incoming + self.learners:
            if member.replica == replica:
                return member
        return None

    def votes(self, replica: int) -> bool:
        return any(member.replica == replica for member in self.voters + self.incoming)


class AddLearner(NamedTuple):
    """Let ``member`` receive the log without voting."""

    member: Member


class RemoveLearner(NamedTuple):
    """Drop a learner."""

    replica: int


class ChangeVoters(NamedTuple):
    """Swap voters by a joint configuration: ``add`` must be learners already, ``remove`` voters; either may be
    empty."""

    add: tuple[int, ...] = ()
    remove: tuple[int, ...] = ()


Change = AddLearner | RemoveLearner | ChangeVoters


def _unique(members: tuple[Member, ...]) -> tuple[Member, ...]:
    return tuple({member.replica: member for member in members}.values())


def successor(config: Configuration, change: Change) -> Configuration:
    """The configuration after ``change``. Raises :class:`ChangeRefused` where the change makes no sense on this one."""
    if config.joint:
        raise ChangeRefused("a change of voters is in progress; wait until the joint configuration is left")
    number = config.number + 1
    if isinstance(change, AddLearner):
        if config.find(change.member.replica):
            raise ChangeRefused(f"replica {change.member.replica} is a member already; a returning one needs a new id")
        # A voter on the same node is allowed: a node that lost its disk brings the successor of its own dead replica.
        if any(change.member.node == member.node for member in config.learners):
            raise ChangeRefused(f"node {change.member.node} holds a learner of this group already; remove it first")
        if len(config.members()) >= MEMBERS_MAX:
            raise ChangeRefused(f"the group has {MEMBERS_MAX} members, the most allowed; remove one first")
        return config._replace(learners=(*config.learners, change.member), number=number)
    if isinstance(change, RemoveLearner):
        if all(member.replica != change.replica for member in config.learners):
            raise ChangeRefused(f"replica {change.replica} is not a learner of this group")
        learners = tuple(member for member in config.learners if member.replica != change.replica)
        return config._replace(learners=learners, number=number)
    return _joint(config, change, number)


def _joint(config: Configuration, change: ChangeVoters, number: int) -> Configuration:
    learners = {member.replica: member for member in config.learners}
    for replica in change.add:
        if replica not in learners:
            raise ChangeRefused(f"replica {replica} is not a learner; add it as one and let it catch up first")
    voters = {member.replica for member in config.voters}
    for replica in change.remove:
        if replica not in voters:
            raise ChangeRefused(f"replica {replica} is not a voter of this group")
    kept = tuple(member for member in config.voters if member.replica not in change.remove)
    incoming = kept + tuple(learners[replica] for replica in change.add)
    if not incoming:
        raise ChangeRefused("the change would leave the group without voters")
    if len({member.node for member in incoming}) < len(incoming):
        raise ChangeRefused("the change would give one node two votes; remove its old member in the same change")
    if not change.add and not change.remove:
        raise ChangeRefused("the change adds and removes nobody")
    return config._replace(
        incoming=incoming,
        learners=tuple(member for member in config.learners if member.replica not in change.add),
        number=number,
    )


def left(config: Configuration) -> Configuration:
    """The configuration that follows a joint one: the incoming voters alone. Voters that are not among them are out."""
    if not config.joint:
        raise ChangeRefused("the configuration is not joint")
    return config._replace(voters=config.incoming, incoming=(), number=config.number + 1)


def encode(config: Configuration) -> bytes:
    """The payload of a CONFIG entry."""
    return json.dumps(config, separators=(",", ":")).encode()


def decode(payload: bytes) -> Configuration:
    """Inverse of :func:`encode`. Raises :class:`ValueError` for anything else."""
    try:
        voters, incoming, learners, number = json.loads(payload)
        parts = (voters, incoming, learners)
        members = [tuple(Member(int(r), str(n), str(z), str(k)) for r, n, z, k in part) for part in parts]
        return Configuration(members[0], members[1], members[2], int(number))
    except (TypeError, ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"not a configuration: {payload[:80]!r}") from error
