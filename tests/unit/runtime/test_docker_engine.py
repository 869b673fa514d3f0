"""An engine that takes a request and never answers, and one that has lost count."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import docker.errors
import pytest
import requests.exceptions

from cluster.runtime.base import RuntimeFailed
from cluster.runtime.docker import DockerRuntime
from cluster.runtime.dockerapi import Engine


@pytest.fixture
def mute(tmp_path: Path) -> Iterator[Engine]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "sock"))
        listener.listen()
        client = Engine(base_url=f"unix://{tmp_path}/sock", version="1.41", timeout=0.2)
        yield client
        client.close()


def test_silence_is_told_with_the_request_that_met_it(mute: Engine) -> None:
    with pytest.raises(RuntimeFailed, match=r"did not answer within 0.2 s \(GET /v1.41/containers/json"):
        mute.containers()


def test_a_limit_of_the_callers_own_stays_his(mute: Engine) -> None:
    with pytest.raises(requests.exceptions.ReadTimeout):
        mute.wait("container", timeout=0.1)


class Miscounting:
    """An engine with nothing of the cluster's but a network, which it will not let go."""

    def __init__(self, attached: dict[str, str]) -> None:
        self.attached = attached

    def containers(self, **_: object) -> list[object]:
        return []

    def volumes(self, **_: object) -> dict[str, list[object]]:
        return {"Volumes": []}

    def networks(self, **_: object) -> list[dict[str, str]]:
        return [{"Id": "e2eb54d9"}]

    def remove_container(self, name: str, **_: object) -> None:
        raise docker.errors.NotFound("no such container")

    def remove_network(self, network: str) -> None:
        raise docker.errors.APIError("conflict", explanation=f"network {network} has active endpoints")

    def inspect_network(self, network: str) -> dict[str, object]:
        return {"Containers": self.attached}


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("cluster.runtime.docker.STOPPED_TIMEOUT_S", 0.0)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


@pytest.mark.usefixtures("hasty")
def test_an_engine_that_lost_count_of_endpoints_is_told_from_one_whose_network_is_in_use() -> None:
    with pytest.raises(RuntimeFailed, match=r"Restart the engine, then: blackstart cluster down bs1") as lost:
        DockerRuntime(Miscounting({})).remove("bs1")
    assert "e2eb54d9 cannot be removed: network e2eb54d9 has active endpoints" in str(lost.value)
    with pytest.raises(RuntimeFailed, match=r"has active endpoints$"):
        DockerRuntime(Miscounting({"c0ffee": "somebody's container"})).remove("bs1")
