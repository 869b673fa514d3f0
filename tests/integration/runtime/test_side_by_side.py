"""Clusters of both kinds on one machine leave each other's disks alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from runtime_support import HERE, TINY, command, say

from cluster import runtime


@pytest.mark.root
@pytest.mark.docker
def test_a_local_cluster_does_not_pin_the_disks_of_containers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for kind in runtime.KINDS:
        missing = runtime.runtime_of_kind(kind).missing()
        if missing is not None:
            pytest.skip(f"{kind}: {missing}")
    containers = runtime.choose("docker").up(TINY, command=command("docker"), plant_path=HERE)
    try:
        # Its mount namespaces are copies of the host's, in which the containers' volumes are mounted right now.
        processes = runtime.choose("local").up(TINY, command=command("local"), plant_path=HERE)
        try:
            containers.kill(["storage-a1"])
            containers.boot(["storage-a1"])
            assert say(containers, "storage-a1", "sync on") == "done"
            assert say(processes, "storage-a1", "sync on") == "done"
        finally:
            processes.down()
    finally:
        containers.down()
