"""Operations checked per second: a history as a game day leaves it, read from its files and judged by every checker."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

from loadgen.plan import Operation, Plan, sweep
from loadgen.profiles import profile_named
from reports.checkers import durability, eventual_reads, linearizability
from reports.checkers.evidence import History
from reports.rundir.history import CONDITION_FAILED, HistoryWriter

WRITERS = ("load-a", "load-b", "load-c")
UNKNOWN_SHARE = 0.0005
"""One write in two thousand stays unanswered, as under a fault; half of those happened."""
STEP_NS = 200_000
LATENCY_NS = 2_000_000


class Register:
    """The database of the synthetic run: one register a key, operations taking effect one after the other."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.values: dict[str, str] = {}

    def apply(self, operation: Operation) -> tuple[str, int, str | None, str | None]:
        """``(outcome, status, error, observed)`` as a client would have recorded it."""
        op, _, key, value, expect = operation
        current = self.values.get(key)
        if op in ("get", "eget", "final"):
            return "ok", 200, None, current
        lost = self.rng.random() < UNKNOWN_SHARE
        if lost and self.rng.random() < 0.5:
            return "unknown", 500, "InternalServerError", None
        if expect is not None and (current or "-") != expect:
            return ("unknown", 0, "AnswerTimeout", None) if lost else ("fail", 400, CONDITION_FAILED, current)
        if value is None:
            self.values.pop(key, None)
        else:
            self.values[key] = value
        return ("unknown", 0, "AnswerTimeout", None) if lost else ("ok", 200, None, current)


def write_history(directory: Path, operations: int, keys: int, seed: int = 1) -> None:
    """Write about ``operations`` operations of three writers, interleaved, closed by a sweep."""
    profile = profile_named("mixed")
    plans = {name: Plan(profile, table="t", keys=keys, seed=seed, writer=name) for name in WRITERS}
    writers = {name: HistoryWriter(directory / f"{name}.log", name) for name in (*WRITERS, "sweep-a")}
    register, now = Register(seed), 1_000_000_000

    def one(name: str, operation: Operation) -> None:
        nonlocal now
        now += STEP_NS
        writer = writers[name]
        op, table, key, value, expect = operation
        identity = writer.invoke(op, table, key, value, expect, az="a", endpoint="http://198.18.0.16:8000", t_ns=now)
        outcome, status, error, observed = register.apply(operation)
        writer.complete(identity, outcome, status=status, error=error, value=observed, t_ns=now + STEP_NS // 2)
        if outcome == "ok" and name in plans:
            plans[name].learn(key, register.values.get(key))

    for number in range(operations - keys):
        name = WRITERS[number % len(WRITERS)]
        one(name, plans[name].next())
    for operation in sweep("t", keys):
        one("sweep-a", operation)
    for writer in writers.values():
        writer.close()


def measure(operations: int, keys: int = 5000) -> dict[str, Any]:
    """``{"operations", "seconds", "per_second", "by_part", "results"}``; reading the files is a part."""
    with tempfile.TemporaryDirectory(prefix="blackstart-history-") as home:
        write_history(Path(home), operations, keys)
        parts: dict[str, float] = {}
        results: dict[str, str] = {}
        began = time.perf_counter()
        history = History.read(Path(home))
        parts["read"] = time.perf_counter() - began
        for checker in (durability, linearizability, eventual_reads):
            at = time.perf_counter()
            results[checker.NAME] = checker.check(history).result
            parts[checker.NAME] = time.perf_counter() - at
        total = time.perf_counter() - began
    return {
        "operations": len(history.operations),
        "seconds": total,
        "per_second": len(history.operations) / total,
        "by_part": parts,
        "results": results,
    }
