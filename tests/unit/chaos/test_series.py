"""Series of actions: schedules are values, so what they may never do is tested without a cluster."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chaos.engine.inject import not_alone
from chaos.engine.watch import Group, View
from chaos.errors import InputError
from chaos.plan import Planned, at_once, make_plan
from chaos.playbook import parse
from chaos.playbook.model import RandomPowerOffOptions
from chaos.series import RETURN_S, RETURNS_APART_S, Outage, random_outages, unroll
from chaos.targets import GroupView, NodeRef

NODES = [NodeRef(f"storage-{az}{n}", "storage", az, f"{az}{n}") for az in "abc" for n in (1, 2)]
TEXT = """\
title: x
targets: {{all: {{select: role=storage}}}}
safety: {{budget: {{az: 1}}}}
method:
  - {action}
"""
JOB = "{name: job, action: random-power-off, targets: all, at: 2s, for: 120s, with: {every: 4s, at-once: 2}}"
ROLL = "{name: roll, action: rolling-restart, targets: all, at: 1s, with: {every: 5s}}"


def dark_at(outages: list[Outage], moment: float, margin_s: float = 0.0) -> set[str]:
    return {one.node for one in outages if one.at_s <= moment < one.end_s + margin_s}


@given(
    seed=st.integers(0, 1 << 30),
    every=st.floats(0.2, 20),
    shortest=st.floats(0.5, 10),
    extra=st.floats(0, 20),
    limit=st.integers(1, 6),
    zones=st.integers(1, 3),
)
@example(seed=110267, every=0.2, shortest=0.5, extra=0.0, limit=1, zones=1)  # an arrival that is rounded down
def test_a_schedule_never_goes_beyond_its_limits(
    seed: int, every: float, shortest: float, extra: float, limit: int, zones: int
) -> None:
    options = RandomPowerOffOptions(every=every, shortest=shortest, longest=shortest + extra, at_once=limit)
    outages = random_outages(NODES, options, 120.0, zones, random.Random(seed))
    zone_of = {node.name: node.az for node in NODES}
    for one in outages:
        dark = dark_at(outages, one.at_s, RETURN_S)
        assert len(dark) <= limit
        assert len({zone_of[name] for name in dark}) <= zones
        assert shortest - 0.001 <= one.for_s <= shortest + extra + 0.001
        assert one.end_s <= 120.001
        again = [other for other in outages if other.node == one.node and other.at_s > one.at_s]
        assert all(other.at_s >= one.end_s for other in again), "nobody is powered off twice at once"
    returns = sorted(one.end_s for one in outages)
    assert all(later - earlier >= RETURNS_APART_S - 0.001 for earlier, later in pairwise(returns))


def test_the_seed_is_the_schedule() -> None:
    playbook = parse(TEXT.format(action=JOB), "x")
    first, again, other = (unroll(playbook, NODES, seed).method for seed in (5, 5, 6))
    assert first == again
    assert first != other
    assert len(first) > 10
    assert {action.action for action in first} == {"power-off"}


def test_an_unrolled_playbook_plans_within_its_budget_and_plays_again() -> None:
    playbook = unroll(parse(TEXT.format(action=JOB), "x"), NODES, 5)
    plan = make_plan(playbook, NODES, 5)
    assert all(len(total.zones) <= 1 for _, total in at_once(plan, playbook, NODES))
    assert "all" not in playbook.targets, "a set that nothing names any more would be refused when it is read again"
    assert set(playbook.targets) == {action.targets for action in playbook.method}  # type: ignore[union-attr]


def test_a_rolling_restart_goes_zone_by_zone_one_node_at_a_time() -> None:
    playbook = unroll(parse(TEXT.format(action=ROLL), "x"), list(reversed(NODES)), 1)
    plan = make_plan(playbook, NODES, 1)
    assert [action.targets for action in plan.actions] == [(node.name,) for node in NODES]
    assert [action.start_s for action in plan.actions] == [1, 6, 11, 16, 21, 26]
    assert {action.kind for action in plan.actions} == {"restart"}
    assert all(len(total.down) == 1 for _, total in at_once(plan, playbook, NODES))


def test_a_playbook_without_series_is_left_as_it_is() -> None:
    playbook = parse(TEXT.format(action="{action: power-off, targets: all, for: 1s}"), "x")
    assert unroll(playbook, NODES, 1) is playbook


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (TEXT.format(action=JOB).replace("for: 120s, ", "for: 1s, "), "powers nobody off"),
        (TEXT.format(action=ROLL).replace("role=storage", "role=storage, mode: one").replace("one", "leader-of(load)"),
         "decided while the cluster runs"),
        (TEXT.format(action=ROLL).replace("all:", "storage-a1:").replace("targets: all", "targets: storage-a1"),
         "has the name of a node"),
    ],
)  # fmt: skip
def test_series_that_cannot_be_are_refused(text: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        unroll(parse(text, "x"), NODES, 1)


def test_a_series_by_itself_is_no_plan() -> None:
    with pytest.raises(InputError, match="is a series"):
        make_plan(parse(TEXT.format(action=ROLL), "x"), NODES, 1)


def test_one_that_wants_to_be_alone_waits_for_those_before_it_and_for_the_groups() -> None:
    playbook = unroll(parse(TEXT.format(action=ROLL), "x"), NODES, 1)
    plan = make_plan(playbook, NODES, 1)
    first, second = plan.actions[:2]
    full = View(frozenset(), ())
    short = View(frozenset(), (Group(GroupView("g", "load", ("storage-a1",), None), False, 0, "no leader"),))

    def why(action: Planned, finished: set[int], others_in: bool, view: View) -> str:
        return not_alone(action, plan, playbook, finished, others_in, view)

    assert why(first, set(), False, full) == ""
    assert why(first, set(), True, full) == "another fault is in"
    assert why(first, set(), False, short) == "not every group has its voters"
    assert why(second, set(), False, full) == "one before it is not over"
    assert why(second, {first.number}, False, full) == ""
