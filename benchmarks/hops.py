"""What one request of each operation costs in CPU, told apart by hop: the routers, the replica that leads, those that
follow, and every other node.

The tables have one partition each, so that one storage node leads and two follow. Transactions are written with a
token, as SDKs send them, and also cost what their ledger does, a table of its own whose partitions lie on any storage
nodes, the leader and the others among them. What nodes use without any request is in the figures, and is given beside
them. Query, Scan, BatchGetItem and ExecuteStatement read strongly.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from benchmarks.cell import closed_loop, say, spoken
from benchmarks.cpu import CpuMeter
from benchmarks.requests import BATCH, FILLED, QUERIED, SCANNED, TRANSACTION
from benchmarks.targets import Blackstart, Running
from chaos.engine.watch import Calls, placement
from cluster.control import Control
from loadgen.schema import PARTITIONS_TAG
from loadgen.table import Admin

CONCURRENCY = 16
KEYS = 2000
"""Items that are read and written; those that are deleted lie beyond."""

IDLE_S = 5.0
READY_S = 30.0
POLL_S = 0.1
SORTED = "sorted"
"""The table that has sort keys: for the query."""

HOPS = ("routers", "leader", "followers", "others")

OPERATIONS = {
    "put": "PutItem",
    "cput": "PutItem on a condition",
    "update": "UpdateItem",
    "delete": "DeleteItem",
    "sget": "GetItem, strong",
    "eget": "GetItem, eventual",
    "query": f"Query, {QUERIED} items",
    "scan": f"Scan, a page of {SCANNED} items",
    "batch-get": f"BatchGetItem, {BATCH} items",
    "batch-write": f"BatchWriteItem, {BATCH} items",
    "transact-write-1": "TransactWriteItems, 1 item",
    "transact-write-4": f"TransactWriteItems, {TRANSACTION} items",
    "transact-get-1": "TransactGetItems, 1 item",
    "transact-get-4": f"TransactGetItems, {TRANSACTION} items",
    "select": "ExecuteStatement, SELECT by key",
}
"""By the request's name; measured in this order."""

ROUTER_US_MAX = {"put": 150, "sget": 120, "eget": 120}
"""What we want a router to use at most."""


class Place(NamedTuple):
    """Who has a table's one partition."""

    leader: str
    followers: tuple[str, ...]


def place_of(placed: Mapping[str, Any], table: str) -> Place | None:
    """Where a table of one partition is, by the control plane's map; None while nobody is known to lead it.

    Raises ``ValueError`` for a table of several: their leaders cannot be told from followers by node.
    """
    for listed in placed.get("tables", []):
        if listed["name"] != table:
            continue
        if len(listed["partitions"]) != 1:
            raise ValueError(f"table {table} has {len(listed['partitions'])} partitions; one is wanted")
        leader = listed["partitions"][0]["leader"]
        nodes = sorted(member["node"] for member in listed["partitions"][0]["members"])
        if leader in nodes:
            return Place(leader, tuple(node for node in nodes if node != leader))
    return None


def by_hop(used: Mapping[str, float], roles: Mapping[str, str], place: Place) -> dict[str, float]:
    """What every node used, summed by what it was for the partition."""
    found = dict.fromkeys(HOPS, 0.0)
    for node, amount in used.items():
        if roles[node] == "router":
            found["routers"] += amount
        elif node == place.leader:
            found["leader"] += amount
        elif node in place.followers:
            found["followers"] += amount
        else:
            found["others"] += amount
    return found


def measure(kind: str | None, seconds: float) -> dict[str, Any]:
    """Every operation's cell, on one cluster. Raises ``RuntimeError`` where it cannot be brought to where to begin."""
    with Blackstart(kind, partitions=1).running() as running:
        cluster = running.cluster
        pids = {node.name: [pid] for node in cluster.nodes.values() if (pid := node.pid()) is not None}
        apart = replace(running, groups=pids)
        with Control(cluster.peers, cluster.key, cluster.id) as control:
            found = Measured(apart, control, {node.name: node.role for node in cluster.nodes.values()}, seconds)
            found.prepare()
            return {
                "kind": cluster.kind, "concurrency": CONCURRENCY, "idle_us_per_s": found.idle(),
                "cells": {operation: found.cell(operation) for operation in OPERATIONS},
            }  # fmt: skip


