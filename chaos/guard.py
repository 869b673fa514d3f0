"""The budget guard: what a set of faults would break, held against the live membership. Pure.

A group keeps its write quorum while some member that is up can talk, in both directions, to a majority of the voters
(itself included) that spans two zones, where the configuration does. It loses every copy when no voter is up with a
disk that nobody damaged. No group may have two damaged replicas at once: mending one needs a copy that is whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from chaos.errors import InputError
from chaos.playbook.model import Budget
from chaos.targets import GroupView, NodeRef

if TYPE_CHECKING:
    from chaos.faults.cuts import Pair


class Hurt(NamedTuple):
    """A replica whose disk was damaged and which the database has not mended yet."""

    node: str
    group: str
    """:data:`ALL` where the damage may concern every replica of the node."""
    place: str
    """``log``: it may not vote again; ``btree``: it votes and holds the log, but cannot serve."""


ALL = "*"


class Disturbance(NamedTuple):
    """Nodes without power, ordered pairs of nodes whose packets are dropped, and damaged replicas, at one moment."""

    down: frozenset[str]
    dropped: frozenset[Pair]
    zones: frozenset[str]
    hurt: frozenset[Hurt] = frozenset()
    healable: frozenset[str] = frozenset()
    """Groups that can be mended although every replica is hurt: no two in the same place, and a log that has it all."""

    def and_also(self, other: Disturbance) -> Disturbance:
        return Disturbance(
            self.down | other.down,
            self.dropped | other.dropped,
            self.zones | other.zones,
            self.hurt | other.hurt,
            self.healable | other.healable,
        )


NOTHING = Disturbance(frozenset(), frozenset(), frozenset())


class Impact(NamedTuple):
    """What a disturbance costs."""

    zones: tuple[str, ...]
    quorum_lost: tuple[str, ...]
    all_copies_lost: tuple[str, ...]
    hurt_twice: tuple[str, ...] = ()
    """Groups with more than one damaged replica."""


def assess(disturbance: Disturbance, groups: Sequence[GroupView], nodes: Mapping[str, NodeRef]) -> Impact:
    """Which groups would lose what."""
    quorum_lost = []
    all_lost = []
    hurt_twice = []
    for group in groups:
        hurt = [one for one in disturbance.hurt if one.node in group.voters and one.group in (group.group, ALL)]
        damaged = {one.node for one in hurt} if group.group not in disturbance.healable else set()
        if len(damaged) > 1:
            hurt_twice.append(group.group)
        voteless = {one.node for one in hurt if one.place == "log"}
        up = [voter for voter in group.voters if voter not in disturbance.down and voter not in voteless]
        if group.voters and not [voter for voter in up if voter not in damaged]:
            all_lost.append(group.group)
        if not any(can_lead(voter, group, up, disturbance, nodes) for voter in up):
            quorum_lost.append(group.group)
    return Impact(tuple(sorted(disturbance.zones)), tuple(quorum_lost), tuple(all_lost), tuple(hurt_twice))


def can_lead(
    leader: str, group: GroupView, up: Sequence[str], disturbance: Disturbance, nodes: Mapping[str, NodeRef]
) -> bool:
    """Whether ``leader`` reaches enough of its group to commit a write."""
    reached = [
        voter
        for voter in up
        if voter == leader
        or ((leader, voter) not in disturbance.dropped and (voter, leader) not in disturbance.dropped)
    ]
    if 2 * len(reached) <= len(group.voters):
        return False
    zones_of = {nodes[v].az for v in group.voters if v in nodes}
    return len(zones_of) < 2 or len({nodes[v].az for v in reached if v in nodes}) >= 2


def over_budget(impact: Impact, budget: Budget) -> list[str]:
    """Why the budget forbids this; empty where it does not."""
    reasons = []
    if len(impact.zones) > budget.az:
        reasons.append(
            f"disturbs {len(impact.zones)} zones ({', '.join(impact.zones)}); safety.budget.az is {budget.az}"
        )
    for lost, allowed, field, what in (
        (impact.quorum_lost, budget.quorum_loss, "quorum-loss", "their write quorum"),
        (impact.all_copies_lost, budget.total_loss, "total-loss", "every copy that is up"),
    ):
        limit = 0 if allowed == "none" else len(lost) if allowed == "any" else int(allowed)
        if len(lost) > limit:
            shown = ", ".join(lost[:4]) + (f" and {len(lost) - 4} more" if len(lost) > 4 else "")
            reasons.append(f"{len(lost)} groups would lose {what} ({shown}); safety.budget.{field} is {allowed}")
    if impact.hurt_twice:
        shown = ", ".join(impact.hurt_twice[:4])
        reasons.append(f"two replicas of one group would be damaged at once ({shown}); there is no budget for that")
    return reasons


class BeyondBudget(InputError):
    """What was asked for is not allowed at this moment."""


def enforce(what: str, impact: Impact, budget: Budget, *, unsafe: bool) -> list[str]:
    """Raise :class:`BeyondBudget` beyond the budget; with ``unsafe`` return what was overridden instead."""
    reasons = over_budget(impact, budget)
    if reasons and not unsafe:
        raise BeyondBudget(
            f"refused: {what} is beyond the playbook's budget: {'; '.join(reasons)}",
            hint="Choose fewer targets, raise safety.budget, or say 'safety: {unsafe: true}' in the playbook.",
        )
    return reasons
