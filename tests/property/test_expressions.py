"""Expressions under arbitrary input: nothing crashes, and truth and updates are those of a slow, obvious oracle."""

from __future__ import annotations

import copy
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.api.clauses import read_clauses
from cluster.core.commands import Clause, Command, evaluate
from cluster.core.errors import ApiError
from cluster.core.expressions.conditions import holds
from cluster.core.items import item_size, normalise_item, pack_image
from cluster.wire.json import CODEC, decode, encode

_TEXT = """
    a b c #n :v :w size attribute_exists attribute_type begins_with contains if_not_exists list_append AND OR NOT IN
    BETWEEN SET REMOVE ADD DELETE ( ) [ ] 0 7 . , = <> < <= > >= + - ( ) = , :v a
"""
WORDS = _TEXT.split()

NAMES = {"#n": "n"}

scalars = st.one_of(
    st.builds(lambda n: {"N": str(n)}, st.integers(-3, 3)),
    st.builds(lambda s: {"S": s}, st.sampled_from(["", "a", "ab", "b", "N", "S"])),
    st.builds(lambda s: {"B": s}, st.sampled_from(["", "AQ==", "AQI="])),
    st.builds(lambda b: {"BOOL": b}, st.booleans()),
    st.just({"NULL": True}),
    st.builds(lambda s: {"SS": s}, st.lists(st.sampled_from(["a", "b", "ab"]), min_size=1, unique=True)),
    st.builds(lambda s: {"NS": s}, st.lists(st.sampled_from(["1", "2"]), min_size=1, unique=True)),
)
values: st.SearchStrategy[dict[str, Any]] = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.builds(lambda v: {"L": v}, st.lists(inner, max_size=3)),
        st.builds(lambda v: {"M": v}, st.dictionaries(st.sampled_from(["a", "b", "n"]), inner, max_size=3)),
    ),
    max_leaves=6,
)
items = st.dictionaries(st.sampled_from(["a", "b", "c", "n"]), values, max_size=4)


@given(
    st.lists(st.sampled_from(WORDS), max_size=20).map(" ".join) | st.text(max_size=40),
    items,
    st.fixed_dictionaries({":v": values, ":w": values}),
)
@settings(max_examples=150)
def test_no_text_does_anything_but_run_or_be_refused(text: str, item: dict[str, Any], bound: dict[str, Any]) -> None:
    image = pack_image(item_size(item), encode(item))
    body: dict[str, Any] = {"ExpressionAttributeNames": NAMES, "ExpressionAttributeValues": bound}
    for member in ("ConditionExpression", "UpdateExpression", "ProjectionExpression"):
        try:
            clauses = read_clauses({member: text, **body}, update=True, condition=True, projection=True)
        except ApiError:
            # Again without what it does not use, so that more texts get to be run.
            used = {name: value for name, value in bound.items() if name in text}
            fewer = {
                member: text,
                "ExpressionAttributeNames": NAMES if "#n" in text else None,
                "ExpressionAttributeValues": used or None,
            }
            try:
                clauses = read_clauses(fewer, update=True, condition=True, projection=True)
            except ApiError:
                continue
        command = Command("update", "t", b"k", None, b"{}", clauses.condition, clauses.update, returns="UPDATED_NEW")
        for current in (image, None):
            outcome = evaluate(command, current, CODEC).outcome
            assert outcome.error in (None, "ValidationException", "ConditionalCheckFailedException")


# --- truth, against an oracle ---

Tree = tuple[Any, ...]

operands = st.one_of(
    st.sampled_from([("path", "a"), ("path", "b"), ("path", "c.a"), ("path", "c[1]"), ("path", "n")]),
    st.sampled_from([("value", ":v"), ("value", ":w")]),
)
leaves: st.SearchStrategy[Tree] = st.one_of(
    st.tuples(st.sampled_from(["=", "<>", "<", "<=", ">", ">="]), operands, operands),
    st.tuples(st.just("exists"), st.just(("path", "c.a"))),
    st.tuples(st.just("between"), operands, st.just(("path", "b")), operands),
    st.tuples(st.just("in"), operands, operands, operands),
    st.tuples(st.just("contains"), st.just(("path", "a")), operands),
)
trees: st.SearchStrategy[Tree] = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(st.just("not"), inner),
        st.tuples(st.just("and"), inner, inner),
        st.tuples(st.just("or"), inner, inner),
    ),
    max_leaves=8,
)


def render(tree: Tree, top: bool = True) -> str:
    kind, *parts = tree
    if kind in ("path", "value"):
        return str(parts[0])
    if kind == "exists":
        return f"attribute_exists({render(parts[0])})"
    if kind == "contains":
        return f"contains({render(parts[0])}, {render(parts[1])})"
    if kind == "between":
        return f"{render(parts[0])} BETWEEN {render(parts[1])} AND {render(parts[2])}"
    if kind == "in":
        return f"{render(parts[0])} IN ({render(parts[1])}, {render(parts[2])})"
    if kind == "not":
        text = f"NOT {render(parts[0], top=False)}"
    elif kind in ("and", "or"):
        text = f" {kind.upper()} ".join(render(part, top=False) for part in parts)
    else:
        return f"{render(parts[0])} {kind} {render(parts[1])}"
    return text if top else f"({text})"


