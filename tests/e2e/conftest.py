"""Whole game days, played by the command line as a user would. Half a minute each, so they are marked slow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Blackstart:
    """Runs the command line in a process of its own, with a state directory, and so clusters, of its own."""

    home: Path
    runtime: str
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def env(self) -> dict[str, str]:
        return {**os.environ, "XDG_STATE_HOME": str(self.home / "state"), "PYTHONPATH": str(ROOT)}

    def start(self, *argv: str) -> subprocess.Popen[str]:
        """Begin a command; its stderr goes to ``stderr`` in the test's directory."""
        with (self.home / "stderr").open("a") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "chaos.cli", *argv],
                cwd=ROOT, env=self.env, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True,
            )  # fmt: skip
        self.started.append(process)
        return process

    def call(self, *argv: str, timeout_s: float = 300.0) -> tuple[int, dict[str, Any]]:
        """Exit code and the JSON on stdout."""
        process = self.start(*argv)
        out, _ = process.communicate(timeout=timeout_s)
        return process.returncode, json.loads(out or "{}")

    def run(self, playbook: str, *more: str) -> subprocess.Popen[str]:
        """Begin a game day."""
        out = str(self.home / "runs")
        return self.start("run", playbook, "--runtime", self.runtime, "--out", out, "--json", "--no-human", *more)

    def said(self) -> str:
        return (self.home / "stderr").read_text()

    def clusters(self) -> list[str]:
        """Clusters that this test's state directory remembers."""
        path = self.home / "state" / "blackstart" / "clusters"
        return sorted(p.name for p in path.iterdir()) if path.is_dir() else []


def wait_until(what: Callable[[], bool], limit_s: float, why: Callable[[], str] = lambda: "") -> None:
    deadline = time.monotonic() + limit_s
    while not what():
        assert time.monotonic() < deadline, why()
        time.sleep(0.1)


def engine_answers() -> bool:
    try:
        import docker

        docker.from_env().ping()
    except Exception:
        return False
    return True


@pytest.fixture(
    params=[pytest.param("local", marks=pytest.mark.root), pytest.param("docker", marks=pytest.mark.docker)]
)
def blackstart(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Blackstart]:
    if request.param == "local" and os.geteuid() != 0:
        pytest.skip("the local runtime wants root")
    if request.param == "docker" and not engine_answers():
        pytest.skip("no Docker engine answers")
    made = Blackstart(tmp_path, request.param)
    yield made
    for process in made.started:
        if process.poll() is None:
            process.kill()
            process.wait()
    for cluster in made.clusters():
        made.call("cluster", "down", cluster)
