"""``blackstart explore``: what a seed means, that it means it every time, and that it finds what was planted."""

from __future__ import annotations

import gc
import json
import re
import weakref
from pathlib import Path
from xml.etree import ElementTree

import apsw
import msgspec
import pytest

from chaos import cli, plants
from chaos.errors import InputError
from chaos.explore import coverage, swarm
from chaos.explore.drawing import generate
from chaos.explore.faults import Faults
from chaos.explore.picture import draw
from chaos.explore.plants import catalogue, planted
from chaos.explore.play import PROPERTIES, _judge, play
from chaos.explore.scenario import ARCHIVE, FAULTS, LEADER, NODES_MAX, Action, Scenario, from_yaml, to_yaml
from chaos.explore.shrink import shrink
from chaos.explore.stage import Stage
from cluster.node.host import Host
from cluster.sim import invariants
from cluster.sim.simulation import Simulation

FOUND_EARLY = ("ack-before-fsync", "ack-before-quorum", "apply-on-two", "dirty-answers", "forget-promises", "skip-log")
"""Plants that one of the first seeds finds; docs/explore.md has all, and in how many."""
EARLY = 24


def test_seeds_draw_everything_there_is_within_the_limits() -> None:
    scenarios = [generate(seed) for seed in range(300)]
    assert {action.action for scenario in scenarios for action in scenario.method} == set(FAULTS)
    for scenario in scenarios:
        names = [name for name, role, _, _ in scenario.nodes() if role != ARCHIVE]
        assert len(names) <= NODES_MAX
        assert len(set(names)) == len(names)
        assert all(0 <= action.at <= scenario.safety_s for action in scenario.method)
        assert scenario == generate(scenario.seed)
    assert len({msgspec.json.encode(scenario) for scenario in scenarios}) == len(scenarios)


def test_a_scenario_survives_being_written() -> None:
    for seed in range(20):
        scenario = generate(seed)
        assert from_yaml(to_yaml(scenario, "why\nand how"), "x.yaml") == scenario


@pytest.mark.parametrize("text", ["[]", "explore: 1", "explore: 1\nseed: x", "a: b: c", "explore: 2\nseed: 1"])
def test_a_file_that_is_no_scenario_is_refused_by_name(text: str) -> None:
    with pytest.raises(InputError, match=r"x\.yaml"):
        from_yaml(text, "x.yaml")


def test_an_unknown_fault_is_refused() -> None:
    with pytest.raises(InputError, match="meteor"):
        from_yaml(to_yaml(Scenario(seed=1, method=[Action("meteor", 1.0)])), "x.yaml")


@pytest.mark.parametrize("name", FOUND_EARLY)
def test_a_planted_bug_is_found(name: str) -> None:
    found = next((o.finding for seed in range(EARLY) if (o := swarm.explore_one(seed, name)).finding is not None), None)
    assert found is not None
    assert found.prop in {*PROPERTIES, *invariants.PROPERTIES}


def test_nothing_of_a_simulation_that_was_played_stays_in_memory() -> None:
    # SQLite holds open files where the collector cannot see it: of nodes that crashed, lost their disk, or just ended.
    method = [Action("disk-loss", 0.3, 0.3, ["storage-b1"]), Action("power-off", 1.0, 0.3, ["storage-a1"])]
    simulations: list[weakref.ref[Simulation]] = []
    gc.collect()
    before = len(apsw.connections()), len(apsw.vfs_names())
    for seed in range(2):
        scenario = Scenario(seed=seed, safety_s=1.5, method=method)
        outcome = play(scenario, on_begin=lambda stage: simulations.append(weakref.ref(stage.sim)))
        assert outcome.seen["faults"] == {"disk-loss": 1, "power-off": 1}
    gc.collect()
    assert [ref() for ref in simulations] == [None] * 2
    assert (len(apsw.connections()), len(apsw.vfs_names())) == before


