"""Lines of a file that is being written: torn, rotated, cut short, endless."""

from __future__ import annotations

import os
from pathlib import Path

from reports.rundir import tail as tail_module
from reports.rundir.tail import Tail


def test_lines_come_once_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "log"
    tail = Tail(path)
    assert tail.lines() == []
    path.write_bytes(b"one\ntw")
    assert tail.lines() == [b"one"]
    with path.open("ab") as file:
        file.write(b"o\n\nthree\n")
    assert tail.lines() == [b"two", b"three"]
    assert tail.lines() == []


def test_a_rotated_file_is_read_to_its_end_and_then_its_successor(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"1\n")
    tail = Tail(path)
    assert tail.lines() == [b"1"]
    with path.open("ab") as file:
        file.write(b"2\n")
    path.rename(tmp_path / "log.1")
    assert tail.lines() == [b"2"]
    path.write_bytes(b"3\n")
    assert tail.lines() == [b"3"]


def test_a_file_that_was_cut_short_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"long line\n" * 3)
    tail = Tail(path)
    assert len(tail.lines()) == 3
    path.write_bytes(b"new\n")
    assert tail.lines() == [b"new"]


def test_of_a_long_file_only_the_end_is_read_and_no_half_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"".join(b"line %04d\n" % n for n in range(1000)))
    assert Tail(path, last_bytes=25).lines() == [b"line 0998", b"line 0999"]
    assert Tail(path, last_bytes=20).lines() == [b"line 0998", b"line 0999"]
    only_new = Tail(path, last_bytes=0)
    assert only_new.lines() == []
    with path.open("ab") as file:
        file.write(b"new\n")
    assert only_new.lines() == [b"new"]


def test_a_line_without_end_costs_no_memory(tmp_path: Path, monkeypatch: object) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"x" * (3 * tail_module.LINE_MAX) + b"\nfine\n")
    tail = Tail(path)
    assert tail.lines() == [b"fine"]
    assert tail.skipped == 1


def test_a_little_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"".join(b"%d\n" % n for n in range(200_000)))
    open_before = len(os.listdir("/proc/self/fd"))
    tail = Tail(path)
    first = tail.lines(limit_bytes=1)
    assert 0 < len(first) < 200_000
    while more := tail.lines(limit_bytes=1):
        first += more
    assert len(first) == 200_000
    assert len(os.listdir("/proc/self/fd")) <= open_before + 1
