"""Whether an item satisfies a condition. A missing attribute makes a comparison false (``<>`` true), never an error."""

from __future__ import annotations

from typing import Any as Anything

from cluster.core.expressions import values
from cluster.core.expressions.nodes import All, Any, Between, Call, Compare, Condition, In, Not, Operand, Path
from cluster.core.expressions.nodes import Value as Placeholder
from cluster.core.expressions.parser import parse_condition
from cluster.core.expressions.scope import ClauseLike, lookup, resolve
from cluster.core.items import Item, Value


def holds(clause: ClauseLike, item: Item | None) -> bool:
    """Whether the condition is true of an item (None: there is no item). The clause has passed ``static``."""
    root = parse_condition(clause.text).condition
    assert root is not None
    return _Evaluation(clause.names, clause.values or {}, item or {}).test(root)


class _Evaluation:
    """One condition over one item."""

    __slots__ = ("item", "names", "values")

    def __init__(self, names: dict[str, str] | None, placeholders: dict[str, Anything], item: Item) -> None:
        self.names = names
        self.values = placeholders
        self.item = item

    def operand(self, node: Operand) -> Value | None:
        if isinstance(node, Path):
            return lookup(resolve(node, self.names), self.item)
        if isinstance(node, Placeholder):
            found: Value = self.values[node.name]
            return found
        assert isinstance(node, Call), "arithmetic stands in updates only"
        argument = self.operand(node.arguments[0])
        size = values.size(argument) if argument is not None else None
        return {"N": str(size)} if size is not None else None

    def test(self, node: Condition) -> bool:
        if isinstance(node, Compare):
            return values.compare(node.operator, self.operand(node.left), self.operand(node.right))
        if isinstance(node, (All, Any)):
            decides = isinstance(node, Any)
            for part in node.conditions:  # no generator: a tree is up to 300 deep
                if self.test(part) is decides:
                    return decides
            return not decides
        if isinstance(node, Not):
            return not self.test(node.condition)
        if isinstance(node, Between):
            value = self.operand(node.operand)
            return values.compare(">=", value, self.operand(node.low)) and values.compare(
                "<=", value, self.operand(node.high)
            )
        if isinstance(node, In):
            value = self.operand(node.operand)
            return any(values.compare("=", value, self.operand(option)) for option in node.options)
        return self.call(node)

    def call(self, node: Call) -> bool:
        first = self.operand(node.arguments[0])
        if node.name == "attribute_exists":
            return first is not None
        if node.name == "attribute_not_exists":
            return first is None
        second = self.operand(node.arguments[1])
        if first is None or second is None:
            return False
        if node.name == "attribute_type":
            return bool(values.kind_of(first) == second["S"])
        if node.name == "begins_with":
            return values.begins_with(first, second)
        return values.contains(first, second)
