"""Mistakes in expressions, with AWS's texts."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.api.clauses import read_clauses
from cluster.core.errors import ApiError
from cluster.core.expressions import conditions

VALUES: dict[str, Any] = {
    ":n": {"N": "1"},
    ":m": {"N": "2"},
    ":s": {"S": "x"},
    ":l": {"L": []},
    ":ss": {"SS": ["a"]},
    ":b": {"BOOL": True},
}


def message(body: dict[str, Any]) -> str:
    with pytest.raises(ApiError) as refused:
        read_clauses(body, update=True, condition=True, projection=True)
    assert refused.value.kind == "ValidationException"
    return refused.value.message


def used(text: str) -> dict[str, Any]:
    return {name: value for name, value in VALUES.items() if name in text}


CONDITIONS = [
    ("", "The expression can not be empty;"),
    ("a", 'Syntax error; token: "<EOF>", near: "a"'),
    ("a = ", 'Syntax error; token: "<EOF>", near: "="'),
    ("a = :n b", 'Syntax error; token: "b", near: ":n b"'),
    ("a = :n AND", 'Syntax error; token: "<EOF>", near: "AND"'),
    ("a ! :n", 'Syntax error; token: "!", near: "a ! :n"'),
    ("!!! no !!!", 'Syntax error; token: "!", near: "!!"'),
    ("\u00e9 = :n", 'Syntax error; token: "\u00e9", near: "\u00e9 ="'),
    ("# = :n", 'Syntax error; token: "#", near: "# ="'),
    ("a = :", 'Syntax error; token: ":", near: "= :"'),
    ("_a = :n", 'Syntax error; token: "_", near: "_a"'),
    ("a.b = :n AND _f(a)", 'Syntax error; token: "_", near: "AND _f"'),
    ("((a = :n))", "The expression has redundant parentheses;"),
    ("((a)) = :n", "The expression has redundant parentheses;"),
    ("nope(a)", "Invalid function name; function: nope"),
    ("a < " + "nope(" * 600 + "b" + ")" * 600, "Invalid function name; function: nope"),
    ("if_not_exists(a, b) = :n", "The function is not allowed in a condition expression; function: if_not_exists"),
    ("(" * 2000 + "a = :n" + ")" * 2000, "The expression has redundant parentheses;"),
    ("(" * 4096, 'Syntax error; token: "<EOF>", near: "("'),
    ("size(a)", "The function is not allowed to be used this way in an expression; function: size"),
    (
        "attribute_exists(a) = :n",
        "The function is not allowed to be used this way in an expression; function: attribute_exists",
    ),
    ("status = :n", "Attribute name is a reserved keyword; reserved keyword: status"),
    ("#x = :n", "An expression attribute name used in the document path is not defined; attribute name: #x"),
    ("a = :zz", "An expression attribute value used in expression is not defined; attribute value: :zz"),
    (
        "attribute_exists(a, b)",
        "Incorrect number of operands for operator or function; operator or function: attribute_exists, number of "
        "operands: 2",
    ),
    (
        "a = a",
        "The first operand must be distinct from the remaining operands for this operator or function; operator: =, "
        "first operand: [a]",
    ),
    (
        "begins_with(a[1].b, a[1].b)",
        "The first operand must be distinct from the remaining operands for this operator or function; operator: "
        "begins_with, first operand: [a, [1], b]",
    ),
    (
        "attribute_exists(:n)",
        "Operator or function requires a document path; operator or function: attribute_exists",
    ),
    (
        "begins_with(a, :n)",
        "Incorrect operand type for operator or function; operator or function: begins_with, operand type: N",
    ),
    (
        "attribute_type(a, :s)",
        "Invalid attribute type name found; type: x, valid types: {B,NULL,SS,BOOL,L,BS,N,NS,S,M}",
    ),
    ("size(:n) = :m", "Incorrect operand type for operator or function; operator or function: size, operand type: N"),
    ("a < :b", "Incorrect operand type for operator or function; operator: <, operand type: BOOL"),
    (
        "a BETWEEN :m AND :n",
        "The BETWEEN operator requires upper bound to be greater than or equal to lower bound; lower bound operand: "
        "AttributeValue: {N:2}, upper bound operand: AttributeValue: {N:1}",
    ),
    (
        "a BETWEEN :n AND :s",
        "The BETWEEN operator requires same data type for lower and upper bounds; lower bound operand: "
        "AttributeValue: {N:1}, upper bound operand: AttributeValue: {S:x}",
    ),
    ("a = :n " + " " * 4100, "Expression size has exceeded the maximum allowed size; expression size: 4107"),
    (
        " OR ".join(["a = :n"] * 200),
        "The expression contains too many operators; operator count: 301",
    ),
]


@pytest.mark.parametrize(("text", "expected"), CONDITIONS)
def test_conditions(text: str, expected: str) -> None:
    body = {"ConditionExpression": text, "ExpressionAttributeValues": used(text) or None}
    assert message(body) == f"Invalid ConditionExpression: {expected}"


UPDATES = [
    ("SET", 'Syntax error; token: "<EOF>", near: "SET"'),
    ("a = :n", 'Syntax error; token: "a", near: "a ="'),
    ("SET a = :n + :m + :n", 'Syntax error; token: "+", near: ":m + :n"'),
    ("SET a = :n SET b = :m", 'The "SET" section can only be used once in an update expression;'),
    ("SET status = :n", "Attribute name is a reserved keyword; reserved keyword: status"),
    ("SET a = nope(:n)", "Invalid function name; function: nope"),
    ("SET _a = :n", 'Syntax error; token: "_", near: "SET _a"'),
    ("SET a._a = :n", 'Syntax error; token: "_", near: "._a"'),
    ("SET a = _f(b)", 'Syntax error; token: "_", near: "= _f"'),
    ("SET a = size(b)", "The function is not allowed in an update expression; function: size"),
    (
        "SET a = list_append(list_append(a, b), c)",
        "The function is not allowed to be used this way in an expression; function: list_append",
    ),
    ("SET #x = :n", "An expression attribute name used in the document path is not defined; attribute name: #x"),
    ("SET a = :zz", "An expression attribute value used in expression is not defined; attribute value: :zz"),
    (
        "SET a = :n, a.b = :m",
        "Two document paths overlap with each other; must remove or rewrite one of these paths; path one: [a], "
        "path two: [a, b]",
    ),
    (
        "SET a[0] = :n, a.b = :m",
        "Two document paths conflict with each other; must remove or rewrite one of these paths; path one: "
        "[a, [0]], path two: [a, b]",
    ),
    ("ADD a :s", "Incorrect operand type for operator or function; operator: ADD, operand type: STRING"),
    ("DELETE a :n", "Incorrect operand type for operator or function; operator: DELETE, operand type: NUMBER"),
    (
        "SET a = list_append(:l)",
        "Incorrect number of operands for operator or function; operator or function: list_append, number of "
        "operands: 1",
    ),
    (
        "SET a = list_append(b, :n)",
        "Incorrect operand type for operator or function; operator or function: list_append, operand type: N",
    ),
    ("SET a = b + :s", "Incorrect operand type for operator or function; operator or function: +, operand type: S"),
    (
        "SET a = if_not_exists(:n, :m)",
        "Operator or function requires a document path; operator or function: if_not_exists",
    ),
]


@pytest.mark.parametrize(("text", "expected"), UPDATES)
def test_updates(text: str, expected: str) -> None:
    body = {"UpdateExpression": text, "ExpressionAttributeValues": used(text) or None}
    assert message(body) == f"Invalid UpdateExpression: {expected}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a,", 'Syntax error; token: "<EOF>", near: ","'),
        ("a[x]", 'Syntax error; token: "x", near: "[x]"'),
        ("a[9999999999]", 'Syntax error; token: "9999999999", near: "[9999999999]"'),
        (
            "a, a",
            "Two document paths overlap with each other; must remove or rewrite one of these paths; path one: [a], "
            "path two: [a]",
        ),
    ],
)
def test_projections(text: str, expected: str) -> None:
    assert message({"ProjectionExpression": text}) == f"Invalid ProjectionExpression: {expected}"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            {"ConditionExpression": "a = :v", "ExpressionAttributeValues": {}},
            "ExpressionAttributeValues must not be empty",
        ),
        (
            {"ConditionExpression": "a = :v", "ExpressionAttributeNames": {}},
            "ExpressionAttributeNames must not be empty",
        ),
        (
            {"ConditionExpression": "a = :v", "ExpressionAttributeNames": {"x": "a"}},
            'ExpressionAttributeNames contains invalid key: Syntax error; key: "x"',
        ),
        (
            {"ConditionExpression": "a = :v", "ExpressionAttributeValues": {"v": {"N": "1"}}},
            'ExpressionAttributeValues contains invalid key: Syntax error; key: "v"',
        ),
        (
            {"ConditionExpression": "a = :v", "ExpressionAttributeValues": {":v": {"N": "x"}}},
            "The parameter cannot be converted to a numeric value: x",
        ),
        (
            {"ConditionExpression": "a = :v", "ExpressionAttributeValues": {":v": {"SS": []}}},
            "ExpressionAttributeValues contains invalid value: One or more parameter values were invalid: An string "
            "set  may not be empty for key :v",
        ),
        (
            {"ConditionExpression": "attribute_exists(a)", "ExpressionAttributeNames": {"#b": "b", "#c": "c"}},
            "Value provided in ExpressionAttributeNames unused in expressions: keys: {#b, #c}",
        ),
        (
            {"ConditionExpression": "attribute_exists(a)", "ExpressionAttributeValues": {":v": {"N": "1"}}},
            "Value provided in ExpressionAttributeValues unused in expressions: keys: {:v}",
        ),
    ],
)
def test_placeholders(body: dict[str, Any], expected: str) -> None:
    assert message(body) == expected


def test_values_are_bounded_together() -> None:
    body = {
        "ConditionExpression": "a IN (:a, :b)",
        "ExpressionAttributeValues": {":a": {"S": "x" * 1_100_000}, ":b": {"S": "y" * 1_100_000}},
    }
    assert message(body) == "ExpressionAttributeValues exceeds max size"


paths = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from(["", ".c", "[0]", "[1]"]), st.sampled_from(["", ".d", "[0]"])).map(
        "".join
    ),
    min_size=1,
    max_size=6,
)


@given(paths)
def test_overlaps_are_those_that_comparing_all_pairs_finds(found: list[str]) -> None:
    def split(path: str) -> list[str]:
        return path.replace("[", ".[").split(".")

    def clash(one: list[str], other: list[str]) -> bool:
        for left, right in zip(one, other, strict=False):
            if left != right:
                return left.startswith("[") is not right.startswith("[")
        return True

    expected = any(clash(split(a), split(b)) for a, b in itertools.combinations(found, 2))
    try:
        read_clauses({"ProjectionExpression": ", ".join(found)}, projection=True)
    except ApiError:
        assert expected
    else:
        assert not expected


def test_each_clause_carries_only_what_it_uses() -> None:
    clauses = read_clauses(
        {
            "UpdateExpression": "SET #a = :n",
            "ConditionExpression": "#b = :s",
            "ExpressionAttributeNames": {"#a": "a", "#b": "b"},
            "ExpressionAttributeValues": {":n": {"N": "1.0"}, ":s": {"S": "x"}},
        },
        update=True,
        condition=True,
    )
    assert clauses.update == ("SET #a = :n", {"#a": "a"}, {":n": {"N": "1"}})
    assert clauses.condition == ("#b = :s", {"#b": "b"}, {":s": {"S": "x"}})


DEEPLY_TRUE = [
    ("a = :n OR (" * 149, "b = :n", ")" * 149),  # 299 operators
    ("NOT (" * 298, "b = :n", ")" * 298),
    ("a <> :n AND (" + "a = :n OR (a <> :n AND (" * 60, "b = :n", "))" * 60 + ")"),
    ("attribute_not_exists(b) OR (" * 100, "b = :n", ")" * 100),
]


@pytest.mark.parametrize("parts", DEEPLY_TRUE, ids=["or", "not", "alternating", "functions"])
def test_parentheses_may_be_as_deep_as_there_are_operators(parts: tuple[str, str, str]) -> None:
    text = "".join(parts)
    assert len(text) <= 4096
    clause = read_clauses({"ConditionExpression": text, "ExpressionAttributeValues": used(text)}, condition=True)
    assert clause.condition is not None
    assert conditions.holds(clause.condition, {"b": VALUES[":n"]})
    assert not conditions.holds(clause.condition, {"b": {"N": "77"}})


@pytest.mark.parametrize("opening", ["(", "NOT (", "size(", "a = ("])
def test_deep_nesting_is_refused_not_recursed(opening: str) -> None:
    depth = 4000 // len(opening)
    assert message({"ConditionExpression": opening * depth}).startswith("Invalid ConditionExpression: ")
    assert message({"UpdateExpression": "SET a = " + "(" * 4000}).startswith("Invalid UpdateExpression: ")


DEEP = [
    ("Projection", "{path}"),
    ("Projection", "b, {path}, {path}.x"),  # the first is told of, before any overlap
    ("Condition", "attribute_exists({path})"),
    ("Condition", "a = :n AND size({path}) > :n"),
    ("Update", "SET {path} = :n"),
    ("Update", "SET a = if_not_exists({path}, :n)"),
    ("Update", "REMOVE {path}"),
]


@pytest.mark.parametrize(("kind", "text"), DEEP)
@pytest.mark.parametrize("step", [".b", "[1]", ".#b"])
def test_paths_have_at_most_32_levels(kind: str, text: str, step: str) -> None:
    def body(steps: int) -> dict[str, Any]:
        filled = text.format(path="c" + step * steps)
        names, values = {"#b": "b"} if "#" in step else None, used(text) or None
        return {f"{kind}Expression": filled, "ExpressionAttributeNames": names, "ExpressionAttributeValues": values}

    told = "The document path has too many nesting levels; nesting levels: 33"
    assert message(body(32)) == f"Invalid {kind}Expression: {told}"
    if ".x" not in text:
        assert read_clauses(body(31), update=True, condition=True, projection=True)


def test_three_hundred_operators_are_allowed() -> None:
    text = " OR ".join(["a = :n"] * 150)
    assert read_clauses({"ConditionExpression": text, "ExpressionAttributeValues": {":n": {"N": "1"}}}, condition=True)
