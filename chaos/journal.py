"""The journal of faults: how to undo each, written durably before it is injected.

One file per fault that is in, in the cluster's state directory, so that whoever comes later (the reaper, ``blackstart
fault heal``, the next controller) can lift what a dead controller left. An entry says everything that its undo needs;
undoing is idempotent. The entry goes when the undo has succeeded, so an empty directory means that nothing is in.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from chaos.errors import PlatformError

DIRECTORY = "journal"


def boot_s() -> float:
    """Seconds on the boot clock, which never steps and counts suspend."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class Entry:
    """One fault that is, or is about to be, in."""

    id: str
    """Unique within the cluster; part of the names of what the fault makes on the host."""
    cluster: str
    runtime: str
    kind: str
    name: str
    targets: tuple[str, ...]
    undo: dict[str, Any]
    lease_s: float
    expires_boot_s: float
    """When the reaper lifts it, unless the controller renews it."""
    boot_id: str
    created_wall_s: float

    def expired(self, now_boot_s: float) -> bool:
        """Whether nobody holds this fault any more. A reboot of the host ends every lease: its clock began anew."""
        return self.boot_id != host_boot_id() or now_boot_s >= self.expires_boot_s


def host_boot_id() -> str:
    """Tells one boot of the host from the next."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


class Journal:
    """The entries of one cluster. Safe for several processes: changes are made under a lock."""

    def __init__(self, state_dir: Path) -> None:
        self.directory = state_dir / DIRECTORY

    def exists(self) -> bool:
        """Whether the cluster's state is still there at all."""
        return self.directory.parent.is_dir()

    @contextmanager
    def lock(self, entry_id: str) -> Iterator[None]:
        """Held while a fault is healed or renewed: controller and reaper never undo the same one at once."""
        self.directory.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(self.directory / f".{entry_id}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def write(self, entry: Entry) -> None:
        """Make an entry durable: on return it survives a crash of the host."""
        self.directory.mkdir(mode=0o700, exist_ok=True)
        data = json.dumps({"schema": 1, **asdict(entry)}, indent=1).encode()
        aside = self.directory / f".{entry.id}.new"
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        aside.rename(self.path(entry.id))
        self.sync()

    def renew(self, entry: Entry, now_boot_s: float) -> Entry:
        """The entry with a lease that begins now. Not written back once the entry is gone: a healed fault stays so."""
        renewed = replace(entry, expires_boot_s=now_boot_s + entry.lease_s)
        if self.path(entry.id).exists():
            self.write(renewed)
        return renewed

    def remove(self, entry_id: str) -> None:
        """The fault is undone. Idempotent."""
        self.path(entry_id).unlink(missing_ok=True)
        if self.directory.is_dir():
            self.sync()

    def entries(self) -> list[Entry]:
        """What is in, oldest first. Raises :class:`PlatformError` for an entry that cannot be read."""
        if not self.directory.is_dir():
            return []
        found = [entry for path in self.directory.glob("*.json") if (entry := read_entry(path)) is not None]
        return sorted(found, key=lambda entry: (entry.created_wall_s, entry.id))

    def path(self, entry_id: str) -> Path:
        return self.directory / f"{entry_id}.json"

    def sync(self) -> None:
        descriptor = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_entry(path: Path) -> Entry | None:
    """The entry in a file; None where somebody removed it just now."""
    try:
        value = json.loads(path.read_bytes())
        if value.pop("schema") != 1:
            raise ValueError("written by another version of Blackstart")
        value["targets"] = tuple(value["targets"])
        return Entry(**value)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise PlatformError(
            f"the fault journal {path} cannot be read: {error}",
            hint="'blackstart cluster down' removes the cluster and every fault with it.",
        ) from error
