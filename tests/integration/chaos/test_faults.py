"""Faults on real namespaces, file systems and bridges: what they do, their proof, their undo, and a dead controller."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from chaos.faults import cuts, fault_of
from chaos.faults.base import Changed, Effect, FaultUnavailable, Spec, node_refs
from chaos.faults.bitrot import damages
from chaos.faults.damage import fingerprint
from chaos.healing import drop_tables, heal_all, heal_entry
from chaos.journal import Entry, Journal, boot_s, host_boot_id
from chaos.leftovers import Marks, collect, difference
from cluster.runtime import Cluster
from cluster.store.files import RealLogDirectory
from cluster.store.wal import Wal

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]
CONTROLLER = Path(__file__).with_name("controller.py")
ROOT = Path(__file__).resolve().parents[3]
LEASE_S = 3.0
Say = Callable[[str, str], str]


def put_in(cluster: Cluster, kind: str, spec: Spec, lease_s: float = 30.0) -> tuple[Entry, Effect]:
    """Journal, inject and verify."""
    fault = fault_of(kind)
    fault.preflight(cluster, spec)
    expires = boot_s() + lease_s
    entry = Entry("f0", cluster.id, cluster.kind, kind, spec.name, spec.targets, fault.undo(cluster, "f0", spec),
                  lease_s, expires, host_boot_id(), time.time())  # fmt: skip
    Journal(cluster.state_dir).write(entry)
    fault.inject(cluster, entry, spec)
    return entry, fault.verify(cluster, entry, spec)


def storage_cut(cluster: Cluster, direction: cuts.Direction = "both") -> Spec:
    storage = [ref for ref in node_refs(cluster) if ref.role == "storage"]
    pairs = cuts.between([ref for ref in storage if ref.name == "storage-b1"], storage, direction)
    return Spec("cut", ("storage-b1",), {}, pairs)


def wait_until(what: Callable[[], bool], limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def test_power_off_loses_what_was_not_synced_and_nothing_else(cluster: Cluster, say: Say) -> None:
    say("storage-b1", "sync kept")
    say("storage-b1", "write lost")
    assert say("storage-b1", "read") == "kept,lost,"
    entry, effect = put_in(cluster, "power-off", Spec("dark", ("storage-b1", "router-b"), {"unsynced": "lose"}))
    assert effect.state == "confirmed", effect.detail
    assert say("storage-a1", f"reach {cluster.nodes['storage-b1'].address}") == "TimeoutError", "silence, not a reset"
    healed = heal_entry(cluster, Journal(cluster.state_dir), entry)
    assert healed.error is None
    assert healed.effect is not None
    assert healed.effect.state == "confirmed", healed.effect.detail
    assert say("storage-b1", "read") == "kept,"
    assert say("storage-a1", f"reach {cluster.nodes['storage-b1'].address}") == "reached"


PROBER = """
import socket, sys, time
with open(sys.argv[2], "a", buffering=1) as out:
    while True:
        try:
            socket.create_connection((sys.argv[1], 7000), timeout=0.3).close()
            print("reached", file=out)
        except OSError:
            print("lost", file=out)
        time.sleep(0.05)
