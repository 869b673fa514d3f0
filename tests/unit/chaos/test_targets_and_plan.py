"""Selectors, modes, plans and the budget guard: pure, so tested without a cluster."""

from __future__ import annotations

import pytest

from chaos.errors import InputError
from chaos.guard import Disturbance, assess, enforce, over_budget
from chaos.plan import at_once, make_plan, resolve_late
from chaos.playbook import parse
from chaos.playbook.model import Budget, TargetSpec
from chaos.prepare import prepare
from chaos.targets import GroupView, NodeRef, matches, resolve, select, zones_within

NODES = [
    *(NodeRef(f"storage-{az}{n}", "storage", az, f"{az}{n}") for az in "abc" for n in (1, 2)),
    *(NodeRef(f"router-{az}", "router", az, f"{az}1") for az in "abc"),
    *(NodeRef(f"client-{az}", "client", az, "") for az in "abc"),
]
GROUPS = [
    GroupView("t.0", "load", ("storage-a1", "storage-b1", "storage-c1"), "storage-a1"),
    GroupView("t.1", "load", ("storage-a1", "storage-b2", "storage-c2"), "storage-b2"),
    GroupView("t.2", "load", ("storage-a2", "storage-b2", "storage-c1"), "storage-b2"),
    GroupView("system", "system", ("storage-a1", "storage-b1", "storage-c1"), "storage-c1"),
]
BY_NAME = {node.name: node for node in NODES}


def names(nodes: list[NodeRef]) -> list[str]:
    return [node.name for node in nodes]


@pytest.mark.parametrize(
    ("selectors", "expected"),
    [
        (["az=b"], ["client-b", "router-b", "storage-b1", "storage-b2"]),
        (["az=b,role=storage"], ["storage-b1", "storage-b2"]),
        (["rack=b1", "node=router-c"], ["router-b", "router-c", "storage-b1"]),
        (["az=a,az=c,role=router"], ["router-a", "router-c"]),
        (["az=z"], []),
    ],
)
def test_selectors(selectors: list[str], expected: list[str]) -> None:
    assert names(select(selectors, NODES)) == expected


def test_all_means_the_cluster_and_never_its_clients() -> None:
    assert not matches("all", BY_NAME["client-a"])
    assert len(select(["all"], NODES)) == 9


def test_clients_are_no_targets() -> None:
    chosen = resolve("z", TargetSpec(select=["az=b"]), NODES, 1)
    assert names(chosen) == ["router-b", "storage-b1", "storage-b2"]


def test_a_set_that_means_nobody_is_an_error_unless_it_may() -> None:
    with pytest.raises(InputError, match="means nobody in this topology"):
        resolve("z", TargetSpec(select=["role=memds"]), NODES, 1)
    assert resolve("z", TargetSpec.model_validate({"select": "role=memds", "on-empty": "skip"}), NODES, 1) == []


@pytest.mark.parametrize(("mode", "count"), [("one", 1), ("count(2)", 2), ("percent(50)", 3), ("random(4)", 4)])
def test_modes_choose_the_same_for_the_same_seed(mode: str, count: int) -> None:
    spec = TargetSpec(select=["role=storage"], mode=mode)
    first = resolve("s", spec, NODES, 5)
    assert len(first) == count
    assert first == resolve("s", spec, list(reversed(NODES)), 5)


def test_random_modes_depend_on_the_seed() -> None:
    spec = TargetSpec(select=["role=storage"], mode="random(3)")
    assert len({tuple(names(resolve("s", spec, NODES, seed))) for seed in range(20)}) > 5


def test_leader_of_is_the_node_that_leads_most() -> None:
    spec = TargetSpec(select=["role=storage"], mode="leader-of(load)")
    assert names(resolve("l", spec, NODES, 1, GROUPS)) == ["storage-b2"]
    system = TargetSpec(select=["role=storage"], mode="leader-of(system)")
    assert names(resolve("l", system, NODES, 1, GROUPS)) == ["storage-c1"]


METHOD = """\
title: x
targets:
  b: {{select: az=b}}
  lead: {{select: role=storage, mode: leader-of(load)}}
{safety}
method:
  - {{action: partition, targets: lead, at: 1s, for: 3s}}
  - {{action: power-off, targets: b, at: 2s}}
  - {{action: human, prompt: "go on?", at: 5s}}
  - {{action: power-off, targets: b, at: {second}, for: 3s}}
"""


