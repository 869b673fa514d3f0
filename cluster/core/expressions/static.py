"""Checks of an expression that need its placeholders but no item: made once, by the router.

After them an evaluation cannot fail for reasons of the expression, only for what it meets in the item (updates).
Texts, and which of several mistakes is reported, are AWS's: per comparison undefined placeholders come first, then
the number of operands, then equal operands, then types; in updates, undefined names, undefined values, overlapping
paths, types.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any as Anything

from cluster.core.expressions import values as attribute_values
from cluster.core.expressions.nodes import (
    Action,
    All,
    Any,
    Arithmetic,
    Between,
    Call,
    Compare,
    Condition,
    In,
    Not,
    Operand,
    Parsed,
    Path,
    Value,
)
from cluster.core.expressions.parser import CONDITION_FUNCTIONS, UPDATE_FUNCTIONS
from cluster.core.expressions.scope import Parts, resolve, show
from cluster.core.expressions.tokens import ExpressionError
from cluster.core.items import TYPES

_UPDATE_TYPE_NAMES = {
    "S": "STRING",
    "N": "NUMBER",
    "B": "BINARY",
    "NULL": "NULL",
    "BOOL": "BOOLEAN",
    "L": "LIST",
    "M": "MAP",
}

_END = ("end",)
"""Marks, in a tree of paths, that a path ends here; equal to no part of one."""

Names = Mapping[str, str]
Values = Mapping[str, Anything]


def check_condition(parsed: Parsed, names: Names, values: Values, *, of_key: bool = False) -> None:
    """Raise :class:`ExpressionError` for a condition that cannot be right with these placeholders; ``of_key``: it is a
    key condition, of whose comparisons the service speaks in other words."""
    assert parsed.condition is not None
    comparison = "operator or function" if of_key else "operator"
    for simple in _simple_conditions(parsed.condition):
        _check_simple(simple, names, values, comparison)


def check_projection(parsed: Parsed, names: Names) -> None:
    """Raise :class:`ExpressionError` for undefined names and for paths that overlap."""
    for path in parsed.paths:
        _check_names(path, names)
    _check_overlap([resolve(path, dict(names)) for path in parsed.paths])


def check_update(parsed: Parsed, names: Names, values: Values) -> None:
    """Raise :class:`ExpressionError` for an update that cannot be right with these placeholders."""
    for name in parsed.names:
        _check_name(name, names)
    for value in parsed.values:
        _check_value(value, values)
    _check_overlap([resolve(action.path, dict(names)) for action in parsed.actions])
    for action in parsed.actions:
        _check_action_operand(action, values)
    for action in parsed.actions:
        if action.section == "SET" and action.value is not None:
            _check_set_value(action.value, values)


def types_given(parsed: Parsed, names: Names, values: Values) -> dict[str, str]:
    """The attributes to which an update gives something of a type that no item changes, with that type."""
    types: dict[str, str] = {}
    for action in parsed.actions:
        if len(action.path.parts) == 1 and action.value is not None:
            kind = _type_made(action.value, values)
            if kind is not None:
                types[str(resolve(action.path, dict(names))[0])] = kind
    return types


def _type_made(operand: Operand, values: Values) -> str | None:
    if isinstance(operand, Arithmetic):
        return "N"
    if isinstance(operand, Call) and operand.name == "list_append":
        return "L"
    return _type_of(operand, values)


def _simple_conditions(root: Condition) -> Iterator[Compare | Between | In | Call]:
    """The leaves of a condition, left to right."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, (All, Any)):
            waiting += reversed(node.conditions)
        elif isinstance(node, Not):
            waiting.append(node.condition)
        else:
            yield node


def _check_simple(node: Compare | Between | In | Call, names: Names, values: Values, comparison: str) -> None:
    operands = operands_of(node)
    for operand in operands:
        _check_defined(operand, names, values)
    calls = list(_calls(node))
    for call in calls:
        if len(call.arguments) != CONDITION_FUNCTIONS[call.name]:
            raise _wrong_count(call)
    _check_distinct(node, names)
    for call in calls:
        _check_call_types(call, values)
    if isinstance(node, Compare) and node.operator not in ("=", "<>"):
        for operand in operands:
            kind = _type_of(operand, values)
            if kind is not None and kind not in attribute_values.ORDERED:
                raise ExpressionError(
                    f"Incorrect operand type for operator or function; {comparison}: {node.operator}, operand type: "
                    f"{kind}"
                )
    if isinstance(node, Between):
        _check_bounds(node, values)


