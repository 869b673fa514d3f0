"""The disk of a simulated node: :class:`cluster.store.memory.MemoryDisk` with time, and faults from one seed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random

from cluster.store.memory import Content, MemoryDisk
from cluster.store.pagevfs import close_all


@dataclass(slots=True)
class DiskProfile:
    """How a disk behaves; may be changed while it runs. Times in seconds."""

    sync_min_s: float = 0.0005
    sync_max_s: float = 0.002
    stall_probability: float = 0.002
    """Of a sync that takes ``stall_s`` instead, as disks do now and then."""
    stall_s: float = 0.05
    call_s: float = 0.00005
    """Charged to an offloaded function besides its syncs."""
    keep_probability: float = 0.5
    """Of a power loss that tears what was not synced, sector by sector, rather than losing all of it."""


class SimDisk:
    """Survives the lives of its node. ``memory`` is open to faults that damage files."""

    def __init__(self, rng: Random, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._rng = rng
        self._sleep = sleep
        self.profile = DiskProfile()
        self.memory = MemoryDisk(sync_time=self._sync_time)
        self._truth: list[dict[str, bytes]] | None = None
        self._replaced: list[MemoryDisk] = []

    def sync_duration(self) -> float:
        """How long the next sync takes."""
        profile, rng = self.profile, self._rng
        if rng.random() < profile.stall_probability:
            return profile.stall_s
        return rng.uniform(profile.sync_min_s, profile.sync_max_s)

    def _sync_time(self) -> Awaitable[None]:
        return self._sleep(self.sync_duration())

    def charge(self, syncs: int) -> float:
        """Seconds that an offloaded function with so many syncs in it took."""
        total = self.profile.call_s
        for _ in range(syncs):
            total += self.sync_duration()
        return total

    def lie(self) -> None:
        """From now on a sync reports success and makes nothing durable: the next power loss takes all since now."""
        self._truth = [
            {name: bytes(content.durable) for name, content in sorted(directory.items())}
            for directory in self._directories()
        ]

    def _directories(self) -> tuple[dict[str, Content], dict[str, Content]]:
        return self.memory.log.contents, self.memory.pages.contents

    def lose_power(self) -> None:
        """Take away what was not synced: all of it, or some of its sectors."""
        torn = self._rng.random() < self.profile.keep_probability
        self.memory.crash(self._rng if torn else None)
        if self._truth is not None:
            for directory, files in zip(self._directories(), self._truth, strict=True):
                directory.clear()
                for name, data in files.items():
                    directory[name] = Content()
                    directory[name].replace(data)
            self._truth = None

    def kill_process(self) -> None:
        """Only the process dies: its handles are dead, what it wrote is in the machine's cache."""
        self.memory.life += 1

    def wipe(self) -> None:
        """An empty, honest disk in its place."""
        self._truth = None
        self._replaced.append(self.memory)
        self.memory = MemoryDisk(sync_time=self._sync_time)

    def close(self) -> None:
        """Close the databases that any life of the node left open, on disks before this one, too."""
        for memory in (*self._replaced, self.memory):
            close_all(memory.pages)
        self._replaced.clear()