"""
ZONE_B = ("storage-b1", "router-b")


def watcher(cluster: Cluster, directory: Path, *, canary: bool) -> Callable[[], str]:
    """Start a client of zone b; what it finds on its way to zone a at each call, tried after the call."""
    out = directory / f"canary-{canary}"
    out.touch()
    cluster.client(
        "b", ["python", "-c", PROBER, cluster.nodes["storage-a1"].address, str(out)], mounts=[directory],
        log=directory / "log", canary=canary,
    )  # fmt: skip

    def now() -> str:
        begun = len(out.read_text().splitlines())
        wait_until(lambda: len(out.read_text().splitlines()) >= begun + 2, 20.0)  # the first may have been under way
        return out.read_text().splitlines()[begun + 1]

    return now


def test_a_dark_zone_takes_its_canarys_path_away_and_leaves_its_loads(cluster: Cluster, tmp_path: Path) -> None:
    canary, load = (watcher(cluster, tmp_path, canary=which) for which in (True, False))
    assert (canary(), load()) == ("reached", "reached")
    entry, effect = put_in(cluster, "power-off", Spec("dark", ZONE_B, {"unsynced": "lose"}))
    assert effect.state == "confirmed", effect.detail
    assert "silence from them and the canaries of zone b" in effect.detail
    assert (canary(), load()) == ("lost", "reached")
    assert heal_entry(cluster, Journal(cluster.state_dir), entry).error is None
    wait_until(lambda: canary() == "reached", 10.0)


def test_a_canary_keeps_its_path_while_any_node_of_its_zone_is_up(cluster: Cluster, tmp_path: Path) -> None:
    canary = watcher(cluster, tmp_path, canary=True)
    _, effect = put_in(cluster, "power-off", Spec("dark", ("storage-b1",), {"unsynced": "lose"}))
    assert (effect.state, canary()) == ("confirmed", "reached")
    assert "canaries" not in effect.detail
    heal_all(cluster, Journal(cluster.state_dir))


def test_a_canary_of_a_dark_zone_with_a_path_is_a_mismatch(cluster: Cluster, tmp_path: Path) -> None:
    """The proof can fail: with only the nodes left silent, the canary refuses the probe and reaches the others."""
    from chaos import nft

    canary = watcher(cluster, tmp_path, canary=True)
    spec = Spec("dark", ZONE_B, {"unsynced": "lose"})
    entry, _ = put_in(cluster, "power-off", spec)
    nodes = [cluster.nodes[name].address for name in ZONE_B]
    cluster.host.call("nft", text=nft.renew_silence(entry.undo["table"], nodes, 30))
    wait_until(lambda: canary() == "reached", 10.0)
    effect = fault_of("power-off").verify(cluster, entry, spec)
    assert effect.state == "mismatch"
    assert "zone b's canary at" in effect.detail
    heal_all(cluster, Journal(cluster.state_dir))


def test_a_canary_has_its_path_back_when_the_controller_is_killed(cluster: Cluster, tmp_path: Path) -> None:
    canary = watcher(cluster, tmp_path, canary=True)
    argv = [sys.executable, str(CONTROLLER), cluster.id, "power-off", "in", str(LEASE_S)]
    done = subprocess.run(
        argv, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == -9, done.stderr
    assert "the canaries of zone b" in done.stdout
    wait_until(lambda: canary() == "reached", LEASE_S + 20.0)
    wait_until(lambda: not Journal(cluster.state_dir).entries(), LEASE_S + 20.0)
    assert canary() == "reached"


def test_a_power_off_that_keeps_unsynced_data_is_not_taken_for_a_real_one(cluster: Cluster, say: Say) -> None:
    """The proof can fail: with the file system left alone, the unsynced mark survives, and that is a mismatch."""
    from chaos.faults.power_off import check_marks, write_marks

    say("storage-b1", "write survives a mere kill")
    write_marks(cluster, [cluster.nodes["storage-b1"]])
    cluster.kill(["storage-b1"])
    cluster.boot(["storage-b1"])
    effect = check_marks(cluster, ["storage-b1"])
    assert effect is not None
    assert effect.state == "mismatch"
    assert "storage-b1" in effect.detail
    assert say("storage-b1", "read") == "survives a mere kill,"


def test_a_power_off_that_did_not_happen_is_a_mismatch(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof can fail: nothing was injected, and the nodes run on."""
    monkeypatch.setattr("chaos.faults.power_off.DEATH_TIMEOUT_S", 0.2)
    spec = Spec("dark", ("storage-b1",), {"unsynced": "lose"})
    fault = fault_of("power-off")
    entry = Entry("f0", cluster.id, cluster.kind, "power-off", "dark", spec.targets, fault.undo(cluster, "f0", spec),
                  30.0, boot_s() + 30, host_boot_id(), time.time())  # fmt: skip
    effect = fault.verify(cluster, entry, spec)
    assert effect.state == "mismatch"
    assert "storage-b1" in effect.detail


@pytest.mark.parametrize("direction", ["both", "outbound", "inbound"])
def test_partition_cuts_what_it_says_and_no_more(cluster: Cluster, say: Say, direction: cuts.Direction) -> None:
    entry, effect = put_in(cluster, "partition", storage_cut(cluster, direction))
    assert effect.state == "confirmed", effect.detail
    assert say("storage-a1", f"reach {cluster.nodes['storage-b1'].address}") == "TimeoutError"
    assert say("router-a", f"reach {cluster.nodes['storage-b1'].address}") == "reached", "not cut from routers"
    assert heal_entry(cluster, Journal(cluster.state_dir), entry).error is None
    assert say("storage-a1", f"reach {cluster.nodes['storage-b1'].address}") == "reached"


