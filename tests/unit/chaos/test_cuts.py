"""Partitions as pure functions: what each cut promises, for any number of nodes."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from chaos.faults import cuts
from chaos.targets import NodeRef

nodes_of = st.integers(3, 12).map(
    lambda n: [NodeRef(f"n{i:02}", "storage", "abc"[i % 3], f"r{i}") for i in range(n)],
)
seeds = st.integers(0, 1000).map(random.Random)


def reach(nodes: list[NodeRef], pairs: frozenset[cuts.Pair], name: str) -> set[str]:
    """Who ``name`` can talk to in both directions, itself included."""
    return {n.name for n in nodes if n.name == name or cuts.connected(pairs, name, n.name)}


def test_isolation_cuts_both_ways_and_leaves_the_inside_alone() -> None:
    nodes = [NodeRef(f"{az}{i}", "storage", az, "r") for az in "ab" for i in (1, 2)]
    pairs = cuts.between(nodes[:2], nodes)
    assert pairs == {(a, b) for a in ("a1", "a2") for b in ("b1", "b2")} | {
        (b, a) for a in ("a1", "a2") for b in ("b1", "b2")
    }


def test_one_way_cuts_list_a_pair_once() -> None:
    left, right = NodeRef("l", "storage", "a", "a1"), NodeRef("r", "storage", "b", "b1")
    assert cuts.between([left], [right], "outbound") == {("l", "r")}
    assert cuts.between([left], [right], "inbound") == {("r", "l")}


@given(nodes_of)
def test_each_alone_reaches_nobody(nodes: list[NodeRef]) -> None:
    pairs = cuts.each_alone(nodes, nodes)
    assert all(reach(nodes, pairs, n.name) == {n.name} for n in nodes)


@given(nodes_of)
def test_zones_reach_themselves_only(nodes: list[NodeRef]) -> None:
    pairs = cuts.zones(nodes)
    for node in nodes:
        assert reach(nodes, pairs, node.name) == {n.name for n in nodes if n.az == node.az}


@given(nodes_of, seeds)
def test_halves_and_minority(nodes: list[NodeRef], rng: random.Random) -> None:
    pairs = cuts.halves(nodes, rng)
    sizes = sorted({len(reach(nodes, pairs, n.name)) for n in nodes})
    assert sizes == sorted({len(nodes) // 2, len(nodes) - len(nodes) // 2})
    pairs = cuts.majority_minority(nodes, rng)
    groups = {frozenset(reach(nodes, pairs, n.name)) for n in nodes}
    assert len(groups) == 2
    assert sum(1 for group in groups if 2 * len(group) > len(nodes)) == 1


@given(nodes_of, seeds)
def test_bridge_has_one_node_that_reaches_all(nodes: list[NodeRef], rng: random.Random) -> None:
    pairs = cuts.bridge(nodes, rng)
    full = [n.name for n in nodes if len(reach(nodes, pairs, n.name)) == len(nodes)]
    assert len(full) == 1


@given(st.integers(5, 12), seeds)
def test_majorities_ring_gives_everybody_another_majority(count: int, rng: random.Random) -> None:
    nodes = [NodeRef(f"n{i:02}", "storage", "a", "a1") for i in range(count)]
    pairs = cuts.majorities_ring(nodes, rng)
    seen = [frozenset(reach(nodes, pairs, n.name)) for n in nodes]
    assert all(2 * len(group) > count for group in seen)
    assert pairs == frozenset((b, a) for a, b in pairs), "both directions"
    assert len(set(seen)) == count or all(len(group) == count for group in seen)
