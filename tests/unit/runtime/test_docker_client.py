"""A client's container, as its engine tells of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import docker.errors
import pytest

from cluster.runtime.docker import KILLED, DockerClient


class Engine:
    """The part of the Docker API that a client asks; ``state`` None: there is no such container."""

    def __init__(self, state: dict[str, Any] | None) -> None:
        self.state = state

    def inspect_container(self, container: str) -> dict[str, Any]:
        if self.state is None:
            raise docker.errors.NotFound(f"No such container: {container}")
        return {"State": self.state}

    def wait(self, container: str, timeout: float) -> dict[str, int]:
        return {"StatusCode": int(self.inspect_container(container)["State"]["ExitCode"])}


def client(state: dict[str, Any] | None) -> DockerClient:
    return DockerClient(Engine(state), "bs000000-canary-b", "b", "canary-b", "198.18.0.92", Path("canary-b.log"))


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ({"Running": True, "Status": "running", "ExitCode": 0}, None),
        ({"Running": False, "Status": "created", "ExitCode": 0}, None),
        ({"Running": False, "Status": "exited", "ExitCode": 4}, 4),
    ],
)
def test_poll_tells_the_exit_code_once_there_is_one(state: dict[str, Any], code: int | None) -> None:
    assert client(state).poll() == code


def test_a_container_that_was_removed_with_its_cluster_was_killed() -> None:
    """`cluster down` while canaries run is nothing unusual, and no defect."""
    assert client(None).poll() == KILLED
    assert client(None).wait(1.0) == KILLED