def operands_of(node: Compare | Between | In | Call) -> tuple[Operand, ...]:
    """What a comparison or call is about, left to right."""
    if isinstance(node, Compare):
        return (node.left, node.right)
    if isinstance(node, Between):
        return (node.operand, node.low, node.high)
    if isinstance(node, In):
        return (node.operand, *node.options)
    return node.arguments


def _calls(node: Compare | Between | In | Call | Operand) -> Iterator[Call]:
    """Function calls in a leaf, inner ones first."""
    if isinstance(node, (Path, Value)):
        return
    if isinstance(node, Arithmetic):
        return
    for operand in operands_of(node):
        yield from _calls(operand)
    if isinstance(node, Call):
        yield node


def _check_defined(operand: Operand, names: Names, values: Values) -> None:
    if isinstance(operand, Path):
        _check_names(operand, names)
    elif isinstance(operand, Value):
        _check_value(operand.name, values)
    elif isinstance(operand, Call):
        for argument in operand.arguments:
            _check_defined(argument, names, values)


def _check_names(path: Path, names: Names) -> None:
    for part in path.parts:
        if isinstance(part, str) and part[0] == "#":
            _check_name(part, names)


def _check_name(name: str, names: Names) -> None:
    if name not in names:
        raise ExpressionError(
            f"An expression attribute name used in the document path is not defined; attribute name: {name}"
        )


def _check_value(name: str, values: Values) -> None:
    if name not in values:
        raise ExpressionError(
            f"An expression attribute value used in expression is not defined; attribute value: {name}"
        )


def _wrong_count(call: Call) -> ExpressionError:
    return ExpressionError(
        "Incorrect number of operands for operator or function; operator or function: "
        f"{call.name}, number of operands: {len(call.arguments)}"
    )


def _check_distinct(node: Compare | Between | In | Call, names: Names) -> None:
    if isinstance(node, Compare):
        label, operands = node.operator, (node.left, node.right)
    elif isinstance(node, Call) and len(node.arguments) == 2:
        label, operands = node.name, (node.arguments[0], node.arguments[1])
    else:
        return
    left, right = operands
    if isinstance(left, Path) and isinstance(right, Path) and resolve(left, dict(names)) == resolve(right, dict(names)):
        raise ExpressionError(
            "The first operand must be distinct from the remaining operands for this operator or function; operator: "
            f"{label}, first operand: {show(resolve(left, dict(names)))}"
        )


def _type_of(operand: Operand, values: Values) -> str | None:
    """An operand's type where it does not depend on an item."""
    if isinstance(operand, Value):
        return attribute_values.kind_of(values[operand.name])
    if isinstance(operand, Call) and operand.name == "size":
        return "N"
    return None


def _wrong_type(name: str, kind: str) -> ExpressionError:
    return ExpressionError(
        f"Incorrect operand type for operator or function; operator or function: {name}, operand type: {kind}"
    )


def _needs_path(name: str) -> ExpressionError:
    return ExpressionError(f"Operator or function requires a document path; operator or function: {name}")


def _check_call_types(call: Call, values: Values) -> None:
    first = _type_of(call.arguments[0], values)
    if call.name in ("attribute_exists", "attribute_not_exists"):
        if not isinstance(call.arguments[0], Path):
            raise _needs_path(call.name)
    elif call.name == "begins_with":
        for argument in call.arguments:
            kind = _type_of(argument, values)
            if kind is not None and kind not in ("S", "B"):
                raise _wrong_type(call.name, kind)
    elif call.name == "attribute_type":
        kind = _type_of(call.arguments[1], values)
        if kind != "S" or not isinstance(call.arguments[1], Value):
            raise _wrong_type(call.name, kind or "{NS,SS,L,BS,N,M,B,BOOL,NULL,S}")
        wanted = values[call.arguments[1].name]["S"]
        if wanted not in TYPES:
            raise ExpressionError(
                f"Invalid attribute type name found; type: {wanted}, valid types: {{B,NULL,SS,BOOL,L,BS,N,NS,S,M}}"
            )
    elif call.name == "size" and first in ("N", "BOOL", "NULL"):
        raise _wrong_type(call.name, first)