def test_a_plan_is_absolute_and_ordered() -> None:
    playbook = parse(METHOD.format(safety="", second="40s"), "x")
    with pytest.raises(InputError, match="powers off router-b, which 'power-off 2' keeps off until 43s"):
        make_plan(playbook, NODES, 1)
    playbook = parse(METHOD.format(safety="", second="40s").replace("at: 2s}", "at: 2s, for: 30s}"), "x")
    plan = make_plan(playbook, NODES, 1)
    assert [action.kind for action in plan.actions] == ["partition", "power-off", "human", "power-off"]
    assert [action.start_s for action in plan.actions] == [1, 2, 5, 40]
    assert [action.end_s for action in plan.actions] == [4, 32, 125, 43]
    assert plan.method_s == 43
    assert plan.actions[0].late
    late = resolve_late(plan.actions[0], playbook, NODES, 1, GROUPS)
    assert late.targets == ("storage-b2",)


def test_a_cut_between_the_same_nodes_is_refused() -> None:
    text = (
        "title: x\ntargets: {b: {select: az=b}}\nmethod: [{action: partition, targets: b, for: 1s, with: {from: az=b}}]"
    )
    text = text.replace("from: az=b", "from: 'node=storage-b1'")
    playbook = parse(text, "x")
    with pytest.raises(InputError, match="cuts nothing"):
        at_once(make_plan(playbook, NODES, 1), playbook, NODES)


def test_a_cut_zone_includes_its_clients_and_a_dark_one_does_not() -> None:
    text = """\
title: x
targets: {b: {select: az=b}}
method:
  - {action: partition, targets: b, for: 1s}
  - {action: power-off, targets: b, for: 1s, at: 2s}
"""
    cut, dark = make_plan(parse(text, "x"), NODES, 1).actions
    assert set(cut.targets) - set(dark.targets) == {"client-b"}


@pytest.mark.parametrize(
    ("names", "dark"),
    [
        (["x1", "x2"], ("x",)),
        (["x1"], ()),
        (["x1", "x2", "y1"], ("x", "y")),
        (["x1", "x2", "y1", "store"], ("x", "y")),
        (["store"], ()),
        ([], ()),
    ],
)
def test_a_zone_is_dark_when_none_of_its_nodes_is_left(names: list[str], dark: tuple[str, ...]) -> None:
    assert zones_within({"x1": "x", "x2": "x", "y1": "y", "store": ""}, names) == dark


def down(*nodes: str) -> Disturbance:
    return Disturbance(frozenset(nodes), frozenset(), frozenset(BY_NAME[node].az for node in nodes))


def test_what_losing_a_zone_costs() -> None:
    impact = assess(down("storage-b1", "storage-b2"), GROUPS, BY_NAME)
    assert impact == (("b",), (), (), ())


def test_what_losing_two_zones_costs() -> None:
    impact = assess(down("storage-b1", "storage-b2", "storage-c1", "storage-c2"), GROUPS, BY_NAME)
    assert impact.quorum_lost == ("t.0", "t.1", "t.2", "system")
    assert impact.all_copies_lost == ()
    everything = assess(down(*(n.name for n in NODES if n.role == "storage")), GROUPS, BY_NAME)
    assert everything.all_copies_lost == ("t.0", "t.1", "t.2", "system")


def test_a_one_way_cut_counts_as_a_cut() -> None:
    pairs = frozenset({("storage-a1", "storage-b1"), ("storage-a1", "storage-c1")})
    impact = assess(Disturbance(frozenset(), pairs, frozenset("a")), GROUPS[:1], BY_NAME)
    assert impact.quorum_lost == (), "b and c still reach each other"
    pairs |= {("storage-b1", "storage-c1")}
    assert assess(Disturbance(frozenset(), pairs, frozenset("a")), GROUPS[:1], BY_NAME).quorum_lost == ("t.0",)


def test_a_quorum_must_span_two_zones() -> None:
    group = GroupView("g", "load", ("storage-a1", "storage-a2", "storage-b1"), "storage-a1")
    assert assess(down("storage-b1"), [group], BY_NAME).quorum_lost == ("g",)


def test_budget_refuses_and_unsafe_overrides() -> None:
    impact = assess(down("storage-b1", "storage-c1"), GROUPS, BY_NAME)
    reasons = over_budget(impact, Budget())
    assert len(reasons) == 2
    with pytest.raises(InputError, match=r"refused: it is beyond the playbook's budget: disturbs 2 zones \(b, c\)"):
        enforce("it", impact, Budget(), unsafe=False)
    assert enforce("it", impact, Budget(), unsafe=True) == reasons
    assert over_budget(impact, Budget(az=2, quorum_loss=2)) == []
    assert over_budget(impact, Budget(az=2, quorum_loss=1)) != []
    assert over_budget(impact, Budget(az=2, quorum_loss="any")) == []


def test_shipped_playbooks_resolve_on_their_topology() -> None:
    zone = prepare("az-power-off")
    assert {node[-1] if node[-1].isalpha() else node[-2] for node in zone.plan.actions[0].targets} == {"b"}
    assert len(zone.plan.actions[0].targets) == 7
    region = prepare("region-power-off")
    assert len(region.plan.actions[0].targets) == 22
    assert prepare("leader-partition", seed=3).seed == 3
