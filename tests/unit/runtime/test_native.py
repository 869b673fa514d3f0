"""Copies of an image's Python: whole or absent, and only where the engine is slow."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.runtime import native
from cluster.runtime.image import RECIPE


class FakeEngine:
    """An engine whose one image has two directories; ``breaks`` makes the copy fail half-way."""

    def __init__(self, driver: str = "fuse-overlayfs", *, breaks: bool = False) -> None:
        self.driver = driver
        self.breaks = breaks
        self.made = 0
        self.removed = 0
        self.ran = 0
        self.read: list[str] = []
        self.unread = 0

    def inspect_image(self, tag: str) -> dict[str, Any]:
        """Every version of the node image has layers of its own on top of the same ones."""
        name, _, version = tag.partition(":")
        return {"RootFS": {"Layers": [name, "dependencies", f"code {version}", f"bytecode {version}"]}}

    def info(self) -> dict[str, str]:
        return {"Driver": self.driver}

    def create_container(self, tag: str, command: list[str]) -> str:
        self.made += 1
        return "container"

    def start(self, container: str) -> None:
        self.ran += 1

    def wait(self, container: str) -> dict[str, int]:
        return {"StatusCode": 0}

    def logs(self, container: str, **_: Any) -> bytes:
        return json.dumps([native.CODE, "/opt/venv", "/usr/lib/python"]).encode()

    def get_archive(self, container: str, path: str, chunk_size: int) -> tuple[Iterator[bytes], dict[str, Any]]:
        if self.breaks and path != "/opt/venv":
            raise OSError("the engine went away")
        self.read.append(path)
        name = path.rpartition("/")[2]
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as archive:
            for member, kind, target in (
                (name, tarfile.DIRTYPE, ""),
                (f"{name}/module.py", tarfile.REGTYPE, ""),
                (f"{name}/link.py", tarfile.SYMTYPE, "module.py"),
                (f"{name}/same.py", tarfile.LNKTYPE, f"{name}/module.py"),
            ):
                info = tarfile.TarInfo(member)
                info.type, info.linkname = kind, target
                body = path.encode() if kind == tarfile.REGTYPE else b""
                info.size = len(body)
                info.mode = 0o755
                archive.addfile(info, io.BytesIO(body))
        return self._stream(data.getvalue()), {}

    def _stream(self, raw: bytes) -> Iterator[bytes]:
        for at in range(0, len(raw), 700):
            self.unread = len(raw) - at
            yield raw[at : at + 700]
        self.unread = 0

    def remove_container(self, container: str, force: bool) -> None:
        if self.unread:
            raise TimeoutError("the container is locked until its archive was read")
        self.removed += 1

    def images(self) -> list[dict[str, Any]]:
        return [{"RepoTags": ["node:1", "node:2", "load:1"]}]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_files_and_links_are_copied_once_and_mounted_over_themselves() -> None:
    engine = FakeEngine()
    binds = native.binds(engine, "node:1")
    assert sorted(bind["bind"] for bind in binds.values()) == [native.CODE, "/opt/venv", "/usr/lib/python"]
    for copy, bind in binds.items():
        assert bind["mode"] == "ro"
        for name in ("module.py", "link.py", "same.py"):
            assert (Path(copy) / name).read_text() == bind["bind"]
    assert native.binds(engine, "node:1") == binds
    assert (engine.made, engine.removed) == (1, 1)


def test_a_copy_that_breaks_off_is_no_copy() -> None:
    engine = FakeEngine(breaks=True)
    with pytest.raises(OSError, match="went away"):
        native.binds(engine, "node:1")
    assert list(native.root().iterdir()) == []
    assert engine.removed == 1
    engine.breaks = False
    assert native.binds(engine, "node:1")


def test_debians_python_has_no_filters_for_archives(monkeypatch: pytest.MonkeyPatch) -> None:
    real = tarfile.TarFile.extract

    def as_in_3_11_2(
        self: tarfile.TarFile, member: Any, path: Any = "", set_attrs: bool = True, *, numeric_owner: bool = False
    ) -> None:
        real(self, member, path, set_attrs, numeric_owner=numeric_owner)

    monkeypatch.setattr(tarfile.TarFile, "extract", as_in_3_11_2)
    assert len(native.binds(FakeEngine(), "node:1")) == 3


def test_what_cannot_be_unpacked_does_not_wait_for_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first error is what is told, and the container is removed: what it streams is read to its end first."""

    def full(*_: Any, **__: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(tarfile.TarFile, "extract", full)
    engine = FakeEngine()
    with pytest.raises(OSError, match="no space left"):
        native.binds(engine, "node:1")
    assert engine.removed == 1
    assert list(native.root().iterdir()) == []


def test_a_native_file_system_needs_none() -> None:
    engine = FakeEngine(driver="overlay2")
    assert native.binds(engine, "node:1") == {}
    assert engine.made == 0


def test_copies_of_images_that_are_gone_go_too() -> None:
    old = native.root() / "node_0"
    old.mkdir(parents=True)
    native.binds(FakeEngine(), "node:1")
    assert not old.exists()


def test_an_image_of_other_code_shares_the_rest() -> None:
    engine = FakeEngine()
    first = native.binds(engine, "node:1")
    engine.read.clear()
    second = native.binds(engine, "node:2")
    assert engine.read == [native.CODE]
    assert engine.ran == 1
    assert sorted(b["bind"] for b in second.values()) == sorted(b["bind"] for b in first.values())
    for copy, bind in second.items():
        for name in ("module.py", "link.py", "same.py"):
            assert (Path(copy) / name).read_text() == bind["bind"]
    shutil.rmtree(native.root() / "node_1")
    assert all((Path(copy) / "module.py").exists() for copy in second)


def test_an_image_of_other_dependencies_shares_nothing() -> None:
    engine = FakeEngine()
    native.binds(engine, "node:1")
    engine.read.clear()
    native.binds(engine, "load:1")
    assert engine.read == [native.CODE, "/opt/venv", "/usr/lib/python"]


def test_a_copy_that_vanishes_while_it_is_shared_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine()
    native.binds(engine, "node:1")

    def gone(source: Path, target: Path, **_: Any) -> None:
        raise FileNotFoundError(source)

    monkeypatch.setattr(shutil, "copytree", gone)
    engine.read.clear()
    assert len(native.binds(engine, "node:2")) == 3
    assert engine.read == [native.CODE, "/opt/venv", "/usr/lib/python"]


def test_the_last_layers_of_an_image_hold_code_alone() -> None:
    """What :data:`native.CODE_LAYERS` relies on: of the instructions that make layers, the last two of each stage."""
    stages = RECIPE.read_text().split("\nFROM ")
    for stage in ("node", "load"):
        text = next(each for each in stages if each.splitlines()[0].endswith(f" AS {stage}"))
        layers = [line for line in text.splitlines()[1:] if line.startswith(("COPY ", "RUN ", "ADD "))]
        assert len(layers) == native.CODE_LAYERS
        assert all(line.rstrip("]").rstrip('"').rstrip("/").endswith(native.CODE) for line in layers)
