"""The engine on a real ext4 whose power fails: what the log said was durable is there, and nothing is quarantined."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.store.btree import Pool, Replica
from cluster.store.files import RealLogDirectory, RealPageFiles
from cluster.store.recovery import recover
from cluster.store.superblock import load

EXT4_IOC_SHUTDOWN = 0x8004587D
NOLOGFLUSH = 2
LIMIT_S = 30.0

pytestmark = pytest.mark.root

WRITER = """
import asyncio, os, random, sys
from pathlib import Path
from cluster.node.world import DiskFailed
from cluster.store.btree import Pool, Replica
from cluster.store.files import RealLogDirectory, RealPageFiles
from cluster.store.superblock import boot
from cluster.store.wal import Wal

async def in_thread(function, *args):
    return await asyncio.get_running_loop().run_in_executor(None, function, *args)

async def main(data, ledger):
    directory = RealLogDirectory(data / "log", in_thread)
    block = boot(directory, cluster="bs1", node="storage-a1", plant=None, rng=random.Random()).superblock
    wal, recovery = Wal.open(directory, store_id=block.store_id, incarnation=block.incarnation, fresh=block.fresh,
                             offload=in_thread, segment_bytes=1 << 20)
    assert not recovery.lost_votes, recovery.damage
    replica = Replica.open(Pool(RealPageFiles(data / "pages")), "g")
    marks = asyncio.create_task(wal.keep_marked(asyncio.sleep, 0.05))
    slot = 1 + max((r.slot for r in recovery.records), default=-1)
    assert replica.position <= slot
    for at in range(replica.position + 8, slot + 1, 8):  # what the image lacks is replayed from the log
        replica.apply(at, [(b"%d" % (at % 1000), b"%d" % at)])
    async def write(slot):
        wal.append(f"g{slot % 5}", slot, b"%d " % slot * 100)
        await wal.sync()
        os.pwrite(ledger, b"%020d" % slot, 0) if slot % 8 == 7 else None
    while True:
        await asyncio.gather(*(write(slot + n) for n in range(8)))
        slot += 8
        await in_thread(replica.apply, slot, [(b"%d" % (slot % 1000), b"%d" % slot)])
        if slot % 200 == 0:
            await in_thread(replica.checkpoint)
            os.pwrite(ledger, b"%020d" % replica.checkpointed, 20)

try:
    asyncio.run(main(Path(sys.argv[1]), os.open(sys.argv[2], os.O_RDWR | os.O_CREAT)))
except (DiskFailed, OSError) as error:
    sys.exit(7)
"""


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=LIMIT_S)


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    """A mount point for an ext4 image; the test mounts it by ``mount_volume``."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount an ext4 image on a loop device")
    image, mount = tmp_path / "volume.img", tmp_path / "volume"
    mount.mkdir()
    with image.open("wb") as file:
        file.truncate(128 << 20)
    run("mkfs.ext4", "-q", "-F", "-b", "4096", "-m", "0", "-J", "size=8", str(image))
    try:
        mount_volume(mount)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"an ext4 image cannot be mounted here: {error.stderr.decode().strip()}")
    yield mount
    if os.path.ismount(mount):
        run("umount", "--lazy", str(mount))  # lazily: a failed test may still hold files


def mount_volume(mount: Path) -> None:
    run("mount", "-o", "loop,noatime", str(mount.with_suffix(".img")), str(mount))


def cut_power(mount: Path, writer: subprocess.Popen[bytes], ledger: Path) -> tuple[int, int]:
    """What was not synced is gone; the writer meets errors. Returns what the ledger said when the power was there.

    Later acknowledgements count for nothing: a transaction that the shutdown aborts is neither running nor committing
    any more, and the kernel tells an fdatasync that was waiting for its data until then that there is nothing left to
    wait for (jbd2_complete_transaction; one cut in some sixty, 0.1 ms after it). A game day's nodes are frozen first.
    """
    fd = os.open(mount, os.O_RDONLY)
    acknowledged = read_ledger(ledger)
    fcntl.ioctl(fd, EXT4_IOC_SHUTDOWN, struct.pack("I", NOLOGFLUSH))
    os.close(fd)
    assert writer.wait(LIMIT_S) == 7
    run("umount", str(mount))
    wait_for_release(mount.with_suffix(".img"))
    mount_volume(mount)
    return acknowledged


def wait_for_release(image: Path) -> None:
    """Until the loop device lets go of the image: mounted again before, the dead file system would come back."""
    deadline = time.monotonic() + LIMIT_S / 3
    while subprocess.run(["losetup", "-j", str(image)], check=True, capture_output=True, timeout=LIMIT_S).stdout:
        if time.monotonic() > deadline:
            pytest.skip("another mount namespace made meanwhile holds the volume, so its power cannot be cut here")
        time.sleep(0.02)


def test_power_cuts_lose_nothing_that_was_durable(volume: Path, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    acknowledged = 0
    for _ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(volume), str(ledger)], cwd=Path(__file__).parents[3]
        )
        wait_for_progress(ledger, acknowledged + 400, writer)
        acknowledged, checkpointed = cut_power(volume, writer, ledger)

        async def unused(*_: object) -> None:
            raise AssertionError("recovery syncs nothing")

        directory = RealLogDirectory(volume / "log", unused)
        block, damaged = load(directory)
        assert block is not None
        assert damaged == ()
        recovery = recover(directory, block.store_id, fresh=False)
        assert not recovery.lost_votes, recovery.damage
        slots = [record.slot for record in recovery.records]
        assert slots == list(range(len(slots)))
        assert len(slots) > acknowledged
        assert all(record.body == b"%d " % record.slot * 100 for record in recovery.records)
        pool = Pool(RealPageFiles(volume / "pages"))
        replica = Replica.open(pool, "g")
        assert checkpointed <= replica.position <= len(slots)
        assert replica.scrub() == []
        expected = {b"%d" % (slot % 1000): b"%d" % slot for slot in range(8, replica.position + 1, 8)}
        assert dict(replica.scan()) == expected
        pool.close()


def read_ledger(ledger: Path) -> tuple[int, int]:
    data = ledger.read_bytes() if ledger.exists() else b""
    return int(data[:20] or 0), int(data[20:40].strip(b"\0") or 0)


def wait_for_progress(ledger: Path, target: int, writer: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while read_ledger(ledger)[0] < target:
        assert writer.poll() is None, "the writer ended early"
        assert time.monotonic() < deadline, "the writer is too slow"
        time.sleep(0.02)
