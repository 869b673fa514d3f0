"""The check ``indexes``: what an index must hold, worked out anew, and what is said where it does not."""

from __future__ import annotations

from typing import Any

import msgspec

from reports.checkers import indexes
from reports.rundir import IndexDump, IndexRows, TableDump


def item(key: str, **rest: str) -> dict[str, Any]:
    return {"pk": {"S": key}, **{name: {"S": value} for name, value in rest.items()}}


ITEMS = [item("a", g="1", v="x"), item("b", g="2", v="y"), item("c", v="z")]
BY_G = IndexDump(name="by-g", local=False, hash=["g"], projection="KEYS_ONLY")


def judge(rows: list[dict[str, Any]], index: IndexDump = BY_G, **table: Any) -> Any:
    dump = TableDump(
        name="t", key=["pk"], types={"pk": "S", "g": "S", "v": "S", "n": "N"}, items=ITEMS,
        indexes=[msgspec.structs.replace(index, items=rows)], **table,
    )  # fmt: skip
    return indexes.check(IndexRows(looked_at=1, tables=[dump]))


def test_an_index_that_is_the_projection_of_its_table() -> None:
    result = judge([item("b", g="2"), item("a", g="1")])
    assert (result.result, result.looked_at) == ("ok", 2)


def test_each_way_to_be_wrong_is_named_with_its_item() -> None:
    wrong = {
        "item b is missing": [item("a", g="1")],
        "item c should not be there": [item("a", g="1"), item("b", g="2"), item("c", g="3")],
        "item a differs in g": [item("a", g="0"), item("b", g="2")],
        "item a differs in v": [item("a", g="1", v="x"), item("b", g="2")],
        "item b has two rows": [item("a", g="1"), item("b", g="1"), item("b", g="2")],
    }
    for what, rows in wrong.items():
        result = judge(rows)
        assert result.result == "failed"
        assert what in result.findings[0]["what"]
        assert "t/by-g" in result.why


def test_projections() -> None:
    everything = msgspec.structs.replace(BY_G, projection="ALL")
    assert judge([ITEMS[0], ITEMS[1]], everything).result == "ok"
    included = msgspec.structs.replace(BY_G, projection="INCLUDE", include=["v"])
    assert judge([item("a", g="1", v="x"), item("b", g="2", v="y")], included).result == "ok"
    nothing = msgspec.structs.replace(BY_G, hash=["n"])
    assert judge([], nothing).result == "ok"


def test_doubt_is_not_wellness() -> None:
    assert indexes.check(None).result == "skipped"
    assert indexes.check(IndexRows(looked_at=1)).result == "skipped"
    assert indexes.check(IndexRows(error="nobody answered")).result == "unknown"
    assert judge([item("a", g="1"), item("b", g="2")], waiting=3).result == "unknown"
    assert judge([], msgspec.structs.replace(BY_G, error="no leader")).result == "unknown"
    assert judge([], error="no leader").result == "unknown"
