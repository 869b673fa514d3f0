"""What a canary tries: rounds of five operations, each round pinned to the next router endpoint. Pure.

A round puts an item of the canary's own, reads it strongly and eventually, updates it and deletes it, so that its
answers can be judged as well as counted: a canary knows what it wrote. A key whose write was never answered is given
up for a fresh one, because that write may land at any later time.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from loadgen.plan import Operation
from loadgen.profiles import OpName
from loadgen.translate import Outcome

STEPS: Final[tuple[OpName, ...]] = ("put", "get", "eget", "update", "delete")
"""Every round, in this order; ``get`` is strong, ``eget`` eventual."""
KEYS: Final = 7
"""Keys a canary goes through: spread over the partitions, and no multiple of a usual number of endpoints, so that
every endpoint meets every key."""
WRONG: Final = "WrongAnswer"
"""The error of an answer that came but says what cannot be."""
GOOD, FAIL, UNKNOWN, BAD = "ok", "fail", "unknown", "wrong"


class Judged(NamedTuple):
    """What became of one probe: ``ok``; ``fail``: certainly did not happen; ``unknown``: may have; ``wrong``."""

    outcome: str
    status: int
    error: str | None


class Key:
    """One key of a canary and what it must hold. ``sure`` is False once a write was left without an answer."""

    __slots__ = ("holds", "name", "sure", "writes")

    def __init__(self, name: str) -> None:
        self.name = name
        self.holds: str | None = None
        self.sure = True
        self.writes = 0

    def next_value(self) -> str:
        """A value that was never written before."""
        self.writes += 1
        return f"{self.name}.{self.writes}"

    def judge(self, operation: Operation, outcome: Outcome) -> Judged:
        """Hold an answer against what the key must hold, and learn from it."""
        writes = operation.op not in ("get", "eget")
        if outcome.outcome != "ok":
            self.sure = self.sure and not (writes and outcome.outcome == "unknown")
            return Judged(outcome.outcome, outcome.status, outcome.error)
        if operation.op == "eget":
            # It may be late, but only with what this canary once wrote to this key.
            right = outcome.value is None or outcome.value.startswith(f"{self.name}.")
        else:
            # A write's answer carries what it replaced, a strong read's what is there: the same promise.
            right = not self.sure or outcome.value == self.holds
        if writes:
            self.holds = operation.value
        return Judged(GOOD, outcome.status, None) if right else Judged(BAD, outcome.status, WRONG)


class Round(NamedTuple):
    """One round: where it is sent, and on which key."""

    number: int
    endpoint: int
    key: Key
    table: str

    def operation(self, op: OpName) -> Operation:
        """The next operation; ``op`` is one of :data:`STEPS`."""
        value = self.key.next_value() if op in ("put", "update") else None
        return Operation(op, self.table, self.key.name, value, None)


class Rounds:
    """The endless rounds of one canary. ``name`` must be unique in the table, as keys begin with it.

    ``offset`` is where it begins among the endpoints, so that the canaries of the zones do not walk in step.
    """

    def __init__(self, name: str, table: str, endpoints: int, offset: int = 0) -> None:
        if endpoints < 1:
            raise ValueError("a canary needs at least one endpoint")
        self.name = name
        self.table = table
        self.endpoints = endpoints
        self.offset = offset
        self._number = 0
        self._made = 0
        self._free: deque[Key] = deque(self._fresh() for _ in range(KEYS))

    def _fresh(self) -> Key:
        self._made += 1
        return Key(f"{self.name}-{self._made}")

    def begin(self, turn: int | None = None) -> Round:
        """The next round. A key is in one round at a time: with none free (slow answers) there is a new one.

        ``turn`` chooses the endpoint. Canaries that count turns on one clock meet a different endpoint each at any
        time, so that every endpoint is tried in every interval; without it turns are counted from the first round.
        """
        key = self._free.popleft() if self._free else self._fresh()
        number = self._number
        self._number += 1
        return Round(number, ((number if turn is None else turn) + self.offset) % self.endpoints, key, self.table)

    def end(self, done: Round) -> None:
        """The round is over; its key may be used again if it is known what it holds."""
        key = done.key if done.key.sure else self._fresh()
        if len(self._free) < KEYS:
            self._free.append(key)
