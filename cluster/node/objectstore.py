"""The region's object store (S3 in small): one node in no zone, which the archive's agents put their segments in.

It speaks what of S3 they need (:mod:`cluster.wire.s3`), so that a real bucket can take its place by URL. An answer to a
put is given when the object is on the disk under its name, whole; see :mod:`cluster.store.objectfiles`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from cluster.node.config import NodeConfig
from cluster.node.edge import Edge
from cluster.node.rpc import Rpc
from cluster.node.world import DiskFailed, World
from cluster.wire import s3
from cluster.wire.http import Request
from cluster.wire.s3 import Ask, Refused

FAILED = Refused(500, "InternalError", "We encountered an internal error. Please try again.")


class ObjectStoreNode:
    """The role ``archive``."""

    def __init__(self, world: World, config: NodeConfig, rpc: Rpc) -> None:
        if config.archive is None:
            raise ValueError("node configuration: an archive node needs 'archive', with its own URL and keys")
        assert world.object_files is not None
        url = urlsplit(config.archive.url)
        self._world = world
        self._config = config.archive
        self._region = config.region
        self._port, self._bucket = url.port or 80, url.path.strip("/")
        self._files = world.object_files
        self._edge = Edge(world, self._serve, lambda request: s3.error_answer(FAILED, request))
        self._served = dict.fromkeys(("put", "get", "list", "refused", "failed"), 0)

    async def start(self) -> None:
        await self._edge.start(self._port)

    async def stop(self) -> None:
        """What it acknowledged is on the disk; there is nothing else."""

    def status(self) -> dict[str, Any]:
        return {"connections": self._edge.open_connections, **self._served}

    def _serve(self, request: Request, answer: Callable[[bytes], None]) -> None:
        self._world.spawn(self._answer(request, answer), "object-request")

    async def _answer(self, request: Request, answer: Callable[[bytes], None]) -> None:
        try:
            keys = self._config.access_key, self._config.secret_key
            s3.check_signature(request, *keys, self._region, self._world.wall())
            done = await self._do(s3.parse(request), request.keep_alive)
        except Refused as refused:
            self._served["refused"] += 1
            done = s3.error_answer(refused, request)
        except DiskFailed as error:
            # Of this request only: the next one is written to another file. Its caller tries again.
            self._served["failed"] += 1
            self._world.event("object-failed", why=str(error))
            done = s3.error_answer(FAILED, request)
        answer(done)

    async def _do(self, ask: Ask, keep_alive: bool) -> bytes:
        offload, files = self._world.offload, self._files
        if ask.what == "buckets":
            return s3.buckets_answer([self._bucket], keep_alive=keep_alive)
        if ask.bucket != self._bucket:
            raise Refused(404, "NoSuchBucket", f"The one bucket here is {self._bucket!r}.")
        self._served[ask.what] = self._served.get(ask.what, 0) + 1
        path = f"{self._bucket}/{ask.key}"
        match ask.what:
            case "put":
                try:
                    await offload(files.put, path, ask.body)
                except ValueError as error:
                    raise Refused(409, "InvalidRequest", str(error)) from error
                return s3.stored_answer(ask.body, keep_alive=keep_alive)
            case "get" | "head":
                found = await offload(files.get, path)
                if found is None:
                    raise Refused(404, "NoSuchKey", "The specified key does not exist.")
                return s3.object_answer(*found, head=ask.what == "head", keep_alive=keep_alive)
            case "delete":
                await offload(files.remove, path)
                return s3.empty_answer(204, keep_alive=keep_alive)
            case "list":
                assert ask.listing is not None
                under = f"{self._bucket}/"
                objects = await offload(files.list, under + ask.listing.prefix)
                listed = [one._replace(key=one.key.removeprefix(under)) for one in objects]
                return s3.listing_answer(self._bucket, ask.listing, listed, keep_alive=keep_alive)
            case _:
                return s3.empty_answer(200, keep_alive=keep_alive)
