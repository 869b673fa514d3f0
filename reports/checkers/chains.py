"""One item's history as fragments of its chain of values.

Every load write has a value of its own and reports its predecessor, so an item's life is a chain: no item, a value
put by one operation, the value that replaced it, ..., removed by a delete, no item again. With every answer known, the
chain fixes the order of all writes between two absences; this module builds these **fragments** in linear time and
reports what contradicts itself on the spot. What is left open, in which order the fragments came, is decided in
:mod:`reports.checkers.arrange`.

**Unknown outcomes.** A write whose answer never came happened if its value was observed: by a read, as a
predecessor, or as what another write that happened expected. If nobody observed it, it can be left out of any order
that contains it (its only effect would be observations), unless another operation of unknown outcome was conditional
on it, or on any item at all: then it stays as *optional*. Deletes of unknown outcome are always optional. An observed
write of unknown outcome that was unconditional has no known predecessor: it *floats*, and its fragment may follow any
state.

**Time within a fragment.** An order is possible when no operation takes effect after one that was invoked after it
ended. Reads of one value may come in any order between the write of that value and its successor. So one pass with the
running maximum of invocation times, held against each end, decides a fragment; of the whole fragment only its latest
invocation and its earliest end matter to the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from reports.checkers.evidence import History, Item, describe, item_text
from reports.rundir.history import ANY_ITEM, NEVER_NS, NO_ITEM, Operation

ANYTHING = "\x00anything"
"""A fragment's need: any state at all. (Needs are otherwise NO_ITEM, ANY_ITEM or a value id.)"""


class Contradiction(NamedTuple):
    """Why no order can explain the item's history, and the operation to name."""

    what: str
    operation: Operation
    related: tuple[Operation, ...] = ()


class Fragment(NamedTuple):
    """A run of operations whose order among themselves is fixed.

    ``needs`` is the state it starts from, ``leaves`` the state it ends in (None: no item), ``first_end`` and
    ``last_start`` the earliest end and latest invocation among its operations, with the operations they belong to.
    """

    needs: str
    leaves: str | None
    first_end: int
    last_start: int
    optional: bool
    head: Operation
    ends_first: Operation
    starts_last: Operation


class Seen(msgspec.Struct, gc=False):
    """The reads of one value, folded to what matters: the latest invocation and the earliest end.

    Hundreds of thousands of them live at once and none is part of a cycle: the garbage collector need not look.
    """

    starts_last: Operation
    ends_first: Operation

    def add(self, operation: Operation) -> None:
        """Take in one more read."""
        if operation.invoked_ns > self.starts_last.invoked_ns:
            self.starts_last = operation
        if operation.ended_ns < self.ends_first.ended_ns:
            self.ends_first = operation


@dataclass(slots=True)
class Sorted:
    """One item's operations by what they mean."""

    writers: dict[str, Operation] = field(default_factory=dict)
    refused: dict[str, Operation] = field(default_factory=dict)
    seen: dict[str, Seen] = field(default_factory=dict)
    absences: list[Operation] = field(default_factory=list)
    successor: dict[str, Operation] = field(default_factory=dict)
    forks: dict[str, list[Operation]] = field(default_factory=dict)
    """Further operations that claim to have replaced a value which ``successor`` says another one replaced."""
    heads: list[Operation] = field(default_factory=list)
    unknown: list[Operation] = field(default_factory=list)
    looked_at: int = 0


def holds(expect: str, state: str | None) -> bool:
    """Whether a write's condition holds in ``state``."""
    if expect == NO_ITEM:
        return state is None
    return state is not None if expect == ANY_ITEM else state == expect


def sort_operations(operations: Iterable[Operation]) -> tuple[Sorted, list[Contradiction]]:
    """Sort one item's operations; contradictions between an operation and its own condition come out at once.

    The innermost loop of the checkers (a million operations in seconds): the usual cases are written out in line.
    """
    into = Sorted()
    wrong: list[Contradiction] = []
    writers, successor, seen_of = into.writers, into.successor, into.seen
    looked_at = 0
    for operation in operations:
        op, outcome = operation.op, operation.outcome
        if op == "eget":
            continue
        observed = operation.observed
        if op == "get" or op == "final":
            if outcome != "ok":
                continue
        elif outcome == "ok":
            value = operation.value
            if value is not None and writers.setdefault(value, operation) is not operation:
                wrong.append(_same_value(writers[value], operation))
            if operation.expect is not None and not holds(operation.expect, observed):
                what = f"{describe(operation)} took effect on {item_text(observed)}"
                wrong.append(Contradiction(f"{what}, but expected {operation.expect!r}", operation))
            if observed is not None:
                looked_at += 1
                if successor.setdefault(observed, operation) is not operation:
                    wrong.append(_both_replaced(observed, successor[observed], operation))
                    into.forks.setdefault(observed, []).append(operation)
                continue
            if value is not None:
                looked_at += 1
                into.heads.append(operation)
                continue
            # a delete that found nothing changes nothing: it is an observation of absence
        elif not _take_other(into, wrong, operation):
            looked_at += 1
            continue
        looked_at += 1
        if observed is None:
            into.absences.append(operation)
        else:
            seen = seen_of.get(observed)
            if seen is None:
                seen_of[observed] = Seen(operation, operation)
            else:
                seen.add(operation)
    into.looked_at = looked_at
    return into, wrong


