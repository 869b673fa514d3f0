"""Updates: each action, in any order, over the item as it was."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from cluster.core.commands import Clause
from cluster.core.errors import ApiError
from cluster.core.expressions import projections, updates

ITEM: dict[str, Any] = {
    "pk": {"S": "key"},
    "n": {"N": "5"},
    "s": {"S": "hello"},
    "l": {"L": [{"S": "a"}, {"S": "b"}, {"S": "c"}]},
    "m": {"M": {"x": {"S": "y"}, "in": {"M": {"k": {"N": "1"}}}}},
    "ss": {"SS": ["red", "green"]},
}
VALUES: dict[str, Any] = {
    ":one": {"N": "1"},
    ":str": {"S": "new"},
    ":list": {"L": [{"S": "z"}]},
    ":red": {"SS": ["red"]},
    ":blue": {"SS": ["blue", "red"]},
    ":both": {"SS": ["green", "red"]},
}


def after(text: str, item: dict[str, Any] = ITEM) -> dict[str, Any]:
    before = copy.deepcopy(item)
    changed, _ = updates.apply(Clause(text, {"#x": "x"}, VALUES), item)
    assert item == before, "the item given was changed in place"
    return changed


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("SET n = n + :one", {"n": {"N": "6"}}),
        ("SET n = n - :one", {"n": {"N": "4"}}),
        ("SET n = :one, s = :str", {"n": {"N": "1"}, "s": {"S": "new"}}),
        ("SET n = s, s = n", {"n": {"S": "hello"}, "s": {"N": "5"}}),
        ("SET fresh = if_not_exists(fresh, :one)", {"fresh": {"N": "1"}}),
        ("SET n = if_not_exists(n, :one) + :one", {"n": {"N": "6"}}),
        ("SET l = list_append(l, :list)", {"l": {"L": [{"S": "a"}, {"S": "b"}, {"S": "c"}, {"S": "z"}]}}),
        ("SET l = list_append(:list, if_not_exists(nowhere, :list))", {"l": {"L": [{"S": "z"}, {"S": "z"}]}}),
        ("SET l[1] = :str", {"l": {"L": [{"S": "a"}, {"S": "new"}, {"S": "c"}]}}),
        ("SET l[9] = :str, l[7] = :one", {"l": {"L": [{"S": "a"}, {"S": "b"}, {"S": "c"}, {"N": "1"}, {"S": "new"}]}}),
        ("REMOVE l[0], l[2]", {"l": {"L": [{"S": "b"}]}}),
        ("REMOVE l[0] SET l[1] = :str, l[5] = :one", {"l": {"L": [{"S": "new"}, {"S": "c"}, {"N": "1"}]}}),
        ("REMOVE l[9]", {}),
        ("REMOVE s, nowhere", {"s": None}),
        ("SET m.#x = :one", {"m": {"M": {"x": {"N": "1"}, "in": {"M": {"k": {"N": "1"}}}}}}),
        ("REMOVE m.x", {"m": {"M": {"in": {"M": {"k": {"N": "1"}}}}}}),
        ("ADD n :one", {"n": {"N": "6"}}),
        ("ADD fresh :one", {"fresh": {"N": "1"}}),
        ("ADD ss :blue", {"ss": {"SS": ["red", "green", "blue"]}}),
        ("ADD fresh :blue", {"fresh": {"SS": ["blue", "red"]}}),
        ("DELETE ss :red", {"ss": {"SS": ["green"]}}),
        ("DELETE ss :both", {"ss": None}),
        ("DELETE nowhere :red", {}),
        ("SET a = :one REMOVE s ADD n :one DELETE ss :red", {
            "a": {"N": "1"}, "s": None, "n": {"N": "6"}, "ss": {"SS": ["green"]},
        }),
        ("set n = (n + :one)", {"n": {"N": "6"}}),
    ],
)  # fmt: skip
def test_actions(text: str, changed: dict[str, Any]) -> None:
    expected = {name: value for name, value in {**ITEM, **changed}.items() if value is not None}
    assert after(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SET a = nowhere", updates.MISSING),
        ("SET n = s + :one", updates.WRONG_TYPE),
        ("SET l = list_append(n, :list)", updates.WRONG_TYPE),
        ("SET nowhere.x = :one", updates.BAD_PATH),
        ("SET s.x = :one", updates.BAD_PATH),
        ("SET m[0] = :one", updates.BAD_PATH),
        ("SET l.x = :one", updates.BAD_PATH),
        ("REMOVE nowhere.x", updates.BAD_PATH),
        ("ADD s :one", updates.WRONG_TYPE),
        ("ADD n :red", updates.WRONG_TYPE),
        ("DELETE s :red", updates.WRONG_TYPE),
    ],
)
def test_what_the_item_forbids(text: str, message: str) -> None:
    with pytest.raises(ApiError) as refused:
        after(text)
    assert (refused.value.kind, refused.value.message) == ("ValidationException", message)


def test_nesting_stays_within_32_levels() -> None:
    deep: dict[str, Any] = {"L": []}
    for _ in range(31):
        deep = {"L": [deep]}
    path = "d" + "[0]" * 31
    item = {"d": deep}
    grown, _ = updates.apply(Clause(f"SET {path} = :v", None, {":v": {"L": [{"S": "x"}]}}), item)
    assert grown != item
    with pytest.raises(ApiError, match="Nesting Levels"):
        updates.apply(Clause(f"SET {path} = :v", None, {":v": {"L": [{"L": []}]}}), item)


def test_numbers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ApiError, match="Number overflow"):
        updates.apply(Clause("ADD n :v", None, {":v": {"N": "1e-130"}}), {"n": {"N": "1" + "0" * 38}})


def test_touched_paths_pick_what_updated_new_returns() -> None:
    changed, touched = updates.apply(Clause("SET m.x = :one, l[1] = :str REMOVE n", None, VALUES), ITEM)
    assert projections.pick(touched, changed) == {"m": {"M": {"x": {"N": "1"}}}, "l": {"L": [{"S": "new"}]}}
    assert projections.pick(touched, ITEM) == {
        "m": {"M": {"x": {"S": "y"}}},
        "l": {"L": [{"S": "b"}]},
        "n": {"N": "5"},
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s", {"s": {"S": "hello"}}),
        ("nowhere", {}),
        ("m.x, s", {"m": {"M": {"x": {"S": "y"}}}, "s": {"S": "hello"}}),
        ("m.x, m.#in.k", {"m": {"M": {"x": {"S": "y"}, "in": {"M": {"k": {"N": "1"}}}}}}),
        ("l[2], l[0]", {"l": {"L": [{"S": "a"}, {"S": "c"}]}}),
        ("l[9]", {}),
        ("s.x", {}),
    ],
)
def test_projections(text: str, expected: dict[str, Any]) -> None:
    assert projections.project(Clause(text, {"#in": "in"}, None), ITEM) == expected
