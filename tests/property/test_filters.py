"""Filters and conditions against a slow oracle that knows nothing of the evaluator; and a planted evaluator that
ignores types, which the same comparison must catch."""

from __future__ import annotations

from base64 import b64decode
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from cluster.core.commands import Clause
from cluster.core.expressions import conditions, legacy, values
from cluster.core.expressions.legacy import Comparison, Expected
from cluster.core.items import normalise_value

NAMES = ("s", "n", "b", "ss", "ns", "l", "m", "yes", "nil", "gone")
OPERATORS = ("=", "<>", "<", "<=", ">", ">=")
OLD = {"=": "EQ", "<>": "NE", "<": "LT", "<=": "LE", ">": "GT", ">=": "GE"}
Case = tuple[dict[str, Any], str, str, dict[str, Any]]
"""An item, an attribute's name, an operator or function, and the value it is held against."""


def scalar(rng: Random) -> dict[str, Any]:
    """A value whose text means something else in each type, so that a confusion shows."""
    text = rng.choice(["1", "10", "2", "0", "7"])
    return normalise_value(
        rng.choice([{"S": text}, {"N": text}, {"N": f"-{text}.50"}, {"B": rng.choice(["MTA=", "MQ==", "Nw=="])}])
    )


def value(rng: Random) -> dict[str, Any]:
    kind = rng.randrange(10)
    if kind < 5:
        return scalar(rng)
    texts = sorted({rng.choice("0127") for _ in range(3)})
    return normalise_value(
        rng.choice(
            [
                {"SS": texts},
                {"NS": texts},
                {"BOOL": True},
                {"NULL": True},
                {"L": [scalar(rng)]},
                {"M": {"x": scalar(rng)}},
            ]
        )
    )


def case(rng: Random) -> Case:
    item = {name: value(rng) for name in NAMES if name != "gone" and rng.random() < 0.9}
    operator = rng.choice([*OPERATORS, "contains", "begins_with"])
    given = value(rng) if operator in ("=", "<>") else scalar(rng)
    if operator == "begins_with" and "N" in given:
        given = {"S": "1"}
    return item, rng.choice(NAMES), operator, given


def canonical(value: dict[str, Any]) -> Any:
    """A value as Python compares it: with its type, sets without order."""
    ((kind, content),) = value.items()
    if kind == "N":
        return kind, Decimal(content)
    if kind in ("SS", "BS"):
        return kind, frozenset(content)
    if kind == "NS":
        return kind, frozenset(Decimal(text) for text in content)
    if kind == "L":
        return kind, tuple(canonical(element) for element in content)
    if kind == "M":
        return kind, frozenset((name, canonical(member)) for name, member in content.items())
    return kind, content


def raw(value: dict[str, Any]) -> Any:
    ((kind, content),) = value.items()
    return b64decode(content) if kind == "B" else content.encode() if kind == "S" else Decimal(content)


def oracle(item: dict[str, Any], name: str, operator: str, given: dict[str, Any]) -> bool:
    """What the guide says, said again without the evaluator's code."""
    found = item.get(name)
    if operator == "<>":
        return found is None or canonical(found) != canonical(given)
    if found is None:
        return False
    kind, wanted = next(iter(found)), next(iter(given))
    if operator == "=":
        return bool(canonical(found) == canonical(given))
    if operator == "contains":
        if kind in ("SS", "NS", "BS"):
            return wanted == kind[0] and canonical(given)[1] in canonical(found)[1]
        if kind == "L":
            return canonical(given) in canonical(found)[1]
        return kind == wanted and kind in ("S", "B") and raw(given) in raw(found)
    if kind != wanted or kind not in ("S", "N", "B"):
        return False
    left, right = raw(found), raw(given)
    if operator == "begins_with":
        return bool(left.startswith(right))
    return bool({"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[operator])


def disagreements(seed: int, count: int) -> list[Case]:
    """Cases in which a filter, said either way, and the oracle differ."""
    rng = Random(seed)
    found = []
    for _ in range(count):
        item, name, operator, given = one = case(rng)
        text = f"{operator}(#n, :v)" if operator in ("contains", "begins_with") else f"#n {operator} :v"
        filtered = conditions.holds(Clause(text, {"#n": name}, {":v": given}), item)
        old = legacy.holds(Expected((Comparison(name, OLD.get(operator, operator.upper()), (given,)),)), item)
        expected = oracle(*one)
        if filtered is not expected or old is not expected:
            found.append(one)
    return found


def test_filters_agree_with_the_oracle() -> None:
    assert disagreements(1, 4_000) == []


def ignores_types(operator: str, left: Any, right: Any) -> bool:
    """The plant: contents are compared as texts, whatever they are."""
    if left is None or right is None:
        return operator == "<>"
    one, other = str(next(iter(left.values()))), str(next(iter(right.values())))
    return {
        "=": one == other,
        "<>": one != other,
        "<": one < other,
        "<=": one <= other,
        ">": one > other,
        ">=": one >= other,
    }[operator]


def test_a_filter_that_ignores_types_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "compare", ignores_types)
    caught = disagreements(1, 300)
    assert any(next(iter(item.get(name, given))) != next(iter(given)) for item, name, _, given in caught)
