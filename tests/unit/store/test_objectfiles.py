"""Objects as files: whole or not at all, there for good once acknowledged, and never outside their directory."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cluster.node.world import DiskFailed
from cluster.store import objectfiles
from cluster.store.objectfiles import DiskObjects
from tests.unit.store.test_ext4 import cut_power, volume, wait_for_progress

__all__ = ["volume"]

WRITER = """
import os, sys
from pathlib import Path
from cluster.node.world import DiskFailed
from cluster.store.objectfiles import DiskObjects

if sys.argv[3] == "forgets":
    os.fsync = lambda descriptor: None
try:
    files, number = DiskObjects(Path(sys.argv[1])), int(sys.argv[4])
    ledger = os.open(sys.argv[2], os.O_RDWR | os.O_CREAT)
    while True:
        files.put(f"b/t/{number % 3}/{number}", b"%d " % number * 500)
        files.put("b/t/newest", b"%d " % number * 500)
        number += 1
        os.pwrite(ledger, b"%020d" % number, 0)
except (DiskFailed, OSError):
    sys.exit(7)
"""


@pytest.fixture
def files(tmp_path: Path) -> DiskObjects:
    return DiskObjects(tmp_path)


def test_objects_are_put_got_listed_and_removed(files: DiskObjects, tmp_path: Path) -> None:
    assert files.get("b/c/1.log") is None
    for key, data in (("b/c/1.log", b"one"), ("b/c-2/1.log", b""), ("b/c/10.log", b"ten"), ("b/é", b"x")):
        files.put(key, data)
    files.put("b/c/1.log", b"one again")
    found = files.get("b/c/1.log")
    assert found is not None
    assert found[0] == b"one again"
    assert [(one.key, one.bytes) for one in files.list("b/")] == [
        ("b/c-2/1.log", 0), ("b/c/1.log", 9), ("b/c/10.log", 3), ("b/é", 1),
    ]  # fmt: skip
    assert [one.key for one in files.list("b/c/1")] == ["b/c/1.log", "b/c/10.log"]
    assert [one.key for one in files.list("b/c")] == ["b/c-2/1.log", "b/c/1.log", "b/c/10.log"]
    assert files.list("b/nothing/") == files.list("b/c/1.log/") == []
    assert files.get("b/c") is None
    files.remove("b/c/1.log")
    files.remove("b/c/1.log")
    assert files.get("b/c/1.log") is None
    assert list((tmp_path / "incoming").iterdir()) == []


@pytest.mark.parametrize("key", ["", "/etc/passwd", "b/../../x", "..", "b//x", "b/./x", "b/x/", "b/\0"])
def test_nothing_is_reached_outside(files: DiskObjects, tmp_path: Path, key: str) -> None:
    (tmp_path / "x").write_bytes(b"not an object")
    for use in (lambda: files.put(key, b"x"), lambda: files.get(key), lambda: files.remove(key)):
        with pytest.raises(ValueError, match="no path of plain names"):
            use()
    assert [one.key for one in files.list(f"{key}/") if "x" in one.key] == []


def test_keys_that_stand_in_each_others_way_are_refused(files: DiskObjects) -> None:
    files.put("b/a", b"1")
    files.put("b/c/d", b"2")
    for key in ("b/a/b", "b/c"):
        with pytest.raises(ValueError, match="in its way"):
            files.put(key, b"3")
    assert [one.key for one in files.list("")] == ["b/a", "b/c/d"]


def test_a_full_disk_loses_nothing_that_was_there(
    files: DiskObjects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.put("b/kept", b"before")

    def half(descriptor: int, data: bytes) -> None:
        os.write(descriptor, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(objectfiles, "write_all", half)
    with pytest.raises(DiskFailed, match="No space left"):
        files.put("b/kept", b"after")
    found = files.get("b/kept")
    assert found is not None
    assert found[0] == b"before"
    assert list((tmp_path / "incoming").iterdir()) == []


def test_puts_of_one_key_at_once_leave_one_of_them_whole(files: DiskObjects) -> None:
    """A server that removes an object to make way for the next lost acknowledged ones (rclone 1.75, found so)."""
    stop = False
    missed = []

    def watch() -> None:
        while not stop:
            found = files.get("b/k")
            if found is None or len(set(found[0])) != 1 or len(found[0]) != 50_000:
                missed.append(found)

    files.put("b/k", b"0" * 50_000)
    with ThreadPoolExecutor(4) as pool:
        watching = pool.submit(watch)
        for number in range(40):
            data = b"%d" % (number % 10) * 50_000
            list(pool.map(lambda _, data=data: files.put("b/k", data), range(3)))  # type: ignore[misc]
        stop = True
        watching.result()
    assert missed == []


def test_what_was_under_way_at_the_end_is_swept_away(tmp_path: Path) -> None:
    (tmp_path / "incoming").mkdir()
    (tmp_path / "incoming" / "7").write_bytes(b"half")
    DiskObjects(tmp_path).put("b/x", b"1")
    assert list((tmp_path / "incoming").iterdir()) == []


@pytest.mark.root
@pytest.mark.parametrize("syncs", ["syncs", "forgets"])
def test_what_was_acknowledged_outlives_power_cuts(volume: Path, tmp_path: Path, syncs: str) -> None:
    """And the test notices a store that does not sync."""
    ledger, acknowledged, lost = tmp_path / "ledger", 0, []
    for _ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(volume), str(ledger), syncs, str(acknowledged)],
            cwd=Path(__file__).parents[3],
        )
        wait_for_progress(ledger, acknowledged + 100, writer)
        acknowledged, _ = cut_power(volume, writer, ledger)
        files = DiskObjects(volume)
        for number in range(acknowledged):
            found = files.get(f"b/t/{number % 3}/{number}")
            if found is None or found[0] != b"%d " % number * 500:
                lost.append(number)
        newest = files.get("b/t/newest")
        if newest is None or int(newest[0].split()[0]) < acknowledged - 1 or len(set(newest[0].split())) != 1:
            lost.append(-1)
    assert bool(lost) == (syncs == "forgets")
