"""What ``/proc`` says of a process: readable by anyone, so no privilege is needed to watch nodes."""

from __future__ import annotations

from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def start_time(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None where there is none or it is a zombie.

    With the pid it names one process for ever: pids are reused, a pid with its start time is not.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except OSError:
        return None
    # The command may hold spaces and parentheses; the fields are counted from the last one.
    fields = text[text.rindex(b")") + 2 :].split()
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def freezer_root() -> Path | None:
    """The hierarchy whose groups can be frozen: cgroup v1's freezer where it is mounted, else the unified one."""
    v1 = CGROUPS / "freezer"
    if v1.is_dir():
        return v1
    return CGROUPS if (CGROUPS / "cgroup.controllers").is_file() else None


def freezer_of(pid: int) -> str | None:
    """The directory of the cgroup through which a process is frozen; None where it has ended."""
    root = freezer_root()
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if root is not None and ("freezer" in controllers.split(",") or (root == CGROUPS and controllers == "")):
            return f"{root}{path}"
    return None


def members(cgroup: Path) -> list[int]:
    """Process ids in a cgroup; empty where the group is gone."""
    try:
        return [int(line) for line in (cgroup / "cgroup.procs").read_text().split()]
    except OSError:
        return []
