"""The API layer on a socket with a dict for a database: what contract tests run against when no endpoint is given.

Everything that faces the client is the product's own (HTTP, SigV4, operations, evaluation); replication is left out.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time

from in_process_rows import LocalServices, Rows, drive
from in_process_tables import Tables

from cluster.api import CompositeOperation, ControlOperation, find_operation, read_body
from cluster.wire import errors, sigv4
from cluster.wire.encoding import expand
from cluster.wire.errors import ApiError
from cluster.wire.http import BODY_BYTES_MAX, HttpConnection, Request, date_line, failure_response
from cluster.wire.protocol import answer, answer_outsider, first_refusal

REGION = "local-1"
ACCESS_KEY = "AKIACONTRACT"
SECRET_KEY = "contract-secret"


class Database:
    """Tables and items in memory."""

    def __init__(self) -> None:
        self.rows = Rows()
        self.tables = Tables(REGION, self.rows.forget, self.rows.refill)
        self.services = LocalServices(self.rows, self.tables.schema)
        self.rng = random.Random(7)

    def serve(self, request: Request) -> bytes:
        request_id = errors.request_id(self.rng)
        outside = answer_outsider(request, request_id)
        if outside is not None:
            return outside
        status = 200
        try:
            find_operation(request.headers)
            sigv4.verify(
                request.method, request.target, request.headers, request.body, self.secret, time.time(), region=REGION
            )
            body = self.run(request)
        except ApiError as error:
            error = first_refusal(request, error)
            status, body = errors.error_status(error), errors.error_body(error)
        return answer(request, status, body, request_id, date_line(int(time.time())))

    def secret(self, access_key: str) -> str | None:
        return SECRET_KEY if access_key == ACCESS_KEY else None

    def run(self, request: Request) -> bytes:
        operation = find_operation(request.headers)
        content = request.body
        if "content-encoding" in request.headers:
            content = expand(content, request.headers["content-encoding"], BODY_BYTES_MAX)
        body = read_body(content)
        if isinstance(operation, ControlOperation):
            if operation.local:
                return operation.respond({"address": request.headers["host"]})
            return operation.respond(self.tables.serve(operation.name, operation.check(body)))
        if isinstance(operation, CompositeOperation):
            return drive(operation.plan(operation.check(body), self.services))  # type: ignore[arg-type]
        checked = operation.check(body)
        schema = self.tables.schema(checked.table)
        command = operation.prepare(checked, schema)
        return operation.respond(command, self.rows.run(schema, command))


class _Connection(asyncio.Protocol):
    def __init__(self, database: Database) -> None:
        self._database = database
        self._http = HttpConnection()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        for request in self._http.feed(data):
            self._transport.write(self._database.serve(request))
            if not request.keep_alive:
                self._transport.close()
        self._transport.write(self._http.take_outgoing())
        if self._http.failure is not None:
            self._transport.write(failure_response(self._http.failure))
            self._transport.close()


class Server:
    """A thread with an event loop that serves one database until :meth:`stop`."""

    def __init__(self) -> None:
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        if not self._ready.wait(10):
            raise RuntimeError("the in-process server did not start")

    def _run(self) -> None:
        database = Database()
        server = self._loop.run_until_complete(self._loop.create_server(lambda: _Connection(database), "127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        self._loop.run_forever()
        server.close()
        self._loop.close()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
