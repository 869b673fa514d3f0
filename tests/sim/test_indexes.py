"""Secondary indexes under faults: once quiet, each is the projection of its table."""

from __future__ import annotations

import pytest

from cluster.core.errors import ApiError
from tests.sim.indexed import BODY, LATER, NAME, IndexedDatabase


def test_indexes_follow_their_table() -> None:
    database = IndexedDatabase(1)
    database.rate = 40
    database.sim.run_for(6)
    result = database.judge()
    assert result.result == "ok", result
    assert database.written > 300
    assert result.looked_at > 60


@pytest.mark.parametrize("seed", [2, 3])
def test_indexes_survive_power_cuts_partitions_and_leader_changes(seed: int) -> None:
    database = IndexedDatabase(seed)
    sim, random = database.sim, database.sim.rng("faults")
    database.rate = 40
    storage = sorted(name for name in sim.nodes if name.startswith("storage-"))
    for _ in range(6):
        kind, victim = random.randrange(4), random.choice(storage)
        if kind == 0:
            database.power_off([victim])
            sim.run_for(random.uniform(0.5, 3))
            database.power_on([victim])
        elif kind == 1:
            heal = sim.partition([victim], [name for name in sim.nodes if name != victim])
            sim.run_for(random.uniform(0.5, 4))
            heal()
        elif kind == 2:
            zone = database.zone(random.choice("abc"))
            database.power_off(zone)
            sim.run_for(random.uniform(1, 3))
            database.power_on(zone)
        else:
            for replica in database.replicas(victim):
                replica.relinquish()
        sim.run_for(random.uniform(0.5, 2))
    result = database.judge()
    assert result.result == "ok", result
    assert database.written > 300
    assert sim.count("outbox-recovered") > 0, "no leader change met changes on their way"


def test_a_global_index_filled_in_later_under_writes_and_leader_changes() -> None:
    database = IndexedDatabase(4)
    sim = database.sim
    database.rate = 60
    sim.run_for(3)
    database.control(
        "UpdateTable",
        {
            "TableName": NAME,
            "AttributeDefinitions": [{"AttributeName": "h", "AttributeType": "S"}],
            "GlobalSecondaryIndexUpdates": [{"Create": LATER}],
        },
    )
    entry = database.index("later")
    assert entry is not None
    assert (entry["IndexStatus"], entry["Backfilling"]) == ("CREATING", False)
    database.until(lambda: (database.index("later") or {}).get("Backfilling") is not False, 20)
    for name in database.zone("a"):
        for replica in database.replicas(name):
            replica.relinquish()
    database.until(lambda: (database.index("later") or {})["IndexStatus"] == "ACTIVE", 60)
    assert "Backfilling" not in (database.index("later") or {})
    assert database.described()["TableStatus"] == "ACTIVE"
    result = database.judge()
    assert result.result == "ok", result
    database.control(
        "UpdateTable", {"TableName": NAME, "GlobalSecondaryIndexUpdates": [{"Delete": {"IndexName": "by-g"}}]}
    )
    database.until(lambda: database.index("by-g") is None, 30)
    database.until(lambda: database.described()["TableStatus"] == "ACTIVE", 10)
    database.rate = 40
    sim.run_for(2)
    assert database.judge().result == "ok"


def test_a_change_that_comes_late_changes_nothing() -> None:
    database = IndexedDatabase(5)
    sim = database.sim
    database.rate = 40
    sim.run_for(4)
    assert database.judge().result == "ok"
    leaders = [r for name in sim.running() for r in database.replicas(name) if r.serving]
    base = [replica for replica in leaders if replica.spec.table == NAME]
    index = [replica for replica in leaders if replica.spec.table == f"{NAME}/by-g"]
    for sender in base:
        for receiver in index:
            spec = receiver.spec
            late = (1, sender.spec.start or b"\x01", spec.start or b"\x01", b"an old image")
            params = (spec.group, sender.spec.start, sender.spec.end, [late])
            assert sim.call(receiver.host.name, "index-apply", params) == 1
    assert database.judge().result == "ok"


def test_an_index_with_too_few_units_throttles_its_table() -> None:
    units = {"ReadCapacityUnits": 200, "WriteCapacityUnits": 200}
    entries = [{**entry, "ProvisionedThroughput": units} for entry in BODY["GlobalSecondaryIndexes"]]
    entries[0]["ProvisionedThroughput"] = {"ReadCapacityUnits": 1, "WriteCapacityUnits": 1}
    body = {**BODY, "BillingMode": "PROVISIONED", "ProvisionedThroughput": units, "GlobalSecondaryIndexes": entries}
    database = IndexedDatabase(6, body=body)
    database.rate = 60
    database.sim.run_for(8)
    assert database.refusals == {}  # the writers see what the leader answered, not an exception
    assert database.throttled > 20
    database.control(
        "UpdateTable",
        {
            "TableName": NAME,
            "GlobalSecondaryIndexUpdates": [{"Update": {"IndexName": "by-g", "ProvisionedThroughput": units}}],
        },
    )
    assert database.judge().result == "ok"


def test_a_table_goes_with_its_indexes_and_can_be_made_again() -> None:
    database = IndexedDatabase(8)
    sim = database.sim
    database.rate = 40
    sim.run_for(2)
    database.rate = 0.0
    body = {"TableName": NAME, "GlobalSecondaryIndexUpdates": [{"Delete": {"IndexName": "by-g"}}]}
    database.control("UpdateTable", body)
    with pytest.raises(ApiError) as refused:
        database.control("DeleteTable", {"TableName": NAME})
    assert refused.value.kind == "ResourceInUseException"
    database.until(lambda: database.described()["TableStatus"] == "ACTIVE", 30)
    database.control("DeleteTable", {"TableName": NAME})

    def gone() -> bool:
        try:
            database.described()
        except ApiError as error:
            return error.kind == "ResourceNotFoundException"
        return False

    database.until(gone, 30)
    database.until(lambda: not any(r.spec.table for name in sim.running() for r in database.replicas(name)), 30)
    database._create_table(2)
    database.rate = 40
    sim.run_for(2)
    assert database.judge().result == "ok"
    names = database.control("ListTables", {})["names"]
    assert names == [NAME]
