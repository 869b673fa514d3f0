"""The record of a cluster: written before anything is made, private, and never given out twice."""

from __future__ import annotations

import json
import stat
import threading
from pathlib import Path

import pytest

from cluster import runtime, topology
from cluster.node.config import load as load_config
from cluster.runtime import state
from cluster.runtime.state import StateError

SMALL = topology.load("small")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "blackstart" / "clusters"


def test_a_record_reads_back_as_it_was_written(home: Path) -> None:
    made = state.create("docker", SMALL, data_of="/data", labels={"run": "x"}, plant="p", plant_path=Path("/plants"))
    made = made.with_disks({"storage-a1": "/dev/loop7"})
    made.save()
    again = state.load(made.id)
    assert again == made
    assert again is not None
    disk = again.nodes["storage-a1"].disk
    assert disk is not None
    assert disk.device == "/dev/loop7"
    assert state.known_ids() == [made.id]
    assert state.kind_of(made.id) == "docker"
    assert stat.S_IMODE((home / made.id / state.RECORD).stat().st_mode) == 0o600
    assert made.secret_key not in repr(made)
    assert made.key not in repr(made)
    made.remove()
    assert state.load(made.id) is None


def test_node_configurations_are_what_nodes_read() -> None:
    made = state.create("local", SMALL)
    state.write_configs(made)
    for name in made.nodes:
        config = load_config(made.config_of(name).read_bytes())
        assert (config.name, config.cluster, config.listen) == (name, made.id, made.nodes[name].address)
        assert len(config.peers) == 22
        assert (config.identity is not None) == (config.role == "identity")
        assert config.data == f"{made.directory}/mounts/{name}"


def test_only_storage_nodes_and_the_archive_itself_are_told_its_keys() -> None:
    made = state.create("local", SMALL)
    state.write_configs(made)
    configs = {name: load_config(made.config_of(name).read_bytes()) for name in made.nodes}
    archive = configs["archive"].archive
    assert archive is not None
    assert archive.url == f"http://{made.nodes['archive'].address}:9000/blackstart"
    assert archive.secret_key not in repr(archive)
    for name, config in configs.items():
        assert config.archive == (archive if config.role in ("storage", "archive") else None), name
        assert bool(config.scrub.bytes_per_s) == (config.role == "storage")
    other = state.archive_of(state.create("local", SMALL))
    assert other is not None
    assert other["secret_key"] != archive.secret_key
    assert archive.secret_key not in (made.key, made.secret_key)


def test_an_archive_elsewhere_is_reached_with_the_deployers_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEPLOYER")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "theirs")
    text = "name: far\nzones: {a: {a1: {storage: 1}}}\narchive: {url: https://s3.example.org/bucket, hold: 8M}\n"
    far = topology.parse(text)
    assert far.archived
    assert state.archive_of(state.create("local", far)) == {
        "url": "https://s3.example.org/bucket",
        "hold_bytes": 8 << 20,
        "access_key": "AKIDEPLOYER",
        "secret_key": "theirs",
    }
    none = topology.parse("name: none\nzones: {a: {a1: {storage: 1}}}\n")
    assert not none.archived
    assert state.archive_of(state.create("local", none)) is None


def test_clusters_made_at_once_share_nothing() -> None:
    made: list[state.ClusterState] = []
    threads = [threading.Thread(target=lambda: made.append(state.create("local", SMALL))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({m.id for m in made}) == 8
    assert len({m.subnet for m in made}) == 8
    assert len({url for m in made for url in m.endpoints.values()}) == 24
    assert len({m.key for m in made}) == 8


def test_an_address_range_in_use_is_never_chosen() -> None:
    everything = [f"198.{18 + n // 256}.{n % 256}" for n in range(512)]
    assert state.choose_subnet(set(everything) - {"198.19.42"}) == "198.19.42.0"
    with pytest.raises(StateError, match="all 512"):
        state.choose_subnet(everything)


def test_an_id_is_refused_where_it_is_malformed_or_taken() -> None:
    with pytest.raises(StateError, match="is no cluster id"):
        state.create("local", SMALL, cluster_id="../../etc")
    state.create("local", SMALL, cluster_id="bs0000aa")
    with pytest.raises(StateError, match="exists"):
        state.create("local", SMALL, cluster_id="bs0000aa")


@pytest.mark.parametrize("damage", ["", "{", '{"schema": 2}', '{"schema": 1, "nodes": {}}'])
def test_a_damaged_record_says_how_to_clean_up(home: Path, damage: str) -> None:
    made = state.create("local", SMALL)
    (home / made.id / state.RECORD).write_text(damage)
    with pytest.raises(StateError, match=f"blackstart cluster down {made.id}"):
        state.load(made.id)
    assert state.kind_of(made.id) is None
    other = state.create("local", SMALL)  # and does not stop other clusters from being made
    assert other.id != made.id


def test_attaching_to_what_is_not_there_names_what_is() -> None:
    made = state.create("local", SMALL)
    for wrong in ("bs999999", "../x", ""):
        with pytest.raises(runtime.NoSuchCluster, match=made.id):
            runtime.attach(wrong)


def test_the_record_is_json_for_other_tools(home: Path) -> None:
    made = state.create("local", SMALL)
    value = json.loads((home / made.id / state.RECORD).read_text())
    assert value["schema"] == 1
    assert value["nodes"]["storage-a1"]["rack"] == "a1"
