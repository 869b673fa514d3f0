"""Which items a query is about: a condition on each hash attribute and, in key order, on sort attributes.

An expression and ``KeyConditions`` both come down to :class:`~cluster.core.expressions.legacy.Comparison` by attribute;
:func:`bounds` turns those into a range of storage keys. Texts are AWS's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any as Anything

from cluster.core.errors import ApiError, invalid
from cluster.core.expressions.legacy import COMPARATORS, Comparison
from cluster.core.expressions.nodes import All, Any, Between, Call, Compare, Condition, In, Not, Operand, Path, Value
from cluster.core.expressions.parser import parse_condition
from cluster.core.expressions.scope import ClauseLike, resolve
from cluster.core.expressions.values import kind_of
from cluster.core.keys import KeyAttribute, encode_value

_OPERATORS = {sign: name for name, sign in COMPARATORS.items()}
_MIRRORED = {"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
BEYOND = b"\x80"
"""Behind a hash value or among sort values: above every type that a value can have. A table's items end here, and the
rows of its local indexes begin."""


def from_clause(clause: ClauseLike) -> tuple[Comparison, ...]:
    """The conditions of a key condition expression that has passed ``static``; at most one an attribute."""
    root = parse_condition(clause.text).condition
    assert root is not None
    found: dict[str, Comparison] = {}
    _collect(root, clause.names, clause.values or {}, found)
    return tuple(found.values())


def _collect(
    node: Condition, names: Mapping[str, str] | None, values: Mapping[str, Anything], found: dict[str, Comparison]
) -> None:
    if isinstance(node, All):
        for part in node.conditions:
            _collect(part, names, values, found)
        return
    operator = _forbidden(node)
    if operator:
        raise invalid(f"Invalid operator used in KeyConditionExpression: {operator}")
    assert isinstance(node, (Compare, Between, Call))
    if isinstance(node, Call) and node.name == "size":
        raise _nested()
    comparison = _comparison(node, names, values)
    if comparison.name in found:
        raise invalid("Invalid KeyConditionExpression: KeyConditionExpressions must only contain one condition per key")
    found[comparison.name] = comparison


def _forbidden(node: Condition) -> str:
    if isinstance(node, Any):
        return "OR"
    if isinstance(node, Not):
        return "NOT"
    if isinstance(node, In):
        return "IN"
    if isinstance(node, Compare) and node.operator == "<>":
        return "<>"
    if isinstance(node, Call) and node.name not in ("begins_with", "size"):
        return node.name
    return ""


def _nested() -> ApiError:
    return invalid("KeyConditionExpressions cannot contain nested operations")


def _comparison(
    node: Compare | Between | Call, names: Mapping[str, str] | None, values: Mapping[str, Anything]
) -> Comparison:
    operands: tuple[Operand, ...]
    if isinstance(node, Compare):
        operands, operator = (node.left, node.right), node.operator
    elif isinstance(node, Between):
        operands, operator = (node.operand, node.low, node.high), "BETWEEN"
    else:
        operands, operator = node.arguments, "BEGINS_WITH"
    if operator in ("BETWEEN", "BEGINS_WITH") and not isinstance(operands[0], Path):
        said = "BETWEEN" if operator == "BETWEEN" else "begins_with"
        raise invalid(
            f"Invalid condition in KeyConditionExpression: {said} operator must have the key attribute as its first "
            "operand"
        )
    name, at = "", 0
    for place, operand in enumerate(operands):
        if isinstance(operand, Call):
            raise _nested()
        if isinstance(operand, Path):
            if name:
                raise invalid(
                    "Invalid condition in KeyConditionExpression: Multiple attribute names used in one condition"
                )
            if len(operand.parts) > 1:
                raise invalid("KeyConditionExpressions cannot have conditions on nested attributes")
            name, at = str(resolve(operand, names)[0]), place
    if not name:
        raise invalid("Invalid condition in KeyConditionExpression: No key attribute specified")
    arguments = tuple(values[operand.name] for operand in operands if isinstance(operand, Value))
    if isinstance(node, Compare):
        operator = _OPERATORS[_MIRRORED[operator] if at else operator]
    return Comparison(name, operator, arguments)


INDEXABLE = ("EQ", "LT", "LE", "GT", "GE", "BETWEEN", "BEGINS_WITH")


def check(
    comparisons: Mapping[str, Comparison],
    hashes: Sequence[KeyAttribute],
    sorts: Sequence[KeyAttribute],
    visit: Callable[[KeyAttribute, bool], None],
) -> None:
    """Refuse conditions that do not fit a key: equality on every hash attribute, then conditions on sort attributes
    from the first on, of which only the last may be other than equality. ``visit(attribute, is_hash)`` is called for
    each attribute before its condition is looked at."""
    _check_sorts(comparisons, hashes, sorts)
    left = dict(comparisons)
    ended = False
    for at, attribute in enumerate((*hashes, *sorts)):
        is_hash = at < len(hashes)
        visit(attribute, is_hash)
        if is_hash and not sorts and len(comparisons) > len(hashes):
            raise invalid("Query key condition not supported")
        comparison = left.pop(attribute.name, None)
        if comparison is None:
            if is_hash or left:
                raise invalid(f"Query condition missed key schema element: {attribute.name}")
            continue
        if comparison.operator not in INDEXABLE:
            raise invalid("Attempted conditional constraint is not an indexable operation")
        if any(kind_of(argument) != attribute.type for argument in comparison.arguments):
            raise invalid(
                "One or more parameter values were invalid: Condition parameter type does not match schema type"
            )
        if (is_hash and comparison.operator != "EQ") or ended:
            raise invalid("Query key condition not supported")
        ended = comparison.operator != "EQ"


def _check_sorts(
    comparisons: Mapping[str, Comparison], hashes: Sequence[KeyAttribute], sorts: Sequence[KeyAttribute]
) -> None:
    """Of several sort attributes, those before the last with a condition need one of equality."""
    named = [at for at, attribute in enumerate(sorts) if attribute.name in comparisons]
    if len(sorts) < 2 or not named or any(attribute.name not in comparisons for attribute in hashes):
        return
    open_ = [
        attribute.name
        for attribute in sorts[: named[-1]]
        if attribute.name not in comparisons or comparisons[attribute.name].operator != "EQ"
    ]
    if open_:
        raise invalid(
            f"RANGE key attributes {', '.join(open_)} must have equality conditions specified in the query because a "
            f"condition is present on key attribute {sorts[named[-1]].name}"
        )


def bounds(
    prefix: bytes, comparisons: Mapping[str, Comparison], sorts: Sequence[KeyAttribute], *, items: bool
) -> tuple[bytes, bytes]:
    """The storage keys ``start <= key < end`` behind a prefix (all that the hash attributes decide) that meet the
    conditions on sort attributes, which have passed :func:`check`. ``items``: of a table, not of an index, in whose
    keys anything may follow."""
    for attribute in sorts:
        comparison = comparisons.get(attribute.name)
        if comparison is None:
            break
        encoded = [prefix + encode_value(attribute.type, value[attribute.type]) for value in comparison.arguments]
        if comparison.operator != "EQ":
            return _part(comparison, prefix, encoded)
        prefix = encoded[0]
    return prefix, prefix + BEYOND if items else after_all(prefix)


def _part(comparison: Comparison, prefix: bytes, encoded: Sequence[bytes]) -> tuple[bytes, bytes]:
    operator, low = comparison.operator, encoded[0]
    if operator == "BEGINS_WITH":
        # Without its terminator, the encoding of the value begins the encoding of all that begins with it.
        start = low[:-2]
        return start, after_all(start)
    if operator == "BETWEEN":
        return low, after_all(encoded[1])
    if operator in ("LT", "LE"):
        return prefix, low if operator == "LT" else after_all(low)
    return low if operator == "GE" else after_all(low), prefix + BEYOND


def after_all(prefix: bytes) -> bytes:
    """The first key above all that begin with ``prefix``, which is not all ``ff``."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes((kept[-1] + 1,))
