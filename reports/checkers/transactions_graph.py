"""Cycles of dependencies between transactions, and what a shortest one proves [Adya; Elle].

Nodes are numbers, edges have kinds: ``ww`` (the other overwrote it), ``wr`` (the other read it), ``rw`` (the other
overwrote what it had read), ``rt`` (it ended before the other began). Serial executions have no cycle. What a cycle is
made of names the anomaly: only ``ww`` is G0; ``ww`` and ``wr`` G1c; with one ``rw`` G-single; with more G2. A cycle
that needs an ``rt`` edge is called the same with ``-realtime``: the history is serializable perhaps, but not in the
order that people saw.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

WW, WR, RW, RT = "ww", "wr", "rw", "rt"

SEARCHES_MAX = 400
"""Starting points tried within one knot; one this large is broken beyond naming the very shortest cycle."""


class Step(NamedTuple):
    """An edge of a cycle: from, to, its kind and what it is about (a key; empty for time)."""

    source: int
    target: int
    kind: str
    about: str


class Cycle(NamedTuple):
    anomaly: str
    steps: tuple[Step, ...]


class Graph:
    """Edges between nodes; of several of one kind between two nodes the first is kept."""

    def __init__(self, nodes: int) -> None:
        self.nodes = nodes
        self._out: list[dict[tuple[int, str], str]] = [{} for _ in range(nodes)]

    def add(self, source: int, target: int, kind: str, about: str = "") -> None:
        if source != target:
            self._out[source].setdefault((target, kind), about)

    def edges(self, source: int, kinds: frozenset[str]) -> Iterable[Step]:
        for (target, kind), about in self._out[source].items():
            if kind in kinds:
                yield Step(source, target, kind, about)

    def knots(self, kinds: frozenset[str]) -> list[list[int]]:
        """Sets of nodes that reach each other, those of more than one node (Tarjan, without recursion)."""
        order = [-1] * self.nodes
        low = [0] * self.nodes
        on_stack = [False] * self.nodes
        stack: list[int] = []
        found: list[list[int]] = []
        counter = 0
        for root in range(self.nodes):
            if order[root] >= 0:
                continue
            order[root] = low[root] = counter
            counter += 1
            stack.append(root)
            on_stack[root] = True
            work = [(root, iter(self._out[root]))]
            while work:
                node, targets = work[-1]
                for target, kind in targets:
                    if kind not in kinds:
                        continue
                    if order[target] < 0:
                        order[target] = low[target] = counter
                        counter += 1
                        stack.append(target)
                        on_stack[target] = True
                        work.append((target, iter(self._out[target])))
                        break
                    if on_stack[target]:
                        low[node] = min(low[node], order[target])
                else:
                    work.pop()
                    if work:
                        low[work[-1][0]] = min(low[work[-1][0]], low[node])
                    if low[node] == order[node]:
                        knot = []
                        while True:
                            member = stack.pop()
                            on_stack[member] = False
                            knot.append(member)
                            if member == node:
                                break
                        if len(knot) > 1:
                            found.append(sorted(knot))
        return found

    def path(self, source: int, target: int, kinds: frozenset[str], within: frozenset[int]) -> list[Step] | None:
        """A shortest way from ``source`` to ``target``."""
        came: dict[int, Step | None] = {source: None}
        queue = deque([source])
        while queue:
            node = queue.popleft()
            for step in self.edges(node, kinds):
                if step.target in came or step.target not in within:
                    continue
                came[step.target] = step
                if step.target == target:
                    return _back(came, target)
                queue.append(step.target)
        return None


def _back(came: dict[int, Step | None], target: int) -> list[Step]:
    steps: list[Step] = []
    step = came[target]
    while step is not None:
        steps.append(step)
        step = came[step.source]
    return steps[::-1]


_LEVELS: Sequence[tuple[str, frozenset[str], str]] = (
    ("G0", frozenset({WW}), WW),
    ("G1c", frozenset({WW, WR}), WR),
    ("G-single", frozenset({WW, WR}), RW),
    ("G2", frozenset({WW, WR, RW}), RW),
)
"""By anomaly, the gravest first: the edges its cycles go back over, and the kind of the edge each begins with."""


def cycles(graph: Graph) -> list[Cycle]:
    """For each knot of transactions, its gravest anomaly by a shortest cycle; without the help of time first."""
    found = _search(graph, frozenset({WW, WR, RW}), frozenset(), "")
    return found or _search(graph, frozenset({WW, WR, RW, RT}), frozenset({RT}), "-realtime")


def _search(graph: Graph, kinds: frozenset[str], also: frozenset[str], suffix: str) -> list[Cycle]:
    return [cycle for knot in graph.knots(kinds) if (cycle := _gravest(graph, knot, also, suffix)) is not None]


def _gravest(graph: Graph, knot: list[int], also: frozenset[str], suffix: str) -> Cycle | None:
    within = frozenset(knot)
    for anomaly, kinds, first in _LEVELS:
        steps = _shortest(graph, knot, within, kinds | also, first)
        if steps is not None:
            return Cycle(anomaly + suffix, tuple(steps))
    return None


def _shortest(
    graph: Graph, knot: list[int], within: frozenset[int], kinds: frozenset[str], first: str
) -> list[Step] | None:
    """A shortest cycle that begins with an edge of kind ``first`` and goes back over ``kinds``."""
    best: list[Step] | None = None
    for source in knot[:SEARCHES_MAX]:
        for step in graph.edges(source, frozenset({first})):
            if step.target not in within:
                continue
            way = graph.path(step.target, source, kinds, within)
            if way is not None and (best is None or 1 + len(way) < len(best)):
                best = [step, *way]
                if len(best) == 2:
                    return best
    return best


def realtime(graph: Graph, spans: Sequence[tuple[int, int]]) -> None:
    """Add the edges that say who ended before who began; those that follow from others are left out.

    ``spans`` are (invoked, ended) by node.
    """
    events = sorted(
        [(ended, 1, node) for node, (_, ended) in enumerate(spans)]
        + [(invoked, 0, node) for node, (invoked, _) in enumerate(spans)]
    )
    done: dict[int, None] = {}  # ended, and not followed by another that began after its end and has ended itself
    before: dict[int, list[int]] = {}
    for _, ended, node in events:
        if not ended:
            before[node] = list(done)
            for earlier in done:
                graph.add(earlier, node, RT)
        else:
            for earlier in before.pop(node):
                done.pop(earlier, None)
            done[node] = None