def oracle(tree: Tree, item: dict[str, Any], bound: dict[str, Any]) -> Any:
    """Truth by the book, in three lines a rule. Attribute values become Python values that compare as they should."""
    kind, *parts = tree
    if kind == "path":
        at: Any = {"M": item}
        for step in parts[0].replace("[", ".[").split("."):
            if at is None:
                return None
            if step.startswith("["):
                held, index = at.get("L", []), int(step[1:-1])
                at = held[index] if index < len(held) else None
            else:
                at = at.get("M", {}).get(step)
        return at
    if kind == "value":
        return bound[parts[0]]
    if kind == "not":
        return not oracle(parts[0], item, bound)
    if kind == "and":
        return oracle(parts[0], item, bound) and oracle(parts[1], item, bound)
    if kind == "or":
        return oracle(parts[0], item, bound) or oracle(parts[1], item, bound)
    found = [oracle(part, item, bound) for part in parts]
    if kind == "exists":
        return found[0] is not None
    if kind == "between":
        return relation(">=", found[0], found[1]) and relation("<=", found[0], found[2])
    if kind == "in":
        return relation("=", found[0], found[1]) or relation("=", found[0], found[2])
    if kind == "contains":
        return inside(found[0], found[1])
    return relation(kind, found[0], found[1])


def plain(value: Any) -> Any:
    ((kind, content),) = value.items()
    if kind in ("SS", "NS", "BS"):
        return (kind, frozenset(content))
    if kind == "L":
        return (kind, tuple(plain(element) for element in content))
    if kind == "M":
        return (kind, frozenset((name, plain(member)) for name, member in content.items()))
    return (kind, Decimal(content) if kind == "N" else content)


def relation(operator: str, left: Any, right: Any) -> bool:
    if operator in ("=", "<>"):
        same = left is not None and right is not None and plain(left) == plain(right)
        return same if operator == "=" else not same
    if left is None or right is None:
        return False
    (kind, one), (other_kind, other) = plain(left), plain(right)
    if kind != other_kind or kind not in ("N", "S", "B"):
        return False
    return bool({"<": one < other, "<=": one <= other, ">": one > other, ">=": one >= other}[operator])


def inside(holder: Any, part: Any) -> bool:
    if holder is None or part is None:
        return False
    ((kind, content),) = holder.items()
    ((other, wanted),) = part.items()
    if kind == "S":
        return other == "S" and wanted in content
    if kind == "B":
        return (
            other == "B"
            and {"": b"", "AQ==": b"\1", "AQI=": b"\1\2"}[wanted]
            in {
                "": b"",
                "AQ==": b"\1",
                "AQI=": b"\1\2",
            }[content]
        )
    if kind in ("SS", "NS"):
        return other == kind[0] and wanted in content
    return kind == "L" and any(plain(element) == plain(part) for element in content)


@given(trees, items, st.fixed_dictionaries({":v": values, ":w": values}))
@settings(max_examples=150)
def test_truth_is_the_oracles(tree: Tree, item: dict[str, Any], bound: dict[str, Any]) -> None:
    text = render(tree)
    used = {name: value for name, value in bound.items() if name in text}
    try:
        clauses = read_clauses({"ConditionExpression": text, "ExpressionAttributeValues": used or None}, condition=True)
    except ApiError:
        return  # the same path twice, constants of a type that is not ordered, bounds the wrong way round
    assert clauses.condition is not None
    assert holds(clauses.condition, item) == bool(oracle(tree, item, bound))


@given(items, values)
def test_an_update_changes_what_it_names_and_nothing_else(item: dict[str, Any], value: dict[str, Any]) -> None:
    before = copy.deepcopy(item)
    command = Command(
        "update",
        "t",
        b"k",
        None,
        b"{}",
        update=Clause("SET fresh = :v REMOVE a", None, {":v": value}),
        returns="ALL_NEW",
    )
    decision = evaluate(command, pack_image(item_size(item), encode(item)), CODEC)
    assert decision.outcome.attributes is not None
    expected = {name: held for name, held in before.items() if name != "a"} | {"fresh": value}
    assert decode(decision.outcome.attributes) == expected


@given(items)
def test_checked_items_are_stable(item: dict[str, Any]) -> None:
    once = normalise_item(item)
    assert normalise_item(once) == once
    assert item_size(once) <= len(encode(once))


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["S", "N", "B", "L", "M", "SS", "NS", "BOOL", "NULL", "x"]), inner, max_size=3
        )
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=3), json_values, max_size=3))
@settings(max_examples=100)
def test_no_json_does_anything_but_be_an_item_or_be_refused(content: dict[str, Any]) -> None:
    try:
        item = normalise_item(content)
    except ApiError:
        return
    assert item_size(item) >= 0
