"""The stream of operations of one generator: pure, seeded, and fed back with what the answers said.

The only feedback a plan takes is the last value it saw of each key (:meth:`Plan.learn`): a conditional write expects
that value, so that conditions are mostly true under light contention and fail honestly under heavy contention.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import accumulate, chain
from random import Random
from typing import NamedTuple

from loadgen.distributions import make
from loadgen.profiles import TRANSACTIONS, WRITES, OpName, Profile
from loadgen.transactions import WORKLOADS, Workload, decode_steps, encode

ABSENT = "-"
"""``expect`` of a conditional write that wants the item absent (as in the history format)."""


class Operation(NamedTuple):
    """One operation to carry out: exactly one attempt, recorded as one operation of the history.

    ``value`` is the unique id a write stores (None for reads and deletes); ``expect`` the value its condition names,
    :data:`ABSENT`, or None for no condition. A transaction's ``value`` is its steps, its ``key`` empty.
    """

    op: OpName
    table: str
    key: str
    value: str | None
    expect: str | None


@lru_cache(maxsize=65536)
def key_name(index: int) -> str:
    """The partition key of key ``index``; every generator of a run shares the same keys."""
    return f"k{index:07d}"


class Plan:
    """An endless stream of operations. ``writer`` must be unique in the run: values are ``<writer>.<n>``."""

    __slots__ = (
        "_choices",
        "_conditional_updates",
        "_cumulative",
        "_distribution",
        "_known",
        "_last",
        "_next_value",
        "_rng",
        "_total",
        "_workload",
        "table",
        "writer",
    )

    def __init__(self, profile: Profile, *, table: str, keys: int, seed: int, writer: str) -> None:
        self.table = table
        self.writer = writer
        self._rng = Random(f"{seed}/{writer}/operations")
        self._distribution = make(profile.distribution, keys)
        self._choices: list[OpName] = list(profile.weights)
        self._cumulative = list(accumulate(profile.weights.values()))
        self._total = self._cumulative[-1]
        self._last = len(self._choices) - 1
        self._conditional_updates = profile.conditional_updates
        self._known: dict[str, str] = {}
        self._next_value = 0
        self._workload: Workload | None = WORKLOADS[profile.workload](keys) if profile.workload else None

    def next(self) -> Operation:
        rng = self._rng
        op = self._choices[bisect(self._cumulative, rng.random() * self._total, 0, self._last)]
        if op in TRANSACTIONS:
            return self._transaction(op)
        key = key_name(self._distribution.choose(rng))
        if op not in WRITES or op == "delete":
            return Operation(op, self.table, key, None, None)
        conditional = op == "cput" or (op == "update" and rng.random() < self._conditional_updates)
        return Operation(op, self.table, key, self._value(), self._known.get(key, ABSENT) if conditional else None)

    def conditional_put(self, key: str) -> Operation:
        """A conditional put of a key of the caller's choice."""
        return Operation("cput", self.table, key, self._value(), self._known.get(key, ABSENT))

    def _value(self) -> str:
        self._next_value += 1
        return f"{self.writer}.{self._next_value - 1}"

    def _transaction(self, op: OpName) -> Operation:
        assert self._workload is not None, "a profile with transactions names their workload"
        steps = self._workload.read(self._rng) if op == "tread" else self._workload.write(self._rng, self._value())
        return Operation(op, self.table, "", encode(steps).decode(), None)

    def learn(self, key: str, value: str | None) -> None:
        """The newest value this generator saw of ``key``, None where the item is absent; of a transaction its steps."""
        if self._workload is not None and not key:
            if value is not None:
                self._workload.learn(decode_steps(value))
        elif value is None:
            self._known.pop(key, None)
        else:
            self._known[key] = value


def sweep(table: str, keys: int, part: int = 0, parts: int = 1, workload: str = "") -> Iterator[Operation]:
    """The closing strong reads: every key once, or one of ``parts`` equal shares of them; then, of a ``workload`` of
    transactions, transactional reads of all that it may have made."""
    if not 0 <= part < parts:
        raise ValueError(f"part {part} of {parts} does not exist")
    indices: Iterable[int] = range(part, keys, parts)
    reads = WORKLOADS[workload](keys).sweep()[part::parts] if workload else []
    return chain(
        (Operation("final", table, key_name(index), None, None) for index in indices),
        (Operation("tread", table, "", encode(steps).decode(), None) for steps in reads),
    )
