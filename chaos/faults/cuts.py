"""Partitions as pure functions from nodes to "whose packets to whom are dropped".

As in Jepsen, a partition is a grudge; here it is the set of ordered address pairs ``(sender, receiver)`` that are
cut, so that a one-way cut is a pair listed once.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from itertools import combinations, product
from typing import Literal

from chaos.targets import NodeRef

Pair = tuple[str, str]
Direction = Literal["both", "inbound", "outbound"]


def between(targets: Sequence[NodeRef], others: Sequence[NodeRef], direction: Direction = "both") -> frozenset[Pair]:
    """Cut ``targets`` from ``others``. A node in both sets is cut from neither itself nor the other targets."""
    inside = {node.name for node in targets}
    pairs: set[Pair] = set()
    for target, other in product(targets, others):
        if other.name in inside:
            continue
        if direction in ("both", "outbound"):
            pairs.add((target.name, other.name))
        if direction in ("both", "inbound"):
            pairs.add((other.name, target.name))
    return frozenset(pairs)


def each_alone(targets: Sequence[NodeRef], others: Sequence[NodeRef], direction: Direction = "both") -> frozenset[Pair]:
    """Cut every target from everyone in ``others``, the other targets included."""
    pairs: set[Pair] = set()
    for target in targets:
        pairs |= between([target], [node for node in others if node.name != target.name], direction)
    return frozenset(pairs)


def components(parts: Sequence[Sequence[NodeRef]]) -> frozenset[Pair]:
    """Cut every part from every other."""
    pairs: set[Pair] = set()
    for left, right in combinations(parts, 2):
        pairs |= between(left, right)
    return frozenset(pairs)


def zones(nodes: Sequence[NodeRef]) -> frozenset[Pair]:
    """Cut the zones from one another."""
    return components([[n for n in nodes if n.az == az] for az in sorted({n.az for n in nodes if n.az})])


def halves(nodes: Sequence[NodeRef], rng: random.Random) -> frozenset[Pair]:
    """Two random parts of equal size, the smaller one first where the number is odd."""
    order = shuffled(nodes, rng)
    return components([order[: len(order) // 2], order[len(order) // 2 :]])


def majority_minority(nodes: Sequence[NodeRef], rng: random.Random) -> frozenset[Pair]:
    """A random minority, as large as a minority can be, cut from the rest."""
    order = shuffled(nodes, rng)
    smaller = (len(order) - 1) // 2
    return components([order[:smaller], order[smaller:]])


def bridge(nodes: Sequence[NodeRef], rng: random.Random) -> frozenset[Pair]:
    """Two halves that cannot reach each other, and one node that reaches both."""
    order = shuffled(nodes, rng)[1:]
    return components([order[: len(order) // 2], order[len(order) // 2 :]])


def majorities_ring(nodes: Sequence[NodeRef], rng: random.Random) -> frozenset[Pair]:
    """Every node reaches a majority, and no two nodes reach the same one: neighbours on a ring see each other."""
    order = shuffled(nodes, rng)
    count = len(order)
    reach = count // 2  # with itself: a majority
    pairs: set[Pair] = set()
    for i, j in combinations(range(count), 2):
        distance = min(j - i, count - (j - i))
        if distance > (reach + 1) // 2:
            pairs |= {(order[i].name, order[j].name), (order[j].name, order[i].name)}
    return frozenset(pairs)


def shuffled(nodes: Sequence[NodeRef], rng: random.Random) -> list[NodeRef]:
    order = sorted(nodes, key=lambda node: node.name)
    rng.shuffle(order)
    return order


def cut(
    kind: str,
    targets: Sequence[NodeRef],
    others: Sequence[NodeRef],
    direction: Direction,
    rng: random.Random,
) -> frozenset[Pair]:
    """The pairs of a named cut. ``others`` matters to ``isolate`` and ``isolate-each`` only."""
    if kind == "isolate":
        return between(targets, others, direction)
    if kind == "isolate-each":
        return each_alone(targets, others, direction)
    if kind == "zones":
        return zones(targets)
    shapes = {
        "halves": halves,
        "majority-minority": majority_minority,
        "bridge": bridge,
        "majorities-ring": majorities_ring,
    }
    return shapes[kind](targets, rng)


def connected(pairs: Iterable[Pair], left: str, right: str) -> bool:
    """Whether two nodes can talk in both directions."""
    dropped = set(pairs)
    return (left, right) not in dropped and (right, left) not in dropped
