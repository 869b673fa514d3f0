"""Checkers: small pure functions from evidence to a :class:`reports.rundir.CheckResult`.

A result is ``ok``, ``failed`` (with findings that name operations or things), ``unknown`` (the evidence does not
suffice, a search gave up, the checker itself crashed) or ``skipped``. To add one, write a module with ``NAME`` and
``check`` and enter it in :data:`CHECKERS`.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence

from reports.checkers import (
    alarms,
    archive_agrees,
    canaries,
    corruption,
    durability,
    eventual_reads,
    indexes,
    leftovers,
    linearizability,
    replicas_agree,
    transactions,
)
from reports.checkers.evidence import History
from reports.rundir import CheckResult, RunDir, read_events, read_ledger, read_probes

__all__ = ["CHECKERS", "History", "check_safely", "run_checks"]

Check = Callable[[RunDir, History], CheckResult]

CHECKERS: dict[str, Check] = {
    durability.NAME: lambda run, history: durability.check(history),
    linearizability.NAME: lambda run, history: linearizability.check(history),
    eventual_reads.NAME: lambda run, history: eventual_reads.check(history),
    transactions.NAME: lambda run, history: transactions.check(history),
    replicas_agree.NAME: lambda run, history: replicas_agree.check(
        run.read_scrub(), frozenset(entry.node for entry in read_ledger(run.ledger))
    ),
    archive_agrees.NAME: lambda run, history: archive_agrees.check(
        run.read_scrub(), expected=any(node.role == "archive" for node in run.read_plan().nodes)
    ),
    indexes.NAME: lambda run, history: indexes.check(run.read_index_rows()),
    corruption.NAME: lambda run, history: corruption.check(
        read_ledger(run.ledger), planned=any(fault.kind == "bit-rot" for fault in run.read_plan().faults)
    ),
    canaries.NAME: lambda run, history: canaries.check(
        read_probes(run.canaries)[0], read_events(run.events)[0], run.read_plan(), history, run.start_boot_s
    ),
    alarms.NAME: lambda run, history: alarms.check(
        read_probes(run.canaries)[0], read_events(run.events)[0], run.start_boot_s
    ),
    leftovers.NAME: lambda run, history: leftovers.check(run.read_leftovers()),
}


def check_safely(name: str, check: Callable[[], CheckResult]) -> CheckResult:
    """Run one check; a checker that crashes proves nothing, so its result is unknown. Its time is noted."""
    began = time.perf_counter()
    try:
        result = check()
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        why = f"the checker itself failed: {type(error).__name__}: {error} ({where.name}, line {where.lineno})"
        result = CheckResult(name=name, result="unknown", why=why)
    return CheckResult(
        name=result.name,
        result=result.result,
        looked_at=result.looked_at,
        findings=result.findings,
        why=result.why,
        found=result.found,
        seconds=round(time.perf_counter() - began, 3),
    )


def run_checks(run: RunDir, history: History, required: Sequence[str]) -> list[CheckResult]:
    """All ``required`` checks in order, then those we know that were not asked for, as ``skipped``.

    A required check that does not exist is unknown, not ignored.
    """
    results = []
    for name in required:
        check = CHECKERS.get(name)
        if check is None:
            results.append(CheckResult(name=name, result="unknown", why=f"there is no check named {name!r}"))
        else:
            results.append(check_safely(name, lambda check=check: check(run, history)))  # type: ignore[misc]
    results.extend(
        CheckResult(name=name, result="skipped", why="the playbook does not ask for it")
        for name in CHECKERS
        if name not in required
    )
    return results
