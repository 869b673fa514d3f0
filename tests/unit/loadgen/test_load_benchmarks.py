"""The benchmarks measure what they say: a wrong figure is worse than none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import checking
from benchmarks.closed_loop import Job, Loop
from benchmarks.cpu import CpuMeter, resident_mb
from benchmarks.show import show
from reports.checkers import linearizability
from reports.checkers.evidence import History
from tests.unit.loadgen.load_servers import ROOT, free_port, standin


@pytest.mark.parametrize("operation", ["put", "get"])
def test_the_closed_loop_counts_good_answers(operation: str) -> None:
    with standin("--secret", "AK=SK", "--delay", "0.02") as port:
        job = Job(
            protocol="dynamodb",
            endpoints=(f"http://127.0.0.1:{port}",),
            operation=operation,
            concurrency=4,
            seconds=0.5,
        )
        result = Loop(job).run()
    assert result["errors"] == 0
    assert 40 < result["requests"] <= 4 * 0.5 / 0.02  # four at a time, 20 ms each
    assert 20 <= result["p50_ms"] < 60


def test_errors_are_counted_apart_and_the_first_is_shown() -> None:
    job = Job(
        protocol="dynamodb",
        endpoints=(f"http://127.0.0.1:{free_port()}",),
        operation="get",
        concurrency=2,
        seconds=0.2,
    )
    result = Loop(job).run()
    assert result["requests"] == 0
    assert result["errors"] > 0
    assert result["first_error"] == "ConnectRefused"


def test_etcd_requests_are_what_its_gateway_wants() -> None:
    job = Job(protocol="etcd", endpoints=("http://127.0.0.1:1",), operation="put", concurrency=1, seconds=1)
    head, _, body = Loop(job).make(0, 7).partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v3/kv/put HTTP/1.1\r\n")
    assert f"content-length: {len(body)}".encode() in head
    assert set(json.loads(body)) == {"key", "value"}


def test_the_cpu_meter_sees_work_and_no_more_than_there_was() -> None:
    meter = CpuMeter({"self": [os.getpid()], "gone": [2**22 - 1]})
    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass
    used = meter.used()
    assert 0.15 < used["self"] < 0.5
    assert used["gone"] == 0
    assert resident_mb(os.getpid()) > 5


def test_the_synthetic_history_is_clean_and_a_planted_lost_update_is_found(tmp_path: Path) -> None:
    figures = checking.measure(3000, keys=50)
    assert figures["operations"] == 3000
    assert set(figures["results"].values()) == {"ok"}
    checking.write_history(tmp_path, 3000, keys=50)
    history = History.read(tmp_path)
    operations = list(history.operations)
    victim = next(
        n for n, o in enumerate(operations) if n > 1500 and o.op == "put" and o.outcome == "ok" and o.observed
    )
    # As if the put had not seen the write before it: two writes claim the same predecessor.
    other = next(o for o in operations[:victim] if o.key == operations[victim].key and o.op == "put" and o.observed)
    import msgspec

    operations[victim] = msgspec.structs.replace(operations[victim], observed=other.observed)
    assert linearizability.check(History(operations)).result == "failed"


def test_the_tables_can_be_drawn_from_any_part_of_a_report(capsys: pytest.CaptureFixture[str]) -> None:
    cell = {"requests": 9, "per_second": 9.0, "errors": 0, "p50_ms": 1.0, "p99_ms": 2.0, "client_us": 50.0}
    cell |= {"hops_us": {"router": 100.0}, "first_error": None}
    operations = {
        "blackstart": {
            "note": "n",
            "cells": {"put x128": cell, "get x128": cell | {"requests": 0}},
            "idle": {"cpu_percent": 3.0, "memory_mb_max": {"storage": 50.0}},
            "serving_s": 5.0,
            "empty_s": 4.0,
        },
        "etcd": {"skipped": "not installed"},
    }
    show({"cores": 2, "seconds": 1.0, "operations": operations})
    show({"cores": 2, "seconds": 1.0})
    text = capsys.readouterr().out
    assert "3,000 missed" in text
    assert "not installed" in text
    assert "1.5 met" in text


def test_the_command_refuses_parts_it_does_not_know() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks.run", "--only", "nonsense"], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 2
    assert "no part nonsense; there are operations, " in result.stderr
