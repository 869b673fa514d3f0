"""A base image made of this machine's own Python, for machines that can pull none.

It holds the interpreter, its standard library, the installed distributions that a target needs and every shared library
that any of those loads (as ``ldd`` says), all under the paths they have here, and a virtual environment at
``/opt/venv``. Compiled bytecode goes along: without it every node would compile its own at start. A mark in
``/opt/venv`` tells the Dockerfile that nothing is left to be installed.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import io
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

SKIPPED = {
    "test",
    "tests",
    "idlelib",
    "tkinter",
    "turtledemo",
    "ensurepip",
    "lib2to3",
    "site-packages",
    "dist-packages",
}
"""Parts of the standard library that no node loads."""

TOOLS = (
    *("nft", "ip", "mkfs.ext4", "nsenter", "iptables", "tc", "fallocate"),
    *("cat", "cp", "dd", "ls", "mkdir", "mv", "rm", "stat", "sync", "truncate"),
)
"""What the helper runs, for itself and for faults; all but the required ones may be missing."""

EXTRAS = ("load",)
"""Targets that need an extra of ours besides what every node needs."""

AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
"""For an archive in a bucket elsewhere; absent where this machine has none."""

REQUIRED_TOOLS = ("nft", "ip", "mkfs.ext4", "nsenter")
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DATA_OF_TOOLS = ("/etc/mke2fs.conf", "/usr/lib/x86_64-linux-gnu/xtables", "/usr/share/iproute2", "/etc/iproute2")
LOADED_AT_RUN_TIME = ("libgcc_s.so.1",)
"""Not linked but opened by name: thread cancellation needs it."""


class BaseFailed(Exception):
    """A base cannot be made of this machine; the text says what is missing."""


def tag(target: str) -> str:
    """The name of the base for a target; changes with the interpreter and every version of what is in it."""
    versions = [f"{d.name} {d.version}" for d in distributions(target)] if target != "helper" else list(TOOLS)
    text = "\n".join([sys.version, sys.base_prefix, "6", *versions])
    return f"blackstart-base-{target}:{hashlib.sha256(text.encode()).hexdigest()[:12]}"


@functools.cache
def distributions(target: str) -> tuple[importlib.metadata.Distribution, ...]:
    """The installed distributions for a target, by following requirements. Raises :class:`BaseFailed`."""
    if target == "helper":
        return ()
    own = importlib.metadata.distribution("blackstart")
    found: dict[str, importlib.metadata.Distribution] = {}
    _follow(own, target if target in EXTRAS else "", found)
    return tuple(found[name] for name in sorted(found))


def _follow(
    wanting: importlib.metadata.Distribution, extra: str, found: dict[str, importlib.metadata.Distribution]
) -> None:
    from packaging.requirements import Requirement

    for line in wanting.requires or []:
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is not None and not (marker.evaluate({"extra": ""}) or (extra and marker.evaluate({"extra": extra}))):
            continue
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if name in found:
            continue
        try:
            found[name] = importlib.metadata.distribution(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            what = f"control,{extra}" if extra else "control"
            raise BaseFailed(f"{requirement.name} is not installed here; pip install -e '.[{what}]'") from None
        _follow(found[name], next(iter(requirement.extras), ""), found)


def make(api: Any, target: str) -> str:
    """Make the base and import it into the engine; its tag. Raises :class:`BaseFailed`."""
    name = tag(target)
    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
            _Packer(tar).pack(target)
        file.seek(0)
        repository, _, version = name.partition(":")
        changes = ["ENV PATH=/opt/venv/bin:" + SYSTEM_PATH, "LABEL blackstart.image=base"]
        result = str(api.import_image_from_data(file, repository=repository, tag=version, changes=changes))
    if '"error"' in result:
        raise BaseFailed(f"the engine refused the base: {result}")
    return name


class _Packer:
    def __init__(self, tar: tarfile.TarFile) -> None:
        self.tar = tar
        self.seen: set[str] = set()
        self.binaries: list[Path] = []

    def pack(self, target: str) -> None:
        self.directory("/tmp", mode=0o1777)
        for name in ("/proc", "/sys", "/dev", "/etc", "/data", "/run", "/var/log/blackstart", "/etc/blackstart"):
            self.directory(name)
        self.text("/etc/passwd", "root:x:0:0:root:/:/bin/sh\n")
        self.text("/etc/group", "root:x:0:\n")
        self.file(Path(AUTHORITIES), follow=True)
        interpreter = Path(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))
        self.file(interpreter)
        self.shell()
        self.library()
        self.environment(interpreter, target)
        if target == "helper":
            self.tools()
        for library in needed(self.binaries):
            self.file(library, follow=True)

    def directory(self, name: str, mode: int = 0o755) -> None:
        """A directory and its parents. Readable by all: nodes need not run as the user that made the image."""
        parts = Path(name).parts[1:]
        for index in range(1, len(parts) + 1):
            path = "/".join(parts[:index])
            if path not in self.seen:
                self.seen.add(path)
                entry = tarfile.TarInfo(path)
                entry.type = tarfile.DIRTYPE
                entry.mode = mode if index == len(parts) else 0o755
                self.tar.addfile(entry)

    def text(self, name: str, content: str) -> None:
        self.directory(str(Path(name).parent))
        entry = tarfile.TarInfo(name.lstrip("/"))
        entry.mode, entry.size = 0o644, len(content)
        self.tar.addfile(entry, io.BytesIO(content.encode()))

    def link(self, name: str, target: str) -> None:
        self.directory(str(Path(name).parent))
        entry = tarfile.TarInfo(name.lstrip("/"))
        entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, target, 0o777
        self.tar.addfile(entry)

    def file(self, path: Path, name: str | None = None, *, follow: bool = False) -> None:
        """A file under its own path or ``name``; what it links to under the path of the link where ``follow``."""
        name = name or str(path)
        if name in self.seen or not path.exists():
            return
        self.seen.add(name)
        self.directory(str(Path(name).parent))
        real = path.resolve() if follow else path
        entry = self.tar.gettarinfo(str(real), arcname=name.lstrip("/"))
        if entry.islnk():  # a second name of a file that is already in: carry it again, its first name may differ
            entry.type, entry.size = tarfile.REGTYPE, real.stat().st_size
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        entry.mode |= 0o444
        if not entry.isreg():
            self.tar.addfile(entry)
            return
        with real.open("rb") as content:
            binary = content.read(4) == b"\x7fELF"
            content.seek(0)
            self.tar.addfile(entry, content)
        if binary:
            self.binaries.append(real)

    def shell(self) -> None:
        shell = Path(os.path.realpath("/bin/sh"))
        self.file(shell, "/bin/sh")

    def library(self) -> None:
        """The standard library, and what it loads."""
        root = Path(sysconfig.get_path("stdlib"))
        for directory, names, files in os.walk(root):
            names[:] = [n for n in names if n not in SKIPPED and not n.startswith("config-")]
            for name in files:
                self.file(Path(directory, name), follow=True)

    def environment(self, interpreter: Path, target: str) -> None:
        """``/opt/venv`` with the target's distributions."""
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        for name in ("python", "python3", version):
            self.link(f"/opt/venv/bin/{name}", str(interpreter))
        self.text("/opt/venv/pyvenv.cfg", f"home = {interpreter.parent}\ninclude-system-site-packages = false\n")
        site = f"/opt/venv/lib/{version}/site-packages"
        self.directory(site)
        for distribution in distributions(target):
            for file in distribution.files or []:
                path = Path(str(distribution.locate_file(file)))
                if ".." not in file.parts:
                    self.file(path, f"{site}/{file.as_posix()}", follow=True)
        for stage in ("node", "load", "helper"):
            # Every mark: the stages before the target are built on this base too, and need nothing.
            self.text(f"/opt/venv/.has-{stage}", "made of the host's Python\n")

    def tools(self) -> None:
        path = os.environ.get("PATH", "") + ":" + SYSTEM_PATH
        for tool in TOOLS:
            found = shutil.which(tool, path=path)
            if found is not None:
                self.file(Path(found), f"/usr/sbin/{tool}", follow=True)
            elif tool in REQUIRED_TOOLS:
                raise BaseFailed(f"{tool} is not installed here; 'blackstart doctor' says how to install it")
        for name in DATA_OF_TOOLS:
            for file in [Path(name)] if Path(name).is_file() else sorted(Path(name).rglob("*")):
                if file.is_file():
                    self.file(file, follow=True)


def needed(binaries: Iterable[Path]) -> Iterator[Path]:
    """Every shared library the binaries load, the loader included. Those inside distributions are in already."""
    found: set[str] = set()
    files = [str(path) for path in binaries]
    for start in range(0, len(files), 200):
        output = subprocess.run(
            ["ldd", *files[start : start + 200]], capture_output=True, text=True, check=False
        ).stdout
        found |= set(re.findall(r"(?:=> |^\s*)(/\S+) \(0x", output, re.MULTILINE))
    for name in LOADED_AT_RUN_TIME:
        found |= {str(path) for library in found.copy() if (path := Path(library).with_name(name)).exists()}
    return (Path(name) for name in sorted(found) if "site-packages" not in name and "dist-packages" not in name)