def _take_other(into: Sorted, wrong: list[Contradiction], operation: Operation) -> bool:
    """Take a write that was refused or never answered; True if it observed the item's state."""
    value = operation.value
    if operation.outcome == "unknown":
        into.unknown.append(operation)
        if value is not None and into.writers.setdefault(value, operation) is not operation:
            wrong.append(_same_value(into.writers[value], operation))
        return False
    if value is not None:
        into.refused[value] = operation
    if not operation.condition_failed:
        return False
    if operation.expect is not None and holds(operation.expect, operation.observed):
        what = f"{describe(operation)} was refused though it found {item_text(operation.observed)}"
        wrong.append(Contradiction(f"{what}, which its condition asks for", operation))
    return True


def _same_value(first: Operation, second: Operation) -> Contradiction:
    what = f"{describe(second)} and {describe(first)} wrote the same value: the load's ids are not unique"
    return Contradiction(what, second, (first,))


def _both_replaced(before: str, first: Operation, second: Operation) -> Contradiction:
    what = f"{describe(first)} and {describe(second)} both replaced {before!r}: one of the two was lost"
    return Contradiction(what, second, (first,))


def resolve_unknown(into: Sorted, wrong: list[Contradiction]) -> tuple[list[Operation], list[Operation]]:
    """Decide which writes of unknown outcome happened: ``(floating heads, optional operations)``.

    Those with a predecessor they expected join the chain (``into.successor``, ``into.heads``).
    """
    candidates = {operation.value: operation for operation in into.unknown if operation.value is not None}
    todo = [value for value in candidates if value in into.seen or value in into.successor]
    happened = dict.fromkeys(todo)
    floating: list[Operation] = []
    while todo:
        operation = candidates[todo.pop()]
        expect = operation.expect
        if expect is None or expect == ANY_ITEM:
            floating.append(operation)
        elif expect == NO_ITEM:
            into.heads.append(operation)
        else:
            other = into.successor.setdefault(expect, operation)
            if other is not operation:
                wrong.append(_both_replaced(expect, other, operation))
            if expect in candidates and expect not in happened:
                happened[expect] = None
                todo.append(expect)
    optional = [operation for operation in into.unknown if operation.value is None and operation.op == "delete"]
    wanted = [operation.expect for operation in optional if operation.expect]
    while wanted:
        value = wanted.pop()
        if value in candidates and value not in happened:
            happened[value] = None
            optional.append(candidates[value])
            wanted.append(candidates[value].expect or "")
    if any(operation.expect == ANY_ITEM for operation in (*floating, *optional) if operation.value is not None):
        kept = {operation.value for operation in optional}
        optional.extend(candidates[value] for value in candidates if value not in happened and value not in kept)
    return floating, optional


def unexplained_values(into: Sorted) -> Iterator[Contradiction]:
    """Values that were observed but cannot have been there: never written, refused, or written only afterwards."""
    writer_of = into.writers.get
    for value, seen in into.seen.items():
        writer = writer_of(value)
        if writer is None or writer.invoked_ns > seen.ends_first.ended_ns:
            yield _unexplained(into, seen.ends_first, f"{describe(seen.ends_first)} found {value!r}", value)
    for value, operation in into.successor.items():
        writer = writer_of(value)
        if writer is None or writer.invoked_ns > operation.ended_ns:
            yield _unexplained(into, operation, f"{describe(operation)} replaced {value!r}", value)


def _unexplained(into: Sorted, operation: Operation, did: str, value: str) -> Contradiction:
    writer = into.writers.get(value)
    if writer is not None:
        return Contradiction(f"{did} before {describe(writer)} began", operation, (writer,))
    refused = into.refused.get(value)
    if refused is None:
        return Contradiction(f"{did}, which nobody wrote", operation)
    return Contradiction(f"{did}, which {describe(refused)} was refused to write", operation, (refused,))


