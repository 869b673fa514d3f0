"""Publishes the routers of a local cluster on ports of 127.0.0.1, as Docker does for its containers.

``forwarder.py '{"18000": "198.18.7.17:8000"}'`` prints a line once it listens and forwards until it is killed. Standard
library only; it carries people's clients and SDKs, not load drivers, which sit inside the cluster's network.
"""

from __future__ import annotations

import asyncio
import json
import sys

CHUNK = 1 << 16
CONNECT_TIMEOUT_S = 5.0


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Everything from one side to the other, then half-close, so that a client may shut down its sending side."""
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


async def forward(address: str, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One client's connection; closed at once where the router does not answer, and when either side resets."""
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            there, to_there = await asyncio.open_connection(address, port)
    except (OSError, TimeoutError):
        writer.transport.abort()
        return
    try:
        async with asyncio.TaskGroup() as both:
            both.create_task(copy(reader, to_there))
            both.create_task(copy(there, writer))
    except* OSError:
        writer.transport.abort()  # who waits for an answer must not wait for one that cannot come
    finally:
        to_there.transport.abort()
        writer.close()


async def main(routers: dict[str, str]) -> None:
    for here, target in routers.items():
        address, _, port = target.rpartition(":")

        async def accept(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, to: str = address, at: int = int(port)
        ) -> None:
            await forward(to, at, reader, writer)

        await asyncio.start_server(accept, "127.0.0.1", int(here))
    print("listening", flush=True)
    sys.stdout.close()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
