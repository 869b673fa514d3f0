"""What a runtime promises, on real containers and real namespaces."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from runtime_support import HERE, say, traces

from cluster import runtime
from cluster.runtime import Cluster, NodeFailed, RuntimeFailed, state

EVERYONE = ["storage-a1", "router-a", "storage-a2", "storage-b1", "router-b"]


def power_off(cluster: Cluster, names: list[str]) -> dict[str, object]:
    nodes = []
    for name in names:
        node = cluster.nodes[name]
        process = node.process()
        assert process is not None
        nodes.append(
            {
                "pid": process.pid,
                "started": process.started,
                "cgroup": node.cgroup(),
                "data": None if node.disk is None else node.data_mount(),
            }
        )
    result: dict[str, object] = cluster.host.call("power_off", nodes=nodes)
    cluster.wait_dead(names, timeout_s=10)
    return result


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return str(answer.read().decode())


def test_life_of_a_cluster(tiny: Cluster, kind: str, tmp_path: Path) -> None:
    assert list(tiny.nodes) == EVERYONE
    assert {az: get(url) for az, url in tiny.endpoints.items()} == {"a": "router-a", "b": "router-b"}
    assert say(tiny, "storage-a1", "sync one") == "done"
    assert say(tiny, "storage-a1", f"reach {tiny.nodes['storage-b1'].address}") == "reached"

    # Another process finds the same nodes.
    other = runtime.attach(tiny.id)
    assert {n: other.nodes[n].pid() for n in EVERYONE} == {n: tiny.nodes[n].pid() for n in EVERYONE}
    assert runtime.list_clusters()[tiny.id] == kind

    # A kill keeps what was written; addresses and endpoints stay.
    before = tiny.nodes["storage-a1"].pid()
    tiny.kill(["storage-a1", "router-a"])
    assert tiny.nodes["storage-a1"].pid() is None
    tiny.boot(EVERYONE)
    assert tiny.nodes["storage-a1"].pid() not in {before, None}
    assert say(tiny, "storage-a1", "read") == "one,"
    assert get(tiny.endpoints["a"]) == "router-a"

    tiny.stop(["storage-b1"])
    assert tiny.nodes["storage-b1"].process() is None
    with pytest.raises(RuntimeFailed, match="no node storage-z"):
        tiny.boot(["storage-z"])

    tiny.down()
    assert traces(tiny.id, tmp_path) == []
    tiny.down()
    with pytest.raises(RuntimeFailed, match="there is no record of a cluster"):
        runtime.attach(tiny.id)


def test_power_off_loses_what_was_not_synced_and_nothing_else(tiny: Cluster) -> None:
    for node in ("storage-a1", "storage-a2"):
        assert say(tiny, node, "sync synced") == "done"
        assert say(tiny, node, "write unsynced") == "done"
        assert say(tiny, node, "read") == "synced,unsynced,"
    power_off(tiny, ["storage-a1", "storage-a2", "router-a"])
    tiny.boot(["storage-a1", "storage-a2", "router-a"])
    assert [say(tiny, node, "read") for node in ("storage-a1", "storage-a2")] == ["synced,", "synced,"]
    assert say(tiny, "storage-a1", "sync after") == "done"  # no EIO from a superblock that was shut down


def test_a_cut_on_the_bridge_is_seen_by_a_probe_from_the_victim(tiny: Cluster) -> None:
    here, there = tiny.nodes["storage-a1"], tiny.nodes["storage-b1"]

    def probe() -> str:
        return str(
            tiny.host.call("probe_tcp", pid=here.pid(), address=there.address, port=7000, timeout_s=0.5)["result"]
        )

    table = f"{tiny.id}_test"  # so that whoever takes stock beside us knows whose it is
    assert probe() == "connected"
    try:
        tiny.host.call(
            "nft",
            text=f"add table bridge {table}\n"
            f"add chain bridge {table} cut {{ type filter hook forward priority 0; }}\n"
            f"add rule bridge {table} cut ip saddr {here.address} ip daddr {there.address} drop\n",
        )
        assert probe() == "silent"
        assert say(tiny, "storage-b1", "read") == ""  # the host itself still gets there
    finally:
        tiny.host.call("nft", text=f"delete table bridge {table}\n")
    assert probe() == "connected"


def test_clients_sit_in_their_zones_range(tiny: Cluster, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    script = (
        "import socket, sys, pathlib\n"
        f"c = socket.create_connection(('{tiny.nodes['storage-a1'].address}', 7000), timeout=5)\n"
        f"pathlib.Path('{run}/me').write_text(c.getsockname()[0])\n"
        "print('said', flush=True)\n"
        "sys.exit(7)\n"
    )
    client = tiny.client("b", ["python", "-c", script], mounts=[run], log=run / "client.log")
    assert client.wait(20) == 7
    assert client.poll() == 7
    assert (run / "me").read_text() == client.address
    assert client.address in tiny.client_addresses("b")
    assert (run / "client.log").read_text() == "said\n"

    sleepers = [tiny.client("b", ["python", "-c", "import time; time.sleep(60)"]) for _ in range(2)]
    assert [c.name for c in sleepers] == ["client-b", "client-b-2"]
    assert all(c.poll() is None and c.pid() is not None for c in sleepers)
    canary = tiny.client("b", ["python", "-c", "import time; time.sleep(60)"], canary=True)
    assert canary.name == "canary-b"
    assert canary.address in tiny.canary_addresses("b")
    assert not {c.address for c in sleepers} & set(tiny.canary_addresses("b"))
    canary.kill()
    assert canary.wait(20) != 0
    sleepers[0].terminate()
    assert sleepers[0].wait(20) != 0
    sleepers[1].kill()
    assert sleepers[1].wait(20) != 0


def test_a_node_that_fails_is_named_and_nothing_is_left(start: Callable[..., Cluster], tmp_path: Path) -> None:
    with pytest.raises(NodeFailed, match="planted: this node never becomes ready"):
        start(cluster_id="bs00dead", plant="never-ready")
    assert traces("bs00dead", tmp_path) == []


def test_two_clusters_at_once_do_not_meet(start: Callable[..., Cluster]) -> None:
    one, two = start(), start()
    assert one.subnet != two.subnet
    assert not set(one.endpoints.values()) & set(two.endpoints.values())
    one.down()
    assert {az: get(url) for az, url in two.endpoints.items()} == {"a": "router-a", "b": "router-b"}


@pytest.mark.parametrize("state_survives", [True, False])
def test_a_killed_controller_leaves_nothing_that_remove_does_not_find(
    kind: str, tmp_path: Path, state_survives: bool
) -> None:
    script = (
        "import os, signal, sys\n"
        "from runtime_support import TINY, HERE, command\n"
        "from cluster import runtime\n"
        f"c = runtime.choose('{kind}').up(TINY, cluster_id='bs00feed', command=command('{kind}'), plant_path=HERE)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": str(HERE)}, check=False)
    try:
        assert done.returncode == -signal.SIGKILL
        assert traces("bs00feed", tmp_path) != []
        if not state_survives:
            (state.clusters() / "bs00feed" / state.RECORD).unlink()
    finally:
        runtime.remove("bs00feed")
    assert traces("bs00feed", tmp_path) == []
