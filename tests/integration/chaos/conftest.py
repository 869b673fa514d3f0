"""A small cluster of stand-in nodes on the local runtime, for faults on real namespaces, disks and bridges."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster.runtime import Cluster, choose
from cluster.topology import parse

STAND_IN = Path(__file__).resolve().parents[1] / "runtime" / "stand_in.py"
TINY = """
name: tiny
zones:
  a: {a1: {storage: 1, router: 1}}
  b: {b1: {storage: 1, router: 1}}
  c: {c1: {storage: 1, router: 1}}
disks: {storage: 64M, autoadmin: 64M}
"""


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    if os.geteuid() != 0:
        pytest.skip("needs root: network namespaces, loop devices and nftables")
    made = choose("local").up(parse(TINY), command=["python", str(STAND_IN)])
    try:
        yield made
    finally:
        made.down()


Say = Callable[[str, str], str]


@pytest.fixture
def say(cluster: Cluster) -> Say:
    """``say(node, line)``: what the stand-in answers, asked from the host."""

    def ask(node: str, line: str) -> str:
        with socket.create_connection((cluster.nodes[node].address, 7000), timeout=5) as connection:
            stream = connection.makefile("rw")
            stream.write(line + "\n")
            stream.flush()
            return stream.readline().strip()

    return ask
