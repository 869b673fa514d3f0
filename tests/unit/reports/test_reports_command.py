"""``blackstart report``, ``report compare`` and ``recheck``, as a shell sees them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from report_runs import Shape, make_run

from chaos.cli import run
from reports.conclude import conclude


class Done(NamedTuple):
    """What a shell would have seen."""

    returncode: int
    stdout: str
    stderr: str


Blackstart = Callable[..., Done]


@pytest.fixture
def blackstart(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Blackstart:
    """The command line, in this process: starting Python a dozen times would take longer than the tests."""
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: str) -> Done:
        capsys.readouterr()
        return Done(run(arguments), *capsys.readouterr())

    return call


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run that passed and one that lost a write."""
    home = tmp_path_factory.mktemp("runs")
    good, bad = make_run(home / "good", Shape(rate=60)), make_run(home / "bad", Shape(rate=60, lose=1))
    assert (conclude(good).verdict, conclude(bad).verdict) == ("passed", "failed")
    return good.path, bad.path


def test_report_draws_again(blackstart: Blackstart, runs: tuple[Path, Path]) -> None:
    (runs[0] / "report.html").unlink()
    done = blackstart("report", str(runs[0]))
    assert done.returncode == 0
    assert "Nothing acknowledged was lost" in (runs[0] / "report.html").read_text()


def test_recheck_exits_with_the_verdict_and_prints_one_object(blackstart: Blackstart, runs: tuple[Path, Path]) -> None:
    stored = (runs[1] / "verdict.json").read_bytes()
    done = blackstart("recheck", str(runs[1]), "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["verdict"] == "failed"
    assert "FAILED" in done.stderr
    assert (runs[1] / "verdict.json").read_bytes() == stored
    assert blackstart("recheck", str(runs[0])).returncode == 0


def test_recheck_sees_what_changed_since(blackstart: Blackstart, tmp_path: Path) -> None:
    """Evidence that was damaged after the fact is not judged as if it were whole."""
    stored = make_run(tmp_path, Shape(rate=60))
    assert conclude(stored).verdict == "passed"
    history = stored.history / "a-1.log"
    data = bytearray(history.read_bytes())
    data[len(data) // 2] ^= 0x10
    history.write_bytes(data)
    done = blackstart("recheck", str(stored.path), "--write")
    assert done.returncode == 3
    assert "the stored verdict was 'passed'" in done.stderr
    assert json.loads(stored.verdict.read_bytes())["verdict"] == "invalid"


def test_compare(blackstart: Blackstart, runs: tuple[Path, Path]) -> None:
    done = blackstart("report", "compare", str(runs[0]), str(runs[1]), "--json")
    assert done.returncode == 0
    rows = {row["name"]: row for row in json.loads(done.stdout)["rows"]}
    assert rows["check durability"] == {"name": "check durability", "a": "ok", "b": "failed", "trend": "worse"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["report", "/nowhere"], "not a directory"),
        (["recheck", "/"], "plan.json"),
        (["report", "compare", "/"], "two run directories"),
        (["report", "/", "/"], "give one run directory"),
        (["report"], "Missing argument"),
    ],
)
def test_wrong_use_is_told_clearly(blackstart: Blackstart, arguments: list[str], words: str) -> None:
    done = blackstart(*arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
