"""Actions that are written as one and played as many: rolling restarts, and the job that powers off random nodes. Pure.

A series is unrolled into ordinary actions, each with a name, a target and times of its own, before anything is planned:
what the run directory keeps as the resolved playbook says every one of them, and plays them again as they stand.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from chaos.errors import InputError
from chaos.playbook.model import (
    Action,
    Playbook,
    PowerOffAction,
    RandomPowerOffAction,
    RandomPowerOffOptions,
    RestartAction,
    RollingRestartAction,
    TargetSpec,
)
from chaos.targets import NodeRef, needs_live_cluster, resolve

RETURN_S = 4.0
"""A node that boots is counted as dark for so much longer: it is not of use at once."""
RETURNS_APART_S = 0.5
ACTIONS_MAX = 500
TRIES_MAX = 20


class Outage(NamedTuple):
    """One node without power, from a moment in seconds after the beginning of the series."""

    node: str
    at_s: float
    for_s: float

    @property
    def end_s(self) -> float:
        return self.at_s + self.for_s


def random_outages(
    nodes: Sequence[NodeRef], options: RandomPowerOffOptions, length_s: float, zones_max: int, rng: random.Random
) -> list[Outage]:
    """A schedule in the order of time: arrivals as of a Poisson process, nodes drawn among those that may go.

    At no time are more than ``options.at_once`` nodes dark, nor nodes of more than ``zones_max`` zones (those that are
    just booting count as dark); no two return within half a second of each other; all have returned by the end. An
    arrival at which nobody may go is left out.
    """
    found: list[Outage] = []
    arrival = rng.expovariate(1 / options.every)
    zone_of = {node.name: node.az for node in nodes}
    while arrival + options.shortest <= length_s and len(found) < ACTIONS_MAX:
        at = round(arrival, 3)  # as it will be played: judged a fraction later, it could meet a node that still boots
        dark = {outage.node for outage in found if outage.end_s + RETURN_S > at}
        zones = {zone_of[name] for name in dark}
        may = [n for n in nodes if n.name not in dark and len(zones | {n.az}) <= zones_max]
        lasting = staggered(found, at, options, length_s, rng)
        if may and len(dark) < options.at_once and lasting is not None:
            found.append(Outage(rng.choice(may).name, at, lasting))
        arrival += rng.expovariate(1 / options.every)
    return found


def staggered(
    found: Iterable[Outage], at: float, options: RandomPowerOffOptions, length_s: float, rng: random.Random
) -> float | None:
    """How long an outage from ``at`` lasts, so that its node returns apart from all others; None where that fails."""
    returns = [outage.end_s for outage in found]
    for _ in range(TRIES_MAX):
        lasting = round(rng.uniform(options.shortest, min(options.longest, length_s - at)), 3)
        if all(abs(at + lasting - other) >= RETURNS_APART_S for other in returns):
            return lasting
    return None


def unroll(playbook: Playbook, nodes: Sequence[NodeRef], seed: int) -> Playbook:
    """The playbook with every series replaced by its actions; the same one where there is none."""
    if not any(isinstance(action, RollingRestartAction | RandomPowerOffAction) for action in playbook.method):
        return playbook
    targets = dict(playbook.targets)
    method: list[Action] = []
    for number, action in enumerate(playbook.method):
        if isinstance(action, RollingRestartAction):
            members = members_of(action.targets, playbook, nodes, seed)
            members.sort(key=lambda node: (node.az, node.name))
            method += rolling(action, members, number)
        elif isinstance(action, RandomPowerOffAction):
            members = members_of(action.targets, playbook, nodes, seed)
            method += random_power(action, members, playbook.safety.budget.az, number, seed)
        else:
            method.append(action)
    for made in method:
        if made.action != "human" and made.targets not in playbook.targets:
            targets[made.targets] = TargetSpec(select=[f"node={made.targets}"])
    used = {made.targets for made in method if made.action != "human"}
    return playbook.model_copy(
        update={"method": method, "targets": {name: spec for name, spec in targets.items() if name in used}}
    )


def members_of(name: str, playbook: Playbook, nodes: Sequence[NodeRef], seed: int) -> list[NodeRef]:
    """The nodes of a series. Raises :class:`InputError` for a set that only a running cluster could decide."""
    spec = playbook.targets[name]
    if needs_live_cluster(spec):
        raise InputError(
            f"target set '{name}' (mode {spec.mode}) is decided while the cluster runs; a series is planned before",
            hint="Select nodes by zone, rack, role or name.",
        )
    members = resolve(name, spec, nodes, seed)
    if hidden := sorted({node.name for node in members} & playbook.targets.keys()):
        raise InputError(f"target set '{hidden[0]}' has the name of a node that a series means", hint="Rename the set.")
    return members


def rolling(action: RollingRestartAction, members: Sequence[NodeRef], number: int) -> list[Action]:
    """One restart after the other."""
    options, name = action.with_, action.name or f"rolling restart {number + 1}"
    return [
        RestartAction(
            name=f"{name}: {node.name}",
            action="restart",
            at=round(action.at + place * options.every, 3),
            for_=options.down,
            targets=node.name,
            patience=options.patience,
            alone=True,
        )
        for place, node in enumerate(members)
    ]


def random_power(
    action: RandomPowerOffAction, members: Sequence[NodeRef], zones_max: int, number: int, seed: int
) -> list[Action]:
    """The power-offs of one job."""
    name = action.name or f"random power-off {number + 1}"
    rng = random.Random(f"{seed}/random-power-off/{number}")
    outages = random_outages(members, action.with_, action.for_ or 0.0, zones_max, rng)
    if not outages:
        raise InputError(
            f"'{name}' powers nobody off: {len(members)} nodes, {action.for_:g} s, one about every "
            f"{action.with_.every:g} s, {zones_max} zones at most",
            hint="Let it last longer, or cut more often ('every').",
        )
    return [
        PowerOffAction(
            name=f"{name}, {place}: {outage.node}",
            action="power-off",
            at=round(action.at + outage.at_s, 3),
            for_=outage.for_s,
            targets=outage.node,
            patience=action.with_.patience,
        )
        for place, outage in enumerate(outages, 1)
    ]
