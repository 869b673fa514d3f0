"""Histories of appends to lists and of their reads, as dependencies between transactions [Elle].

Every append adds an id that is unique in the run, so that a list tells the whole history of its key: who wrote what
before whom, and which version a read saw. A read returns a prefix of what the longest read of the key returned, or the
versions contradict each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from reports.checkers.transactions_graph import RW, WR, WW, Graph, realtime

OK, UNKNOWN, FAILED = "ok", "unknown", "fail"


class Txn(NamedTuple):
    """One transaction. ``reads`` are what it saw, by key; of one that is not known to have happened, nothing."""

    name: str
    outcome: str
    invoked: int
    ended: int
    appends: tuple[tuple[str, str], ...] = ()
    """(key, id), in order."""
    reads: tuple[tuple[str, tuple[str, ...]], ...] = ()


class Anomaly(NamedTuple):
    """Something no serial execution shows, without any cycle: ``what`` in words and the transactions it names."""

    kind: str
    what: str
    txns: tuple[int, ...]


@dataclass(slots=True)
class Dependencies:
    graph: Graph
    anomalies: list[Anomaly] = field(default_factory=list)


def depend(txns: Sequence[Txn]) -> Dependencies:
    """What the reads prove about who came before whom. A transaction whose outcome is unknown counts from the moment on
    that somebody saw an append of its."""
    writer = {pair: number for number, txn in enumerate(txns) for pair in txn.appends}
    found: list[Anomaly] = []
    orders = _orders(txns, writer, found)
    seen = {writer[key, id_] for key, order in orders.items() for id_ in order if (key, id_) in writer}
    counts = [txn.outcome == OK or (txn.outcome == UNKNOWN and number in seen) for number, txn in enumerate(txns)]
    graph = Graph(len(txns))
    for key, order in orders.items():
        _versions(graph, key, order, writer)
    unseen = _unseen(txns, orders)
    for number, txn in enumerate(txns):
        if txn.outcome == OK:
            for key, read in txn.reads:
                _read(graph, txns, number, key, read, orders[key], unseen.get(key, ()), writer, found)
    for key, late in unseen.items():
        last = writer.get((key, orders[key][-1])) if orders.get(key) else None
        if last is not None:
            for number in late:
                graph.add(last, number, WW, key)
    spans = [(txn.invoked, txn.ended if txn.outcome == OK else 1 << 63) for txn in txns]
    live = [number for number in range(len(txns)) if counts[number]]
    _realtime(graph, spans, live)
    return Dependencies(graph, found)


def _realtime(graph: Graph, spans: Sequence[tuple[int, int]], live: Sequence[int]) -> None:
    part = _Renamed(graph, live)
    realtime(part, [spans[number] for number in live])


class _Renamed(Graph):
    """Takes edges between places in a list of nodes as edges between those nodes."""

    def __init__(self, graph: Graph, nodes: Sequence[int]) -> None:
        super().__init__(0)
        self._graph, self._names = graph, nodes

    def add(self, source: int, target: int, kind: str, about: str = "") -> None:
        self._graph.add(self._names[source], self._names[target], kind, about)


def _orders(
    txns: Sequence[Txn], writer: dict[tuple[str, str], int], found: list[Anomaly]
) -> dict[str, tuple[str, ...]]:
    """By key, the longest list that anybody read; reads that are no prefix of it are anomalies."""
    longest: dict[str, tuple[tuple[str, ...], int]] = {}
    for number, txn in enumerate(txns):
        if txn.outcome == OK:
            for key, read in txn.reads:
                if key not in longest or len(read) > len(longest[key][0]):
                    longest[key] = (read, number)
    for number, txn in enumerate(txns):
        if txn.outcome != OK:
            continue
        for key, read in txn.reads:
            order, reader = longest[key]
            if read != order[: len(read)]:
                what = f"{txn.name} and {txns[reader].name} read {key} in orders that contradict each other"
                found.append(Anomaly("incompatible-order", what, (number, reader)))
    for key, (order, reader) in longest.items():
        for id_ in dict.fromkeys(order):
            if order.count(id_) > 1:
                found.append(Anomaly("duplicate", f"{key} holds {id_!r} {order.count(id_)} times", (reader,)))
            author = writer.get((key, id_))
            if author is None:
                what = f"{txns[reader].name} read {id_!r} in {key}, which nobody wrote"
                found.append(Anomaly("phantom", what, (reader,)))
            elif txns[author].outcome == FAILED:
                what = f"{txns[reader].name} read {id_!r} in {key}, by {txns[author].name}, which was cancelled"
                found.append(Anomaly("G1a", what, (reader, author)))
    return {key: order for key, (order, _) in longest.items()}


def _versions(graph: Graph, key: str, order: tuple[str, ...], writer: dict[tuple[str, str], int]) -> None:
    previous: int | None = None
    for id_ in order:
        author = writer.get((key, id_))
        if author is not None and previous is not None:
            graph.add(previous, author, WW, key)
        previous = author if author is not None else previous


def _unseen(txns: Sequence[Txn], orders: dict[str, tuple[str, ...]]) -> dict[str, list[int]]:
    """By key, transactions that certainly appended something that no read shows: it comes after all that was read."""
    shown = {(key, id_) for key, order in orders.items() for id_ in order}
    unseen: dict[str, list[int]] = {}
    for number, txn in enumerate(txns):
        if txn.outcome == OK:
            for key, id_ in txn.appends:
                if (key, id_) not in shown:
                    unseen.setdefault(key, []).append(number)
    return unseen


def _read(
    graph: Graph,
    txns: Sequence[Txn],
    number: int,
    key: str,
    read: tuple[str, ...],
    order: tuple[str, ...],
    unseen: Sequence[int],
    writer: dict[tuple[str, str], int],
    found: list[Anomaly],
) -> None:
    """The edges of one read: from who wrote its version, to who wrote the next."""
    if read:
        author = writer.get((key, read[-1]))
        if author is not None:
            graph.add(author, number, WR, key)
            if author != number and _is_intermediate(txns[author], key, read):
                what = f"{txns[number].name} read {key} between two appends of {txns[author].name}"
                found.append(Anomaly("G1b", what, (number, author)))
    if len(read) < len(order):
        following = writer.get((key, order[len(read)]))
        if following is not None:
            graph.add(number, following, RW, key)
    else:
        for late in unseen:
            graph.add(number, late, RW, key)


def _is_intermediate(author: Txn, key: str, read: tuple[str, ...]) -> bool:
    own = [id_ for at, id_ in author.appends if at == key]
    return read[-1] != own[-1]
