"""Every request form against another implementation of DynamoDB's API: what we send is valid, what we read is right."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from loadgen.address import Address, Timeouts
from loadgen.client import Client, signers_for
from loadgen.plan import Operation
from loadgen.table import Admin, TableFailed, ensure_table
from loadgen.translate import API, Outcome, body_of, outcome_of
from tests.unit.loadgen.load_servers import ROOT, free_port, standin

pytest.importorskip("moto.server")
OLD = "load-a.1"
NEW = "load-a.2"


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", str(port)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        ensure_table(Admin([url], "AK", "SK", "us-east-1"), "load", limit_s=60)
        yield url
    finally:
        process.kill()
        process.wait()


def perform(url: str, operation: Operation) -> Outcome:
    addresses = (Address.of(url),)
    client = Client(addresses, signers_for(addresses, "AK", "SK", "us-east-1"), Timeouts(5, 20))
    response = client.call(0, API[operation.op], body_of(operation, 300))
    return outcome_of(operation, response.status, response.body, 300)


FAILED = "ConditionalCheckFailedException"


def test_a_chain_of_every_operation_tells_its_predecessors(moto: str) -> None:
    key = f"k{time.monotonic_ns()}"

    def op(name: str, value: str | None = None, expect: str | None = None) -> Outcome:
        return perform(moto, Operation(name, "load", key, value, expect))  # type: ignore[arg-type]

    assert op("get") == Outcome("ok", 200, None, None)
    assert op("cput", OLD, "-") == Outcome("ok", 200, None, None)
    assert op("cput", NEW, "-") == Outcome("fail", 400, FAILED, OLD)
    assert op("eget") == Outcome("ok", 200, None, OLD)
    assert op("put", NEW) == Outcome("ok", 200, None, OLD)
    assert op("update", "load-a.3") == Outcome("ok", 200, None, NEW)
    assert op("update", "load-a.4", "load-a.9") == Outcome("fail", 400, FAILED, "load-a.3")
    assert op("update", "load-a.4", "load-a.3") == Outcome("ok", 200, None, "load-a.3")
    assert op("cput", "load-a.5", "load-a.4") == Outcome("ok", 200, None, "load-a.4")
    assert op("final") == Outcome("ok", 200, None, "load-a.5")
    assert op("delete") == Outcome("ok", 200, None, "load-a.5")
    assert op("update", "load-a.6", "-") == Outcome("ok", 200, None, None)
    assert op("get") == Outcome("ok", 200, None, "load-a.6")


def test_making_a_table_that_exists_is_no_error(moto: str) -> None:
    ensure_table(Admin([f"http://127.0.0.1:{free_port()}", moto], "AK", "SK", "us-east-1"), "load", limit_s=20)


def test_a_table_that_can_not_be_made_says_why() -> None:
    with (
        standin("--fail", "400:ValidationException") as port,
        pytest.raises(TableFailed, match=r"load: 400 .*Validation"),
    ):
        ensure_table(Admin([f"http://127.0.0.1:{port}"], "AK", "SK", "us-east-1"), "load", limit_s=20)


def test_a_target_that_does_not_answer_is_given_up_at_the_limit() -> None:
    with pytest.raises(TableFailed, match="no endpoint answered"):
        ensure_table(Admin([f"http://127.0.0.1:{free_port()}"], "AK", "SK", "r"), "load", limit_s=0.3)
