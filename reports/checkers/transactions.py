"""Strict serializability of the load's transactions, by what their reads prove about who came before whom.

Transactions of the ``list-append`` load make a graph of dependencies (:mod:`.transactions_lists`) in which a cycle is
an anomaly (:mod:`.transactions_graph`); a shortest one is shown. Those of the ``bank`` load leave the total as it is
(:mod:`.transactions_bank`). A transaction without an answer counts as soon as somebody saw what it wrote.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from reports.checkers.evidence import History, conclude, count, finding
from reports.checkers.transactions_bank import Balances, wrong
from reports.checkers.transactions_graph import Cycle, cycles
from reports.checkers.transactions_lists import Txn, depend
from reports.rundir import CheckResult, Finding
from reports.rundir.history import NEVER_NS, TRANSACTIONS, Operation

NAME = "transactions"

COMMITTED_MIN = 10
"""Transactional writes, and reads, that must have succeeded: fewer prove nothing."""

Step = list[Any]
"""A step of a transaction as the history has it: ``[kind, key, ...]``, see :mod:`reports.rundir.history`."""

Known = tuple[Operation, list[Step]]

_steps = msgspec.json.Decoder(list[Step])


def check(history: History, *, at_least: int = COMMITTED_MIN) -> CheckResult:
    """Judge every transaction of the load. Where fewer than ``at_least`` writes or reads succeeded, and nothing is
    wrong with them, the result is unknown."""
    operations = [operation for operation in history.operations if operation.op in TRANSACTIONS]
    if not operations:
        return CheckResult(name=NAME, result="skipped", why="the load sent no transactions")
    lists, accounts = _sort(operations)
    findings = [*_judge_lists(lists, history.start_ns), *_judge_accounts(accounts, history.start_ns)]
    good = [operation.op for operation in operations if operation.outcome == "ok"]
    writes, reads = good.count("twrite"), good.count("tread")
    unsure = ""
    if min(writes, reads) < at_least:
        unsure = f"only {writes} transactional writes and {reads} reads succeeded: that proves nothing"
    return conclude(
        NAME,
        history,
        len(good),
        findings,
        unsure=unsure,
        fine=f"{writes} transactional writes and {reads} reads are as if one at a time, in the order people saw",
        bad=lambda n: f"{count(n, 'anomaly', 'anomalies')} between transactions: {findings[0]['what']}",
    )


def steps_of(operation: Operation) -> list[Step]:
    """What a transaction did or meant to do: as it was answered, else as it was sent."""
    text = operation.observed if operation.op == "tread" and operation.outcome == "ok" else operation.value
    return _steps.decode(text or "[]")


def _sort(operations: Sequence[Operation]) -> tuple[list[Known], list[Known]]:
    """Those of lists and those of accounts, each with its steps."""
    lists: list[Known] = []
    accounts: list[Known] = []
    for operation in operations:
        steps = steps_of(operation)
        of_accounts = any(step[0] in ("add", "balance") for step in steps)
        (accounts if of_accounts else lists).append((operation, steps))
    return lists, accounts


def _judge_lists(found: list[Known], start_ns: int) -> list[Finding]:
    if not found:
        return []
    operations = [operation for operation, _ in found]
    txns = [_txn(operation, steps) for operation, steps in found]
    known = depend(txns)
    findings = []
    for anomaly in known.anomalies:
        first, *others = [operations[number] for number in anomaly.txns]
        findings.append(_named(anomaly.kind, finding(f"{anomaly.kind}: {anomaly.what}", first, start_ns, others)))
    for cycle in cycles(known.graph):
        first, *others = [operations[step.source] for step in cycle.steps]
        findings.append(_named(cycle.anomaly, finding(describe(cycle, operations), first, start_ns, others)))
    return findings


def _named(anomaly: str, entry: Finding) -> Finding:
    return {**entry, "anomaly": anomaly}


def describe(cycle: Cycle, operations: Sequence[Operation]) -> str:
    """``G-single: a#1 -wr k3-> b#2 -rw k4-> a#1``"""
    text = operations[cycle.steps[0].source].name
    for step in cycle.steps:
        about = f" {step.about}" if step.about else ""
        text += f" -{step.kind}{about}-> {operations[step.target].name}"
    return f"{cycle.anomaly}: {text}"


def _txn(operation: Operation, steps: list[Step]) -> Txn:
    return Txn(
        operation.name,
        operation.outcome,
        operation.invoked_ns,
        operation.ended_ns if operation.outcome != "unknown" else NEVER_NS,
        tuple((step[1], step[2]) for step in steps if step[0] == "append"),
        tuple((step[1], tuple(step[2] or ())) for step in steps if step[0] == "r"),
    )


def _judge_accounts(found: list[Known], start_ns: int) -> list[Finding]:
    asked = [(operation, steps) for operation, steps in found if operation.op == "tread" and operation.outcome == "ok"]
    reads = []
    for operation, steps in asked:
        initial = {step[1]: step[2] for step in _steps.decode(operation.value or "[]")}
        reads.append(Balances(operation.name, tuple((step[1], step[2], initial[step[1]]) for step in steps)))
    return [_named("bank", finding(what, asked[number][0], start_ns)) for number, what in wrong(reads)]
