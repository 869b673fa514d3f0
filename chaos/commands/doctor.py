"""``blackstart doctor``: what this machine has, what is missing, and the one line that installs it."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from chaos.faults.availability import which

app = typer.Typer(add_completion=False)

TOOLS = {
    "nft": "nftables",
    "ip": "iproute2",
    "mkfs.ext4": "e2fsprogs",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "mount": "mount",
    "iptables": "iptables",
}
"""Program to Debian package."""

LIBRARIES = {"control": ("docker", "pydantic", "yaml", "rich", "typer", "jinja2"), "load": ("locust", "gevent", "hdrh")}
FREE_BYTES_MIN = 4 << 30
MEMORY_BYTES_MIN = 2 << 30
FORWARDING = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. ``needed`` is False for what only some runs want; ``fix`` is a line to type."""

    what: str
    good: bool
    found: str
    needed: bool = True
    fix: str = ""
    package: str = ""


def python() -> Iterator[Finding]:
    version = ".".join(str(part) for part in sys.version_info[:3])
    yield Finding("Python 3.11 or newer", sys.version_info >= (3, 11), version, fix="apt-get install -y python3")
    for extra, modules in LIBRARIES.items():
        absent = [name for name in modules if importlib.util.find_spec(name) is None]
        found = f"missing: {', '.join(absent)}" if absent else "installed"
        yield Finding(f"Python libraries of '{extra}'", not absent, found, fix=f"pip install -e '.[{extra}]'")


def runtimes() -> Iterator[Finding]:
    """The runtimes, of which one is enough; and with neither, that."""
    from cluster.runtime import KINDS, runtime_of_kind

    usable = []
    for kind in KINDS:
        missing = runtime_of_kind(kind).missing()
        if missing is None:
            usable.append(kind)
        yield Finding(f"runtime {kind}", missing is None, missing or "usable", needed=False)
    how = "sudo apt-get install -y docker.io && sudo usermod -aG docker $USER"
    yield Finding("a runtime", bool(usable), ", ".join(usable) or "none of them is usable", fix=how)


def tools() -> Iterator[Finding]:
    """Programs that root needs; in the docker group, the helper container brings its own where an image can be had."""
    needed = os.geteuid() == 0
    for tool, package in TOOLS.items():
        path = which(tool)
        yield Finding(f"program {tool}", path is not None, path or "not found", needed, package=package)


def machine() -> Iterator[Finding]:
    from cluster.runtime import processes, state

    control = Path("/dev/loop-control").exists()
    yield Finding("loop devices", control, "yes" if control else "no /dev/loop-control", fix="modprobe loop")
    extended = any(line.split()[-1] == "ext4" for line in Path("/proc/filesystems").read_text().splitlines())
    yield Finding("ext4", extended, "yes" if extended else "not loaded (yet)", needed=False)
    root = processes.freezer_root()
    yield Finding("cgroup freezer", root is not None, str(root or "not mounted"), fix="mount the cgroup file system")
    directory = state.clusters()
    free = shutil.disk_usage(directory).free
    yield Finding("disk space", free >= FREE_BYTES_MIN, f"{free / (1 << 30):.0f} GiB free at {directory}")
    memory = available_memory()
    yield Finding("memory", memory >= MEMORY_BYTES_MIN, f"{memory / (1 << 30):.1f} GiB available")
    filtered = FORWARDING.exists() and FORWARDING.read_text().strip() == "1"
    note = "bridged packets pass iptables: local clusters add a rule of their own" if filtered else "bridges are plain"
    yield Finding("bridge filtering", True, note, needed=False)


def available_memory() -> int:
    """Bytes that programs can have without swapping."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    return 0


def clusters() -> Iterator[Finding]:
    """Clusters that are still here: perhaps meant, perhaps left behind by a run that was killed."""
    from cluster.runtime import list_clusters

    found = list_clusters()
    text = ", ".join(f"{name} ({kind})" for name, kind in sorted(found.items())) or "none"
    yield Finding("clusters on this machine", True, text, needed=False)


def examine() -> list[Finding]:
    """Everything, in the order in which a person would want it."""
    return [finding for part in (python, runtimes, tools, machine, clusters) for finding in part()]


def install_line(findings: list[Finding]) -> str | None:
    """The one line that installs every missing Debian package, or None."""
    packages = sorted({f.package for f in findings if not f.good and f.package})
    sudo = "" if os.geteuid() == 0 else "sudo "
    return f"{sudo}apt-get update && {sudo}apt-get install -y {' '.join(packages)}" if packages else None


@app.command()
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False) -> None:
    """Look for what this machine is missing. Exit code 4 when game days cannot run here."""
    from rich.markup import escape

    from chaos.show import console

    findings = examine()
    well = all(f.good for f in findings if f.needed)
    line = install_line(findings)
    if as_json:
        print(json.dumps({"schema": 1, "well": well, "install": line, "findings": [asdict(f) for f in findings]}))
    else:
        out = console()
        for finding in findings:
            mark = "[green]ok  [/]" if finding.good else "[red]MISS[/]" if finding.needed else "[yellow]no  [/]"
            out.print(f"{mark}  {escape(finding.what)}: {escape(finding.found)}", soft_wrap=True)
            if not finding.good and finding.needed and finding.fix:
                out.print(f"        {escape(finding.fix)}", style="bold", soft_wrap=True)
        if line is not None:
            out.print(f"\nInstall what is missing:\n  [bold]{escape(line)}[/]", soft_wrap=True)
        out.print("\nGame days can run here." if well else "\nGame days cannot run here yet.")
    if not well:
        raise typer.Exit(4)
