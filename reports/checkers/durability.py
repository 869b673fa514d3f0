"""Durability: is every acknowledged write present at the end, or rightly superseded?

The closing sweep reads every item strongly (``final``). An acknowledged write is accounted for if the item still holds
its value, or another write reported it as its predecessor. Three things prove a loss:

* **undone**: a value is back although an acknowledged operation had replaced it. All that followed it are lost.
* **forked**: two acknowledged operations replaced the same value. The branch that leads to what the item holds at the
  end stands, the other is lost (where neither does, the one that goes on longest stands).
* **unaccounted**: a chain ends in a value that the item does not hold, and nothing can have replaced it. Only
  operations whose answers never came remain for that: an observed write with no known predecessor, or a delete. Such an
  operation can have replaced a value only if it began before any answered operation that came after that value, saw
  something else, and had ended; and it can have replaced one value, so ends are matched to them one to one.
"""

from __future__ import annotations

from reports.checkers.chains import Resolved, Sorted, resolved_items
from reports.checkers.evidence import History, conclude, count, describe, finding, item_text
from reports.rundir import CheckResult, Finding
from reports.rundir.history import ANY_ITEM, NEVER_NS, NO_ITEM, WRITES, Operation

NAME = "durability"


def check(history: History) -> CheckResult:
    """Judge every item that an acknowledged write touched."""
    findings: list[Finding] = []
    unread: list[str] = []
    judged = 0
    for (table, key), operations, resolved in resolved_items(history):
        writes = [o for o in operations if o.outcome == "ok" and o.op in WRITES]
        if not writes:
            continue
        final = _closing_read(operations)
        if final is None or final.invoked_ns < max(o.ended_ns for o in writes):
            unread.append(f"{table}/{key}")
            continue
        judged += len(writes)
        findings.extend(_explain(operation, final, history.start_ns) for operation in lost(operations, resolved, final))
    unsure = ""
    if unread:
        unsure = f"{len(unread)} items have no strong read after their last acknowledged write, {unread[0]} first"
    return conclude(
        NAME,
        history,
        judged,
        findings,
        unsure=unsure,
        fine=f"all {judged} acknowledged writes are present or rightly superseded",
        bad=lambda n: f"{count(n, 'acknowledged write was', 'acknowledged writes were')} lost: {findings[0]['what']}",
    )


def _closing_read(operations: list[Operation]) -> Operation | None:
    for operation in reversed(operations):
        if operation.op == "final" and operation.outcome == "ok":
            return operation
    return None


def lost(operations: list[Operation], resolved: Resolved, final: Operation) -> list[Operation]:
    """The acknowledged writes of one item that ``final``, its closing read, proves lost; in order of invocation."""
    into = resolved.sorted
    gone = _undone(into, final.observed) + _forked(into, final.observed)
    gone_values = {operation.value for operation in gone}
    ends = [
        operation
        for operation in into.writers.values()
        if operation.outcome == "ok"
        and operation.value != final.observed
        and operation.value not in into.successor
        and operation.value not in gone_values
    ]
    replacers = [*resolved.floating, *resolved.optional]
    if ends and replacers:
        ends = _unmatched(
            ends,
            [_replaced_by(end, operations, into) for end in ends],
            replacers,
            [_seen_by(replacer, into) for replacer in replacers],
        )
    unique = {operation.name: operation for operation in gone + ends}
    return sorted(unique.values(), key=lambda operation: operation.invoked_ns)


def _branch(into: Sorted, operation: Operation) -> list[Operation]:
    """``operation`` and those that built on it, one after the other."""
    branch, seen = [operation], {operation.value}
    while operation.value is not None:
        following = into.successor.get(operation.value)
        if following is None or following.value in seen:  # broken histories may go in circles
            break
        operation = following
        branch.append(operation)
        seen.add(operation.value)
    return branch


def _undone(into: Sorted, value: str | None) -> list[Operation]:
    """Acknowledged operations that replaced the value the item holds at the end, and those that built on them."""
    first = None if value is None else into.successor.get(value)
    return [] if first is None else [operation for operation in _branch(into, first) if operation.outcome == "ok"]


def _forked(into: Sorted, value: str | None) -> list[Operation]:
    """Acknowledged operations on branches that do not lead to ``value``, the item's last."""
    lost_ones: list[Operation] = []
    for before, others in into.forks.items():
        branches = [_branch(into, operation) for operation in (into.successor[before], *others)]
        leading = [branch for branch in branches if any(o.value == value for o in branch)] if value else []
        standing = leading[0] if leading else max(branches, key=lambda branch: branch[-1].invoked_ns)
        for branch in branches:
            if branch is not standing:
                lost_ones += [operation for operation in branch if operation.outcome == "ok"]
    return lost_ones


def _replaced_by(end: Operation, operations: list[Operation], into: Sorted) -> int:
    """The latest time at which whatever replaced ``end`` can have begun.

    While the item held the value, answered operations saw it. One that saw something else came before the write or
    after the replacement; if it began after the write, or a read of its value, had ended, only the latter is left,
    and then the replacement began before it ended.
    """
    seen = into.seen.get(end.value or "")
    present = end.ended_ns if seen is None else min(end.ended_ns, seen.ends_first.ended_ns)
    return min(
        (
            o.ended_ns
            for o in operations
            if o.invoked_ns > present and o.observes and o.op != "eget" and o.observed != end.value
        ),
        default=NEVER_NS,
    )


def _seen_by(replacer: Operation, into: Sorted) -> int:
    """The time by which an operation of unknown outcome had happened: someone who saw its value had ended."""
    value = replacer.value
    if value is None:
        return NEVER_NS
    seen, following = into.seen.get(value), into.successor.get(value)
    return min(
        NEVER_NS if seen is None else seen.ends_first.ended_ns, NEVER_NS if following is None else following.ended_ns
    )


def _unmatched(
    ends: list[Operation], latest: list[int], replacers: list[Operation], seen_by: list[int]
) -> list[Operation]:
    """Ends left over by a largest matching of ends to operations of unknown outcome that may have replaced them."""
    taken: dict[int, int] = {}

    def place(end: int, tried: set[int]) -> bool:
        for index, replacer in enumerate(replacers):
            in_time = replacer.invoked_ns <= latest[end] and seen_by[index] >= ends[end].invoked_ns
            if in_time and index not in tried and _may_replace(replacer, ends[end].value):
                tried.add(index)
                if index not in taken or place(taken[index], tried):
                    taken[index] = end
                    return True
        return False

    return [operation for index, operation in enumerate(ends) if not place(index, set())]


def _may_replace(replacer: Operation, value: str | None) -> bool:
    if replacer.value == value or replacer.expect == NO_ITEM:
        return False
    return replacer.expect is None or replacer.expect in (ANY_ITEM, value)


def _explain(operation: Operation, final: Operation, start_ns: int) -> Finding:
    what = (
        f"{describe(operation)} was acknowledged and is gone: the item went on without it and ends as "
        f"{item_text(final.observed)}"
    )
    if operation.value is None:
        removed = item_text(operation.observed)
        what = f"{describe(operation)} was acknowledged, and the item it removed is back: {removed}"
        if final.observed != operation.observed:
            what = (
                f"{describe(operation)} was acknowledged and is gone: the item it removed, {removed}, was there "
                f"afterwards; it ends as {item_text(final.observed)}"
            )
    return finding(what, operation, start_ns, (final,))
