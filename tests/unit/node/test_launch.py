"""What it costs to start a node: a cluster starts two dozen at once, so each loads the code of its own role only."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from cluster.api import OPERATIONS
from cluster.node import launch
from cluster.node.config import NodeConfig, Peer
from cluster.node.realworld import RealWorld


def loaded_by(module: str) -> list[str]:
    """Our modules in a fresh interpreter that imported ``module``."""
    script = f"import sys, {module}; print(*(name for name in sys.modules if name.startswith('cluster.')))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.split()


@pytest.mark.parametrize(
    ("role", "needless"),
    [
        ("router", ("cluster.store.wal", "cluster.core.group", "cluster.node.host", "cluster.core.partiql")),
        ("storage", ("cluster.api.query", "cluster.core.partiql", "cluster.wire.http")),
        ("controlplane", ("cluster.api.query", "cluster.core.partiql", "cluster.store.objects")),
        ("memds", ("cluster.api", "cluster.core.group", "cluster.core.commands")),
        ("gac", ("cluster.api", "cluster.core.group", "cluster.core.commands")),
        ("identity", ("cluster.api", "cluster.core.group", "cluster.core.commands")),
        ("objectstore", ("cluster.api", "cluster.core.group", "cluster.store.objects", "cluster.node.archiver")),
    ],
)
def test_a_role_loads_its_own_code_only(role: str, needless: tuple[str, ...]) -> None:
    loaded = loaded_by(f"cluster.node.launch, cluster.node.{role}")
    assert f"cluster.node.{role}" in loaded
    assert [name for name in needless if name in loaded] == []


def test_operations_are_found_under_their_own_names() -> None:
    assert {name: operation.name for name, operation in OPERATIONS.items()} == {name: name for name in OPERATIONS}
    assert "NoSuch" not in OPERATIONS
    assert OPERATIONS.get("NoSuch") is None


def test_the_collector_is_off_while_a_node_loads() -> None:
    script = (
        "import gc, sys, cluster.node.__main__ as program\n"
        "assert 'cluster.node.launch' not in sys.modules\n"
        "class Launch: main = staticmethod(gc.isenabled)\n"
        "sys.modules['cluster.node.launch'] = Launch\n"
        "print(program.start())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "False\n"


def test_the_collector_is_on_in_a_node_that_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "RealWorld", partial(RealWorld, port=0))
    peer = Peer("gac-a", "gac", "a", "a1", "127.0.0.1")
    events = tmp_path / "events.jsonl"
    config = NodeConfig(
        "test", "local-1", "gac-a", "gac", "a", "a1", "127.0.0.1", str(tmp_path), str(events), "00" * 32, [peer]
    )

    async def life() -> None:
        node = asyncio.get_running_loop().create_task(launch.serve(config))
        while not events.exists() or b'"ready"' not in events.read_bytes():
            await asyncio.sleep(0.01)
            assert not node.done()
        assert gc.isenabled()
        assert gc.get_threshold()[0] == launch.GC_YOUNG_MAX
        os.kill(os.getpid(), signal.SIGTERM)
        await node

    thresholds = gc.get_threshold()
    gc.disable()
    try:
        asyncio.run(life())
    finally:
        gc.enable()
        gc.set_threshold(*thresholds)
        gc.unfreeze()
    assert json.loads(events.read_bytes().splitlines()[-1])["event"] == "stopping"
