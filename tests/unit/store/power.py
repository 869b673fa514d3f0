"""Cutting the power at any one change of a disk."""

from __future__ import annotations

from collections.abc import Callable

from cluster.node.world import DiskFailed
from cluster.store.memory import MemoryDisk


def runs_within(disk: MemoryDisk, steps: int, action: Callable[[], object]) -> bool:
    """Run ``action``, cutting the disk off after ``steps`` write operations; True if it finished."""
    count = 0
    check = disk.check

    def counting(life: int, *, writing: bool, growing: bool = False) -> None:
        nonlocal count
        if writing:
            count += 1
            if count > steps:
                raise DiskFailed("the power is gone")
        check(life, writing=writing, growing=growing)

    disk.check = counting  # type: ignore[method-assign]
    try:
        action()
    except DiskFailed:
        return False
    finally:
        disk.check = check  # type: ignore[method-assign]
    return True
