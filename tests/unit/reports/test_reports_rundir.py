"""The run directory's formats: what is written comes back, and damage never passes for something else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.rundir import (
    DamageEntry,
    EventLog,
    HistoryWriter,
    Plan,
    RunDir,
    RunDirError,
    Verdict,
    append_damage,
    read_events,
    read_history,
    read_ledger,
)
from reports.rundir.history import NEVER_NS, Problem, read_records
from reports.rundir.schema import DIRECTORY, KINDS, evenly, schema_of, text_of

TEXT = st.text(max_size=20)
MAYBE = st.none() | TEXT


def write_some(path: Path, count: int = 4, gather: int = 0) -> bytes:
    with HistoryWriter(path, "a-1", gather=gather) as writer:
        for n in range(count):
            id = writer.invoke("put", "load", f"key-{n}", f"a-1.{n}", az="a", endpoint="http://x:8000", t_ns=1000 * n)
            writer.complete(id, "ok", status=200, value=None, t_ns=1000 * n + 500)
    return path.read_bytes()


@given(
    st.lists(
        st.tuples(TEXT, TEXT, MAYBE, MAYBE, st.sampled_from(["ok", "fail", "unknown", None]), MAYBE, MAYBE), max_size=10
    )
)
@settings(max_examples=60)
def test_history_comes_back(tmp_path_factory: pytest.TempPathFactory, calls: list[tuple[str, ...]]) -> None:
    path = tmp_path_factory.mktemp("h") / "w-1.log"
    with HistoryWriter(path, "w-1") as writer:
        for n, (table, key, value, expect, outcome, error, observed) in enumerate(calls):
            id = writer.invoke("put", table, key, value, expect, az="a", endpoint="e", intended_ns=n, t_ns=n + 1)
            assert id == n + 1
            if outcome is not None:
                writer.complete(id, outcome, status=7, error=error, value=observed, t_ns=n + 2)
    operations, problems = read_history(path)
    assert not problems
    assert len(operations) == len(calls)
    for n, (o, (table, key, value, expect, outcome, error, observed)) in enumerate(zip(operations, calls, strict=True)):
        assert (o.writer, o.id, o.table, o.key, o.value, o.expect) == ("w-1", n + 1, table, key, value, expect)
        assert (o.intended_ns, o.invoked_ns, o.outcome) == (n, n + 1, outcome or "unknown")
        assert o.ended_ns == (n + 2 if outcome in ("ok", "fail") else NEVER_NS)
        assert o.answered_ns == (NEVER_NS if outcome is None else n + 2)
        if outcome is not None:
            assert (o.status, o.error, o.observed) == (7, error, observed)


def test_every_flipped_byte_is_reported(tmp_path: Path) -> None:
    data = write_some(tmp_path / "a-1.log")
    whole = [*read_records(data, "a-1.log", [])]
    for offset in range(len(data)):
        for mask in (0x01, 0x80, 0xFF):
            damaged = bytearray(data)
            damaged[offset] ^= mask
            problems: list[Problem] = []
            records = [*read_records(bytes(damaged), "a-1.log", problems)]
            assert problems, f"byte {offset} ^ {mask:#x} passed"
            assert records == whole[: len(records)]


def test_a_torn_tail_is_dropped_without_complaint(tmp_path: Path) -> None:
    """Cut at any byte: the frames before the cut come back, and no alarm is raised."""
    data = write_some(tmp_path / "a-1.log")
    whole = [*read_records(data, "a-1.log", [])]
    ends, position = [], 4
    while position < len(data):
        position += 8 + int.from_bytes(data[position : position + 4], "little")
        ends.append(position)
    for length in range(4, len(data)):
        problems: list[Problem] = []
        records = [*read_records(data[:length], "a-1.log", problems)]
        assert not problems, f"cut at {length}: {problems}"
        assert records == whole[: sum(1 for end in ends if end <= length)]


def test_zeroes_after_the_end_are_not_records(tmp_path: Path) -> None:
    data = write_some(tmp_path / "a-1.log") + bytes(64)
    problems: list[Problem] = []
    assert len([*read_records(data, "a", problems)]) == 9
    assert problems


def test_a_missing_frame_is_noticed_at_the_end_record(tmp_path: Path) -> None:
    """A whole frame cut out of the middle breaks no checksum; the counts in the end record tell."""
    data = write_some(tmp_path / "a-1.log")
    first = 4 + 8 + int.from_bytes(data[4:8], "little")
    (tmp_path / "a-1.log").write_bytes(data[:4] + data[first:])
    _, problems = read_history(tmp_path)
    assert problems


def test_an_invocation_survives_the_death_of_its_process(tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom reports.rundir import HistoryWriter\n"
        "w = HistoryWriter(sys.argv[1], 'a-1')\nw.invoke('put', 't', 'k', 'a-1.1')\nos.kill(os.getpid(), 9)\n"
    )
    path = tmp_path / "a-1.log"
    subprocess.run([sys.executable, "-c", code, str(path)], check=False, cwd=Path(__file__).parents[3])
    operations, problems = read_history(path)
    assert not problems
    assert [(o.name, o.outcome, o.ended_ns) for o in operations] == [("a-1#1", "unknown", NEVER_NS)]


@pytest.mark.parametrize("gather", [1, 100, 300, 10_000])
def test_what_is_written_at_once_is_what_is_written_one_by_one(tmp_path: Path, gather: int) -> None:
    assert write_some(tmp_path / "gathered.log", gather=gather) == write_some(tmp_path / "a-1.log")


def test_a_writer_that_gathers_says_when_it_cannot_write(tmp_path: Path) -> None:
    writer = HistoryWriter(tmp_path / "a-1.log", "a-1", gather=30)
    os.close(writer._fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        writer.invoke("get", "t", "k")
    with pytest.raises(OSError, match="earlier write"):
        writer.invoke("get", "t", "k")


def test_a_writer_that_cannot_write_stays_dead(tmp_path: Path) -> None:
    writer = HistoryWriter(tmp_path / "a-1.log", "a-1")
    os.close(writer._fd)  # the next write fails as it would on a broken disk
    with pytest.raises(OSError, match="Bad file descriptor"):
        writer.invoke("get", "t", "k")
    with pytest.raises(OSError, match="earlier write"):
        writer.invoke("get", "t", "k")


def test_a_file_has_one_writer(tmp_path: Path) -> None:
    write_some(tmp_path / "a-1.log")
    with pytest.raises(FileExistsError):
        HistoryWriter(tmp_path / "a-1.log", "a-1")


def test_unknown_outcome_word_is_refused(tmp_path: Path) -> None:
    with HistoryWriter(tmp_path / "a-1.log", "a-1") as writer, pytest.raises(ValueError, match="use one of"):
        writer.complete(writer.invoke("get", "t", "k"), "maybe")


def test_events_in_order_of_time_with_torn_tail(tmp_path: Path) -> None:
    with EventLog(tmp_path / "events.jsonl", 100.0) as log:
        log.append("note", boot_s=103.5, text="later")
        log.append("note", boot_s=101.0, text="earlier")
        assert log.append("note", boot_s=104.0, wall_s=7.0, text="last") == {
            "t": 4.0,
            "boot": 104.0,
            "wall": 7.0,
            "event": "note",
            "text": "last",
        }
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(b'{"t": 9.0, "event": "to')
    events, problems = read_events(tmp_path / "events.jsonl")
    assert [(e["t"], e["text"]) for e in events] == [(1.0, "earlier"), (3.5, "later"), (4.0, "last")]
    assert len(problems) == 1
    assert "line 4" in problems[0]
    assert read_events(tmp_path / "none.jsonl") == ([], [])


def test_run_directories_do_not_collide_and_open_again(tmp_path: Path) -> None:
    runs = [RunDir.create(tmp_path, "az power/off", 7) for _ in range(3)]
    assert len({run.path for run in runs}) == 3
    assert "az-power-off-7" in runs[0].path.name
    runs[0].write_plan(Plan(playbook="x"))
    assert RunDir.open(runs[0].path).start_boot_s == runs[0].start_boot_s
    assert runs[0].read_verdict() is None
    runs[0].write_verdict(Verdict(verdict="passed"))
    stored = runs[0].read_verdict()
    assert stored is not None
    assert stored.exit_code == 0


def test_wrong_directories_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RunDirError, match="not a directory"):
        RunDir.open(tmp_path / "none")
    with pytest.raises(RunDirError, match=r"no plan\.json"):
        RunDir.open(tmp_path)
    run = RunDir.create(tmp_path, "x", 1)
    run.plan.write_text('{"schema": 1}')
    with pytest.raises(RunDirError, match="damaged or of another version"):
        RunDir.open(run.path)


def test_ledger_keeps_the_last_word(tmp_path: Path) -> None:
    entry = DamageEntry(
        id="d1", node="storage-a1", file="wal", mode="flip", offset=1, length=1, old="00", new="01", injected_s=2.0
    )
    path = tmp_path / "corruption.jsonl"
    append_damage(path, entry)
    append_damage(path, msgspec.structs.replace(entry, found_by="scrub", found_s=3.0))
    assert [e.found_by for e in read_ledger(path)] == ["scrub"]
    assert read_ledger(tmp_path / "none") == []


@pytest.mark.parametrize("name", sorted(KINDS))
def test_published_schemas_are_current(name: str) -> None:
    published = DIRECTORY / f"{name}.schema.json"
    assert published.read_bytes() == text_of(name), "run: python -m reports.rundir.schema"


def test_what_we_write_satisfies_the_schema() -> None:
    jsonschema.validate(msgspec.to_builtins(Verdict(verdict="passed")), schema_of("verdict"))
    jsonschema.validate(msgspec.to_builtins(Plan(playbook="x")), schema_of("plan"))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"verdict": "fine"}, schema_of("verdict"))


def test_rundir_is_light_to_import() -> None:
    code = (
        "import sys, reports.rundir\n"
        "heavy = {'docker', 'gevent', 'jinja2', 'pydantic', 'rich', 'typer', 'yaml', 'cluster', 'chaos'}\n"
        "print(sorted(heavy & {name.split('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import site; site.main()\n{code}"],
        check=True,
        text=True,
        capture_output=True,
        cwd=Path(__file__).parents[3],
    )
    assert done.stdout.strip() == "[]"


def test_schemas_do_not_depend_on_how_a_library_keeps_docstrings() -> None:
    """msgspec 0.23 takes away the indentation that 0.22 left."""
    kept, taken = "One line.\n\n    And more:\n      - indented", "One line.\n\nAnd more:\n  - indented"
    nested = {"$defs": {"X": {"description": kept, "anyOf": [{"description": kept}]}}}
    assert evenly(nested) == {"$defs": {"X": {"description": taken, "anyOf": [{"description": taken}]}}}
    assert evenly(evenly(nested)) == evenly(nested)
    assert evenly({"properties": {"description": {"type": "string"}}})["properties"]["description"] == {
        "type": "string"
    }
