"""The object store by URL: a directory, S3 as another implementation of it serves, and our own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.node.world import ObjectFailed
from cluster.store.objects import Objects
from tests.unit.loadgen.load_servers import ROOT, free_port
from tests.unit.store.archive_server import ArchiveServer, serving

pytest.importorskip("obstore")


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    pytest.importorskip("moto.server")
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", str(port)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}/archive-bucket"
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                # Who asks for a bucket is given it: moto checks no signatures.
                urllib.request.urlopen(urllib.request.Request(url, method="PUT"), timeout=5).close()
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        yield url
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArchiveServer]:
    with serving(tmp_path_factory.mktemp("archive")) as server:
        yield server


@pytest.fixture(params=["directory", "s3", "ours"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    if request.param == "directory":
        return Objects(f"file://{tmp_path}/store")
    if request.param == "ours":
        server: ArchiveServer = request.getfixturevalue("ours")
        return server.client()
    return Objects(request.getfixturevalue("moto"), "AKIDEXAMPLE", "secret", "eu-west-1")


def test_what_is_put_is_got_and_listed(store: Objects) -> None:
    async def use() -> None:
        assert await store.get("c/t/g/1.log") is None
        await store.put("c/t/g/1.log", b"one")
        await store.put("c/t/g/2.log", b"x" * 300_000)
        await store.put("c/t/g-2/1.log", b"")
        await store.put("c/t/g/1.log", b"one again")
        assert await store.get("c/t/g/1.log") == b"one again"
        assert await store.get("c/t/g-2/1.log") == b""
        assert await store.list("c/t/g") == ["c/t/g/1.log", "c/t/g/2.log"]
        assert await store.list("nothing/here") == []

    asyncio.run(use())
    assert store.get_now("c/t/g/2.log") == b"x" * 300_000
    assert store.get_now("c/t/g/3.log") is None
    assert store.list_now("c/t") == ["c/t/g-2/1.log", "c/t/g/1.log", "c/t/g/2.log"]


def test_names_are_whatever_a_table_and_its_index_are_called(store: Objects) -> None:
    """Clients send some of these encoded and sign them plain, or the other way round."""
    names = [f"bs1/{name}/g-1/1.log" for name in ("load~by-value", "a b", "a+b", "a.b_c-d", "a=b&c", "a%7Eb", "é")]

    async def use() -> None:
        for name in names:
            await store.put(name, name.encode())
        for name in names:
            assert await store.get(name) == name.encode()
            assert await store.list(name.rpartition("/")[0]) == [name]

    asyncio.run(use())


def test_a_put_is_believed_only_when_the_store_proves_it(
    store: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store acknowledges, and keeps something else."""
    import obstore

    put = obstore.put_async

    async def lossy(where: Any, name: str, data: bytes, **options: Any) -> Any:
        return await put(where, name, data[:-1], **options)

    monkeypatch.setattr(obstore, "put_async", lossy)
    with pytest.raises(ObjectFailed, match="something else"):
        asyncio.run(store.put("c/lost", b"all of it"))


def test_a_store_that_is_not_there_fails_in_time() -> None:
    store = Objects(f"http://127.0.0.1:{free_port()}/bucket", "AKIDEXAMPLE", "secret")
    with pytest.raises(ObjectFailed, match="put a/b"):
        asyncio.run(store.put("a/b", b"x"))
    with pytest.raises(ObjectFailed):
        store.list_now("a")


@pytest.mark.parametrize("url", ["ftp://host/bucket", "http://host", "http://host/a/b", "bucket", "http:///bucket"])
def test_urls_that_mean_no_store_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="no object store"):
        Objects(url)
