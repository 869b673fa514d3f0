"""PartiQL: no text breaks the parser, and a condition means what a slow reading of it means."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.core.errors import ApiError
from cluster.core.expressions.conditions import holds
from cluster.core.partiql import clauses
from cluster.core.partiql.nodes import Select
from cluster.core.partiql.parser import parse

TERMS = """SELECT * FROM t WHERE UPDATE SET REMOVE DELETE INSERT INTO VALUE AND OR NOT IN BETWEEN IS MISSING NULL TRUE
a b begins_with ( ) [ ] { } << >> , . : = <> < <= > >= + - ? 1 2.5 -3 'x' "y" ; RETURNING ALL OLD NEW ORDER BY DESC
EXISTS size contains"""
WORDS = st.sampled_from(TERMS.split())


def refused(text: str, parameters: list[dict[str, str]]) -> str:
    """How a statement is refused; empty where it is not."""
    try:
        statement = parse(text, parameters)
        if isinstance(statement, Select):
            clauses.check_operands(statement.where)
            clauses.condition_clause(clauses.conjuncts(statement.where))
    except ApiError as error:
        return error.kind
    return ""


@settings(max_examples=400)
@given(st.lists(WORDS, max_size=30).map(" ".join) | st.text(max_size=60), st.lists(st.just({"S": "p"}), max_size=3))
def test_no_statement_breaks_the_parser(text: str, parameters: list[dict[str, str]]) -> None:
    assert refused(text, parameters) in ("", "ValidationException")


@given(st.sampled_from(["(", "[", "{'a': ", "<<", "NOT ", "a = (", "begins_with("]), st.integers(1, 3000))
def test_depth_is_bounded(opening: str, times: int) -> None:
    for start in ("SELECT * FROM t WHERE ", "INSERT INTO t VALUE "):
        assert refused(start + opening * times, []) == "ValidationException"


NUMBERS = st.integers(0, 3)
ATTRIBUTES = st.sampled_from(["a", "b"])
OPERATORS = {
    "=": lambda x, y: x == y,
    "<>": lambda x, y: x != y,
    "<": lambda x, y: x is not None and x < y,
    "<=": lambda x, y: x is not None and x <= y,
    ">": lambda x, y: x is not None and x > y,
    ">=": lambda x, y: x is not None and x >= y,
}

Tree = tuple[Any, ...]


def trees() -> st.SearchStrategy[Tree]:
    leaves = st.one_of(
        st.tuples(st.just("compare"), ATTRIBUTES, st.sampled_from(list(OPERATORS)), NUMBERS),
        st.tuples(st.just("between"), ATTRIBUTES, st.just(1), st.just(2)),
        st.tuples(st.just("in"), ATTRIBUTES, st.lists(NUMBERS, min_size=1, max_size=3)),
        st.tuples(st.just("missing"), ATTRIBUTES, st.booleans()),
    )
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.tuples(st.just("not"), inner),
            st.tuples(st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=3)),
        ),
        max_leaves=8,
    )


def said(tree: Tree) -> str:
    kind = tree[0]
    if kind == "compare":
        return f"{tree[1]} {tree[2]} {tree[3]}"
    if kind == "between":
        return f"{tree[1]} BETWEEN {tree[2]} AND {tree[3]}"
    if kind == "in":
        return f"{tree[1]} IN [{', '.join(map(str, tree[2]))}]"
    if kind == "missing":
        return f"{tree[1]} IS {'NOT ' if tree[2] else ''}MISSING"
    if kind == "not":
        return f"NOT ({said(tree[1])})"
    return f" {kind} ".join(f"({said(part)})" for part in tree[1])


def meant(tree: Tree, item: dict[str, int]) -> bool:
    """The slow reading."""
    kind = tree[0]
    if kind == "not":
        return not meant(tree[1], item)
    if kind in ("and", "or"):
        found = [meant(part, item) for part in tree[1]]
        return all(found) if kind == "and" else any(found)
    value = item.get(tree[1])
    if kind == "compare":
        return bool(OPERATORS[tree[2]](value, tree[3]))
    if kind == "between":
        return value is not None and tree[2] <= value <= tree[3]
    if kind == "in":
        return value in tree[2]
    return (value is not None) is tree[2]


@settings(max_examples=300)
@given(trees(), st.dictionaries(ATTRIBUTES, NUMBERS))
def test_conditions_mean_what_they_say(tree: Tree, item: dict[str, int]) -> None:
    statement = parse(f"SELECT * FROM t WHERE {said(tree)}", [])
    assert isinstance(statement, Select)
    clause = clauses.condition_clause(clauses.conjuncts(statement.where))
    assert clause is not None
    stored = {name: {"N": str(value)} for name, value in item.items()}
    assert holds(clause, stored) is meant(tree, item)
