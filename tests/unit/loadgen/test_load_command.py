"""``blackstart load``: from flags to recorded load and back, and what happens to it when its controller goes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reports.rundir.history import read_history
from tests.unit.loadgen.load_servers import ROOT, standin

KEYS = {"AWS_ACCESS_KEY_ID": "AK", "AWS_SECRET_ACCESS_KEY": "SK", "AWS_REGION": "local-1"}


def load(*arguments: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "chaos.cli", "load", *arguments]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=clean | (KEYS if env is None else env),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_of(out: Path) -> Path:
    (run,) = out.iterdir()
    return run


def await_traffic(out: Path) -> None:
    deadline = time.monotonic() + 60
    while not (out.exists() and any(b'"second"' in path.read_bytes() for path in out.glob("*/load/host.jsonl"))):
        assert time.monotonic() < deadline, "no traffic within 60 s"
        time.sleep(0.05)


def test_it_makes_the_table_drives_load_and_prints_one_object(tmp_path: Path) -> None:
    with standin("--secret", "AK=SK") as port:
        arguments = ["--endpoint", f"http://127.0.0.1:{port}", "--rate", "100", "--seconds", "1.5", "--json"]
        process = load(*arguments, "--out", str(tmp_path))
        out, errors = process.communicate(timeout=90)
    assert process.returncode == 0, errors
    answer = json.loads(out)
    assert answer["schema"] == 1
    assert answer["sent"] > 0
    assert "offered" in errors
    operations, problems = read_history(Path(answer["run"]) / "history")
    assert len(operations) == answer["sent"]
    assert problems == []


def test_ctrl_c_lets_operations_end_and_still_sums_up(tmp_path: Path) -> None:
    with standin() as port:
        process = load("--endpoint", f"http://127.0.0.1:{port}", "--out", str(tmp_path), "--json")
        await_traffic(tmp_path)
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors  # without --seconds this is how it ends
    operations, problems = read_history(run_of(tmp_path) / "history")
    assert json.loads(out)["sent"] == len(operations) > 0
    assert problems == []
    assert "Traceback" not in errors


def test_a_controller_killed_outright_leaves_no_load_behind(tmp_path: Path) -> None:
    with standin() as port:
        process = load("--endpoint", f"http://127.0.0.1:{port}", "--out", str(tmp_path))
        await_traffic(tmp_path)
        stats = run_of(tmp_path) / "load" / "host.jsonl"
        driver = json.loads(stats.read_text().splitlines()[0])["pid"]
        process.kill()
        process.communicate(timeout=30)
        deadline = time.monotonic() + 20
        while Path(f"/proc/{driver}/cmdline").exists() and Path(f"/proc/{driver}/cmdline").read_bytes():
            assert time.monotonic() < deadline, "the driver outlived its controller"
            time.sleep(0.05)


@pytest.mark.parametrize(
    ("arguments", "env", "message"),
    [
        (["--profile", "mix"], KEYS, "no load profile 'mix'; there are"),
        (["--endpoint", "http://x", "--cluster", "bs000000"], KEYS, "--cluster or --endpoint, not both"),
        (["--endpoint", "http://127.0.0.1:1"], {}, "Set AWS_ACCESS_KEY_ID"),
        (["--endpoint", "https://127.0.0.1:1"], KEYS, "expected http://HOST:PORT"),
        (["--endpoint", "http://127.0.0.1:1", "--item-bytes", "3"], KEYS, "item_bytes: 64 to"),
        (["--rate", "fast"], KEYS, "--rate"),
        (["--cluster", "bs000000"], KEYS, "bs000000"),
    ],
)
def test_wrong_flags_are_named_and_nothing_is_started(
    tmp_path: Path, arguments: list[str], env: dict[str, str], message: str
) -> None:
    process = load(*arguments, "--out", str(tmp_path / "runs"), env=env)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2, errors
    assert message in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "runs").exists()


def test_a_target_that_refuses_is_the_platforms_failure_with_its_reason(tmp_path: Path) -> None:
    with standin("--fail", "400:UnrecognizedClientException") as port:
        process = load("--endpoint", f"http://127.0.0.1:{port}", "--out", str(tmp_path))
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 4
    assert "UnrecognizedClientException" in errors
