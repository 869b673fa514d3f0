"""A stored run as it was at some moment of its life: the same files, each up to that moment."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

AFTERWARDS = ("verdict.json", "report.html", "junit.xml", "scrub.json", "leftovers.json")


def at(run: Path, to: Path, t: float) -> Path:
    """A copy of ``run`` at ``to`` as somebody would have found it ``t`` seconds after it began."""
    shutil.copytree(run, to, dirs_exist_ok=True)
    # Time stands still in a simulated run: the page takes the last moment for the present.
    plan = msgspec.json.decode((run / "plan.json").read_bytes()) | {"runtime": "simulated"}
    (to / "plan.json").write_bytes(msgspec.json.encode(plan))
    for name in AFTERWARDS:
        (to / name).unlink(missing_ok=True)
    for path in [to / "events.jsonl", *to.glob("canaries/*.jsonl"), *to.glob("load/*.jsonl")]:
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(line for line in lines if written(line, plan["start_boot_s"]) <= t))
    return to


def grow(run: Path, to: Path, t: float) -> None:
    """Append to a copy that :func:`at` made what was written until ``t``."""
    start = msgspec.json.decode((run / "plan.json").read_bytes())["start_boot_s"]
    for path in [to / "events.jsonl", *to.glob("canaries/*.jsonl"), *to.glob("load/*.jsonl")]:
        lines = (run / path.relative_to(to)).read_bytes().splitlines(keepends=True)
        there = set(path.read_bytes().splitlines(keepends=True))
        with path.open("ab") as file:
            file.writelines(line for line in lines if written(line, start) <= t and line not in there)


def written(line: bytes, start: float) -> float:
    """When a line was written, in seconds of the run."""
    entry = msgspec.json.decode(line)
    if "t" in entry:
        return float(entry["t"])
    took = 1.0 if "second" in entry else entry.get("ms", 0.0) / 1000
    return float(entry.get("boot", start)) - start + took
