"""Python's files of an image as a plain directory of this machine, where the engine reads images slowly.

Some engines have no native overlay file system and serve every container's root through a FUSE process of its own
(``fuse-overlayfs``): nothing is cached between containers, and twenty Pythons that start together spend most of a
minute importing what one of them reads in a second. The files are copied out of the image once and bind-mounted over
themselves, read-only; with other storage drivers nothing is done. A new image of changed code shares all else with the
copy of an older one.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from cluster.runtime.base import RuntimeFailed

SLOW_DRIVERS = ("fuse-overlayfs",)
INDEX = "paths.json"
LAYERS = "layers.json"
CODE = "/opt/blackstart"
CODE_LAYERS = 2
"""The last layers of an image, which hold :data:`CODE` and nothing else: our sources, and their bytecode."""

COPY_BYTES = 1 << 20

LIST = (
    "import json, sys, sysconfig\n"
    "found = {sys.prefix, sysconfig.get_path('stdlib'), sysconfig.get_path('platstdlib'), '/opt/blackstart'}\n"
    "print(json.dumps(sorted(p for p in found if not any(p != q and p.startswith(q + '/') for q in found))))\n"
)


def root() -> Path:
    """Where the copies live; a cache, safe to delete while no cluster runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "blackstart" / "image-files"


def binds(api: Any, tag: str) -> dict[str, dict[str, str]]:
    """What to mount into a container of image ``tag``, in docker's form; empty where the engine is quick by itself."""
    home = root() / tag.replace("/", "_").replace(":", "_")
    index = home / INDEX
    if not index.exists():
        if api.info().get("Driver") not in SLOW_DRIVERS:
            return {}
        _copy_out(api, tag, home)
        _prune(api)
    return {str(home / name): {"bind": path, "mode": "ro"} for name, path in json.loads(index.read_text()).items()}


def _copy_out(api: Any, tag: str, home: Path) -> None:
    """Make the copy aside and put it in place in one step, so that a killed or concurrent one does no harm."""
    home.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=home.parent, prefix=".making-"))
    shared = api.inspect_image(tag)["RootFS"]["Layers"][:-CODE_LAYERS]
    container = api.create_container(tag, command=["python", "-c", LIST])
    try:
        twin = _twin(home.parent, shared)
        paths = sorted(twin) if twin else _paths(api, tag, container)
        index = {}
        for number, path in enumerate(paths):
            if path == CODE or path not in twin or not _link(twin[path], aside / str(number)):
                _extract(api, container, path, aside / str(number))
            index[str(number)] = path
        (aside / INDEX).write_text(json.dumps(index))
        (aside / LAYERS).write_text(json.dumps(shared))
        aside.chmod(0o755)
        with contextlib.suppress(OSError):  # another one was first
            aside.rename(home)
    finally:
        api.remove_container(container, force=True)
        shutil.rmtree(aside, ignore_errors=True)


def _paths(api: Any, tag: str, container: Any) -> list[str]:
    """What the image's Python itself says that it reads."""
    api.start(container)
    if api.wait(container)["StatusCode"] != 0:
        raise RuntimeFailed(f"image {tag} cannot run Python: {api.logs(container).decode(errors='replace')[-500:]}")
    return list(json.loads(api.logs(container, stderr=False)))


def _twin(copies: Path, shared: list[str]) -> dict[str, Path]:
    """Path to copy, of an image that differs in its code alone; empty where there is none."""
    for home in sorted(copies.iterdir()):
        with contextlib.suppress(OSError, ValueError):  # none of ours, or just being removed
            if shared and not home.name.startswith(".") and json.loads((home / LAYERS).read_text()) == shared:
                return {path: home / name for name, path in json.loads((home / INDEX).read_text()).items()}
    return {}


def _link(copy: Path, into: Path) -> bool:
    """The same files under another name (nobody writes to them); False where the copy goes away meanwhile."""
    try:
        shutil.copytree(copy, into, symlinks=True, copy_function=os.link)
    except (OSError, shutil.Error):
        shutil.rmtree(into, ignore_errors=True)
        return False
    return True


def _extract(api: Any, container: Any, path: str, into: Path) -> None:
    """The directory ``path`` of a container as the directory ``into``."""
    chunks, _ = api.get_archive(container, path, chunk_size=COPY_BYTES)
    try:
        into.mkdir()
        with tarfile.open(fileobj=cast(IO[bytes], _Stream(chunks)), mode="r|") as archive:
            # An attribute, because Debian 12's Python (3.11.2) has no argument for it, and no filters to choose from.
            archive.extraction_filter = _as_it_is
            for member in archive:
                _, _, member.name = member.name.partition("/")
                if member.islnk():
                    _, _, member.linkname = member.linkname.partition("/")
                if member.name and not member.isdev():
                    archive.extract(member, into, set_attrs=not member.issym())
    finally:
        # The engine holds the container's lock until all was read: whoever removes it would wait for its time-out.
        for _ in chunks:
            pass


def _as_it_is(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo:
    """The filter that trusts: what is unpacked is an image that we have built."""
    return member


class _Stream:
    """A generator of bytes as a file to read once."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._held = b""

    def read(self, size: int) -> bytes:
        parts = [self._held]
        count = len(self._held)
        while count < size:
            chunk = next(self._chunks, b"")
            if not chunk:
                break
            parts.append(chunk)
            count += len(chunk)
        data = b"".join(parts)
        self._held = data[size:]
        return data[:size]


def _prune(api: Any) -> None:
    """Remove copies whose image is gone: an image that is in use cannot be."""
    there = {tag.replace("/", "_").replace(":", "_") for image in api.images() for tag in image["RepoTags"] or []}
    for home in root().iterdir():
        if home.name not in there and not home.name.startswith("."):
            shutil.rmtree(home, ignore_errors=True)
