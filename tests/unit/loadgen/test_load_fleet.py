"""The fleet: zones begin together, are added up, sweep in parts, and leave no secret behind."""

from __future__ import annotations

import json
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from loadgen.fleet import Credentials, Fleet, FleetFailed, Zone, on_this_host
from reports.metrics import read_skipped
from reports.rundir.history import read_history
from tests.unit.loadgen.load_servers import free_port, standin

CREDENTIALS = Credentials("AK", "SK-very-secret", "local-1")
SHARED: dict[str, Any] = {"profile": "mixed", "rate": 200, "users": 7, "keys": 60, "table": "load"}


def zones(*ports: int) -> list[Zone]:
    return [Zone(az, tuple(f"http://127.0.0.1:{port}" for port in ports)) for az in ("a", "b")]


def test_two_zones_load_and_sweep_and_their_evidence_fits_together(tmp_path: Path) -> None:
    with standin("--secret", "AK=SK-very-secret") as port:
        fleet = Fleet(tmp_path, zones(port), CREDENTIALS, SHARED)
        fleet.launch(on_this_host)
        assert stat.S_IMODE((tmp_path / "load" / ".secret").stat().st_mode) == 0o600
        fleet.await_ready(60)
        start = fleet.begin()
        fleet.stop(start + 1.5)
        finished = fleet.wait(60)
        sweep = Fleet(tmp_path, zones(port), CREDENTIALS, {**SHARED, "mode": "sweep", "users": 4})
        sweep.launch(on_this_host)
        parts = sweep.wait(60)
    operations, problems = read_history(tmp_path / "history")
    assert problems == []
    assert {o.writer for o in operations} == {"load-a", "load-b", "sweep-a", "sweep-b"}
    sent = sum(line["totals"]["sent"] for line in finished.values())
    assert sent == sum(o.op != "final" for o in operations) > 0
    assert sorted(o.key for o in operations if o.op == "final") == [f"k{n:07d}" for n in range(60)]
    assert [part["keys"] for part in parts.values()] == [30, 30]
    assert sum(part["missing"] for part in parts.values()) == 0
    assert min(o.intended_ns for o in operations) >= start * 1e9 - 1000
    configs = [json.loads((tmp_path / "load" / f"{az}.json").read_text()) for az in "ab"]
    assert [config["users"] for config in configs] == [4, 3]
    assert [config["rate"] for config in configs] == [100, 100]


def test_the_secret_is_gone_when_the_drivers_have_it_and_is_in_no_other_file(tmp_path: Path) -> None:
    with standin() as port:
        fleet = Fleet(tmp_path, zones(port), CREDENTIALS, SHARED)
        try:
            fleet.launch(on_this_host)
            fleet.await_ready(60)
            for path in tmp_path.rglob("*"):
                assert not path.is_file() or b"SK-very-secret" not in path.read_bytes()
        finally:
            fleet.kill()


def test_what_was_skipped_is_counted_once_by_the_report(tmp_path: Path) -> None:
    with standin("--delay", "30") as port:
        shared = {**SHARED, "users": 2, "answer_timeout_s": 0.5, "patience_s": 0.1}
        fleet = Fleet(tmp_path, zones(port), CREDENTIALS, shared)
        fleet.launch(on_this_host)
        fleet.await_ready(60)
        start = fleet.begin()
        fleet.stop(start + 1)
        finished = fleet.wait(60)
    skipped = sum(line["totals"]["skipped"] for line in finished.values())
    assert skipped > 50
    assert sum(read_skipped(tmp_path / "load", start).values()) == skipped


def test_a_driver_that_ends_at_once_is_reported_with_its_words(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, zones(free_port()), CREDENTIALS, {**SHARED, "profile": "nonsense"})
    fleet.launch(on_this_host)
    with pytest.raises(FleetFailed, match=r"zone [ab] ended with code 2: .*no load profile 'nonsense'"):
        fleet.await_ready(60)
    fleet.kill()


def test_a_driver_that_is_killed_is_reported_after_the_others_have_ended(tmp_path: Path) -> None:
    with standin() as port:
        fleet = Fleet(tmp_path, zones(port), CREDENTIALS, SHARED)
        fleet.launch(on_this_host)
        fleet.await_ready(60)
        fleet.begin()
        deadline = time.monotonic() + 60
        while {az for az, _ in fleet.seconds()} != {"a", "b"}:
            assert time.monotonic() < deadline
            time.sleep(1.1)
        fleet._drivers["a"].kill()
        fleet.stop()
        with pytest.raises(FleetFailed, match=r"zone a: .*code -9"):
            fleet.wait(60)
    assert "b" in fleet.finished


def test_load_without_a_zone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FleetFailed, match="at least one zone"):
        Fleet(tmp_path, [], CREDENTIALS, SHARED)
