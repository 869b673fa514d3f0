"""Who is meant: selectors over the nodes of a topology, and modes that narrow a selection. Pure.

A selection is always in the order of node names, and a random mode draws from a generator seeded by the run's seed and
the target set's name, so that one seed means one choice.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from chaos.errors import InputError
from chaos.playbook.model import TargetSpec, parse_mode

CLIENT = "client"


class NodeRef(NamedTuple):
    """A node as selectors see it. ``client`` is the role of a zone's load drivers, no part of the cluster."""

    name: str
    role: str
    az: str
    rack: str
    address: str = ""


class GroupView(NamedTuple):
    """A replication group as its members report it."""

    group: str
    table: str
    voters: tuple[str, ...]
    leader: str | None


def select(selectors: Sequence[str], nodes: Iterable[NodeRef]) -> list[NodeRef]:
    """The nodes that any of ``selectors`` means; within one selector every term must hold."""
    found = [node for node in nodes if any(matches(selector, node) for selector in selectors)]
    return sorted(found, key=lambda node: node.name)


def matches(selector: str, node: NodeRef) -> bool:
    """Whether one selector (``az=b,role=storage``, or ``all`` for every node of the cluster) means ``node``."""
    if selector == "all":
        return node.role != CLIENT
    wanted: dict[str, set[str]] = {}
    for term in selector.split(","):
        key, _, value = term.partition("=")
        wanted.setdefault(key, set()).add(value)
    have = {"az": node.az, "rack": node.rack, "role": node.role, "node": node.name}
    return all(have[key] in values for key, values in wanted.items())


def zones_within(zones: Mapping[str, str], names: Iterable[str]) -> tuple[str, ...]:
    """The zones of which ``names`` leave out no node, in order. ``zones`` is every node's zone; of no zone: empty."""
    dark = set(names)
    kept = {az for name, az in zones.items() if name not in dark}
    return tuple(sorted({az for az in zones.values() if az} - kept))


def needs_live_cluster(spec: TargetSpec) -> bool:
    """Whether who is meant is known only at the moment of injection (leaders move)."""
    return parse_mode(spec.mode)[0] == "leader-of"


def resolve(
    name: str,
    spec: TargetSpec,
    nodes: Sequence[NodeRef],
    seed: int,
    groups: Sequence[GroupView] = (),
    *,
    clients_allowed: bool = False,
) -> list[NodeRef]:
    """The nodes of target set ``name``. Raises :class:`InputError` for a set that means nobody, unless it may."""
    chosen = [node for node in select(spec.select, nodes) if clients_allowed or node.role != CLIENT]
    kind, argument = parse_mode(spec.mode)
    chosen = narrow(chosen, kind, argument, random.Random(f"{seed}/targets/{name}"), groups)
    if not chosen and spec.on_empty == "fail":
        raise InputError(
            f"target set '{name}' ({', '.join(spec.select)}; mode {spec.mode}) means nobody in this topology",
            hint=f"There are zones {known(nodes, 'az')}, racks {known(nodes, 'rack')}, roles {known(nodes, 'role')}. "
            "Say 'on-empty: skip' if it may be empty.",
        )
    return chosen


def narrow(
    chosen: list[NodeRef], kind: str, argument: str, rng: random.Random, groups: Sequence[GroupView]
) -> list[NodeRef]:
    """Apply a mode to a selection."""
    if kind == "all":
        return chosen
    if kind == "one":
        return rng.sample(chosen, min(1, len(chosen)))
    if kind == "count":
        return chosen[: int(argument)]
    if kind == "leader-of":
        return leading(chosen, argument, groups)
    wanted = int(argument) if kind == "random" else math.ceil(len(chosen) * int(argument) / 100)
    return sorted(rng.sample(chosen, min(wanted, len(chosen))), key=lambda node: node.name)


def leading(chosen: Sequence[NodeRef], what: str, groups: Sequence[GroupView]) -> list[NodeRef]:
    """The one node among ``chosen`` that leads most groups of table ``what`` (or the group of that name)."""
    led: dict[str, int] = {}
    for group in groups:
        if what in (group.table, group.group) and group.leader is not None:
            led[group.leader] = led.get(group.leader, 0) + 1
    leaders = [node for node in chosen if node.name in led]
    return [max(leaders, key=lambda node: (led[node.name], node.name))] if leaders else []


def known(nodes: Iterable[NodeRef], attribute: str) -> str:
    """The values of an attribute that exist, for an error message."""
    return ", ".join(sorted({str(getattr(node, attribute)) for node in nodes if getattr(node, attribute)})) or "none"
