"""From a playbook's name to all that is decided before anything is touched: text, topology, seed and plan."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from chaos.errors import InputError
from chaos.guard import NOTHING, assess, over_budget
from chaos.plan import Plan, at_once, make_plan
from chaos.playbook import Playbook, load
from chaos.series import unroll
from chaos.targets import CLIENT, NodeRef

if TYPE_CHECKING:
    from cluster.topology import Topology


@dataclass(frozen=True, slots=True)
class Prepared:
    """A game day that is ready to be played."""

    playbook: Playbook
    path: Path
    topology: Topology
    seed: int
    plan: Plan
    warnings: tuple[str, ...]

    @property
    def name(self) -> str:
        """The playbook's name, as run directories and verdicts call it."""
        return self.path.stem


def prepare(name: str, *, seed: int | None = None) -> Prepared:
    """Read, check and plan a playbook. Raises errors with exit code 2 for whatever is wrong with it."""
    from cluster.topology import load as load_topology

    playbook, path = load(name)
    topology = load_topology(topology_path(playbook.topology, path))
    chosen = seed if seed is not None else playbook.seed
    if chosen is None:
        chosen = secrets.randbits(31)
    check_alarms(playbook, topology)
    nodes = topology_nodes(topology)
    playbook = unroll(playbook, nodes, chosen)
    plan = make_plan(playbook, nodes, chosen)
    return Prepared(playbook, path, topology, chosen, plan, tuple(static_warnings(plan, playbook, nodes)))


def check_alarms(playbook: Playbook, topology: Topology) -> None:
    """Refuse promises about the alarms of zones that are not there: they would be kept, or broken, by nobody."""
    zones = sorted(topology.azs)
    named = [*(promise.name for promise in playbook.expect.alarms), *playbook.expect.quiet]
    for name in named:
        zone = name.removeprefix("cfa-zone-")
        if zone != name and zone not in zones:
            raise InputError(
                f"the playbook expects something of the alarm {name}, but there is no zone {zone}",
                hint=f"The zones of this topology are {', '.join(zones)}.",
            )


def topology_path(name: str, playbook: Path) -> str | Path:
    """A topology given as a path is looked for beside the playbook, then from here; anything else is a name."""
    if not name.endswith((".yaml", ".yml")):
        return name
    beside = playbook.parent / name
    return beside if beside.is_file() else Path(name)


def topology_nodes(topology: Topology) -> list[NodeRef]:
    """Every node of the topology, and the zones' clients."""
    nodes = [NodeRef(spec.name, spec.role, spec.az, spec.rack) for spec in topology.nodes()]
    return nodes + [NodeRef(f"client-{az}", CLIENT, az, "") for az in topology.azs]


def static_warnings(plan: Plan, playbook: Playbook, nodes: list[NodeRef]) -> list[str]:
    """What the guard can already say without a cluster: the number of zones. Groups are judged against live membership.

    Raises :class:`chaos.errors.InputError` when the plan is beyond the playbook's budget of zones.
    """
    from chaos.guard import enforce

    by_name = {node.name: node for node in nodes}
    warnings: list[str] = []
    for action, total in at_once(plan, playbook, nodes):
        if total == NOTHING:
            continue
        impact = assess(total, [], by_name)
        if over_budget(impact, playbook.safety.budget):
            reasons = enforce(f"'{action.name}'", impact, playbook.safety.budget, unsafe=playbook.safety.unsafe)
            warnings += [f"'{action.name}' is beyond the budget, overridden by safety.unsafe: {r}" for r in reasons]
    return warnings
