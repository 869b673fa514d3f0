"""A statement's conditions and assignments, said in the expression language."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cluster.core.commands import Clause
from cluster.core.errors import ApiError, invalid
from cluster.core.expressions import static
from cluster.core.expressions.parser import parse_condition, parse_update
from cluster.core.expressions.tokens import ExpressionError
from cluster.core.expressions.values import ORDERED, kind_of
from cluster.core.items import Item, Value
from cluster.core.partiql.nodes import (
    And,
    Arithmetic,
    Between,
    Compare,
    Condition,
    Function,
    In,
    Is,
    Literal,
    Not,
    Operand,
    Or,
    Path,
    Set,
)

_OR, _AND, _NOT, _SIMPLE = range(4)
_PRESENCE = ("attribute_exists", "attribute_not_exists")
_SET_FUNCTIONS = {"set_add": "ADD", "set_delete": "DELETE"}


def conjuncts(where: Condition | None) -> list[Condition]:
    """The conditions that must all hold."""
    if where is None:
        return []
    if isinstance(where, And):
        return [found for part in where.conditions for found in conjuncts(part)]
    return [where]


def check_operands(where: Condition | None) -> None:
    """Refuse order among values that have none: true of the statement, whatever the table."""
    for node in _leaves(where):
        if isinstance(node, Compare) and node.operator not in ("=", "<>"):
            _check_ordered(node.operator, (node.left, node.right))
        elif isinstance(node, Between):
            _check_ordered("BETWEEN", (node.low, node.high))


def _leaves(where: Condition | None) -> Iterator[Condition]:
    if isinstance(where, (And, Or)):
        for part in where.conditions:
            yield from _leaves(part)
    elif isinstance(where, Not):
        yield from _leaves(where.condition)
    elif where is not None:
        yield where


def _check_ordered(operator: str, operands: Iterable[Operand]) -> None:
    for operand in operands:
        if isinstance(operand, Literal) and kind_of(operand.value) not in ORDERED:
            raise invalid(
                f"Incorrect operand type for operator or function; operator or function: {operator}, operand type: "
                f"{kind_of(operand.value)}"
            )


def equality(node: Condition) -> tuple[str, Value] | None:
    """The attribute and the value that ``attribute = value`` asks for."""
    if not isinstance(node, Compare) or node.operator != "=":
        return None
    left, right = node.left, node.right
    if isinstance(left, Literal):
        left, right = right, left
    if isinstance(left, Path) and len(left.parts) == 1 and isinstance(right, Literal):
        return str(left.parts[0]), right.value
    return None


def split_key(where: Condition | None, names: Iterable[str]) -> tuple[Item, list[Condition]] | None:
    """The key that a WHERE clause names, and its other conditions; None where it does not name all of the key."""
    key: Item = {}
    wanted = tuple(names)
    others: list[Condition] = []
    for node in conjuncts(where):
        found = equality(node)
        if found is not None and found[0] in wanted and found[0] not in key:
            key[found[0]] = found[1]
        else:
            others.append(node)
    return (key, others) if len(key) == len(wanted) else None


def names_a_key(where: Condition | None, names: Iterable[str]) -> bool:
    """Whether a SELECT of several at once may say this: all of the key, and of presence nothing."""
    split = split_key(where, names)
    if split is None:
        return False
    return not any(isinstance(node, Function) and node.name in _PRESENCE for node in split[1])


def heads(conditions: Iterable[Condition]) -> list[str]:
    """Names of the attributes that conditions look at, each once."""
    words = _Words()
    for node in conditions:
        words.condition(node, _OR)
    return list(dict.fromkeys(words.heads))


def condition_clause(conditions: Iterable[Condition], *, exists: str = "", absent: str = "") -> Clause | None:
    """All of the conditions as one expression, ``exists`` naming an attribute that must be there besides, ``absent``
    one without which they need not hold. Raises ``ValidationException``."""
    words = _Words()
    parts = [f"attribute_exists({words.path(Path((exists,)))})"] if exists else []
    found = list(conditions)
    parts += [words.condition(node, _AND if len(found) + len(parts) > 1 or absent else _OR) for node in found]
    if not parts:
        return None
    text = " AND ".join(parts)
    if absent:
        text = f"attribute_not_exists({words.path(Path((absent,)))}) OR {f'({text})' if len(parts) > 1 else text}"
    clause = words.clause(text)
    try:
        static.check_condition(parse_condition(clause.text), clause.names or {}, clause.values or {})
    except ExpressionError as error:
        raise _reworded(error) from None
    return clause


def update_clause(sets: Iterable[Set]) -> Clause:
    """Assignments as an update expression. Raises ``ValidationException``."""
    words = _Words()
    sections: dict[str, list[str]] = {}
    for one in sets:
        path = words.path(one.path)
        if one.value is None:
            sections.setdefault("REMOVE", []).append(path)
        elif isinstance(one.value, Function) and one.value.name in _SET_FUNCTIONS:
            elements = one.value.arguments[1]
            sections.setdefault(_SET_FUNCTIONS[one.value.name], []).append(f"{path} {words.operand(elements)}")
        else:
            sections.setdefault("SET", []).append(f"{path} = {words.operand(one.value)}")
    clause = words.clause(" ".join(f"{section} {', '.join(parts)}" for section, parts in sections.items()))
    try:
        static.check_update(parse_update(clause.text), clause.names or {}, clause.values or {})
    except ExpressionError as error:
        raise _reworded(error) from None
    return clause


def _reworded(error: ApiError) -> ApiError:
    """Placeholders are ours: nobody else should read of them."""
    return invalid(error.message)


class _Words:
    """Expression text in the making, with its placeholders."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.values: dict[str, Value] = {}
        self.heads: list[str] = []

    def clause(self, text: str) -> Clause:
        return Clause(text, {mark: name for name, mark in self.names.items()} or None, self.values or None)

    def path(self, path: Path) -> str:
        self.heads.append(str(path.parts[0]))
        text = ""
        for part in path.parts:
            if isinstance(part, int):
                text += f"[{part}]"
            else:
                text += ("." if text else "") + self.names.setdefault(part, f"#n{len(self.names)}")
        return text

    def operand(self, node: Operand) -> str:
        if isinstance(node, Path):
            return self.path(node)
        if isinstance(node, Literal):
            mark = f":v{len(self.values)}"
            self.values[mark] = node.value
            return mark
        if isinstance(node, Arithmetic):
            return f"{self.operand(node.left)} {node.operator} {self.operand(node.right)}"
        return f"{node.name}({', '.join([self.operand(argument) for argument in node.arguments])})"

    def condition(self, node: Condition, level: int) -> str:
        """``node`` in a place that binds as tightly as ``level``."""
        if isinstance(node, (Or, And)):
            own, word = (_OR, " OR ") if isinstance(node, Or) else (_AND, " AND ")
            text = word.join([self.condition(part, own + 1) for part in node.conditions])
            return f"({text})" if own < level else text
        if isinstance(node, Not):
            text = "NOT " + self.condition(node.condition, _SIMPLE)
            return f"({text})" if level > _NOT else text
        return self.simple(node)

    def simple(self, node: Compare | Between | In | Is | Function) -> str:
        if isinstance(node, Compare):
            return f"{self.operand(node.left)} {node.operator} {self.operand(node.right)}"
        if isinstance(node, Between):
            return f"{self.operand(node.operand)} BETWEEN {self.operand(node.low)} AND {self.operand(node.high)}"
        if isinstance(node, In):
            return f"{self.operand(node.operand)} IN ({', '.join([self.operand(one) for one in node.options])})"
        if isinstance(node, Function):
            return self.operand(node)
        path = self.path(node.path)
        if node.what == "MISSING":
            return f"{'attribute_exists' if node.negated else 'attribute_not_exists'}({path})"
        text = f"attribute_type({path}, {self.operand(Literal({'S': node.what}))})"
        return f"NOT {text}" if node.negated else text
