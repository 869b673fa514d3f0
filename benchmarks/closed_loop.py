"""A closed loop at a fixed concurrency, in a process of its own so that its CPU can be told from everything else's.

    echo '{"protocol": "dynamodb", "endpoints": [...], ...}' | python -m benchmarks.closed_loop

The same connections, parser and greenlets for every target: what differs is the request. Prints one JSON object:
``{"requests", "sent", "errors", "seconds", "p50_ms", "p99_ms", "cpu_s", "first_error"}``; ``sent``
counts the warm-up, too.
"""

from __future__ import annotations

import base64
import sys
import time
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import gevent
import msgspec
from gevent.pool import Group

from benchmarks.requests import REQUESTS, Items, trouble
from loadgen.address import Address, Timeouts
from loadgen.client import Connection, MaybeSent, NotSent, signers_for
from loadgen.plan import key_name
from loadgen.stats import bucket_of, percentile_ms
from loadgen.translate import filler

TIMEOUTS = Timeouts(connect_s=5.0, answer_s=30.0)
WARM_UP_SHARE = 0.2
"""The first fifth of the time is not counted."""

MakeRequest = Callable[[int, int], bytes]
"""``(endpoint index, request number) -> bytes`` to send."""


class Job(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to do. ``operation`` is ``put`` or ``get`` (strong), or what else only DynamoDB has, of
    :data:`benchmarks.requests.REQUESTS`."""

    protocol: str
    endpoints: tuple[str, ...]
    operation: str
    concurrency: int
    seconds: float
    keys: int = 1000
    item_bytes: int = 900
    table: str = "bench"
    access_key: str = "AK"
    secret_key: str = "SK"
    region: str = "us-east-1"


def dynamodb(job: Job, addresses: tuple[Address, ...]) -> MakeRequest:
    """What the operation asks of a table, signed."""
    signers = signers_for(addresses, job.access_key, job.secret_key, job.region)
    items = Items(job.table, job.keys, job.item_bytes)
    request = REQUESTS[job.operation]

    def make(endpoint: int, number: int) -> bytes:
        return signers[endpoint].request(request.api, request.body(items, number).encode(), time.time())

    return make


def etcd(job: Job, addresses: tuple[Address, ...]) -> MakeRequest:
    """Put and linearizable range through etcd's own HTTP/JSON gateway; keys and values are base64 there."""
    rng = Random(1)
    path = "put" if job.operation == "put" else "range"
    heads = [
        f"POST /v3/kv/{path} HTTP/1.1\r\nhost: {address.host_header}\r\ncontent-type: application/json\r\n"
        for address in addresses
    ]

    def make(endpoint: int, number: int) -> bytes:
        key = key_name(int(rng.random() * job.keys))
        name = base64.b64encode(key.encode()).decode()
        body = f'{{"key":"{name}"}}'
        if job.operation == "put":
            value = filler(key, f"bench.{number}", job.item_bytes)
            body = f'{{"key":"{name}","value":"{base64.b64encode(value.encode()).decode()}"}}'
        return f"{heads[endpoint]}content-length: {len(body)}\r\n\r\n{body}".encode()

    return make


PROTOCOLS = {"dynamodb": dynamodb, "etcd": etcd}


class Loop:
    """``concurrency`` greenlets, each with one connection to one endpoint, sending as soon as the answer is there."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.addresses = tuple(Address.of(url) for url in job.endpoints)
        self.make = PROTOCOLS[job.protocol](job, self.addresses)
        self.latency: Counter[int] = Counter()
        self.requests = self.errors = self.number = 0
        self.first_error: str | None = None
        self.begin = self.end = 0.0

    def run(self) -> dict[str, Any]:
        now = time.perf_counter()
        self.begin = now + self.job.seconds * WARM_UP_SHARE
        self.end = self.begin + self.job.seconds
        cpu_s = [0.0]

        def mark() -> None:
            cpu_s[0] = time.process_time()

        gevent.spawn_later(self.begin - now, mark)
        users = Group()
        for index in range(self.job.concurrency):
            users.spawn(self._user, index % len(self.addresses))
        users.join()
        return {
            "requests": self.requests,
            "sent": self.number,
            "errors": self.errors,
            "seconds": self.job.seconds,
            "p50_ms": percentile_ms(self.latency, 0.5),
            "p99_ms": percentile_ms(self.latency, 0.99),
            "cpu_s": time.process_time() - cpu_s[0],
            "first_error": self.first_error,
        }

    def _user(self, endpoint: int) -> None:
        connection = Connection(self.addresses[endpoint], TIMEOUTS)
        while (sent := time.perf_counter()) < self.end:
            self.number += 1
            try:
                response = connection.exchange(self.make(endpoint, self.number))
            except (NotSent, MaybeSent) as error:
                self._count(sent, str(error))
                gevent.sleep(0.01)
            else:
                self._count(sent, trouble(self.job.operation, response.status, response.body))
        connection.close()

    def _count(self, sent: float, error: str | None) -> None:
        done = time.perf_counter()
        if not self.begin <= done < self.end:
            return
        if error is not None:
            self.errors += 1
            self.first_error = self.first_error or error
            return
        self.requests += 1
        self.latency[bucket_of(int((done - sent) * 1e9))] += 1


def main() -> None:
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    sys.stdout.buffer.write(msgspec.json.encode(Loop(job).run()) + b"\n")


if __name__ == "__main__":
    main()
