"""A tiny DynamoDB stand-in over HTTP: enough for the load generator, in a process of its own.

It keeps items in a dictionary, evaluates exactly the conditions that :mod:`loadgen.translate` writes, and can be told
to misbehave. It measures the generator (the server must cost less than the client) and serves in tests.

    python -m benchmarks.standin --port 0 [--secret KEY=SECRET] [--delay 0.1] [--fail 500:InternalServerError]

It prints its port on the first line of stdout.
"""

from __future__ import annotations

import argparse
import asyncio
import time
import zlib
from typing import Any

import msgspec

from cluster.core.errors import ApiError
from cluster.wire.sigv4 import verify

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
CONDITION_FAILED = "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"


class Store:
    """Items of all tables, by table and key."""

    def __init__(self) -> None:
        self.items: dict[tuple[str, str], dict[str, Any]] = {}
        self.requests = 0

    def answer(self, operation: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Status and body of one call."""
        if operation in ("CreateTable", "DescribeTable"):
            return 200, {"Table": {"TableName": body["TableName"], "TableStatus": "ACTIVE"}}
        key = (body["TableName"], (body.get("Item") or body["Key"])["pk"]["S"])
        current = self.items.get(key)
        if operation == "GetItem":
            return 200, {"Item": current} if current else {}
        if not _holds(body, current):
            failed: dict[str, Any] = {"__type": CONDITION_FAILED, "message": "The conditional request failed"}
            return 400, {**failed, "Item": current} if current else failed
        if operation == "PutItem":
            self.items[key] = body["Item"]
        elif operation == "DeleteItem":
            self.items.pop(key, None)
        elif operation == "UpdateItem":
            values = body["ExpressionAttributeValues"]
            self.items[key] = {**(current or body["Key"]), "v": values[":v"], "pad": values[":p"]}
        else:
            return 400, {"__type": "com.amazon.coral.service#UnknownOperationException"}
        return 200, {"Attributes": current} if current else {}


def _holds(body: dict[str, Any], current: dict[str, Any] | None) -> bool:
    condition = body.get("ConditionExpression")
    if condition is None:
        return True
    if condition == "attribute_not_exists(pk)":
        return current is None
    return current is not None and current["v"] == body["ExpressionAttributeValues"][":e"]


class Server(asyncio.Protocol):
    """One connection. Requests come whole or in pieces, one at a time."""

    def __init__(self, store: Store, options: argparse.Namespace) -> None:
        self.store = store
        self.options = options
        self.buffer = b""
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        lines = self.buffer[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        total = end + 4 + int(headers["content-length"])
        if len(self.buffer) < total:
            return
        body, self.buffer = self.buffer[end + 4 : total], self.buffer[total:]
        status, answer = self._answer(headers, body)
        if self.options.delay:
            asyncio.get_running_loop().call_later(self.options.delay, self._send, status, answer)
        else:
            self._send(status, answer)

    def _answer(self, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, Any]]:
        self.store.requests += 1
        if self.options.secret:
            access_key, _, secret = self.options.secret.partition("=")
            try:
                verify("POST", "/", headers, body, {access_key: secret}.get, time.time())
            except ApiError as error:
                return 400, {"__type": f"com.amazon.coral.service#{error.kind}", "message": error.message}
        if self.options.fail:
            code, _, name = self.options.fail.partition(":")
            return int(code), {"__type": f"com.amazon.coral.service#{name}"}
        return self.store.answer(headers["x-amz-target"].rpartition(".")[2], _decode(body))

    def _send(self, status: int, answer: dict[str, Any]) -> None:
        body = _encode(answer)
        head = f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\nx-amz-crc32: {zlib.crc32(body)}\r\n\r\n"
        self.transport.write(head.encode() + body)


async def serve(options: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    store = Store()
    server = await loop.create_server(lambda: Server(store, options), "127.0.0.1", options.port)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description="A DynamoDB stand-in for measuring and testing the load generator.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--secret", help="verify signatures: ACCESS_KEY=SECRET_KEY")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--fail", help="answer everything with STATUS:ErrorName")
    options = parser.parse_args()
    try:
        import uvloop

        uvloop.run(serve(options))
    except ImportError:
        asyncio.run(serve(options))


if __name__ == "__main__":
    main()
