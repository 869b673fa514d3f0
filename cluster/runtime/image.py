"""The node, load and helper images: found by the hash of what is in them, built when that changed.

A build needs a base with Python. ``python:3.11-slim`` is used where it is present or can be pulled
(``BLACKSTART_BASE`` names another); where it cannot, :mod:`cluster.runtime.localbase` makes one of this machine's own
Python. Dependencies are layers of their own, so that a change of our code costs one copy.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import io
import json
import os
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cluster
from cluster.runtime import localbase
from cluster.runtime.base import Progress, RuntimeFailed

BASE = "python:3.11-slim"
TARGETS = ("node", "load", "helper")
KEEP = 4
"""How many older images of a target stay, for other clones of the project on this machine."""

PULL_FIRST_LINE_S = 20.0
ROOT = Path(cluster.__file__).resolve().parents[1]
RECIPE = Path(__file__).with_name("recipe") / "Dockerfile"
CONTROLLER_ONLY = ("cluster/runtime", "cluster/sim", "cluster/specs", "cluster/topology.py", "cluster/control.py")
"""Not in a node's image: a change there rebuilds nothing."""

PACKAGES = {
    "node": ("cluster",),
    "load": ("cluster", "loadgen", "canaries", "reports"),
    "helper": (),
}
CODE = {
    "node": {"NODE_CODE": "code"},
    "load": {"LOAD_CODE": "code"},
    "helper": {"HELPER_CODE": "code"},
}


STUBS = dict.fromkeys(("NODE_CODE", "LOAD_CODE", "HELPER_CODE"), "stub")


class Images:
    """The images of this checkout on one engine. ``api`` is a low-level docker client."""

    def __init__(self, api: Any, progress: Progress | None = None) -> None:
        self.api = api
        self.progress = progress or (lambda what, done, total: None)

    def ensure(self, target: str) -> str:
        """The tag of the image for ``target``, built if it is not there yet. Raises :class:`RuntimeFailed`."""
        files = context_files(target)
        tag = f"blackstart-{target}:{digest(target, files)}"
        if self._present(tag):
            return tag
        self.progress(f"image {target}", 0, 1)
        self._build(target, files, tag)
        self._prune(target, keep=tag)
        self.progress(f"image {target}", 1, 1)
        return tag

    def _present(self, tag: str) -> bool:
        import docker.errors

        try:
            self.api.inspect_image(tag)
        except docker.errors.ImageNotFound:
            return False
        return True

    def _build(self, target: str, files: dict[str, bytes], tag: str) -> None:
        failures: list[str] = []
        for arguments in self._bases(target, failures):
            try:
                self._build_on(target, files, tag, arguments)
                return
            except RuntimeFailed as failure:
                failures.append(str(failure))
        raise RuntimeFailed("\n".join([f"the {target} image cannot be built", *failures]))

    def _bases(self, target: str, failures: list[str]) -> Iterator[dict[str, str]]:
        """Build arguments to try, best first."""
        asked = os.environ.get("BLACKSTART_BASE")
        local = localbase.tag(target)
        if asked is None and self._present(local):
            yield local_arguments(target, local)
            return
        base = asked or BASE
        why = None if self._present(base) else self._pull(base)
        if why is None:
            yield {"BASE": base}
        else:
            failures.append(f"{base} cannot be pulled: {why}")
        if asked is None:
            self.progress(f"base for {target} from this machine's Python", 0, 1)
            try:
                localbase.make(self.api, target)
            except localbase.BaseFailed as failure:
                failures.append(str(failure))
            else:
                yield local_arguments(target, local)

    def _pull(self, base: str) -> str | None:
        """Pull; why it cannot be done, or None. A network that swallows packets is given up on early."""
        outcome: list[str | None] = []
        begun = threading.Event()

        def pull() -> None:
            try:
                for line in self.api.pull(base, stream=True, decode=True):
                    if "error" in line:
                        raise RuntimeFailed(str(line["error"]))
                    begun.set()
                outcome.append(None)
            except Exception as error:
                outcome.append(str(getattr(error, "explanation", None) or error))
            begun.set()

        thread = threading.Thread(target=pull, daemon=True)
        thread.start()
        if not begun.wait(PULL_FIRST_LINE_S):
            return f"no answer in {PULL_FIRST_LINE_S:g} s"
        thread.join()
        return outcome[0]

    def _build_on(self, target: str, files: dict[str, bytes], tag: str, arguments: dict[str, str]) -> None:
        import docker.errors

        lines: list[str] = []
        proxies = {
            name: os.environ[name] for name in ("http_proxy", "https_proxy", "PIP_INDEX_URL") if name in os.environ
        }
        try:
            output = self.api.build(
                fileobj=archive(files),
                custom_context=True,
                target=target,
                tag=tag,
                rm=True,
                forcerm=True,
                decode=True,
                buildargs=arguments | proxies | STUBS | CODE[target],
                labels={"blackstart.image": target},
            )
            for item in output:
                lines.append(str(item.get("stream") or item.get("error") or ""))
                if "error" in item:
                    raise RuntimeFailed("".join(lines[-40:]).strip())
        except docker.errors.APIError as error:
            raise RuntimeFailed(f"{error.explanation}") from error

    def _prune(self, target: str, keep: str) -> None:
        """Remove the oldest unused images of the target; those in use refuse by themselves."""
        import docker.errors

        found = self.api.images(name=f"blackstart-{target}")
        found.sort(key=lambda image: image["Created"], reverse=True)
        for image in found[KEEP:]:
            for tag in image["RepoTags"] or []:
                if tag != keep:
                    with contextlib.suppress(docker.errors.APIError):
                        self.api.remove_image(tag)


