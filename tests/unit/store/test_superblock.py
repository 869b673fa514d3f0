"""A node's durable identity: counted, guarded against every flipped byte, and against the wrong directory."""

from __future__ import annotations

from random import Random

import pytest

from cluster.store.memory import MemoryDisk
from cluster.store.superblock import NAMES, Boot, Superblock, SuperblockDamaged, WrongDirectory, boot, decode, encode


def start(disk: MemoryDisk, *, cluster: str = "bs1", node: str = "storage-a1", plant: str | None = None) -> Boot:
    return boot(disk.log, cluster=cluster, node=node, plant=plant, rng=Random(5))


def test_each_start_has_its_own_incarnation_of_one_store() -> None:
    disk = MemoryDisk()
    first = start(disk).superblock
    disk.crash()
    second = start(disk).superblock
    assert (first.incarnation, second.incarnation) == (1, 2)
    assert (first.fresh, second.fresh) == (True, False)
    assert first.store_id == second.store_id


def test_every_flipped_byte_and_every_truncation_is_detected() -> None:
    data = encode(Superblock("bs1", "storage-a1", 2**63 + 1, 7, None))
    assert decode(data) is not None
    for offset in range(len(data)):
        for bit in range(8):
            hurt = bytearray(data)
            hurt[offset] ^= 1 << bit
            assert decode(bytes(hurt)) is None
        assert decode(data[:offset]) is None
    assert decode(data + b" ") is None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("how", ["flipped", "missing"])
def test_one_lost_copy_is_repaired_and_named(name: str, how: str) -> None:
    disk = MemoryDisk()
    start(disk)
    if how == "missing":
        disk.log.remove(name)
    else:
        disk.log.contents[name].data[30] ^= 1
    result = start(disk)
    assert result.repaired == (name,)
    assert result.superblock.incarnation == 2
    assert start(disk).repaired == ()


def test_a_node_without_a_readable_superblock_does_not_pretend_to_be_new() -> None:
    disk = MemoryDisk()
    start(disk)
    for name in NAMES:
        disk.log.contents[name].data[30] ^= 1
    with pytest.raises(SuperblockDamaged, match="empty the data directory"):
        start(disk)
    disk = MemoryDisk()
    disk.log.create("wal-0000000100000000.log")
    with pytest.raises(SuperblockDamaged, match="no superblock"):
        start(disk)


def test_a_power_failure_between_the_two_copies_is_no_damage() -> None:
    disk = MemoryDisk()
    start(disk)
    older = bytes(disk.log.contents[NAMES[1]].data)
    start(disk)
    disk.log.contents[NAMES[1]].replace(older)
    result = start(disk)
    assert (result.superblock.incarnation, result.repaired) == (3, ())


def test_a_directory_of_another_node_cluster_or_plant_is_refused() -> None:
    disk = MemoryDisk()
    start(disk)
    with pytest.raises(WrongDirectory, match="belongs to node storage-a1"):
        start(disk, node="storage-b1")
    with pytest.raises(WrongDirectory, match="belongs to node"):
        start(disk, cluster="bs2")
    start(disk, plant="forgets-votes")
    with pytest.raises(WrongDirectory, match="planted bug"):
        start(disk)
    with pytest.raises(WrongDirectory, match="planted bug"):
        start(disk, plant="another")
    start(disk, plant="forgets-votes")
