"""The planted bugs of indexes are caught by the check ``indexes``; without them the same play passes."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.sim.indexed import LATER, NAME, IndexedDatabase

sys.path.insert(0, str(Path(__file__).parents[1] / "plants"))  # as a node does that is given a plant


def leaders_change_under_writes(database: IndexedDatabase) -> None:
    database.rate = 60
    for _ in range(4):
        database.sim.run_for(1)
        for name in sorted(database.sim.running()):
            for replica in database.replicas(name):
                if replica.spec.table == NAME:
                    replica.relinquish()


def an_index_is_filled_in_under_writes(database: IndexedDatabase) -> None:
    database.rate = 60
    database.sim.run_for(3)
    defined = [{"AttributeName": "h", "AttributeType": "S"}]
    updates = [{"Create": LATER}]
    body = {"TableName": NAME, "AttributeDefinitions": defined, "GlobalSecondaryIndexUpdates": updates}
    database.control("UpdateTable", body)
    database.until(lambda: (database.index("later") or {})["IndexStatus"] == "ACTIVE", 60)


PLAYS: dict[str, Callable[[IndexedDatabase], None]] = {
    "forget-outbox": leaders_change_under_writes,
    "stale-backfill": an_index_is_filled_in_under_writes,
}


@pytest.mark.parametrize("planted", [True, False], ids=["planted", "honest"])
@pytest.mark.parametrize("name", sorted(PLAYS))
def test_a_planted_bug_of_indexes(name: str, planted: bool) -> None:
    install = importlib.import_module(name.replace("-", "_")).install if planted else None
    database = IndexedDatabase(7, install)
    PLAYS[name](database)
    result = database.judge()
    assert result.result == ("failed" if planted else "ok"), result
