"""A user in the docker group who is not root: whose disks are they, and what is said where root is wanted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from cluster import runtime, topology
from cluster.runtime import native, state
from cluster.runtime.docker import DATA, DockerCluster, DockerRuntime
from cluster.runtime.engine import labels


class Engine:
    """The part of the Docker API that makes a node's container; keeps what it was asked for, by container."""

    def __init__(self) -> None:
        self.hosts: dict[str, dict[str, Any]] = {}
        self.labels: list[dict[str, str]] = []

    def create_volume(self, name: str, **_: Any) -> None: ...

    def create_endpoint_config(self, **settings: Any) -> dict[str, Any]:
        return settings

    def create_networking_config(self, settings: Any) -> Any:
        return settings

    def create_host_config(self, **settings: Any) -> dict[str, Any]:
        return settings

    def create_container(
        self, image: str, *, name: str, host_config: dict[str, Any], labels: dict[str, str], **_: Any
    ) -> None:
        self.hosts[name] = host_config
        self.labels.append(labels)

    def containers(self, filters: dict[str, Any], **_: Any) -> list[dict[str, Any]]:
        wanted = [term.split("=", 1) for term in filters["label"]]
        fits = [
            each
            for each in self.labels
            if all(term[0] in each and each[term[0]] == term[-1] for term in wanted if len(term) > 1)
        ]
        return [{"Labels": each} for each in fits]

    def networks(self, **_: Any) -> list[dict[str, Any]]:
        return []

    def volumes(self, **_: Any) -> dict[str, Any]:
        return {"Volumes": None}


def test_every_node_may_write_to_its_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the image has there, and whoever owns it: an engine copies an image's owner to a volume unless told."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(native, "binds", lambda api, image: {})
    monkeypatch.setattr(os, "getuid", lambda: 1234)
    monkeypatch.setattr(os, "getgid", lambda: 99)
    record = state.create("docker", topology.load("small"), data_of=DATA)
    record = record.with_disks({name: "/dev/loop7" for name, node in record.nodes.items() if node.disk is not None})
    record.images.update(node="node:1")
    engine = Engine()
    cluster = DockerCluster(record, engine, None)
    for name in ("storage-a1", "router-a"):
        cluster.create_node(name)
    disk, diskless = engine.hosts[f"{record.id}-storage-a1"], engine.hosts[f"{record.id}-router-a"]
    assert disk["binds"][f"{record.id}-storage-a1"] == {"bind": DATA, "mode": "rw,nocopy"}
    assert disk["tmpfs"] == {}
    assert "uid=1234,gid=99" in diskless["tmpfs"][DATA]


def test_other_users_clusters_on_the_engine_are_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`cluster down --all` takes down what is listed."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    engine = Engine()
    for number, uid in ((1, 1000), (2, 1001)):
        monkeypatch.setattr(os, "getuid", lambda uid=uid: uid)
        engine.create_container("node:1", name="x", host_config={}, labels=labels(f"bs00000{number}"))
    assert DockerRuntime(engine).list_clusters() == ["bs000002"]


def test_a_runtime_that_was_asked_for_and_cannot_be_used_is_wrong_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLACKSTART_HELPER", "1")  # as if not root
    with pytest.raises(runtime.RuntimeUnusable, match=r"the runtime local cannot be used here: .*wants root") as e:
        runtime.choose("local")
    assert e.value.exit_code == 2


def test_a_machine_where_nothing_can_be_used_is_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BLACKSTART_HELPER", "1")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/dead.sock")
    with pytest.raises(runtime.RuntimeFailed, match=r"(?s)no runtime can be used here.docker: no Docker engine") as e:
        runtime.choose(None)
    assert e.value.exit_code == 4
