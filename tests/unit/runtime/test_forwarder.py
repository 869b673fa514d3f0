"""The published port of a local cluster: bytes both ways, half-closes kept, and no client waits for who is gone."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable

from cluster.runtime.forwarder import forward

LIMIT_S = 10.0
AT_ONCE = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: closing resets."""

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def through(router: Serve, exchange: Serve) -> None:
    """Play a client's exchange through a forwarder to a router."""
    behind = await asyncio.start_server(router, "127.0.0.1", 0)
    address, port = behind.sockets[0].getsockname()
    front = await asyncio.start_server(lambda r, w: forward(address, port, r, w), "127.0.0.1", 0)
    async with behind, front, asyncio.timeout(LIMIT_S):
        reader, writer = await asyncio.open_connection(*front.sockets[0].getsockname())
        try:
            await exchange(reader, writer)
        finally:
            writer.close()


def reset(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
    writer.transport.abort()


def test_a_client_that_half_closes_gets_its_answer() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"heard " + await reader.read())
        writer.close()

    async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"this")
        writer.write_eof()
        assert await reader.read() == b"heard this"

    asyncio.run(through(echo, exchange))


def test_a_client_whose_router_resets_does_not_wait() -> None:
    async def abort(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        reset(writer)

    async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"a request")
        assert await reader.read() == b""

    asyncio.run(through(abort, exchange))


def test_a_router_whose_client_resets_is_told() -> None:
    ended = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"ready")
        assert await reader.read() == b"a request"
        ended.set()
        writer.close()

    async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"a request")
        await reader.readexactly(5)
        reset(writer)
        await ended.wait()

    asyncio.run(through(wait, exchange))
