"""Conditions: what they mean, over items and over their absence."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.core.commands import Clause
from cluster.core.expressions.conditions import holds

ITEM: dict[str, Any] = {
    "pk": {"S": "key"},
    "n": {"N": "5"},
    "s": {"S": "hello"},
    "wide": {"S": "é\U0001f600x"},
    "b": {"B": "AQID"},
    "t": {"BOOL": True},
    "z": {"NULL": True},
    "l": {"L": [{"S": "a"}, {"N": "1"}, {"M": {"deep": {"N": "7"}}}]},
    "m": {"M": {"x": {"S": "y"}, "dotted.name": {"N": "1"}}},
    "ss": {"SS": ["red", "green"]},
    "ns": {"NS": ["1", "2"]},
    "same": {"S": "hello"},
}
VALUES: dict[str, Any] = {
    ":five": {"N": "5"},
    ":six": {"N": "6"},
    ":four": {"N": "4"},
    ":ten": {"N": "10"},
    ":hello": {"S": "hello"},
    ":he": {"S": "he"},
    ":ll": {"S": "ll"},
    ":red": {"S": "red"},
    ":one": {"N": "1"},
    ":S": {"S": "S"},
    ":L": {"S": "L"},
    ":bytes": {"B": "AQ=="},
    ":swapped": {"SS": ["green", "red"]},
    ":true": {"BOOL": True},
    ":a": {"S": "a"},
    ":map": {"M": {"x": {"S": "y"}, "dotted.name": {"N": "1"}}},
}
NAMES = {"#d": "dotted.name", "#pk": "pk"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("n = :five", True),
        ("n <> :five", False),
        ("n < :ten", True),
        ("n < :four", False),
        ("n <= :five", True),
        ("n > :four", True),
        ("n >= :six", False),
        ("s < :ten", False),  # different types are not ordered
        ("s = :five", False),
        ("s <> :five", True),
        ("nowhere = :five", False),
        ("nowhere <> :five", True),
        ("nowhere < :five", False),
        ("s = same", True),
        ("ss = :swapped", True),
        ("m = :map", True),
        ("t = :true", True),
        ("n BETWEEN :four AND :six", True),
        ("n BETWEEN :six AND :ten", False),
        ("nowhere BETWEEN :four AND :six", False),
        ("n IN (:four, :five)", True),
        ("n IN (:four)", False),
        ("attribute_exists(s)", True),
        ("attribute_exists(m.x)", True),
        ("attribute_exists(m.y)", False),
        ("attribute_exists(l[2].deep)", True),
        ("attribute_exists(l[3])", False),
        ("attribute_exists(s.x)", False),
        ("attribute_exists(m.#d)", True),
        ("attribute_not_exists(nowhere)", True),
        ("attribute_not_exists(#pk)", False),
        ("attribute_type(s, :S)", True),
        ("attribute_type(l, :S)", False),
        ("attribute_type(l, :L)", True),
        ("attribute_type(nowhere, :S)", False),
        ("begins_with(s, :he)", True),
        ("begins_with(s, :ll)", False),
        ("begins_with(b, :bytes)", True),
        ("begins_with(n, :he)", False),
        ("contains(s, :ll)", True),
        ("contains(ss, :red)", True),
        ("contains(ss, :he)", False),
        ("contains(ns, :one)", True),
        ("contains(ns, :red)", False),
        ("contains(l, :a)", True),
        ("contains(n, :one)", False),
        ("size(s) = :five", True),
        ("size(l) < :four", True),
        ("size(n) = :five", False),
        ("size(wide) = :four", True),
        ("size(nowhere) = :five", False),
        ("l[1] = :one", True),
        ("l[2].deep > :six", True),
        ("NOT n = :four", True),
        ("NOT NOT n = :four", False),
        ("n = :four OR n = :five AND s = :hello", True),  # AND binds tighter
        ("(n = :four OR n = :five) AND s = :he", False),
        ("NOT n = :four AND n = :four", False),  # NOT binds tighter than AND
        ("not n = :four and n = :five or n = :four", True),
        ("(n) = (:five)", True),
        ("(m).x <> :he", True),
        ("n=:five AND(s=:hello)", True),
    ],
)
def test_truth(text: str, expected: bool) -> None:
    assert holds(Clause(text, NAMES, VALUES), ITEM) is expected


def test_a_missing_item_has_no_attributes() -> None:
    assert holds(Clause("attribute_not_exists(pk)", None, None), None)
    assert not holds(Clause("attribute_exists(pk)", None, None), None)
    assert not holds(Clause("pk = :v", None, {":v": {"S": "x"}}), None)
