"""From a playbook to an absolute schedule: every action, its targets, its times and its undo. Pure.

The plan is printed, and written to ``plan.json``, before anything is touched. What cannot be known yet (which node
leads a table) is said to be *late* and is resolved at the moment of injection.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from chaos.errors import InputError
from chaos.faults import cuts
from chaos.guard import ALL, NOTHING, Disturbance, Hurt
from chaos.playbook.model import (
    BitRotAction,
    FaultAction,
    HumanAction,
    PartitionAction,
    Playbook,
    PowerOffAction,
    RandomPowerOffAction,
    RestartAction,
    RollingRestartAction,
    method_end,
)
from chaos.playbook.units import format_duration
from chaos.targets import CLIENT, GroupView, NodeRef, needs_live_cluster, resolve, select


class Planned(NamedTuple):
    """One action of the method with everything decided that can be. Times are seconds from the start of the method."""

    number: int
    """Its place in the playbook's method, from 0."""
    name: str
    kind: str
    start_s: float
    end_s: float
    target_set: str
    targets: tuple[str, ...]
    late: bool
    """Targets are decided when the action starts; ``targets`` is empty until then."""
    options: dict[str, Any]
    undo: str


class Plan(NamedTuple):
    """What a run will do."""

    title: str
    seed: int
    topology: str
    nodes: tuple[NodeRef, ...]
    actions: tuple[Planned, ...]
    method_s: float
    before_s: float
    after_s: float

    def to_json(self) -> dict[str, Any]:
        """``plan.json``."""
        return {
            "schema": 1,
            "title": self.title,
            "seed": self.seed,
            "topology": self.topology,
            "before_s": self.before_s,
            "method_s": self.method_s,
            "after_s": self.after_s,
            "actions": [{**action._asdict(), "targets": list(action.targets)} for action in self.actions],
            "nodes": [node._asdict() for node in self.nodes],
        }


def make_plan(playbook: Playbook, nodes: Sequence[NodeRef], seed: int, groups: Sequence[GroupView] = ()) -> Plan:
    """Resolve a playbook against a topology. Raises :class:`InputError` for targets that mean nobody or collide."""
    end = method_end(playbook.method)
    actions = [plan_action(index, playbook, nodes, seed, end) for index in range(len(playbook.method))]
    actions.sort(key=lambda action: (action.start_s, action.number))
    refuse_double_power_off(actions)
    return Plan(
        title=playbook.title,
        seed=seed,
        topology=playbook.topology,
        nodes=tuple(sorted(nodes, key=lambda node: node.name)),
        actions=tuple(actions),
        method_s=end,
        before_s=playbook.report.before,
        after_s=playbook.report.after,
    )


def plan_action(index: int, playbook: Playbook, nodes: Sequence[NodeRef], seed: int, end_s: float) -> Planned:
    """Decide what can be decided about one action."""
    action = playbook.method[index]
    name = action.name or f"{action.action} {index + 1}"
    if isinstance(action, HumanAction):
        options: dict[str, Any] = {"prompt": action.prompt, "timeout_s": action.timeout}
        return Planned(index, name, "human", action.at, action.at + action.timeout, "", (), False, options, "nothing")
    if isinstance(action, RollingRestartAction | RandomPowerOffAction):
        raise InputError(f"'{name}' is a series of actions and is played from a playbook, not by itself")
    spec = playbook.targets[action.targets]
    late = needs_live_cluster(spec)
    # A late set is resolved here too, against no groups, only so far as the topology goes: a typo is found now.
    if late:
        broad = spec.model_copy(update={"mode": "all"})
        resolve(action.targets, broad, nodes, seed)
    # A zone's clients sit in the zone: a cut of it reaches them. Its power-off ends none of them, so that they keep
    # record; of its canaries it takes the path, which is the fault's own affair (chaos/faults/power_off.py).
    clients = isinstance(action, PartitionAction) and spec.mode == "all"
    chosen = [] if late else resolve(action.targets, spec, nodes, seed, clients_allowed=clients)
    return Planned(
        number=index,
        name=name,
        kind=action.action,
        start_s=action.at,
        end_s=planned_end(action, end_s),
        target_set=action.targets,
        targets=tuple(node.name for node in chosen),
        late=late,
        options={} if isinstance(action, RestartAction) else action.with_.model_dump(by_alias=True),
        undo=undo_text(action),
    )


