"""Linearizability per item: did every strong operation take effect at one instant between its invocation and its end?

Judged are strong reads (``get``, ``final``), all writes, and refused conditions (they are observations). Items are
independent of each other, so each is judged alone: its chain of values in :mod:`reports.checkers.chains`, the order of
the pieces in :mod:`reports.checkers.arrange`. An item starts out absent: a run's table is its own.
"""

from __future__ import annotations

from reports.checkers.arrange import STEPS_MAX, Exhausted, Impossible, NeverEnded, Stuck, arrange
from reports.checkers.chains import Contradiction, Resolved, build, resolve, resolved_items
from reports.checkers.evidence import History, conclude, count, describe, finding, item_text
from reports.rundir import CheckResult, Finding
from reports.rundir.history import Operation

NAME = "linearizability"
EXHAUSTED_FULLY = 10
"""So many items get the whole search budget; when they have used it up, further ones get a fiftieth."""


def check(history: History, steps_max: int = STEPS_MAX) -> CheckResult:
    """Judge every item of ``history``; ``steps_max`` bounds the search for one item with unanswered operations."""
    findings: list[Finding] = []
    exhausted: list[str] = []
    looked_at = 0
    for (table, key), _, resolved in resolved_items(history):
        # many items that exhaust the search are one problem: do not spend minutes on each
        steps = steps_max if len(exhausted) < EXHAUSTED_FULLY else steps_max // 50
        contradictions, gave_up = judge_resolved(resolved, steps)
        looked_at += resolved.sorted.looked_at
        if gave_up:
            exhausted.append(f"{table}/{key}")
        for contradiction in contradictions:
            findings.append(
                finding(contradiction.what, contradiction.operation, history.start_ns, contradiction.related)
            )
    unsure = ""
    if exhausted:
        unsure = f"the search gave up after {steps_max} steps on {len(exhausted)} items, {exhausted[0]} first"
    return conclude(
        NAME,
        history,
        looked_at,
        findings,
        unsure=unsure,
        fine=f"{looked_at} operations on {len(history.by_item)} items fit one order in real time each",
        bad=lambda n: f"{count(n, 'contradiction', 'contradictions')} to every possible order: {findings[0]['what']}",
    )


def judge(operations: list[Operation], steps_max: int = STEPS_MAX) -> tuple[list[Contradiction], bool]:
    """One item: what contradicts linearizability, and whether the search gave up."""
    return judge_resolved(resolve(operations), steps_max)


def judge_resolved(resolved: Resolved, steps_max: int = STEPS_MAX) -> tuple[list[Contradiction], bool]:
    """The same for operations that are resolved already."""
    fragments, contradictions = build(resolved)
    if contradictions or not fragments:
        return contradictions, False
    outcome = arrange(fragments, steps_max)
    if outcome is None:
        return [], False
    if isinstance(outcome, Exhausted):
        return [], True
    return [_explain(outcome)], False


def _explain(stuck: Impossible) -> Contradiction:
    fragment = stuck.fragment
    operation = fragment.ends_first
    if isinstance(stuck, Stuck):
        what = (
            f"no order explains {describe(operation)}: {_saw(operation)}; the best order ends before it, with "
            f"{item_text(stuck.state)}"
        )
        return Contradiction(what, operation, (fragment.starts_last,))
    against = stuck.against
    if isinstance(stuck, NeverEnded):
        what = (
            f"{describe(fragment.head)} found no item, although what {describe(against.head)} put there was "
            f"never removed"
        )
        return Contradiction(what, fragment.head, (against.head,))
    what = (
        f"{describe(operation)}: {_saw(operation)}, but what {describe(against.head)} led to was there both "
        f"before ({describe(against.ends_first)}) and after ({describe(against.starts_last)})"
    )
    return Contradiction(what, operation, (against.head, against.ends_first, against.starts_last))


def _saw(operation: Operation) -> str:
    return f"it saw {item_text(operation.observed)}" if operation.observes else "its answer never came"
