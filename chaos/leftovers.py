"""What a run may leave on the host, looked at before it and after it.

A machine has other tenants, and their things come and go while we run. So what is looked at is of two sorts: things
that cannot be told apart by owner and that nobody else is expected to touch are listed whole (the bridge-family
ruleset, qdiscs of interfaces that outlive us); the others are listed where they bear one of our *marks*: the
cluster's id, which is in the name of everything we make, its address range, the ids of its containers.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

COMMAND_TIMEOUT_S = 20.0
_OTHER_ID = re.compile(r"(?<![0-9A-Za-z])bs[0-9a-f]{6}(?![0-9A-Za-z])")
_COUNTER = re.compile(r"counter packets \d+ bytes \d+")
_EXPIRES = re.compile(r" expires \S+")


class Marks(NamedTuple):
    """What tells our things from those of others."""

    cluster: str
    others: tuple[str, ...] = ()
    """Further strings that only our things contain: the address range, ids of containers."""

    def ours(self, line: str) -> bool:
        """Whether a line is about a thing of ours."""
        return self.cluster in line or any(mark in line for mark in self.others)

    def foreign(self, line: str) -> bool:
        """Whether a line is about another cluster's thing."""
        return any(found != self.cluster for found in _OTHER_ID.findall(line))


Snapshot = dict[str, list[str]]
Run = Callable[[Sequence[str]], str]


def run_here(argv: Sequence[str]) -> str:
    """Run a program in this process's own right."""
    env = {**os.environ, "PATH": os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"}
    done = subprocess.run(argv, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=True, env=env)
    return done.stdout


def collect(marks: Marks, *, engine: Any = None, run: Run | None = None) -> tuple[Snapshot, list[str]]:
    """The host as it is: lines by kind, sorted; and a sentence for each kind that could not be read.

    ``engine`` is a docker client where the cluster is on containers. ``run`` runs a program with privilege where this
    process has none; without it, and without root, the kinds that need privilege are left out.
    """
    privileged = run or (run_here if os.geteuid() == 0 else None)
    kinds: dict[str, Callable[[], Iterable[str]]] = {
        "links": links,
        "qdiscs": qdiscs,
        "mounts": mounts,
        "loop devices": loop_devices,
        "namespaces": lambda: namespaces(marks),
        "cgroups": lambda: cgroups(marks),
        "processes": lambda: processes(marks),
    }
    if privileged is not None:
        kinds["nft"] = lambda: ruleset(privileged, marks)
    if engine is not None:
        kinds["containers"] = lambda: (f"{c.name} {c.id[:12]}" for c in engine.containers.list(all=True))
        kinds["networks"] = lambda: (f"{n.name} {n.id[:12]}" for n in engine.networks.list())
        kinds["volumes"] = lambda: (v.name for v in engine.volumes.list())
    whole = {"qdiscs", "nft"}
    snapshot: Snapshot = {}
    errors: list[str] = []
    for kind, look in kinds.items():
        try:
            lines = [line for line in look() if not marks.foreign(line)]
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            errors.append(f"{kind}: {error}")
            continue
        snapshot[kind] = sorted(line for line in lines if kind in whole or marks.ours(line))
    return snapshot, errors


def ruleset(run: Run, marks: Marks) -> Iterable[str]:
    """The nftables ruleset: bridge tables line by line; of other families what bears a mark, and the names of tables.

    Counters and remaining times are left out: they change by themselves. A container engine rewrites its own tables for
    every tenant, so that lines there which say nothing of us are theirs.
    """
    table = ""
    for raw in run(["nft", "list", "ruleset"]).splitlines():
        line = _EXPIRES.sub("", _COUNTER.sub("counter", raw.strip()))
        if raw.startswith("table "):
            table = line.removesuffix(" {")
            yield table
        elif line and line != "}" and (table.startswith("table bridge ") or marks.ours(line)):
            yield f"{table}: {line}"


def links() -> Iterable[str]:
    """Network interfaces with the bridge each is plugged into."""
    for path in sorted(Path("/sys/class/net").iterdir()):
        master = path / "master"
        with contextlib.suppress(OSError):
            yield f"{path.name} master {master.resolve().name if master.exists() else '-'}"


def qdiscs() -> Iterable[str]:
    """Queueing disciplines of interfaces that are no container's: those come and go with their container."""
    for item in json.loads(run_here(["tc", "-j", "qdisc", "show"]) or "[]"):
        device = str(item.get("dev", ""))
        if not device.startswith(("veth", "br-")):
            options = json.dumps(item.get("options", {}), sort_keys=True)
            yield f"{device} {item.get('kind')} {item.get('handle')} {options}"


def mounts() -> Iterable[str]:
    """Mounts in this mount namespace, but for container engines' overlays, whose owners come and go."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        point = before.split()[4]
        kind, source = after.split()[:2]
        if not point.startswith(("/var/lib/docker/", "/run/docker/", "/run/user/", "/run/containerd/")):
            yield f"{point} {kind} {source}"


def loop_devices() -> Iterable[str]:
    """Loop devices with the file behind each."""
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):
            yield f"/dev/{path.parts[3]} {path.read_text().strip()}"


def namespaces(marks: Marks) -> Iterable[str]:
    """Network namespaces: those that have a name, and those that a process of ours holds."""
    for directory in ("/run/netns", "/var/run/docker/netns"):
        with contextlib.suppress(OSError):
            yield from (f"{directory}/{name}" for name in os.listdir(directory))
    own = os.readlink("/proc/self/ns/net")
    for pid, text in process_texts():
        if marks.ours(text):
            with contextlib.suppress(OSError):
                namespace = os.readlink(f"/proc/{pid}/ns/net")
                if namespace != own:
                    yield f"{namespace} of {text}"


def cgroups(marks: Marks) -> Iterable[str]:
    """Control groups whose path bears a mark. A hierarchy is walked three levels deep: deeper ones are inside those."""
    root = Path("/sys/fs/cgroup")
    for path, directories, _ in os.walk(root):
        if marks.ours(path):
            yield path
        if path.count("/") > 7:
            directories.clear()


def processes(marks: Marks) -> Iterable[str]:
    """Processes whose command line or cgroup bears a mark, but for this one and its ancestors."""
    mine = ancestors(os.getpid())
    return (text for pid, text in process_texts() if pid not in mine and marks.ours(text))


def process_texts() -> Iterable[tuple[int, str]]:
    """Every process as ``pid command line (cgroups)``."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                command = Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                groups = Path(f"/proc/{entry}/cgroup").read_text().replace("\n", " ")
                yield int(entry), f"{entry} {command.strip()[:300]} ({groups.strip()[:600]})"


def ancestors(pid: int) -> set[int]:
    """The process and everyone above it."""
    found: set[int] = set()
    while pid > 0 and pid not in found:
        found.add(pid)
        try:
            text = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            break
        pid = int(text[text.rindex(")") + 2 :].split()[1])
    return found


def difference(before: Snapshot, after: Snapshot) -> list[str]:
    """What is there now and was not, and what was there and is gone, for a person."""
    lines = []
    for kind in sorted(before.keys() & after.keys()):
        lines += [f"left behind: {kind}: {line}" for line in sorted(set(after[kind]) - set(before[kind]))]
        lines += [f"gone: {kind}: {line}" for line in sorted(set(before[kind]) - set(after[kind]))]
    return lines
