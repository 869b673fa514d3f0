"""What the history checkers look at: operations grouped by item, and how findings are worded.

An item is a (table, key) pair; strong consistency is per item, so items are judged one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reports.rundir import CheckResult, Finding, Operation, Problem, read_history
from reports.rundir.history import NEVER_NS, TRANSACTIONS

FINDINGS_MAX = 20
"""How many findings a result carries; ``found`` counts all."""

Item = tuple[str, str]
"""Table and key."""


@dataclass(slots=True)
class History:
    """All operations of a run, by time of invocation, and the damage met while reading them.

    ``start_ns`` is the boot-clock time from which findings count their seconds.
    """

    operations: Sequence[Operation]
    problems: Sequence[Problem] = ()
    start_ns: int = 0
    cache: dict[Item, Any] = field(default_factory=dict, repr=False)
    """What checkers worked out about an item and share with each other (:func:`chains.resolved_items`)."""
    _by_item: dict[Item, list[Operation]] | None = field(default=None, repr=False)

    @classmethod
    def read(cls, directory: Path, start_ns: int = 0) -> History:
        """Read all history files below ``directory``. Raises :class:`OSError`."""
        operations, problems = read_history(directory)
        return cls(operations, problems, start_ns)

    @property
    def by_item(self) -> dict[Item, list[Operation]]:
        """Operations on each item in order of invocation, items in order of their first operation. Transactions, which
        are about several items, are not among them."""
        if self._by_item is None:
            groups: dict[Item, list[Operation]] = {}
            for operation in self.operations:
                if operation.op in TRANSACTIONS:
                    continue
                item = (operation.table, operation.key)
                group = groups.get(item)
                if group is None:
                    groups[item] = [operation]
                else:
                    group.append(operation)
            self._by_item = groups
        return self._by_item

    def damage(self) -> str:
        """A sentence about unreadable history, empty if all was read."""
        if not self.problems:
            return ""
        more = f" and {len(self.problems) - 1} more" if len(self.problems) > 1 else ""
        return f"part of the history cannot be read ({self.problems[0]}{more})"


def seconds(ns: int, start_ns: int) -> float | None:
    """Seconds since the run began; None for "never"."""
    return None if ns == NEVER_NS else round((ns - start_ns) / 1e9, 6)


WORDS = {
    "cput": "conditional put",
    "get": "strong get",
    "eget": "eventual get",
    "final": "closing read",
    "twrite": "transactional write",
    "tread": "transactional read",
}
"""Kinds of operations as people say them, where the history's word for one is another."""


def describe(operation: Operation) -> str:
    """An operation in a few words: ``conditional put a-1#17 of 'a-1.9'``."""
    word = WORDS.get(operation.op, operation.op)
    if operation.is_write and operation.value is not None:
        return f"{word} {operation.name} of {operation.value!r}"
    return f"{word} {operation.name}"


def count(number: int, one: str, many: str) -> str:
    """A number with its noun."""
    return f"{number:,} {one if number == 1 else many}"


def item_text(value: str | None) -> str:
    """A state of an item in words."""
    return "no item" if value is None else repr(value)


def finding(what: str, operation: Operation, start_ns: int, related: Iterable[Operation | None] = ()) -> Finding:
    """Evidence that names ``operation``, with the facts a person needs to look further."""
    entry = {"what": what, **facts(operation, start_ns)}
    others = [facts(other, start_ns) for other in related if other is not None and other is not operation]
    if others:
        entry["related"] = others
    return entry


def facts(operation: Operation, start_ns: int) -> Finding:
    """An operation as a JSON object."""
    entry: Finding = {
        "operation": operation.name,
        "op": operation.op,
        "table": operation.table,
        "key": operation.key,
        "outcome": operation.outcome,
        "writer": operation.writer,
        "az": operation.az,
        "invoked_s": seconds(operation.invoked_ns, start_ns),
        "ended_s": seconds(operation.ended_ns, start_ns),
    }
    if operation.value is not None:
        entry["value"] = operation.value
    if operation.observes:
        entry["observed"] = operation.observed
    return entry


def conclude(
    name: str,
    history: History,
    looked_at: int,
    findings: list[Finding],
    *,
    unsure: str,
    fine: str,
    bad: Callable[[int], str],
) -> CheckResult:
    """The three-valued result: findings fail the check; doubt (``unsure``) leaves it unknown.

    So does damage to the history, even with findings: what nobody seems to have written may be written in the part
    that cannot be read. The findings stay, for a person to judge.
    """
    damage = history.damage()
    doubt = unsure or ("" if looked_at else "there was nothing to look at")
    if damage:
        result, why = "unknown", damage + (f"; without that part: {bad(len(findings))}" if findings else "")
    elif findings:
        result, why = "failed", bad(len(findings)) + (f"; besides, {doubt}" if doubt else "")
    elif doubt:
        result, why = "unknown", doubt
    else:
        result, why = "ok", fine
    return CheckResult(
        name=name,
        result=result,  # type: ignore[arg-type]
        looked_at=looked_at,
        findings=findings[:FINDINGS_MAX],
        found=len(findings),
        why=why,
    )