def local_arguments(target: str, local: str) -> dict[str, str]:
    """Every stage before the target is built too, so all of them must have a base that is there."""
    bases = {"BASE": local, "LOAD_BASE": local, "HELPER_BASE": local}
    return bases if target != "node" else {"BASE": local}


def context_files(target: str) -> dict[str, bytes]:
    """Path to content of everything the target's build sees."""
    files = {"Dockerfile": RECIPE.read_bytes(), "pyproject.toml": dependencies().encode()}
    # The stages before the target copy something too: always the same there, so that they stay cached.
    files["stub/hostops.py"] = b""
    for package in PACKAGES[target]:
        for path in sorted((ROOT / package).rglob("*")):
            name = path.relative_to(ROOT).as_posix()
            if path.is_file() and "__pycache__" not in path.parts and not name.startswith(CONTROLLER_ONLY):
                files[f"code/{name}"] = path.read_bytes()
    if target == "helper":
        files["code/hostops.py"] = Path(__file__).with_name("hostops.py").read_bytes()
    authorities = os.environ.get("PIP_CERT") or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE")
    if authorities and Path(authorities).is_file():
        files["ca-bundle.crt"] = Path(authorities).read_bytes()
    return files


def dependencies() -> str:
    """The part of pyproject.toml that images need, from the installed metadata: other changes rebuild nothing."""
    node = requirements("node")
    extras = f"load = {json.dumps(requirements('load'))}\n"
    return (
        f"[project]\nname = 'blackstart'\nversion = '0'\ndependencies = {json.dumps(node)}\n"
        f"[project.optional-dependencies]\n{extras}"
    )


def requirements(target: str) -> list[str]:
    """Requirements without their marks: ``msgspec>=0.18`` of the base, or those of the load extra alone."""
    found = []
    for line in importlib.metadata.requires("blackstart") or []:
        requirement, _, marker = line.partition(";")
        wanted = "extra ==" not in marker if target == "node" else f"extra == '{target}'" in marker.replace('"', "'")
        if wanted:
            found.append(requirement.strip())
    return sorted(found)


def digest(target: str, files: dict[str, bytes]) -> str:
    """Twelve hexadecimal digits that change with anything in the image."""
    state = hashlib.sha256(f"{target}\n{os.environ.get('BLACKSTART_BASE', '')}\n".encode())
    for name in sorted(files):
        if name != "ca-bundle.crt":
            state.update(f"{name}\n{len(files[name])}\n".encode() + files[name])
    return state.hexdigest()[:12]


def archive(files: dict[str, bytes]) -> io.BytesIO:
    """A build context as a tar; the same files always give the same bytes, which is what layer caches go by."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in sorted(files):
            entry = tarfile.TarInfo(name)
            entry.size = len(files[name])
            entry.mode = 0o644
            tar.addfile(entry, io.BytesIO(files[name]))
    buffer.seek(0)
    return buffer