def test_a_partition_that_does_not_hold_is_a_mismatch(cluster: Cluster) -> None:
    """The proof can fail: with the table gone again, the probe gets through."""
    from chaos import nft

    spec = storage_cut(cluster)
    entry, _ = put_in(cluster, "partition", spec)
    cluster.host.call("nft", text=nft.renew_pairs(entry.undo["table"], [("10.9.9.9", "10.9.9.8")], 30))
    effect = fault_of("partition").verify(cluster, entry, spec)
    assert effect.state == "mismatch", effect.detail
    heal_all(cluster, Journal(cluster.state_dir))


def test_a_partition_that_nobody_renews_lifts_itself(cluster: Cluster, say: Say) -> None:
    put_in(cluster, "partition", storage_cut(cluster), lease_s=1.0)
    wait_until(lambda: say("storage-a1", f"reach {cluster.nodes['storage-b1'].address}") == "reached", 10.0)
    assert drop_tables(cluster) == [f"{cluster.id}_f0"], "the empty table is left to the reaper"


def test_a_renewed_partition_lasts(cluster: Cluster, say: Say) -> None:
    entry, _ = put_in(cluster, "partition", storage_cut(cluster), lease_s=1.0)
    fault_of("partition").renew(cluster, Entry(**{**asdict(entry), "lease_s": 30.0}))
    time.sleep(1.5)  # longer than the first lease: the point of the test
    assert say("storage-a1", f"reach {cluster.nodes['storage-b1'].address}") == "TimeoutError"
    heal_all(cluster, Journal(cluster.state_dir))


