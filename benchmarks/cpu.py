"""CPU time and memory of process groups, from /proc."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def cpu_s(pids: Iterable[int]) -> float:
    """User and system CPU seconds that the processes have used so far; one that is gone counts nothing."""
    total = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / TICKS_PER_S


def resident_mb(pid: int) -> float:
    """Resident memory of a process in MB (2**20 bytes); 0 for one that is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES / 2**20
    except OSError:
        return 0.0


class CpuMeter:
    """CPU used by named groups of processes (the hops of a request) between two moments."""

    def __init__(self, groups: dict[str, list[int]]) -> None:
        self._groups = groups
        self._before = {name: cpu_s(pids) for name, pids in groups.items()}

    def used(self) -> dict[str, float]:
        """CPU seconds a group since the meter was made."""
        return {name: cpu_s(pids) - self._before[name] for name, pids in self._groups.items()}