def planned_end(action: FaultAction, end_s: float) -> float:
    """When an action is undone; damage is done at once and never undone."""
    if isinstance(action, BitRotAction):
        return action.at
    return end_s if action.for_ is None else action.at + action.for_


def undo_text(action: FaultAction) -> str:
    """What undoing the action means, as the journal will carry it out."""
    if isinstance(action, PowerOffAction):
        return "boot the nodes again, replaying their journals; drop the bridge rule that silenced them"
    if isinstance(action, RestartAction):
        return "boot the nodes again"
    if isinstance(action, BitRotAction):
        return "nothing: the database has to find and mend it (corruption.jsonl)"
    return "delete the cut's nft table on the host's bridge (its pairs expire by themselves, too)"


def refuse_double_power_off(actions: Sequence[Planned]) -> None:
    """A node that is off cannot be turned off again."""
    offs = [action for action in actions if action.kind in ("power-off", "restart")]
    for i, first in enumerate(offs):
        for second in offs[i + 1 :]:
            both = sorted(set(first.targets) & set(second.targets))
            if both and second.start_s < first.end_s:
                raise InputError(
                    f"'{second.name}' at {format_duration(second.start_s)} powers off {both[0]}, which '{first.name}' "
                    f"keeps off until {format_duration(first.end_s)}",
                    hint="Move one of the two actions, or choose other targets.",
                )


def resolve_late(
    planned: Planned, playbook: Playbook, nodes: Sequence[NodeRef], seed: int, groups: Sequence[GroupView]
) -> Planned:
    """The same action with its targets decided, now that the cluster can be asked who leads."""
    if not planned.late:
        return planned
    chosen = resolve(planned.target_set, playbook.targets[planned.target_set], nodes, seed, groups)
    return planned._replace(targets=tuple(node.name for node in chosen))


def dropped_pairs(
    planned: Planned, action: PartitionAction, nodes: Sequence[NodeRef], seed: int
) -> frozenset[cuts.Pair]:
    """Whose packets to whom a partition drops, by node name. Raises :class:`InputError` where that is nothing."""
    by_name = {node.name: node for node in nodes}
    targets = [by_name[name] for name in planned.targets]
    options = action.with_
    others = list(nodes) if options.from_ is None else select(options.from_, nodes)
    rng = random.Random(f"{seed}/cut/{planned.number}")
    pairs = cuts.cut(options.cut, targets, others, options.direction, rng)
    if not pairs and targets:
        raise InputError(
            f"'{planned.name}' cuts nothing: {len(targets)} targets, cut '{options.cut}'",
            hint="The two sides of a cut must differ: check 'targets' and 'from'.",
        )
    return pairs


def disturbance(planned: Planned, playbook: Playbook, nodes: Sequence[NodeRef], seed: int) -> Disturbance:
    """What an action does to the cluster while it lasts, for the guard."""
    action = playbook.method[planned.number]
    if isinstance(action, HumanAction):
        return NOTHING
    by_name = {node.name: node for node in nodes}
    chosen = [by_name[name] for name in planned.targets]
    touched = frozenset(node.az for node in chosen if node.az and node.role != CLIENT)
    if isinstance(action, PowerOffAction | RestartAction):
        return Disturbance(frozenset(planned.targets), frozenset(), touched)
    if isinstance(action, BitRotAction):
        # Of a B-tree, which group's is decided from the files; a log is every replica's of its node.
        logs = planned.targets if action.with_.place == "log" else ()
        return NOTHING._replace(hurt=frozenset(Hurt(name, ALL, "log") for name in logs))
    assert isinstance(action, PartitionAction)
    return Disturbance(frozenset(), dropped_pairs(planned, action, nodes, seed), touched)


def at_once(plan: Plan, playbook: Playbook, nodes: Sequence[NodeRef]) -> list[tuple[Planned, Disturbance]]:
    """For each action, everything that is disturbed at the moment it starts, itself included."""
    result = []
    for action in plan.actions:
        total = NOTHING
        for other in plan.actions:
            if other.start_s <= action.start_s < other.end_s or other is action:
                total = total.and_also(disturbance(other, playbook, nodes, plan.seed))
        result.append((action, total))
    return result
