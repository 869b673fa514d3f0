"""Eventual reads may be stale, never invented: a value read must have been written to that item before the read ended.

"No item" is always allowed: every item was absent once, and staleness has no bound.
"""

from __future__ import annotations

from reports.checkers.evidence import History, conclude, count, describe, finding
from reports.rundir import CheckResult, Finding
from reports.rundir.history import Operation

NAME = "eventual_reads"


def check(history: History) -> CheckResult:
    """Judge every answered eventual read."""
    if not history.problems and not any(operation.op == "eget" for operation in history.operations):
        return CheckResult(name=NAME, result="skipped", why="the load sent no eventual reads")
    findings: list[Finding] = []
    looked_at = 0
    for operations in history.by_item.values():
        reads = [operation for operation in operations if operation.op == "eget" and operation.outcome == "ok"]
        if not reads:
            continue
        looked_at += len(reads)
        writers = {operation.value: operation for operation in operations if operation.value is not None}
        for read in reads:
            if read.observed is not None:
                writer = writers.get(read.observed)
                if writer is None or writer.outcome == "fail" or writer.invoked_ns > read.ended_ns:
                    findings.append(finding(_what(read, writer), read, history.start_ns, (writer,)))
    return conclude(
        NAME,
        history,
        looked_at,
        findings,
        unsure="",
        fine=f"all {looked_at} eventual reads returned values that had been written",
        bad=lambda n: f"{count(n, 'eventual read', 'eventual reads')} found what was not there: {findings[0]['what']}",
    )


def _what(read: Operation, writer: Operation | None) -> str:
    if writer is None:
        return f"{describe(read)} found {read.observed!r}, which nobody wrote to this item"
    if writer.outcome == "fail":
        return f"{describe(read)} found {read.observed!r}, which {describe(writer)} was refused to write"
    return f"{describe(read)} found {read.observed!r} before {describe(writer)} began"