def _check_bounds(node: Between, values: Values) -> None:
    if not isinstance(node.low, Value) or not isinstance(node.high, Value):
        return
    low, high = values[node.low.name], values[node.high.name]
    kind, other = attribute_values.kind_of(low), attribute_values.kind_of(high)
    bounds = (
        f"lower bound operand: AttributeValue: {{{kind}:{low[kind]}}}, "
        f"upper bound operand: AttributeValue: {{{other}:{high[other]}}}"
    )
    if kind != other:
        raise ExpressionError(f"The BETWEEN operator requires same data type for lower and upper bounds; {bounds}")
    if kind not in attribute_values.ORDERED:
        raise _wrong_type("BETWEEN", kind)
    if attribute_values.compare(">", low, high):
        raise ExpressionError(
            f"The BETWEEN operator requires upper bound to be greater than or equal to lower bound; {bounds}"
        )


def _check_overlap(paths: list[Parts]) -> None:
    """Two paths may not name the same place, nor one a part of the other, nor disagree whether a place is map or
    list."""
    if not _clash(paths):
        return
    conflict: ExpressionError | None = None
    for one, other in combinations(paths, 2):
        for left, right in zip(one, other, strict=False):
            if isinstance(left, int) is not isinstance(right, int):
                conflict = conflict or _paths_clash("conflict", one, other)
                break
            if left != right:
                break
        else:
            raise _paths_clash("overlap", one, other)
    assert conflict is not None
    raise conflict


def _clash(paths: list[Parts]) -> bool:
    """Whether any two paths clash: one walk over a tree of them, since comparing all pairs of 300 takes too long."""
    tree: dict[Anything, Anything] = {}
    for parts in paths:
        branch = tree
        for part in parts:
            if branch and (_END in branch or isinstance(next(iter(branch)), int) is not isinstance(part, int)):
                return True
            branch = branch.setdefault(part, {})
        if branch:
            return True
        branch[_END] = _END
    return False


def _paths_clash(how: str, one: Parts, other: Parts) -> ExpressionError:
    return ExpressionError(
        f"Two document paths {how} with each other; must remove or rewrite one of these paths; "
        f"path one: {show(one)}, path two: {show(other)}"
    )


def _check_action_operand(action: Action, values: Values) -> None:
    if action.section not in ("ADD", "DELETE"):
        return
    assert isinstance(action.value, Value)
    kind = attribute_values.kind_of(values[action.value.name])
    if kind in _UPDATE_TYPE_NAMES and not (action.section == "ADD" and kind == "N"):
        raise ExpressionError(
            f"Incorrect operand type for operator or function; operator: {action.section}, "
            f"operand type: {_UPDATE_TYPE_NAMES[kind]}"
        )


def _check_set_value(node: Operand, values: Values) -> None:
    if isinstance(node, Arithmetic):
        for operand in (node.left, node.right):
            _check_set_value(operand, values)
            _check_argument(node.operator, operand, "N", values)
    elif isinstance(node, Call):
        if len(node.arguments) != UPDATE_FUNCTIONS[node.name]:
            raise _wrong_count(node)
        for operand in node.arguments:
            _check_set_value(operand, values)
        if node.name == "if_not_exists":
            if not isinstance(node.arguments[0], Path):
                raise _needs_path(node.name)
        else:
            for operand in node.arguments:
                _check_argument(node.name, operand, "L", values)


def _check_argument(name: str, operand: Operand, wanted: str, values: Values) -> None:
    if isinstance(operand, Value):
        kind = attribute_values.kind_of(values[operand.name])
        if kind != wanted:
            raise _wrong_type(name, kind)
