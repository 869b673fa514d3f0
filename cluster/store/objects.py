"""The archive's object store by URL: a bucket of S3 or of whatever speaks its protocol, or a directory.

``https://host/bucket`` and ``http://host:port/bucket`` are S3, with keys; ``file:///path`` is a directory. The store is
``obstore`` (Rust, with threads of its own): it lives in the World of a real node and in the controller only.

A put is not believed but checked. Where the store's ETag is the MD5 of the bytes, the store itself has summed what it
holds; otherwise the object is read back and compared.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from cluster.node.world import ObjectFailed

CONNECT_TIMEOUT = "2s"
ANSWER_TIMEOUT = "8s"

Names = list[str]


class Objects:
    """Implements :class:`cluster.node.world.ObjectStore`; the same for code that blocks in :meth:`get_now` and
    :meth:`list_now`."""

    def __init__(self, url: str, access_key: str = "", secret_key: str = "", region: str = "") -> None:
        """Connects to nothing yet. Raises ValueError for a URL that means no store."""
        self.url = url
        self._store = _store_of(url, access_key, secret_key, region)

    async def put(self, name: str, data: bytes) -> None:
        import obstore

        with _Failures("put", name):
            answer = await obstore.put_async(self._store, name, data, use_multipart=False)
        tag = (answer.get("e_tag") or "").strip('"')
        if tag != hashlib.md5(data, usedforsecurity=False).hexdigest() and await self.get(name) != data:
            raise ObjectFailed(f"put {name}: the store holds something else than it was given")

    async def get(self, name: str) -> bytes | None:
        import obstore

        try:
            with _Failures("get", name):
                answer = await obstore.get_async(self._store, name)
                return bytes(await answer.bytes_async())
        except FileNotFoundError:
            return None

    async def list(self, prefix: str) -> Names:
        import obstore

        with _Failures("list", prefix):
            found = await obstore.list(self._store, prefix).collect_async()
        return sorted(str(item["path"]) for item in found)

    def get_now(self, name: str) -> bytes | None:
        """As :meth:`get`, blocking."""
        import obstore

        try:
            with _Failures("get", name):
                return bytes(obstore.get(self._store, name).bytes())
        except FileNotFoundError:
            return None

    def list_now(self, prefix: str) -> Names:
        """As :meth:`list`, blocking."""
        import obstore

        with _Failures("list", prefix):
            found = obstore.list(self._store, prefix).collect()
        return sorted(str(item["path"]) for item in found)


class _Failures:
    """Whatever the store's library raises is an :class:`ObjectFailed`, but that there is no such object."""

    def __init__(self, what: str, name: str) -> None:
        self._said = f"{what} {name}"

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: Any) -> None:
        if isinstance(error, Exception) and not isinstance(error, FileNotFoundError):
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ObjectFailed(f"{self._said}: {first}") from error


def _store_of(url: str, access_key: str, secret_key: str, region: str) -> Any:
    parts = urlsplit(url)
    if parts.scheme == "file":
        from obstore.store import LocalStore

        return LocalStore(parts.path, mkdir=True)
    bucket = parts.path.strip("/")
    if parts.scheme not in ("http", "https") or not parts.netloc or not bucket or "/" in bucket:
        raise ValueError(f"{url!r} is no object store: write http(s)://host/bucket or file:///directory")
    from obstore.store import S3Store

    return S3Store(
        bucket,
        endpoint=f"{parts.scheme}://{parts.netloc}",
        access_key_id=access_key,
        secret_access_key=secret_key,
        region=region or "us-east-1",
        virtual_hosted_style_request=False,
        client_options={
            "allow_http": parts.scheme == "http",
            # Without TLS there are none; asked to check them, the library insists on authorities being installed.
            "allow_invalid_certificates": parts.scheme == "http",
            "connect_timeout": CONNECT_TIMEOUT,
            "timeout": ANSWER_TIMEOUT,
        },
        # Whoever archives tries again by itself, and wants to know of each failure.
        retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=1)},
    )
