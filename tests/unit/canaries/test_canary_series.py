"""The series of windows: bounded, read while written, gone on with after a restart; records that are moved aside."""

from __future__ import annotations

import os
import time
from pathlib import Path

from canaries.alarms import REGIONAL
from canaries.availability import Sample, Window
from canaries.board import Board
from canaries.series import COARSE_S, FINE_S, KEPT_S, Series, read_days
from reports.rundir import Probe, ProbeLog, read_probes


def window(end: float, good: bool = True, length: float = 10.0) -> Window:
    made = Window(end - length, end)
    for canary in "abc":
        for zone in "abc":
            for op in ("put", "get"):
                made.add(Sample(end - 5, canary, zone, op, good or zone != "b", 2.0))
    return made


def test_windows_are_stored_and_found_again(tmp_path: Path) -> None:
    series = Series(tmp_path / "series.sqlite")
    now = time.time()
    series.add(window(now - 20), now - 20)
    series.add(window(now - 10, good=False), now - 10)
    first, second = series.last(5, 10.0)
    assert first.overall() == 1.0
    assert second.of_zone("b") == 0.0
    # Whoever shows it reads while it is written.
    stretches = read_days(tmp_path / "series.sqlite", now - 3600)
    assert {stretch.zone for stretch in stretches} == {"a", "b", "c"}
    assert sum(stretch.sent for stretch in stretches) == 36
    assert sum(stretch.good for stretch in stretches) == 30
    series.close()


def test_weeks_of_windows_stay_small(tmp_path: Path) -> None:
    clock = [1_000_000.0 * 1700]
    series = Series(tmp_path / "series.sqlite", wall=lambda: clock[0])
    sizes = []
    for day in range(60):
        for _ in range(40):
            clock[0] += 86400 / 40
            series.add(window(clock[0]), clock[0])
        if day in (40, 59):
            sizes.append(os.stat(tmp_path / "series.sqlite").st_size)
    db = series._db
    (oldest_fine,) = db.execute("SELECT min(end) FROM fine").fetchone()
    (oldest,) = db.execute("SELECT min(end) FROM coarse").fetchone()
    assert oldest_fine >= clock[0] - FINE_S - 86400
    assert oldest >= clock[0] - KEPT_S - 86400 - COARSE_S
    assert sizes[1] < sizes[0] * 1.15
    assert len(series.last(3, 10.0)) == 3
    series.close()


def test_a_series_that_is_not_there_or_damaged_is_empty(tmp_path: Path) -> None:
    assert read_days(tmp_path / "none.sqlite", 0.0) == []
    (tmp_path / "bad.sqlite").write_bytes(b"nonsense" * 1000)
    assert read_days(tmp_path / "bad.sqlite", 0.0) == []


def board() -> Board:
    return Board("abc", 0.0, window_s=10.0, grace_s=1.0, threshold=0.9)


def test_alarms_go_on_where_an_earlier_board_stopped() -> None:
    """One low window before the restart and one after it are two of three; what was on stays on, and can clear."""
    fresh = board()
    fresh.resume([window(-10), window(0, good=False)], [])
    for canary in "abc":
        fresh.windows.add(Sample(5, canary, "b", "get", False))
    assert [change.name for change in fresh.tick(11)] == [REGIONAL, "cfa-zone-b"]

    on = board()
    on.resume([window(-10, good=False), window(0, good=False)], [REGIONAL, "cfa-zone-b"])
    assert on.firing() == [REGIONAL, "cfa-zone-b"]
    changes = []
    for number in range(2):
        for zone in "abc":
            on.windows.add(Sample(10 * number + 5, "a", zone, "get", True))
        changes += on.tick(10 * number + 11)
    assert {(change.name, change.state) for change in changes} == {(REGIONAL, "cleared"), ("cfa-zone-b", "cleared")}


def probe(number: int) -> Probe:
    return Probe(boot=float(number), az="a", endpoint="u", endpoint_az="b", op="get", key="k", outcome="ok", ms=1.0)


def test_a_bounded_record_keeps_the_newest_probes(tmp_path: Path) -> None:
    log = ProbeLog(tmp_path / "a.jsonl", keep_bytes=20_000)
    for number in range(2000):
        log.append(probe(number))
    log.close()
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert size <= 20_000
    probes, problems = read_probes(tmp_path)
    assert problems == []
    assert probes[-1].boot == 1999
    assert [p.boot for p in probes] == [float(n) for n in range(2000 - len(probes), 2000)]
    assert len(probes) >= 80


def test_a_record_goes_on_after_a_torn_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"boot":1.0,"az')
    log = ProbeLog(tmp_path / "a.jsonl")
    log.append(probe(2))
    log.close()
    probes, problems = read_probes(tmp_path)
    assert [p.boot for p in probes] == [2.0]
    assert len(problems) == 1