class Resolved(NamedTuple):
    """One item's operations, sorted, with what is known of those without an answer. Not to be changed: it is shared.

    ``floating`` are writes of unknown outcome that happened, with unknown predecessors; ``optional`` may have happened.
    """

    sorted: Sorted
    wrong: tuple[Contradiction, ...]
    floating: tuple[Operation, ...]
    optional: tuple[Operation, ...]


def resolve(operations: Iterable[Operation]) -> Resolved:
    """Sort one item's operations and decide which of the unanswered ones happened."""
    into, wrong = sort_operations(operations)
    floating, optional = resolve_unknown(into, wrong) if into.unknown else ((), ())
    return Resolved(into, tuple(wrong), tuple(floating), tuple(optional))


def resolved_items(history: History) -> Iterator[tuple[Item, list[Operation], Resolved]]:
    """Every item of a history, resolved once for all checkers."""
    for item, operations in history.by_item.items():
        resolved = history.cache.get(item)
        if resolved is None:
            resolved = history.cache[item] = resolve(operations)
        yield item, operations, resolved


def build(resolved: Resolved) -> tuple[list[Fragment], list[Contradiction]]:
    """One item's fragments, and what contradicts itself; with a contradiction there are no fragments."""
    into, floating = resolved.sorted, resolved.floating
    wrong = [*resolved.wrong, *unexplained_values(into)]
    if wrong:
        return [], wrong
    fragments = [_absence(operation) for operation in into.absences]
    walked = 0
    for needs_of, heads in ((_needs_absence, into.heads), (_needs_expected, floating)):
        for head in heads:
            fragment, problem, length = _walk(into, head, needs_of(head))
            walked += length
            if problem is not None:
                return [], [problem]
            fragments.append(fragment)
    if walked < len(into.heads) + len(floating) + len(into.successor):
        operation = next(iter(into.successor.values()))
        return [], [Contradiction("writes replaced each other in a circle", operation)]
    fragments.extend(_lonely(operation) for operation in resolved.optional)
    return fragments, []


def _needs_absence(_: Operation) -> str:
    return NO_ITEM


def _needs_expected(operation: Operation) -> str:
    return operation.expect or ANYTHING


def _absence(operation: Operation) -> Fragment:
    ended, invoked = operation.ended_ns, operation.invoked_ns
    return Fragment(NO_ITEM, None, ended, invoked, False, operation, operation, operation)


def _lonely(operation: Operation) -> Fragment:
    """An optional operation; a delete of nothing would change nothing, so a delete needs an item."""
    needs = operation.expect or (ANY_ITEM if operation.value is None else ANYTHING)
    return Fragment(needs, operation.value, NEVER_NS, operation.invoked_ns, True, operation, operation, operation)


def _walk(into: Sorted, head: Operation, needs: str) -> tuple[Fragment, Contradiction | None, int]:
    """Follow the chain from ``head`` to its end, holding the running latest invocation against each end."""
    seen_of, successor_of = into.seen, into.successor
    starts_last = ends_first = operation = head
    length, problem = 0, None
    while True:
        length += 1
        if operation.ended_ns < starts_last.invoked_ns:
            problem = problem or _out_of_order(starts_last, operation)
        if operation.ended_ns < ends_first.ended_ns:
            ends_first = operation
        if operation.invoked_ns > starts_last.invoked_ns:
            starts_last = operation
        value = operation.value
        if value is None:
            break
        seen = seen_of.get(value)
        if seen is not None:
            if seen.ends_first.ended_ns < starts_last.invoked_ns:
                problem = problem or _out_of_order(starts_last, seen.ends_first)
            if seen.ends_first.ended_ns < ends_first.ended_ns:
                ends_first = seen.ends_first
            if seen.starts_last.invoked_ns > starts_last.invoked_ns:
                starts_last = seen.starts_last
        following = successor_of.get(value)
        if following is None:
            break
        operation = following
    fragment = Fragment(
        needs, operation.value, ends_first.ended_ns, starts_last.invoked_ns, False, head, ends_first, starts_last
    )
    return fragment, problem, length


def _out_of_order(earlier: Operation, later: Operation) -> Contradiction:
    """``earlier`` comes before ``later`` in the chain, but began only after ``later`` had ended."""
    if earlier.is_write and not earlier.condition_failed:
        what = f"{describe(later)} saw or replaced what {describe(earlier)} led to, but ended before that began"
        return Contradiction(what, later, (earlier,))
    what = (
        f"{describe(earlier)} found {item_text(earlier.observed)} although {describe(later)}, later in the item's "
        f"chain, had been acknowledged before it began: a stale read"
    )
    return Contradiction(what, earlier, (later,))
