"""The driver as a process: ready, start, stop, dead routers, workers, the sweep, and what it leaves as evidence."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from loadgen import driver
from loadgen.stats import Window
from reports.rundir.history import read_history
from tests.unit.loadgen.load_servers import ROOT, free_port, standin


def boot_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def configure(run: Path, ports: list[int], **fields: Any) -> Path:
    path = run / "load.json"
    config = {
        "az": "a",
        "endpoints": [f"http://127.0.0.1:{port}" for port in ports],
        "access_key": "AK",
        "secret_key": "SK",
        "region": "local-1",
        "table": "t",
        "rate": 200,
        "users": 16,
        "keys": 50,
        "history": str(run / "history" / "load-a.log"),
        "stats": str(run / "load" / "a.jsonl"),
        "control": str(run / "control.json"),
    }
    path.write_text(json.dumps(config | fields))
    return path


def start(config: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "loadgen.driver", "--config", str(config), *arguments]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def lines(run: Path) -> list[dict[str, Any]]:
    path = run / "load" / "a.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def wait_for(run: Path, process: subprocess.Popen[str], what: str, limit_s: float = 60) -> None:
    deadline = time.monotonic() + limit_s
    while not any(line.get("event") == what or what in line for line in lines(run)):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, f"no {what} within {limit_s} s"
        time.sleep(0.02)


def finish(process: subprocess.Popen[str], limit_s: float = 60) -> int:
    _, errors = process.communicate(timeout=limit_s)
    assert "Traceback" not in errors, errors
    return process.returncode


def control(run: Path, **fields: float) -> None:
    draft = run / "control.new"
    draft.write_text(json.dumps(fields))
    draft.replace(run / "control.json")


def play(run: Path, process: subprocess.Popen[str], duration_s: float) -> None:
    """Wait until the driver is ready, let it load for a while, wait until it has ended well."""
    wait_for(run, process, "ready")
    begin = boot_s() + 0.3
    control(run, start_boot_s=begin, stop_boot_s=begin + duration_s)
    assert finish(process) == 0


def totals(run: Path) -> dict[str, Any]:
    """Of the last line, which must say that all ended well."""
    last = lines(run)[-1]
    assert last["event"] == "finished"
    assert last["error"] is None
    found: dict[str, Any] = last["totals"]
    return found


def seconds(run: Path) -> list[dict[str, Any]]:
    return [line for line in lines(run) if "second" in line]


def test_it_is_ready_before_the_start_and_records_every_operation(tmp_path: Path) -> None:
    with standin("--secret", "AK=SK") as port:
        process = start(configure(tmp_path, [port], patience_s=30, answer_timeout_s=30))
        wait_for(tmp_path, process, "ready")
        begin = boot_s() + 0.3
        control(tmp_path, start_boot_s=begin)
        wait_for(tmp_path, process, "second")
        control(tmp_path, start_boot_s=begin, stop_boot_s=begin + 2.5)
        assert finish(process) == 0
    operations, problems = read_history(tmp_path / "history")
    assert problems == []
    done = totals(tmp_path)
    assert done["sent"] == len(operations) == done["ok"] + done["failed"]
    assert done["offered"] == sum(line["offered"] for line in seconds(tmp_path))
    assert done["offered"] == pytest.approx(2.5 * 200, rel=0.2)
    assert done["unknown"] == 0
    assert done["sent"] + done["skipped"] == done["offered"]
    assert all(operation.intended_ns >= begin * 1e9 - 1000 for operation in operations)
    assert all(operation.invoked_ns >= operation.intended_ns for operation in operations)
    assert {operation.op for operation in operations} == {"put", "cput", "update", "delete", "get", "eget"}
    assert all(operation.az == "a" and operation.endpoint for operation in operations)
    written = {operation.value for operation in operations}
    assert all(operation.observed in written for operation in operations if operation.observed)


def test_with_every_router_dead_arrivals_are_still_counted_and_nothing_may_have_happened(tmp_path: Path) -> None:
    play(tmp_path, start(configure(tmp_path, [free_port(), free_port()])), 2)
    operations, _ = read_history(tmp_path / "history")
    assert operations
    assert {(operation.outcome, operation.error) for operation in operations} == {("fail", "ConnectRefused")}
    assert len({operation.endpoint for operation in operations}) == 2  # a refusal sends the next one elsewhere
    done = totals(tmp_path)
    assert done["offered"] == pytest.approx(400, rel=0.25)
    assert done["sent"] + done["skipped"] == done["offered"]


def test_no_answers_fill_the_users_and_what_cannot_be_sent_is_skipped_not_hidden(tmp_path: Path) -> None:
    with standin("--delay", "30") as port:
        play(tmp_path, start(configure(tmp_path, [port], users=8, answer_timeout_s=1.0, patience_s=0.3)), 3)
    operations, _ = read_history(tmp_path / "history")
    assert {(operation.outcome, operation.error) for operation in operations} == {("unknown", "AnswerTimeout")}
    assert len(operations) <= 8 * 4
    done = totals(tmp_path)
    assert done["skipped"] > 400
    assert done["sent"] + done["skipped"] == done["offered"]


def test_traffic_fails_over_to_another_zone_and_comes_home(tmp_path: Path) -> None:
    home = free_port()
    with standin() as away:
        process = start(configure(tmp_path, [home, away]))
        wait_for(tmp_path, process, "ready")
        control(tmp_path, start_boot_s=boot_s())
        wait_for(tmp_path, process, "second")
        with standin(port=home):
            deadline = time.monotonic() + 15
            while time.monotonic() < deadline:
                operations, _ = read_history(tmp_path / "history")
                if sum(o.outcome == "ok" and o.endpoint.endswith(str(home)) for o in operations) > 50:
                    break
                time.sleep(0.1)
            process.send_signal(signal.SIGTERM)
            assert finish(process) == 0
    operations, _ = read_history(tmp_path / "history")
    served = [operation for operation in operations if operation.outcome == "ok"]
    assert {operation.endpoint.rpartition(":")[2] for operation in served} == {str(home), str(away)}
    assert served[-1].endpoint.endswith(str(home))


def test_sigterm_lets_operations_in_flight_end_and_closes_the_history(tmp_path: Path) -> None:
    with standin("--delay", "0.5") as port:
        process = start(configure(tmp_path, [port], start_boot_s=boot_s(), rate=20))
        wait_for(tmp_path, process, "second")
        process.send_signal(signal.SIGTERM)
        assert finish(process) == 0
    operations, problems = read_history(tmp_path / "history")
    assert problems == []
    assert {operation.outcome for operation in operations} <= {"ok", "fail"}
    assert lines(tmp_path)[-1]["event"] == "finished"


@pytest.mark.parametrize(("failure", "ends"), [(None, [1.0, 2.0, 2.5]), (OSError("full"), [1.0])])
def test_seconds_that_a_busy_machine_slept_through_are_told_in_the_end(
    monkeypatch: pytest.MonkeyPatch, failure: OSError | None, ends: list[float]
) -> None:
    """What was sent in them is counted, so what was offered must be."""

    class Slept:
        """A session whose process was not run from half a second after the start until long after the stop."""

        start_s, stop_s, elapsed_s = 100.0, 102.5, 0.5
        config = SimpleNamespace(timeouts=SimpleNamespace(attempt_s=1.0))

        def __init__(self) -> None:
            self.failure: OSError | None = None
            self.closed: list[tuple[float, bool]] = []

        def await_start(self) -> None: ...

        def poll(self) -> None: ...

        def stopped(self) -> bool:
            return self.failure is not None or self.elapsed_s >= 2.5

        def end_second(self, until_s: float, *, last: bool = False) -> Window:
            self.closed.append((until_s, last))
            return Window()

    session = Slept()

    def sleep(seconds: float) -> None:
        session.elapsed_s, session.failure = 7.0, failure

    monkeypatch.setattr(driver.gevent, "sleep", sleep)
    driver.run_seconds(session, lambda: False, lambda second, window: None)
    assert session.closed == [(until, until == ends[-1]) for until in ends]


def test_workers_share_the_rate_and_their_seconds_are_added_up(tmp_path: Path) -> None:
    with standin() as port:
        play(tmp_path, start(configure(tmp_path, [port]), "--workers", "2"), 2)
    operations, problems = read_history(tmp_path / "history")
    assert problems == []
    assert {operation.writer for operation in operations} == {"load-a-0", "load-a-1"}
    done = totals(tmp_path)
    assert done["sent"] == len(operations)
    assert done["offered"] == pytest.approx(400, rel=0.25)
    assert done["sent"] + done["skipped"] == done["offered"]
    assert sum(line["sent"] for line in seconds(tmp_path)) == done["sent"]
    assert [line["second"] for line in seconds(tmp_path)] == list(range(len(seconds(tmp_path))))


def test_a_worker_that_dies_is_reported_and_the_others_finish(tmp_path: Path) -> None:
    with standin() as port:
        process = start(configure(tmp_path, [port]), "--workers", "2")
        wait_for(tmp_path, process, "ready")
        control(tmp_path, start_boot_s=boot_s())
        wait_for(tmp_path, process, "second")
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        victims = [int(pid) for pid in children if b"--worker\x000" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        assert len(victims) == 1
        subprocess.run(["kill", "-9", str(victims[0])], check=True)
        control(tmp_path, stop_boot_s=boot_s() + 1)
        assert finish(process) == 4
    assert "worker 0 died" in lines(tmp_path)[-1]["error"]
    assert lines(tmp_path)[-1]["totals"]["ok"] > 0


def test_the_sweep_reads_every_key_once(tmp_path: Path) -> None:
    with standin("--secret", "AK=SK") as port:
        assert finish(start(configure(tmp_path, [free_port(), port], mode="sweep", keys=200))) == 0
    operations, problems = read_history(tmp_path / "history")
    assert problems == []
    answered = [operation.key for operation in operations if operation.outcome == "ok"]
    assert len(answered) == len(set(answered)) == 200
    assert {operation.op for operation in operations} == {"final"}
    done = lines(tmp_path)[-1]
    assert (done["keys"], done["answered"], done["missing"]) == (200, 200, 0)


def test_a_sweep_nobody_answers_ends_at_its_limit_and_says_what_is_missing(tmp_path: Path) -> None:
    began = time.monotonic()
    config = configure(tmp_path, [free_port()], mode="sweep", keys=20, limit_s=1)
    assert finish(start(config)) == 0
    assert time.monotonic() - began < 20
    assert lines(tmp_path)[-1]["missing"] == 20


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"profile": "nonsense"}, "no load profile 'nonsense'"),
        ({"users": 0}, "users: 1 to"),
        ({"rates": 5}, "rates"),
        ({"endpoints": ["ftp://x"]}, "endpoint 'ftp://x'"),
        ({"secret_key": None}, "secret_key or secret_key_file"),
        ({"shape": [[1, 5]]}, "starts with a point at 0"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_named_and_exits_with_2(
    tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    process = start(configure(tmp_path, [1], **fields))
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 2
    assert message in errors
    assert "Traceback" not in errors


def test_a_history_is_never_overwritten(tmp_path: Path) -> None:
    config = configure(tmp_path, [1])
    (tmp_path / "history").mkdir()
    (tmp_path / "history" / "load-a.log").write_bytes(b"evidence")
    process = start(config)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "one history file is one generator's life" in errors
    assert (tmp_path / "history" / "load-a.log").read_bytes() == b"evidence"


def test_a_driver_that_cannot_write_its_evidence_stops_and_says_so(tmp_path: Path) -> None:
    """What is not recorded must not be sent: here the history may not grow beyond 16 KiB."""
    with standin() as port:
        config = configure(tmp_path, [port], start_boot_s=boot_s(), stop_boot_s=boot_s() + 60, rate=1000)
        limited = ["bash", "-c", 'ulimit -f 16; exec "$@"', "bash", sys.executable, "-m", "loadgen.driver"]
        process = subprocess.Popen([*limited, "--config", str(config)], cwd=ROOT, stderr=subprocess.PIPE, text=True)
        assert finish(process, limit_s=20) == 4
    operations, problems = read_history(tmp_path / "history")
    assert 0 < len(operations) < 1000
    assert all("broken" not in problem.what for problem in problems)
    last = lines(tmp_path)[-1]
    assert last["event"] == "finished"
    assert "File too large" in last["error"]


def test_a_defect_of_the_generator_is_reported_and_the_operation_stays_open(tmp_path: Path) -> None:
    planted = (
        "import sys, loadgen.session as s\n"
        "judge, calls = s.outcome_of, []\n"
        "def broken(*a):\n"
        "    calls.append(1)\n"
        "    if len(calls) == 20: raise KeyError('planted')\n"
        "    return judge(*a)\n"
        "s.outcome_of = broken\n"
        "from loadgen.driver import main\n"
        "sys.exit(main(['--config', sys.argv[1]]))\n"
    )
    with standin() as port:
        config = configure(tmp_path, [port])
        process = subprocess.Popen(
            [sys.executable, "-c", planted, str(config)], cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        wait_for(tmp_path, process, "ready")
        begin = boot_s() + 0.3
        control(tmp_path, start_boot_s=begin, stop_boot_s=begin + 1)
        process.communicate(timeout=60)
    assert process.returncode == 4
    assert "KeyError: 'planted'" in lines(tmp_path)[-1]["error"]
    operations, _ = read_history(tmp_path / "history")
    assert sum(operation.outcome == "unknown" for operation in operations) == 1
    assert len(operations) > 25  # the others, and that user itself, went on
