"""Which faults this machine has the mechanisms for; what a running cluster can do is each fault's preflight to say.

Whether the kernel really takes a rule or a mount is seen when a run asks it, before anything is touched.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin"


class Kind(NamedTuple):
    """One action of playbooks for people: what it does, and what it needs of the machine."""

    about: str
    needs: tuple[str, ...]


KINDS = {
    "bit-rot": Kind("bytes on a disk change at rest: in a B-tree, the log, or an archived object", ("disks",)),
    "partition": Kind("packets between nodes are dropped in silence, in both directions or in one", ("nft",)),
    "power-off": Kind("machines go dark at once, and what they had not synced is gone", ("nft", "disks", "freezer")),
    "restart": Kind("nodes are stopped as for maintenance and boot again", ()),
    "random-power-off": Kind("a job that cuts the power of random nodes, by seed", ("nft", "disks", "freezer")),
    "rolling-restart": Kind("nodes are restarted one after the other, zone by zone", ()),
}


def which(tool: str) -> str | None:
    """Where a program is, also where an ordinary user's PATH does not reach."""
    return shutil.which(tool, path=f"{os.environ.get('PATH', os.defpath)}:{SYSTEM_PATH}")


def nft() -> str | None:
    return None if which("nft") else "nftables is not installed: apt-get install -y nftables"


def disks() -> str | None:
    if not which("mkfs.ext4"):
        return "no file systems of the nodes' own: apt-get install -y e2fsprogs"
    return None if Path("/dev/loop-control").exists() else "no loop devices: modprobe loop"


def freezer() -> str | None:
    from cluster.runtime.processes import freezer_root

    return None if freezer_root() is not None else "no cgroup freezer: mount the cgroup file system"


MECHANISMS: dict[str, Callable[[], str | None]] = {"nft": nft, "disks": disks, "freezer": freezer}


def missing(kind: str) -> str | None:
    """What this machine lacks for a kind of fault, and what to do about it; None where nothing is missing.

    Users who are not root have the mechanisms in the helper container, which brings its own programs.
    """
    if os.geteuid() != 0:
        return None
    return next((why for need in KINDS[kind].needs if (why := MECHANISMS[need]()) is not None), None)