class Measured:
    """One cluster, its processes by node."""

    def __init__(self, running: Running, control: Calls, roles: Mapping[str, str], seconds: float) -> None:
        self._running = running
        self._control = control
        self._roles = roles
        self._seconds = seconds
        self._filled = self._sorted_keys = 0

    def prepare(self) -> None:
        """Tables, items and the ledger of transactions, which the first of them makes."""
        job = self._running.job
        admin = Admin(job["endpoints"], job["access_key"], job["secret_key"], job["region"])
        status, answer = admin.call("CreateTable", sorted_table())
        if status != 200:
            raise RuntimeError(f"CreateTable {SORTED}: {status} {answer}")
        key = {"pk": {"S": "k"}, "sk": {"S": "s"}}
        _until(lambda: admin.call("GetItem", {"TableName": SORTED, "Key": key, "ConsistentRead": True})[0] == 200)
        self._sorted_keys = self._unmeasured("fill-sorted", 1.0, SORTED)
        # As fast as a batch of 25 goes it writes several times the items that are deleted one by one in that time.
        self._filled = self._unmeasured("fill", max(2.0, self._seconds)) * FILLED
        if self._filled < KEYS:
            raise RuntimeError(f"only {self._filled} items of {KEYS} were written in time")
        self._unmeasured("transact-write-1", 0.5)
        say(f"hops: {self._filled} items, {self._sorted_keys * QUERIED} sorted ones")

    def idle(self) -> dict[str, float]:
        """µs a second that every hop uses while nothing is asked."""
        place = self._place("bench")
        time.sleep(1.0)
        meter = CpuMeter(self._running.groups)
        time.sleep(IDLE_S)
        used = {node: cpu / IDLE_S * 1e6 for node, cpu in meter.used().items()}
        return by_hop(used, self._roles, place)

    def cell(self, operation: str) -> dict[str, Any]:
        """One operation's figures; ``moved``: the leader changed meanwhile, so that its share is not known."""
        table, keys = (SORTED, self._sorted_keys) if operation == "query" else ("bench", KEYS)
        place = self._place(table)
        cell = closed_loop(self._running, operation, CONCURRENCY, self._seconds, table=table, keys=keys)
        cell["hops_us"] = by_hop(cell["hops_us"], self._roles, place)
        cell["moved"] = self._place(table) != place
        if operation == "delete" and KEYS + cell["sent"] > self._filled:
            cell["errors"] += 1
            cell["first_error"] = f"only {self._filled - KEYS} of {cell['sent']} deleted items were there"
        hops = ", ".join(f"{hop} {used:.0f}" for hop, used in cell["hops_us"].items())
        say(f"hops: {OPERATIONS[operation]}: {spoken(cell)}; µs: {hops}")
        return cell

    def _unmeasured(self, operation: str, seconds: float, table: str = "bench") -> int:
        """How many requests were carried out, one by one numbered from 1. Raises ``RuntimeError`` if any failed."""
        cell = closed_loop(self._running, operation, CONCURRENCY, seconds, table=table, keys=KEYS)
        if cell["errors"]:
            raise RuntimeError(f"{operation}: {spoken(cell)}")
        return int(cell["sent"])

    def _place(self, table: str) -> Place:
        """Who leads, as soon as anybody does. Raises ``RuntimeError``."""
        place: Place = _until(lambda: place_of(placement(self._control, self._roles), table))
        return place


def sorted_table() -> dict[str, Any]:
    """The CreateTable request of the table for queries."""
    names = {"pk": "HASH", "sk": "RANGE"}
    return {
        "TableName": SORTED,
        "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in names],
        "KeySchema": [{"AttributeName": name, "KeyType": kind} for name, kind in names.items()],
        "BillingMode": "PAY_PER_REQUEST",
        "Tags": [{"Key": PARTITIONS_TAG, "Value": "1"}],
    }


def _until(ask: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + READY_S
    while not (found := ask()):
        if time.monotonic() > deadline:
            raise RuntimeError(f"the cluster was not ready within {READY_S:.0f} s")
        time.sleep(POLL_S)
    return found
