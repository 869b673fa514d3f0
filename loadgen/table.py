"""The table that load runs on: created where it is missing, awaited until it serves.

Blocking calls over standard sockets: the controller uses this, and it has no gevent.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from cluster.wire.http_client import BadResponse, Response, ResponseParser
from cluster.wire.sigv4 import Signer
from loadgen.address import Address
from loadgen.plan import Operation, key_name
from loadgen.profiles import profile_named
from loadgen.schema import later_body, table_body
from loadgen.translate import body_of

CALL_TIMEOUT_S = 5.0
PAUSE_S = 0.1
PROBES = 32


class TableFailed(RuntimeError):
    """The table could not be made ready; the message has the last answer."""


class Admin:
    """Single calls to whichever of the endpoints answers; for set-up, never for recorded traffic."""

    def __init__(self, endpoints: Sequence[str], access_key: str, secret_key: str, region: str) -> None:
        self.addresses = [Address.of(url) for url in endpoints]
        self._signers = [Signer(access_key, secret_key, region, address.host_header) for address in self.addresses]
        self._next = 0

    def call(self, operation: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Status and decoded body of one call. An endpoint that fails is left for the next; :class:`TableFailed` when
        none answered."""
        raw, problems = msgspec.json.encode(body), []
        for _ in self.addresses:
            address, signer = self.addresses[self._next], self._signers[self._next]
            try:
                response = _exchange(address, signer.request(operation, raw, time.time()))
                return response.status, msgspec.json.decode(response.body) if response.body else {}
            except (OSError, BadResponse, msgspec.MsgspecError) as error:
                problems.append(f"{address.url}: {error}")
                self._next = (self._next + 1) % len(self.addresses)
        raise TableFailed("no endpoint answered: " + "; ".join(problems))


def _exchange(address: Address, request: bytes) -> Response:
    parser = ResponseParser()
    with socket.create_connection((address.ip, address.port), timeout=CALL_TIMEOUT_S) as connection:
        connection.sendall(request)
        while True:
            data = connection.recv(65536)
            if data:
                responses = parser.feed(data)
            else:
                last = parser.eof()
                if last is None:
                    raise ConnectionError("closed without an answer")
                responses = [last]
            if responses:
                return responses[0]


def ensure_table(
    admin: Admin, table: str, *, partitions: int | None = None, limit_s: float = 30.0, profile: str = "mixed"
) -> None:
    """Create ``table`` as ``profile`` needs it unless it exists; return once it is active and every partition answers a
    strong read (as far as :data:`PROBES` keys tell).

    Raises :class:`TableFailed` at the limit, or at once where the answer says that waiting will not help.
    """
    deadline = time.monotonic() + limit_s
    chosen = profile_named(profile)
    body = table_body(chosen, table, partitions)
    _until(admin, "CreateTable", body, deadline, lambda status, answer: status == 200 or _is(answer, "ResourceInUse"))
    _until(admin, "DescribeTable", {"TableName": table}, deadline, _active)
    for index in range(PROBES):
        probe = Operation("get", table, key_name(index), None, None)
        read = msgspec.json.decode(body_of(probe, chosen.item_bytes, indexed=chosen.indexed))
        _until(admin, "GetItem", read, deadline, lambda status, answer: status == 200)


def add_index(admin: Admin, table: str, profile: str, limit_s: float = 60.0) -> bool:
    """Add the index that a profile wants under load, once the control plane takes it; False where it wants none. Raises
    :class:`TableFailed`."""
    body = later_body(profile_named(profile), table)
    if body is None:
        return False
    exists = "already exists"

    def done(status: int, answer: dict[str, Any]) -> bool:
        return status == 200 or exists in str(answer.get("message", ""))

    _until(admin, "UpdateTable", body, time.monotonic() + limit_s, done)
    return True


def _is(answer: dict[str, Any], name: str) -> bool:
    return name in str(answer.get("__type", ""))


def _active(status: int, answer: dict[str, Any]) -> bool:
    return status == 200 and answer.get("Table", {}).get("TableStatus") == "ACTIVE"


def _until(admin: Admin, operation: str, body: dict[str, Any], deadline: float, done: Any) -> None:
    """Repeat one call until its answer is what is wanted. Refusals other than "not yet" end it at once."""
    while True:
        try:
            status, answer = admin.call(operation, body)
        except TableFailed as error:
            last = str(error)
        else:
            if done(status, answer):
                return
            last = f"{status} {answer}"
            if status == 400 and not any(_is(answer, name) for name in ("ResourceNotFound", "ResourceInUse", "Thrott")):
                raise TableFailed(f"{operation} {body['TableName']}: {last}")
        if time.monotonic() >= deadline:
            raise TableFailed(f"{operation} {body['TableName']}: no success in time; last answer: {last}")
        time.sleep(PAUSE_S)
