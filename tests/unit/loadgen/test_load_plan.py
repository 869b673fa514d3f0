"""Plans: values are unique, mixes are kept, conditions expect what was last seen."""

from __future__ import annotations

from collections import Counter

import pytest

from loadgen.plan import ABSENT, Operation, Plan, key_name, sweep
from loadgen.profiles import PROFILES, Profile, profile_named
from loadgen.transactions import decode_steps
from reports.rundir import history


def plan(profile: str = "mixed", *, seed: int = 1, writer: str = "load-a", keys: int = 100) -> Plan:
    return Plan(profile_named(profile), table="t", keys=keys, seed=seed, writer=writer)


def test_a_seed_gives_one_stream_and_each_writer_its_own() -> None:
    def first(p: Plan) -> list[Operation]:
        return [p.next() for _ in range(200)]

    assert first(plan()) == first(plan())
    assert first(plan()) != first(plan(seed=2))
    assert [o.key for o in first(plan())] != [o.key for o in first(plan(writer="load-b"))]


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_every_profile_keeps_its_mix_and_its_values_are_unique(name: str) -> None:
    profile, stream = profile_named(name), plan(name)
    operations = [stream.next() for _ in range(20_000)]
    counts = Counter(operation.op for operation in operations)
    total = sum(profile.weights.values())
    for op, weight in profile.weights.items():
        assert counts[op] / 20_000 == pytest.approx(weight / total, abs=0.015)
    values = [operation.value for operation in operations if operation.value is not None and operation.key]
    assert len(values) == len(set(values))
    assert all(value.startswith("load-a.") for value in values)
    steps = [
        step for operation in operations if operation.op == "twrite" for step in decode_steps(operation.value or "")
    ]
    appended = [(step[1], step[2]) for step in steps if step[0] == "append"]
    assert len(appended) == len(set(appended))


def test_the_history_knows_every_operation_of_every_profile() -> None:
    for profile in PROFILES.values():
        assert set(profile.weights) <= history.READS | history.WRITES | history.TRANSACTIONS
    assert ABSENT == history.NO_ITEM


def test_a_conditional_put_expects_what_was_learned() -> None:
    stream = Plan(Profile("c", "", {"cput": 1.0}), table="t", keys=1, seed=1, writer="w")
    assert stream.next() == Operation("cput", "t", key_name(0), "w.0", ABSENT)
    stream.learn(key_name(0), "x.7")
    assert stream.next().expect == "x.7"
    stream.learn(key_name(0), None)
    assert stream.next().expect == ABSENT


def test_some_updates_are_conditional_and_reads_and_deletes_carry_nothing() -> None:
    stream = plan()
    operations = [stream.next() for _ in range(5000)]
    updates = [operation for operation in operations if operation.op == "update"]
    share = sum(operation.expect is not None for operation in updates) / len(updates)
    assert 0.4 < share < 0.6
    for operation in operations:
        if operation.op in ("get", "eget", "delete"):
            assert operation.value is None
            assert operation.expect is None


def test_the_parts_of_a_sweep_cover_every_key_once() -> None:
    keys = [operation.key for part in range(3) for operation in sweep("t", 100, part, 3)]
    assert sorted(keys) == [key_name(index) for index in range(100)]
    with pytest.raises(ValueError, match="part 3 of 3"):
        sweep("t", 100, 3, 3)


def test_an_unknown_profile_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ValueError, match=r"no load profile 'mix'; there are balanced, .*mixed"):
        profile_named("mix")