def test_what_is_meant_for_nodes_that_a_smaller_cluster_lacks_is_skipped() -> None:
    """Shrinking takes nodes away; their actions must then do nothing rather than break."""
    gone = [
        Action("power-off", 0.5, 0.5, ["storage-c2"]),
        Action("partition", 1.0, 0.5, [LEADER], {"from": ["storage-b2"]}),
    ]
    outcome = play(Scenario(seed=1, safety_s=2.0, method=gone))
    assert outcome.finding is None
    assert outcome.seen["skipped"] == {"partition": 1, "power-off": 1}


def test_the_catalogue_names_properties_that_exist() -> None:
    known = {*PROPERTIES, *invariants.PROPERTIES, "replicas_agree"}
    assert len(catalogue()) >= 10
    assert {plant.caught_by for plant in catalogue()} <= known
    own = json.loads((plants.DIRECTORY / "explored.json").read_text())["plants"]
    assert {plant["name"] for plant in own} <= {plant.name for plant in catalogue()}


def test_the_docs_tell_of_every_plant_and_of_no_other() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "explore.md").read_text()
    section = text.partition("\n## Planted bugs\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if "|" in line][2:]
    assert [row[0] for row in rows] == [plant.name for plant in catalogue()]
    for name, seeds, prop, shrunk in rows:
        assert 1 <= int(seeds) <= 2000, name
        assert prop in {*PROPERTIES, *invariants.PROPERTIES}, name
        assert shrunk, name


def test_an_unknown_plant_is_refused_with_a_suggestion() -> None:
    with pytest.raises(InputError, match="no-fsink"):
        planted("no-fsink")


def test_shrinking_leaves_little_that_fails_the_same_way_and_can_be_drawn() -> None:
    plant = planted("count-old-ballots")
    failing = (generate(seed) for seed in range(40))
    before = next(scenario for scenario in failing if play(scenario, plant).finding is not None)
    found = shrink(before, plant, lambda text: None, tries_max=30)
    assert found is not None
    assert found.finding.prop == invariants.DURABLE
    assert len(found.scenario.method) < len(before.method)
    again = from_yaml(to_yaml(found.scenario), "x.yaml")
    assert play(again, plant).finding == found.finding
    picture = draw(again, plant)
    root = ElementTree.fromstring(picture)
    words = "".join(root.itertext())
    assert found.finding.prop in words
    assert "accept" in words
    assert "http" not in picture.replace("http://www.w3.org/2000/svg", "")  # opens offline


def test_shrinking_ends_when_nothing_gets_simpler_and_not_with_its_tries() -> None:
    found = shrink(generate(0), planted("ack-before-fsync"), lambda text: None, tries_max=60)
    assert found is not None
    assert found.tries < 60
    assert (found.scenario.keys, found.scenario.rate, found.scenario.ops) == (1, 2.0, {"put": 1.0})
    assert found.scenario.safety_s < 1.0  # shortened to the finding, at last


def test_the_picture_of_a_broken_control_plane_shows_the_nodes_that_it_is_on() -> None:
    rot = {"place": "log", "mode": "bit-flip", "count": 1, "then": "restart", "seed": 914413033}
    lost = Action("bit-rot", 0.5, 0.1, ["autoadmin-c"], rot)
    scenario = Scenario(seed=1, admins=3, clients=1, rate=2.0, keys=1, safety_s=1.0, method=[lost])
    plant = planted("no-joint")
    finding = play(scenario, plant).finding
    assert finding is not None
    assert finding.prop == invariants.OVERLAP
    words = "".join(ElementTree.fromstring(draw(scenario, plant)).itertext())
    assert "autoadmin-a" in words
    assert "accepted" in words
    assert "storage-a1" not in words


def test_the_picture_of_a_history_ends_with_the_operations_that_contradict() -> None:
    """Not with the messages of the closing reads, seconds later, by which the checkers judge."""
    fsync = Action("fsync-failure", 7.9, 0.1, ["leader"], {"of": 1})
    scenario = Scenario(seed=2, clients=1, partitions=1, rate=2.0, keys=1, ops={"put": 1.0}, lease_s=1.5,
                        renewal_s=0.3, delay_s=0.0003, jitter_s=0.0005, sync_s=(0.0005, 0.002), safety_s=9.59,
                        method=[fsync])  # fmt: skip
    plant = planted("retry-writes")
    finding = play(scenario, plant).finding
    assert finding is not None
    assert finding.prop == "durability"
    assert finding.done_s is not None
    assert 8.0 < finding.done_s < finding.at_s - 2.0  # after the fault that made it, before the end
    words = [text for text in ElementTree.fromstring(draw(scenario, plant)).itertext() if text.strip()]
    times = [float(word) for word in words if re.fullmatch(r"\d+\.\d{4}", word)]
    assert times[-1] <= finding.done_s
    assert "fsync-failure" in "".join(words)
    told = " ".join(words[-3:])
    assert f"{finding.done_s:.4f} durability" in " ".join(told.split())
    assert "{'what'" not in told


def test_a_load_whose_few_eventual_reads_all_failed_is_no_finding() -> None:
    again: list[object] = []

    def over(stage: Stage, faults: Faults) -> None:
        reads = [op for op in stage.history if op.op == "eget"]
        assert reads
        refused = {id(op): msgspec.structs.replace(op, outcome="fail") for op in reads}
        stage.history[:] = [refused.get(id(op), op) for op in stage.history]
        again.append(_judge(stage))

    assert play(Scenario(seed=5, clients=1, safety_s=2.0), on_stage=over).finding is None
    assert again == [None]


def test_a_seed_that_does_not_fail_is_not_shrunk() -> None:
    assert shrink(Scenario(seed=1, safety_s=1.0), None, lambda text: None) is None


def test_an_exception_of_our_own_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **more: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(swarm, "play", broken)
    finding = swarm.explore_one(1).finding
    assert finding is not None
    assert (finding.prop, finding.text) == (swarm.CRASHED, "ZeroDivisionError: ours")


def test_coverage_knows_what_there_is_and_names_what_was_never_met() -> None:
    assert {"leader-elected", "replacement-done", "snapshot-installed"} <= set(coverage.known_events())
    assert "core/group.py:Group.step" in coverage.known_functions()
    total = coverage.Coverage()
    outcome = swarm.explore_one(0)
    assert outcome.calls
    total.add(outcome.seen, outcome.calls)
    never = total.never()
    assert "leader-elected" not in never["events"]
    assert "core/group.py:Group.step" not in never["functions"]
    assert "move" in never["faults"] or total.count("faults", "move")


def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.run(["explore", "--seeds", "2", "--start", "3", "--jobs", "1", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["played"], summary["failures"]) == (2, [])
    assert cli.run(["explore", "--seeds", "9", "--jobs", "2", "--plant", "ack-before-quorum"]) == 0
    said = capsys.readouterr().err
    assert "again:  blackstart explore --start" in said
    assert cli.run(["explore", "--replay", str(tmp_path / "none.yaml")]) == 2


def test_a_disk_lost_in_the_second_of_its_making_has_a_successor_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the followers of a leader that was on it take the new life for the old one, and wait for it for ever."""
    lives: list[int] = []
    incarnation = Host._incarnation

    def noted(host: Host) -> int:
        value = incarnation(host)
        if host.name == "storage-c1":
            lives.append(value)
        return value

    monkeypatch.setattr(Host, "_incarnation", noted)
    lost = Action("disk-loss", 0.05, 0.02, ["storage-c1"])
    for seed in range(4):
        lives.clear()
        assert play(Scenario(seed=seed, clients=1, rate=10.0, safety_s=0.3, method=[lost])).finding is None
        first, second = lives
        assert first < second
