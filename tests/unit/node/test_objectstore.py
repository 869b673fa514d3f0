"""The region's object store as a process: boto3 and obstore speak to it, and puts that go wrong take nothing along."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from cluster.node.world import ObjectFailed
from tests.unit.loadgen.load_servers import free_port
from tests.unit.store.archive_server import ACCESS_KEY, BUCKET, REGION, SECRET_KEY, ArchiveServer, serving

pytest.importorskip("obstore")

BODY = bytes(range(256)) * 800


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArchiveServer]:
    with serving(tmp_path_factory.mktemp("archive")) as server:
        yield server


def test_boto3_speaks_to_it(archive: ArchiveServer) -> None:
    boto3 = pytest.importorskip("boto3")
    exceptions = pytest.importorskip("botocore.exceptions")
    url = archive.url.removesuffix(f"/{BUCKET}")
    keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY}
    s3: Any = boto3.client("s3", endpoint_url=url, region_name=REGION, **keys)
    assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == [BUCKET]
    s3.head_bucket(Bucket=BUCKET)
    for number in range(5):
        s3.put_object(Bucket=BUCKET, Key=f"boto/a b+{number}.log", Body=BODY[:number])
    s3.put_object(Bucket=BUCKET, Key="boto/deeper/é", Body=BODY)
    s3.put_object(Bucket=BUCKET, Key="other/load~by value%7E+=&/1", Body=b"~")
    assert s3.get_object(Bucket=BUCKET, Key="other/load~by value%7E+=&/1")["Body"].read() == b"~"
    (odd,) = s3.list_objects_v2(Bucket=BUCKET, Prefix="other/load~by value%7E+=&/")["Contents"]
    assert odd["Key"] == "other/load~by value%7E+=&/1"
    pages = s3.get_paginator("list_objects_v2").paginate(
        Bucket=BUCKET, Prefix="boto/", PaginationConfig={"PageSize": 2}
    )
    listed = [(one["Key"], one["Size"]) for page in pages for one in page["Contents"]]
    assert listed == [*((f"boto/a b+{number}.log", number) for number in range(5)), ("boto/deeper/é", len(BODY))]
    folded = s3.list_objects_v2(Bucket=BUCKET, Prefix="boto/", Delimiter="/")
    assert [one["Prefix"] for one in folded["CommonPrefixes"]] == ["boto/deeper/"]
    got = s3.get_object(Bucket=BUCKET, Key="boto/deeper/é")
    assert got["Body"].read() == BODY
    head = s3.head_object(Bucket=BUCKET, Key="boto/deeper/é")
    assert (head["ContentLength"], head["ETag"]) == (len(BODY), got["ETag"])
    s3.delete_object(Bucket=BUCKET, Key="boto/deeper/é")
    with pytest.raises(exceptions.ClientError, match="NoSuchKey"):
        s3.get_object(Bucket=BUCKET, Key="boto/deeper/é")
    with pytest.raises(exceptions.ClientError, match="NoSuchBucket"):
        s3.put_object(Bucket="other", Key="k", Body=b"")
    with pytest.raises(exceptions.ClientError, match="NotImplemented"):
        s3.create_multipart_upload(Bucket=BUCKET, Key="k")


@asynccontextmanager
async def severed(archive: ArchiveServer, after_bytes: int, wait_s: float) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """The archive's URL through a way that swallows what comes after so many bytes, until the event cuts it; so many
    seconds after that the connection is closed."""
    where = urlsplit(archive.url)
    cut, port, ways = asyncio.Event(), free_port(), []

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ways.append(asyncio.current_task())
        _, onward = await asyncio.open_connection(where.hostname, where.port)
        left = after_bytes
        while left > 0 and (data := await reader.read(min(left, 65536))):
            onward.write(data)
            left -= len(data)
        await cut.wait()
        await asyncio.sleep(wait_s)
        onward.close()
        writer.close()

    server = await asyncio.start_server(relay, "127.0.0.1", port)
    try:
        yield f"http://127.0.0.1:{port}/{BUCKET}", cut
    finally:
        server.close()
        for way in ways:
            assert way is not None
            await way


@pytest.mark.parametrize("after", [100_000, 10_000_000])
def test_a_put_whose_way_is_cut_takes_no_other_put_along(archive: ArchiveServer, after: int) -> None:
    """In its middle, or when all has arrived but nobody waits for the answer any more: what a retry of it stored, and
    was acknowledged, stays. (rclone's server removed it: its issue 9718.)"""

    async def play() -> None:
        store = archive.client()
        for number in range(10):
            name = f"cut/{after}/{number}"
            async with severed(archive, min(after, len(BODY) + 300), 0.0005 * number) as (url, cut):
                first = asyncio.ensure_future(archive.client(url).put(name, BODY))
                await asyncio.sleep(0.02)  # on its way; whether it arrives before the other must not matter
                if after < len(BODY):
                    assert await store.get(name) is None
                await store.put(name, BODY)
                cut.set()
                with pytest.raises(ObjectFailed):
                    await first
            assert await store.get(name) == BODY

    asyncio.run(play())


def test_puts_of_one_object_at_once_all_succeed(archive: ArchiveServer) -> None:
    async def play() -> None:
        store = archive.client()
        for number in range(20):
            await asyncio.gather(*(store.put(f"same/{number}", BODY) for _ in range(4)))
            assert await store.get(f"same/{number}") == BODY

    asyncio.run(play())


def test_what_it_acknowledged_outlives_its_process(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        asyncio.run(server.client().put("a/b", BODY))
        server.kill()
        with pytest.raises(ObjectFailed):
            server.client().get_now("a/b")
        server.start()
        assert server.client().get_now("a/b") == BODY
        assert server.client().list_now("a") == ["a/b"]


def test_a_disk_that_takes_no_more_fails_one_put_and_no_other(tmp_path: Path) -> None:
    server = ArchiveServer(tmp_path)
    try:
        server.start(file_bytes_max=len(BODY) // 2)
        store = server.client()
        asyncio.run(store.put("a/kept", b"before"))
        for name in ("a/kept", "a/new"):
            with pytest.raises(ObjectFailed, match="500"):
                asyncio.run(store.put(name, BODY))
        asyncio.run(store.put("a/after", b"after"))
        assert {name: store.get_now(name) for name in store.list_now("a")} == {"a/kept": b"before", "a/after": b"after"}
    finally:
        server.kill()


def test_strangers_and_garbage_change_nothing(archive: ArchiveServer) -> None:
    asyncio.run(archive.client().put("guarded", b"ours"))
    for stranger in (archive.client(access_key="BSASTRANGER"), archive.client(secret_key="guessed")):
        with pytest.raises(ObjectFailed, match="403"):
            asyncio.run(stranger.put("guarded", b"forged"))
        with pytest.raises(ObjectFailed, match="403"):
            stranger.get_now("guarded")
    where = urlsplit(archive.url)
    for garbage in (
        b"\0" * 5000,
        b"GET / HTTP/1.1\r\n\r\n",
        b"PUT /blackstart/guarded HTTP/1.1\r\ncontent-length: 1\r\n\r\nx",
    ):
        with socket.create_connection((where.hostname, where.port or 80), timeout=10) as raw:
            raw.sendall(garbage)
            raw.shutdown(socket.SHUT_WR)
            assert b" 200 " not in raw.recv(65536)
    assert archive.client().get_now("guarded") == b"ours"
