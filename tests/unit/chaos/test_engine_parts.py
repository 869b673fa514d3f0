"""The parts of the engine that need no cluster: the view, steady state, stopping, the display, leftovers, plants."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from rich.console import Console

from chaos.engine import records
from chaos.engine.scrub import scrub
from chaos.engine.steady import Monitor, holds
from chaos.engine.stop import Stopped, StopRequest, signals
from chaos.engine.traffic import availability
from chaos.engine.watch import EMPTY, Memory
from chaos.errors import InputError, PlatformError
from chaos.leftovers import Marks, collect, difference, ruleset
from chaos.live import Display, State, spark
from chaos.plants import catalogue, find_plant
from chaos.playbook import parse
from chaos.prepare import prepare

ROLES = {"storage-a1": "storage", "storage-b1": "storage", "storage-c1": "storage", "autoadmin-a": "autoadmin"}
VOTERS = ["storage-a1", "storage-b1", "storage-c1"]


def replica(
    group: str = "g", *, leader: bool = False, ballot: int = 1, commit: int = 10, **more: Any
) -> dict[str, Any]:
    return {"group": group, "replica": 1, "leader": leader, "ballot": [ballot, 1], "commit": commit, "voters": VOTERS,
            "learners": [], **more}  # fmt: skip


def answers(**replicas: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {f"storage-{name}": {"replicas": [value]} for name, value in replicas.items()}


def test_a_group_is_full_with_a_leader_and_three_current_voters() -> None:
    memory = Memory()
    view = memory.digest(answers(a1=replica(leader=True), b1=replica(), c1=replica()), ROLES)
    assert view.redundancy == 1.0
    assert view.group_views()[0].leader == "storage-a1"


@pytest.mark.parametrize(
    ("second", "why"),
    [
        (answers(a1=replica(leader=True), b1=replica()), "storage-c1 does not answer"),
        (answers(a1=replica(), b1=replica(), c1=replica()), "no leader"),
        (answers(a1=replica(leader=True), b1=replica(), c1=replica(commit=3)), "storage-c1 is behind"),
        (answers(a1=replica(leader=True, voters=VOTERS[:2]), b1=replica(), c1=replica()), "2 voters"),
        ({}, "no member answers"),
    ],
)
def test_what_a_group_may_lack(second: dict[str, Any], why: str) -> None:
    memory = Memory()
    memory.digest(answers(a1=replica(leader=True), b1=replica(), c1=replica()), ROLES)
    view = memory.digest(second, ROLES)
    assert [group.why for group in view.groups] == [why]
    assert view.below == 1


def test_a_deleted_tables_group_is_forgotten_and_a_lost_one_is_not() -> None:
    memory = Memory()
    memory.digest(answers(a1=replica(leader=True), b1=replica(), c1=replica()), ROLES)
    (name,) = memory.known
    memory.digest({}, ROLES)
    memory.forget_deleted({name})
    assert memory.digest({}, ROLES).below == 1  # the control plane lists it: it is missed
    memory.forget_deleted({"another"})
    assert memory.digest({}, ROLES).groups == ()
    back = memory.digest(answers(a1=replica(leader=True), b1=replica(), c1=replica()), ROLES)
    memory.forget_deleted(set())
    assert len(back.groups) == len(memory.known) == 1  # somebody reports it: it is there


def test_the_leader_of_the_highest_ballot_is_believed() -> None:
    view = Memory().digest(answers(a1=replica(leader=True, ballot=1), b1=replica(leader=True, ballot=2)), ROLES)
    assert view.group_views()[0].leader == "storage-b1"


def test_groups_on_autoadmin_nodes_are_the_system_group() -> None:
    view = Memory().digest({"autoadmin-a": {"replicas": [replica("system", leader=True)]}}, ROLES)
    assert view.group_views()[0].table == "system"


@pytest.mark.parametrize(
    ("value", "tolerance", "expected"),
    [(1.0, ">= 0.999", True), (0.99, ">= 0.999", False), (None, ">= 0", False), (0.4, "<0.5", True), (3, "== 3", True)],
)
def test_tolerances(value: float | None, tolerance: str, expected: bool) -> None:
    assert holds(value, tolerance) is expected


def test_availability_counts_only_operations_that_cannot_rightly_fail() -> None:
    lines = [{"by_op": {"put": {"ok": 8, "unknown": 1}, "get": {"ok": 1}, "cput": {"fail": 500, "ok": 1}}}]
    assert availability(lines) == 0.9
    assert availability([{"by_op": {"cput": {"fail": 1}}}]) is None


STOP = """
title: x
targets: {b: {select: az=b}}
safety: {stop-conditions: [{name: too-bad, query: availability, when: "< 0.5", for: 0s}]}
method: [{action: power-off, targets: b, for: 1s}]
"""


def monitor(share: float, stop: StopRequest) -> Monitor:
    line = {"second": 0, "boot": 0.0, "ok": 1, "by_op": {"put": {"ok": share * 100, "fail": (1 - share) * 100}}}
    traffic: Any = SimpleNamespace(recent=lambda seconds: [line], died=lambda: None)
    watcher: Any = SimpleNamespace(view=EMPTY)
    return Monitor(parse(STOP, "x"), traffic, watcher, lambda *_, **__: None, stop)


def test_a_stop_condition_aborts_and_only_when_it_holds() -> None:
    fine, bad = StopRequest(), StopRequest()
    monitor(0.9, fine)._look()
    assert not fine.requested
    monitor(0.1, bad)._look()
    assert (bad.ended, "too-bad" in bad.reason) == ("aborted", True)


def test_the_first_reason_to_stop_counts_and_a_second_ctrl_c_hurries() -> None:
    stop = StopRequest()
    with signals(stop):
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.wait(5)
        assert (stop.ended, stop.hurry.is_set()) == ("interrupted", False)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.hurry.wait(5)
    stop.request("error", "later")
    assert stop.ended == "interrupted"
    with pytest.raises(Stopped):
        stop.sleep(60)


def test_the_display_tells_what_matters_and_survives_what_it_does_not_know() -> None:
    state = State()
    assert state.take({"t": 1.0, "event": "phase", "phase": "deploy", "state": "begin"}) == "phase: deploy"
    fault = {"t": 2.0, "event": "fault", "name": "x", "fault_kind": "partition", "targets": ["a"], "state": "confirmed",
             "detail": "silence"}  # fmt: skip
    assert state.take(fault) == "x: confirmed (silence)"
    assert state.take({"t": 2.0, "event": "something new"}) is None
    assert spark([0, 5, 10]) == "▁▅█"
    assert spark([0, 0]) == "▁▁"


def test_the_live_picture_draws(tmp_path: Path) -> None:
    console = Console(force_terminal=True, width=120, record=True, file=(tmp_path / "out").open("w"))
    display = Display(prepare("az-power-off"), console)
    display.take({"t": 1.0, "event": "load", "az": "a", "ok": 80, "unknown": 2, "p99_ms": 12.0})
    display.take({"t": 1.0, "event": "redundancy", "full": False, "groups": 5, "below": 2})
    display.take({"t": 1.0, "event": "fault", "name": "dark", "targets": list("abcdef"), "state": "injected"})
    console.print(display.picture())
    text = console.export_text()
    for wanted in ("zone a", "80 ok/s", "2 unanswered", "3/5 full", "dark", "and 2 more"):
        assert wanted in text


def test_marks_tell_our_things_from_others() -> None:
    marks = Marks("bs123456", ("198.18.7.",))
    assert marks.ours("veth bs123456-ab")
    assert marks.ours("ip daddr 198.18.7.16 accept")
    assert not marks.ours("veth bs654321-ab")
    assert marks.foreign("table bridge bs654321_f0")
    assert not marks.foreign("table bridge bs123456_f0")


def test_a_left_table_a_left_rule_and_a_lost_one_are_seen() -> None:
    before = "table ip nat {\n\tchain C {\n\t\tip daddr 10.0.0.1 counter packets 1 bytes 2 accept\n\t}\n}\n"
    ours = (
        "table bridge bs123456_f0 {\n\tset cut {\n\t\telements = { 1.1.1.1 . 1.1.1.2 timeout 15s expires 3s }\n\t}\n}\n"
    )
    rule = before.replace("ip daddr 10.0.0.1", "ip daddr 198.18.7.16")
    marks = Marks("bs123456", ("198.18.7.",))
    clean = sorted(ruleset(lambda argv: before, marks))
    assert clean == ["table ip nat"], "an engine's rules for others are not ours to judge"
    left = sorted(ruleset(lambda argv: rule + ours, marks))
    seen = difference({"nft": clean}, {"nft": left})
    assert any("left behind: nft: table bridge bs123456_f0" in line for line in seen)
    assert any("198.18.7.16 counter accept" in line for line in seen)
    assert difference({"nft": ["a"]}, {"nft": []}) == ["gone: nft: a"]


def test_this_machine_can_be_looked_at_and_a_process_of_ours_is_found() -> None:
    snapshot, errors = collect(Marks("bs000000"))
    assert errors == []
    assert {"qdiscs", "mounts", "loop devices", "namespaces", "cgroups", "processes"} <= snapshot.keys()
    assert snapshot["processes"] == []
    assert snapshot["qdiscs"]


def test_an_unreadable_kind_is_said_and_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> list[str]:
        raise OSError("no such luck")

    monkeypatch.setattr("chaos.leftovers.mounts", broken)
    snapshot, errors = collect(Marks("bs000000"))
    assert "mounts" not in snapshot
    assert errors == ["mounts: no such luck"]


def test_a_resolved_playbook_plays_again() -> None:
    prepared = prepare("leader-partition", seed=99)
    text = records.resolved_playbook(prepared)
    again = parse(text, "resolved")
    assert again.seed == 99
    assert again.model_copy(update={"seed": prepared.playbook.seed}) == prepared.playbook
    assert yaml.safe_load(text)["method"][0]["for"] == "15s"


class Nodes:
    """A cluster of three replicas of one group; ``odd`` has another digest, ``mute`` no answer."""

    def __init__(self, odd: str = "", mute: str = "", leader: bool = True) -> None:
        self.odd, self.mute, self.leader = odd, mute, leader

    def call(self, node: str, method: str, params: Any = None, timeout_s: float = 2.0) -> Any:
        if node == self.mute:
            raise OSError(f"{node} is silent")
        if method == "map":
            return {"tables": [{"name": "load", "partitions": [{"group": "g"}]}]}
        if method == "status":
            return {"replicas": [replica(leader=self.leader and node == "storage-a1")]}
        if method == "barrier":
            return {"slot": 7}
        return {"digest": "odd" if node == self.odd else "same", "items": 3, "bytes": 9, "slot": 7, "corrupt": []}


def scrubbed(nodes: Nodes) -> Any:
    cluster: Any = SimpleNamespace(nodes={name: SimpleNamespace(az=name[-2]) for name in ROLES})
    return scrub(cluster, nodes, EMPTY, ROLES, lambda: None).groups[0]


def test_the_scrub_asks_every_replica_at_one_barrier() -> None:
    group = scrubbed(Nodes(odd="storage-b1"))
    assert (group.group, group.table, group.slot, group.expected) == ("g", "load", 7, 3)
    assert [(r.node, r.digest) for r in group.replicas] == [
        ("storage-a1", "same"),
        ("storage-b1", "odd"),
        ("storage-c1", "same"),
    ]


def test_a_replica_that_cannot_be_scrubbed_is_in_the_result() -> None:
    group = scrubbed(Nodes(mute="storage-c1"))
    assert [(r.node, r.digest is None) for r in group.replicas][2] == ("storage-c1", True)
    assert "silent" in group.replicas[2].error


def test_a_group_without_a_leader_has_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chaos.engine.scrub.RETRY_S", 0.0)
    assert scrubbed(Nodes(leader=False)).error == "no leader"


def test_the_shipped_catalogue_is_true() -> None:
    from chaos.plants import DIRECTORY
    from chaos.playbook import load
    from reports.checkers import CHECKERS

    for plant in catalogue():
        assert plant.caught_by in CHECKERS
        load(plant.playbook)
        source = (DIRECTORY / f"{plant.name.replace('-', '_')}.py").read_text()
        assert "def install(" in source


def test_the_catalogue_of_plants(tmp_path: Path) -> None:
    assert catalogue(tmp_path) == []
    with pytest.raises(InputError, match="no planted bugs"):
        find_plant("x", tmp_path)
    (tmp_path / "plants.json").write_text('{"plants": [{"name": "x"}]}')
    with pytest.raises(PlatformError, match="cannot be read"):
        catalogue(tmp_path)
    entry = '{"name": "lose", "breaks": "b", "caught_by": "durability", "playbook": "p", "seed": 1}'
    (tmp_path / "plants.json").write_text(f'{{"plants": [{entry}]}}')
    assert find_plant("lose", tmp_path).seed == 1
    with pytest.raises(InputError, match="Did you mean 'lose'"):
        find_plant("loose", tmp_path)
