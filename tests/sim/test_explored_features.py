"""What only some explored seeds have: drawn beside everything else, judged by checks of its own, shrunk away again."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

import msgspec
import pytest

from chaos.explore import features
from chaos.explore.drawing import generate
from chaos.explore.faults import Faults
from chaos.explore.features import FEATURES
from chaos.explore.plants import catalogue, planted, scenario_of
from chaos.explore.play import QUIET, UNDECIDED, play
from chaos.explore.recorded import play_recorded
from chaos.explore.scenario import ARCHIVE, LEADER, Action, Scenario, from_yaml, to_yaml
from chaos.explore.shrink import shrink
from chaos.explore.stage import Stage
from chaos.explore.survey import survey
from cluster.node.archiver import Archiver
from loadgen.transactions import Bank
from reports.rundir import IndexRows, Scrub
from reports.rundir.history import CANCELLED, CONDITION_FAILED, Operation

NARROW = Scenario(seed=5, clients=1, rate=10.0, safety_s=2.0)
TRANSACTIONS = msgspec.structs.replace(
    NARROW, transactions="bank", partitions=2, keys=4, rate=20.0, ops={"twrite": 1.0, "tread": 0.3}
)


def test_most_seeds_have_none_and_each_is_drawn_by_some() -> None:
    drawn = [features.of(generate(seed)) for seed in range(400)]
    assert sum(1 for found in drawn if not found) > 200
    for name in FEATURES:
        assert sum(1 for found in drawn if name in found) > 40


@pytest.mark.parametrize("name", FEATURES)
def test_one_that_is_forced_on_is_the_one_that_the_seed_would_have_drawn(name: str) -> None:
    for seed in range(60):
        free, forced = generate(seed), generate(seed, wanted=[name])
        assert name in features.of(forced)
        if name in features.of(free):
            assert forced == free
        elif not features.of(free):
            more = [action for action in forced.method if action not in free.method]
            assert msgspec.structs.replace(forced, method=[]) != msgspec.structs.replace(free, method=[])
            assert len(forced.method) == len(free.method) + len(more)


def test_what_was_saved_before_there_were_features_is_read() -> None:
    text = to_yaml(NARROW)
    assert not any(line.startswith(tuple(FEATURES)) for line in text.splitlines())
    assert from_yaml(text, "x.yaml") == NARROW
    assert features.of(NARROW) == []


def test_coordinators_that_lose_power_midway_leave_nothing_unfinished() -> None:
    method = [
        Action("midway-off", 0.3, 1.0, ["router-a"], {"messages": 9}),
        Action("midway-off", 1.4, 0.5, ["router-a", "router-b"], {"messages": 5}),
    ]
    taken_over = 0
    for seed in range(4):
        scenario = msgspec.structs.replace(TRANSACTIONS, seed=seed, clients=2, method=method)
        outcome = play(scenario)
        assert outcome.finding is None, outcome.finding
        assert outcome.seen["faults"] == {"midway-off": 2}
        assert outcome.seen["features"] == {"transactions": 1}
        taken_over += outcome.seen["events"].get("transaction-taken-over", 0)
    assert taken_over


def test_who_is_to_lose_power_midway_does_not_once_all_is_healed() -> None:
    never = Action("midway-off", 0.5, 9.0, ["router-a"], {"messages": 10_000})
    lives: list[int] = []

    def over(stage: Stage, faults: Faults) -> None:
        lives.append(stage.sim.nodes["router-a"].lives)
        assert faults.messages_left == {}

    assert play(msgspec.structs.replace(TRANSACTIONS, method=[never]), on_stage=over).finding is None
    assert lives == [1]


def test_a_client_of_a_router_that_came_back_is_another_writer() -> None:
    writers: list[set[str]] = []

    def over(stage: Stage, faults: Faults) -> None:
        writers.append({op.writer for op in stage.history})
        values = [op.value for op in stage.history if op.is_write and op.value is not None]
        assert len(values) == len(set(values))

    off = Action("power-off", 1.0, 0.3, ["router-a"])
    mixed = msgspec.structs.replace(TRANSACTIONS, ops={"put": 1.0, "twrite": 0.5}, method=[off])
    assert play(mixed, on_stage=over).finding is None
    assert writers == [{"router-a", "router-a.2"}]


def test_transactions_and_plain_writes_meet_on_the_same_items() -> None:
    """Two conditional puts are one step for everybody: both or neither, and what a refused one was shown was there."""
    scenario = msgspec.structs.replace(
        TRANSACTIONS, clients=2, rate=60.0, pairs=0.5, ops={"put": 0.2, "cput": 0.3, "update": 0.2, "get": 0.3}
    )
    outcomes: Counter[tuple[str, str, str | None]] = Counter()

    def over(stage: Stage, faults: Faults) -> None:
        twins: dict[tuple[str, int], list[Operation]] = {}
        for op in stage.history:
            twins.setdefault((op.writer, op.invoked_ns), []).append(op)
        for one, other in [pair for pair in twins.values() if len(pair) == 2 and {op.op for op in pair} == {"cput"}]:
            assert one.key != other.key
            assert (one.outcome == "ok") == (other.outcome == "ok")
            outcomes.update(("pair", op.outcome, op.error) for op in (one, other))
        outcomes.update(("plain", op.outcome, op.error) for op in stage.history)

    outcome = play(scenario, on_stage=over)
    assert outcome.finding is None, outcome.finding
    assert outcomes["pair", "ok", None] > 10
    assert outcomes["pair", "fail", CONDITION_FAILED] > 3
    assert outcomes["pair", "fail", CANCELLED[0]] > 3
    assert outcomes["plain", "fail", CANCELLED[1]], "no plain write met a transaction on its item"


def test_indexes_are_added_and_dropped_under_load_and_are_right_in_the_end() -> None:
    method = [
        Action("add-index", 0.3),
        Action("transfer", 1.0, 0.0, [LEADER], {"of": 0}),
        Action("drop-index", 1.5, 0.0, [], {"index": "by-value"}),
    ]
    rows: list[IndexRows | None] = []
    scenario = msgspec.structs.replace(NARROW, indexed=True, rate=30.0, method=method)
    outcome = play(scenario, on_stage=lambda stage, faults: rows.append(stage.index_rows))
    assert outcome.finding is None, outcome.finding
    assert outcome.seen["features"] == {"indexes": 1}
    assert {"index-active", "index-deleted", "backfill-done"} <= set(outcome.seen["events"])
    assert rows[0] is not None
    (table,) = rows[0].tables
    assert {index.name for index in table.indexes} == {"own-group", "by-group", "later"}
    assert all(index.items for index in table.indexes)


def test_what_transactions_write_is_in_the_indexes() -> None:
    rows: list[IndexRows | None] = []
    scenario = msgspec.structs.replace(TRANSACTIONS, indexed=True)
    assert play(scenario, on_stage=lambda stage, faults: rows.append(stage.index_rows)).finding is None
    assert rows[0] is not None
    (table,) = rows[0].tables
    by_value = next(index for index in table.indexes if index.name == "by-value")
    assert any(item["pk"]["S"].startswith("account-") for item in by_value.items)


def test_without_indexes_there_is_none_to_add_or_drop() -> None:
    method = [Action("add-index", 0.5), Action("drop-index", 0.6, 0.0, [], {"index": "later"})]
    outcome = play(msgspec.structs.replace(NARROW, method=method))
    assert outcome.seen["skipped"] == {"add-index": 1, "drop-index": 1}


def test_an_archive_that_is_away_for_a_while_agrees_in_the_end() -> None:
    method = [
        Action("partition", 0.5, 1.5, [ARCHIVE], {"direction": "inbound"}),
        Action("power-off", 2.5, 1.0, [ARCHIVE], {"unsynced": "lose"}),
    ]
    scrubs: list[Scrub | None] = []
    scenario = msgspec.structs.replace(NARROW, archive=True, partitions=2, rate=20.0, safety_s=5.0, method=method)
    outcome = play(scenario, on_stage=lambda stage, faults: scrubs.append(stage.scrub))
    assert outcome.finding is None, outcome.finding
    assert outcome.seen["features"] == {"archive": 1}
    assert {"archive-away", "archive-back", "archived"} <= set(outcome.seen["events"])
    assert scrubs[0] is not None
    assert sum(group.reference.segments for group in scrubs[0].groups if group.reference is not None) >= 4


def test_a_log_that_never_gets_into_its_archive_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    async def lost(self: Archiver, lane: object, manifest: object, data: bytes) -> None:
        """Said to be stored."""

    monkeypatch.setattr(Archiver, "_put", lost)
    finding = play(msgspec.structs.replace(NARROW, archive=True)).finding
    assert finding is not None
    assert finding.prop in ("archive_agrees", UNDECIDED)


def test_a_saved_scenario_with_every_feature_is_judged_by_every_check(tmp_path: Path) -> None:
    wide = msgspec.structs.replace(
        TRANSACTIONS, indexed=True, archive=True, pairs=0.2, ops=TRANSACTIONS.ops | {"put": 1.0}
    )
    run, verdict = play_recorded(msgspec.structs.replace(wide, safety_s=6.0), None, "wide", tmp_path)
    assert verdict.verdict == "passed", verdict.why
    results = {check.name: check.result for check in verdict.checks}
    assert {results[check] for check in features.CHECKS.values()} == {"ok"}
    assert results["explored"] == "ok"
    assert run.scrub.exists()


def test_a_transaction_that_nobody_finishes_is_a_finding() -> None:
    finding = play(scenario_of(0, "lose-ledger"), planted("lose-ledger")).finding
    assert finding is not None
    assert finding.prop == QUIET


@pytest.mark.parametrize("plant", [plant.name for plant in catalogue() if plant.needs])
def test_a_plant_that_needs_a_feature_is_found_and_its_seed_is_clean_without(plant: str) -> None:
    for seed in range(10):
        scenario = scenario_of(seed, plant)
        if play(scenario, planted(plant)).finding is not None:
            assert play(scenario).finding is None
            return
    raise AssertionError("none of ten seeds found it")


def test_shrinking_takes_away_a_feature_that_is_not_needed_and_keeps_the_one_that_is() -> None:
    found = shrink(scenario_of(0, "commit-half"), planted("commit-half"), lambda text: None, tries_max=25)
    assert found is not None
    assert (found.scenario.transactions, found.scenario.ops) == ("list-append", {"twrite": 1.0})
    wide = generate(0, "ack-before-fsync", FEATURES)
    assert features.of(wide) == list(FEATURES)
    found = shrink(wide, planted("ack-before-fsync"), lambda text: None, tries_max=25)
    assert found is not None
    assert features.of(found.scenario) == []


def test_two_accounts_are_the_least_that_a_bank_has() -> None:
    payer, payee = Bank(1).write(Random(1), "v")
    assert payer[1] != payee[1]


def test_the_survey_says_how_many_seeds_each_plant_takes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    chosen = [plant for plant in catalogue() if plant.name in ("no-fsync", "reads-without-lease")]
    monkeypatch.setattr("chaos.explore.survey.catalogue", lambda: chosen)
    assert [found.row() for found in survey(2, 1)] == [
        "| no-fsync | 1 | durable-before-spoken |",
        "| reads-without-lease | not found |  |",
    ]