@pytest.mark.parametrize(
    ("kind", "moment"),
    [
        ("power-off", "journalled"),
        ("power-off", "frozen"),
        ("power-off", "shut"),
        ("power-off", "in"),
        ("partition", "journalled"),
        ("partition", "in"),
        ("restart", "journalled"),
        ("restart", "stopped"),
        ("restart", "in"),
        ("bit-rot", "journalled"),
        ("bit-rot", "half"),
        ("bit-rot", "in"),
    ],
)
def test_a_controller_killed_in_the_middle_leaves_nothing(cluster: Cluster, say: Say, kind: str, moment: str) -> None:
    marks = Marks(cluster.id, (cluster.subnet.rsplit(".", 1)[0] + ".",))
    say("storage-b1", "sync kept")
    give_log(cluster, "storage-b1")
    before, errors = collect(marks)
    assert errors == []
    argv = [sys.executable, str(CONTROLLER), cluster.id, kind, moment, str(LEASE_S)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -9, done.stderr
    journal = Journal(cluster.state_dir)
    assert len(journal.entries()) == 1, "journalled before anything was touched"
    wait_until(lambda: not journal.entries(), LEASE_S + 20.0)
    # The line follows the empty journal by a moment.
    wait_until(lambda: f"lifted {kind} 'doomed'" in (cluster.state_dir / "reaper.log").read_text(), 10.0)
    assert say("storage-b1", "read") == "kept,"
    assert say("storage-a1", f"reach {cluster.nodes['storage-b1'].address}") == "reached"
    # The reaper, too, must go: its controller is dead and the journal is empty.
    wait_until(lambda: "no fault is in: done" in (cluster.state_dir / "reaper.log").read_text(), 10.0)
    assert steady(difference(before, collect(marks)[0]), cluster.id) == []
    cluster.down()
    wait_until(lambda: not left(marks, "links", "processes"), 10.0)
    assert left(marks, *collect(marks)[0]) == []


def give_log(cluster: Cluster, node: str, segment_bytes: int = 1 << 20) -> Path:
    """Put a write-ahead log on a stand-in's disk, as a storage node would have written it; its oldest segment."""

    async def write(directory: RealLogDirectory) -> None:
        wal, _ = Wal.open(directory, store_id=7, incarnation=1, fresh=True, segment_bytes=segment_bytes)
        for slot in range(8):
            wal.append("g0", slot, b"x" * 2000)
            await wal.sync()
        await wal.close()

    path = Path(str(cluster.nodes[node].data_mount())) / "log"
    path.mkdir(exist_ok=True)

    async def offload(function: Callable[..., object], *arguments: object) -> object:
        return function(*arguments)

    asyncio.run(write(RealLogDirectory(path, offload)))
    return min(path.glob("wal-*.log"))


def rot_spec(**options: object) -> Spec:
    return Spec("rot", ("storage-b1",), {"place": "log", **options}, seed="1")


@pytest.mark.parametrize("mode", ["bit-flip", "chunk-copy", "old-chunk", "truncate"])
def test_bit_rot_changes_what_the_journal_says_and_nothing_else(cluster: Cluster, mode: str) -> None:
    segments = give_log(cluster, "storage-b1", segment_bytes=8000).parent
    intact = {path.name: path.read_bytes() for path in segments.iterdir()}
    entry, effect = put_in(cluster, "bit-rot", rot_spec(mode=mode))
    assert effect.state == "confirmed", effect.detail
    (one,) = damages(entry)
    path = segments / Path(one.file).name
    assert {other.name for other in segments.iterdir() if other.read_bytes() != intact[other.name]} == {path.name}
    if mode == "truncate":  # of the newest segment the end is left alone: the marks of its batches are there
        assert path.name < max(intact, key=lambda name: (name.endswith(".log"), name))
    before, after = intact[path.name], path.read_bytes()
    assert one.new == fingerprint(after[one.offset : one.offset + one.length])
    assert after[: one.offset] == before[: one.offset]
    assert after[one.offset + one.length :] == before[one.offset + one.length :]
    healed = heal_entry(cluster, Journal(cluster.state_dir), entry)
    assert (healed.error, healed.effect) == (None, None)
    assert path.read_bytes() == after, "damage is never undone"


def test_bit_rot_that_did_not_happen_is_a_mismatch(cluster: Cluster) -> None:
    give_log(cluster, "storage-b1")
    spec, fault = rot_spec(), fault_of("bit-rot")
    entry = Entry("f0", cluster.id, cluster.kind, "bit-rot", "rot", spec.targets, fault.undo(cluster, "f0", spec), 30.0,
                  boot_s() + 30, host_boot_id(), time.time())  # fmt: skip
    effect = fault.verify(cluster, entry, spec)
    assert effect.state == "mismatch"
    assert "reads as before" in effect.detail


def test_bit_rot_leaves_alone_what_has_moved_on_since_it_was_looked_at(cluster: Cluster) -> None:
    path = give_log(cluster, "storage-b1")
    spec, fault = rot_spec(count=2), fault_of("bit-rot")
    entry = Entry("f0", cluster.id, cluster.kind, "bit-rot", "rot", spec.targets, fault.undo(cluster, "f0", spec), 30.0,
                  boot_s() + 30, host_boot_id(), time.time())  # fmt: skip
    _, second = damages(entry)
    moved = bytearray(path.read_bytes())
    moved[second.offset] ^= 255
    path.write_bytes(moved)
    with pytest.raises(Changed, match="was rewritten; nothing was damaged"):
        fault.inject(cluster, entry, spec)
    assert path.read_bytes() == bytes(moved)


def test_a_node_without_a_disk_cannot_rot(cluster: Cluster) -> None:
    with pytest.raises(FaultUnavailable, match="router-b keeps nothing on a disk"):
        fault_of("bit-rot").preflight(cluster, Spec("rot", ("router-b",), {"place": "log"}))


def test_a_restart_is_orderly_and_comes_back(cluster: Cluster, say: Say) -> None:
    say("storage-b1", "sync kept")
    was = cluster.nodes["storage-b1"].process()
    entry, effect = put_in(cluster, "restart", Spec("restart", ("storage-b1",), {}))
    assert effect.state == "confirmed", effect.detail
    assert cluster.nodes["storage-b1"].process() is None
    assert heal_entry(cluster, Journal(cluster.state_dir), entry).error is None
    assert cluster.nodes["storage-b1"].process() not in (None, was)
    assert say("storage-b1", "read") == "kept,"


def left(marks: Marks, *kinds: str) -> list[str]:
    """What still bears the cluster's marks."""
    snapshot = collect(marks)[0]
    return [f"{kind}: {line}" for kind in kinds for line in snapshot[kind] if marks.ours(line)]


def steady(lines: list[str], cluster_id: str) -> list[str]:
    """Differences, but for those that a restarted node must make: its processes, namespaces and interface are new."""
    expected = (": processes: ", ": namespaces: ", ": links: ", f": qdiscs: {cluster_id}-")
    return [line for line in lines if not any(part in line for part in expected)]
