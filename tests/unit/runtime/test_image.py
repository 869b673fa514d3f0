"""Images are named by what is in them: nothing else may rebuild them, and nothing in them may go unnoticed."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from cluster.runtime import engine, image, localbase
from cluster.runtime.base import RuntimeFailed


def test_a_node_carries_what_a_node_needs_and_no_more() -> None:
    names = set(image.context_files("node"))
    assert "code/cluster/node/__main__.py" in names
    assert not [
        n for n in names if n.startswith(("code/cluster/runtime", "code/cluster/sim", "code/chaos", "code/tests"))
    ]
    assert not [n for n in names if "__pycache__" in n or n.startswith("code/loadgen")]
    assert "code/loadgen/driver.py" in image.context_files("load")
    assert {r.split(">")[0] for r in image.requirements("node")} >= {"msgspec", "httptools", "apsw"}
    assert not {r.split(">")[0] for r in image.requirements("node")} & {"docker", "locust", "pydantic"}
    assert "locust" in {r.split(">")[0] for r in image.requirements("load")}


def test_any_change_of_code_changes_the_tag_and_the_certificates_do_not() -> None:
    files = {"a.py": b"1", "b.py": b"2"}
    tag = image.digest("node", files)
    assert tag == image.digest("node", dict(reversed(files.items())))
    assert tag == image.digest("node", files | {"ca-bundle.crt": b"x"})
    assert tag != image.digest("load", files)
    assert tag != image.digest("node", files | {"b.py": b"3"})
    assert tag != image.digest("node", {"a.py": b"12", "b.py": b""})
    assert tag != image.digest("node", {"a.py": b"1", "c.py": b"2"})


def test_the_same_files_make_the_same_context() -> None:
    files = {"a.py": b"1", "d/b.py": b"2"}
    archive = image.archive(files)
    assert archive.getvalue() == image.archive(dict(reversed(files.items()))).getvalue()
    with tarfile.open(fileobj=archive) as tar:
        assert tar.getnames() == ["a.py", "d/b.py"]


def test_requirements_are_followed_to_the_end() -> None:
    node = {d.name.lower().replace("_", "-") for d in localbase.distributions("node")}
    load = {d.name.lower().replace("_", "-") for d in localbase.distributions("load")}
    assert node >= {"msgspec", "apsw", "uvloop", "httptools", "google-crc32c"}
    assert load >= node | {"locust", "gevent", "greenlet", "flask"}
    assert not node & {"locust", "pydantic", "docker", "pytest"}
    assert localbase.tag("node") != localbase.tag("load")


def test_shared_libraries_of_a_binary_are_found() -> None:
    names = [path.name for path in localbase.needed([Path("/bin/sh").resolve()])]
    assert any(name.startswith("libc.so") for name in names)
    assert any(name.startswith("ld-") for name in names)


def test_an_engine_that_cannot_be_used_is_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://example.invalid:2375")
    assert "only unix://" in str(engine.missing())
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    assert "no Docker engine" in str(engine.missing())
    with pytest.raises(RuntimeFailed, match="no Docker engine"):
        engine.connect()
