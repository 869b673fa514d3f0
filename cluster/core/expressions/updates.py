"""Applying an update expression to an item.

All operands are read from the item as it was, so the order of clauses does not matter. List indexes, too, mean the
list as it was: elements are removed, and elements set beyond the end appended in the order of their indexes, after
all else.
"""

from __future__ import annotations

from typing import Any

from cluster.core import numbers
from cluster.core.errors import invalid
from cluster.core.expressions.nodes import Action, Arithmetic, Call, Operand, Path
from cluster.core.expressions.nodes import Value as Placeholder
from cluster.core.expressions.parser import parse_update
from cluster.core.expressions.scope import ClauseLike, Parts, lookup, resolve
from cluster.core.expressions.values import SETS, kind_of
from cluster.core.items import DEPTH_MAX, TOO_DEEP, Item, Value

WRONG_TYPE = "An operand in the update expression has an incorrect data type"
BAD_PATH = "The document path provided in the update expression is invalid for update"
MISSING = "The provided expression refers to an attribute that does not exist in the item"


Touched = list[Parts]
"""The resolved paths an update names."""


def apply(clause: ClauseLike, item: Item, *, exists: bool = True) -> tuple[Item, Touched]:
    """The item after the update (the one given is left alone) and the paths it touched. Raises
    ``ValidationException``. Where the item does not exist yet, ``item`` is its key, and there is nothing to remove:
    a path that leads nowhere is then no mistake in REMOVE."""
    return _Update(clause, item, exists).run()


class _Update:
    """One update of one item."""

    def __init__(self, clause: ClauseLike, item: Item, exists: bool) -> None:
        self.actions = parse_update(clause.text).actions
        self.names = clause.names
        self.values: dict[str, Any] = clause.values or {}
        self.before = item
        self.exists = exists
        self.after = dict(item)
        self.cloned: list[str] = []
        self.removals: list[tuple[list[Value], int]] = []
        self.appends: list[tuple[list[Value], int, Value]] = []

    def run(self) -> tuple[Item, Touched]:
        touched = [resolve(action.path, self.names) for action in self.actions]
        planned = [
            (action, parts, self.value(action.value) if action.section == "SET" and action.value is not None else None)
            for action, parts in zip(self.actions, touched, strict=True)
        ]
        for action, parts, value in planned:
            self.act(action, parts, value)
        for elements, _, value in sorted(self.appends, key=lambda entry: entry[1]):
            elements.append(value)
        for elements, index in sorted(self.removals, key=lambda entry: entry[1], reverse=True):
            del elements[index]
        return self.after, touched

    def act(self, action: Action, parts: Parts, value: Value | None) -> None:
        if action.section == "REMOVE" and not self.exists:
            return
        holder = self.holder(parts)
        if action.section == "SET":
            assert value is not None
            self.put(holder, parts, value)
        elif action.section == "REMOVE":
            self.remove(holder, parts)
        else:
            assert isinstance(action.value, Placeholder)
            operand: Value = self.values[action.value.name]
            current = lookup(parts, self.before)
            if action.section == "ADD":
                self.put(holder, parts, _added(current, operand))
            elif current is not None:
                rest = _without(current, operand)
                if rest is None:
                    self.remove(holder, parts)
                else:
                    self.put(holder, parts, rest)

    def holder(self, parts: Parts) -> Any:
        """The dict or list, in the copy, that holds the last part; it must exist and be of the right type."""
        if len(parts) == 1:
            return self.after
        top = str(parts[0])
        if top not in self.before:
            raise invalid(BAD_PATH)
        if top not in self.cloned:
            self.cloned.append(top)
            self.after[top] = _clone(self.before[top])
        parent = lookup(parts[:-1], self.after)
        content = None if parent is None else parent.get("L" if isinstance(parts[-1], int) else "M")
        if content is None:
            raise invalid(BAD_PATH)
        return content

    def put(self, holder: Any, parts: Parts, value: Value) -> None:
        if len(parts) > 1 and len(parts) - 1 + _depth(value) > DEPTH_MAX:
            raise invalid(TOO_DEEP)
        last = parts[-1]
        if isinstance(last, int) and last >= len(holder):
            self.appends.append((holder, last, value))
        else:
            holder[last] = value

    def remove(self, holder: Any, parts: Parts) -> None:
        last = parts[-1]
        if isinstance(last, int):
            if last < len(holder):
                self.removals.append((holder, last))
        else:
            holder.pop(last, None)

    def value(self, node: Operand) -> Value:
        """An operand of SET, read from the item as it was."""
        if isinstance(node, Placeholder):
            found: Value = self.values[node.name]
            return found
        if isinstance(node, Path):
            existing = lookup(resolve(node, self.names), self.before)
            if existing is None:
                raise invalid(MISSING)
            return existing
        if isinstance(node, Arithmetic):
            return self.arithmetic(node)
        return self.call(node)

    def arithmetic(self, node: Arithmetic) -> Value:
        left, right = self.value(node.left), self.value(node.right)
        if "N" not in left or "N" not in right:
            raise invalid(WRONG_TYPE)
        operation = numbers.add if node.operator == "+" else numbers.subtract
        return {"N": operation(left["N"], right["N"])}

    def call(self, node: Call) -> Value:
        if node.name == "if_not_exists":
            path = node.arguments[0]
            assert isinstance(path, Path)
            existing = lookup(resolve(path, self.names), self.before)
            return existing if existing is not None else self.value(node.arguments[1])
        left, right = self.value(node.arguments[0]), self.value(node.arguments[1])
        if "L" not in left or "L" not in right:
            raise invalid(WRONG_TYPE)
        return {"L": left["L"] + right["L"]}


def _added(current: Value | None, operand: Value) -> Value:
    """ADD: a sum of numbers or a union of sets; a missing attribute counts as zero or the empty set."""
    if current is None:
        return operand
    kind = kind_of(operand)
    if kind_of(current) != kind:
        raise invalid(WRONG_TYPE)
    if kind == "N":
        return {"N": numbers.add(current["N"], operand["N"])}
    present = frozenset(current[kind])
    return {kind: current[kind] + [element for element in operand[kind] if element not in present]}


def _without(current: Value, operand: Value) -> Value | None:
    """DELETE: a set less another; None where nothing is left, because sets are never empty."""
    kind = kind_of(operand)
    if kind_of(current) != kind or kind not in SETS:
        raise invalid(WRONG_TYPE)
    gone = frozenset(operand[kind])
    rest = [element for element in current[kind] if element not in gone]
    return {kind: rest} if rest else None


def _clone(value: Value) -> Value:
    """A copy in which maps and lists are new; leaves are shared, they are never changed in place."""
    members = value.get("M")
    if members is not None:
        return {"M": {name: _clone(member) for name, member in members.items()}}
    elements = value.get("L")
    if elements is not None:
        return {"L": [_clone(element) for element in elements]}
    return value


def _depth(value: Value) -> int:
    """Levels of maps and lists in a value; 0 for a scalar or set."""
    members = value.get("M")
    if members is not None:
        return 1 + max((_depth(member) for member in members.values()), default=0)
    elements = value.get("L")
    if elements is not None:
        return 1 + max((_depth(element) for element in elements), default=0)
    return 0
