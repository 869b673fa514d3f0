"""Real clusters of a miniature node program: three nodes with disks and two routers in two zones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from runtime_support import HERE, TINY, command

from cluster import runtime
from cluster.runtime import Cluster

KINDS = [
    pytest.param("local", marks=pytest.mark.root),
    pytest.param("docker", marks=pytest.mark.docker),
    pytest.param("docker+helper", marks=pytest.mark.docker),
]
"""``docker+helper``: as for a user who is in the docker group but not root."""


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A runtime that can be used here, with a state directory of the test's own."""
    name, _, helper = str(request.param).partition("+")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    if helper:
        monkeypatch.setenv("BLACKSTART_HELPER", "1")
    missing = runtime.runtime_of_kind(name).missing()
    if missing is not None:
        pytest.skip(f"{name}: {missing}")
    return name


@pytest.fixture
def start(kind: str) -> Iterator[Callable[..., Cluster]]:
    """Starts clusters of the stand-in program, and takes every one of them down again."""
    made: list[Cluster] = []

    def up(**settings: object) -> Cluster:
        settings = {"command": command(kind), "plant_path": HERE} | settings
        made.append(runtime.choose(kind).up(TINY, **settings))  # type: ignore[arg-type]
        return made[-1]

    yield up
    for cluster in made:
        cluster.down()


@pytest.fixture
def tiny(start: Callable[..., Cluster]) -> Cluster:
    return start()
