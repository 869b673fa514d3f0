"""The command line: exit codes, clean errors, nothing imported before it is needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from chaos import cli

ROOT = Path(__file__).resolve().parents[3]


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv=['blackstart','--help']\n"
        "from chaos import cli\n"
        "assert cli.run() == 0\n"
        "heavy = {'docker', 'locust', 'gevent', 'pydantic', 'jinja2', 'yaml'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True)


@pytest.mark.parametrize(
    ("argv", "code", "text"),
    [
        ([], 2, "Usage: blackstart"),
        (["--bogus"], 2, "error: No such option: --bogus"),
        (["clster"], 2, "No such command 'clster'. Did you mean 'cluster'?"),
        (["plan"], 2, "Missing argument 'playbook'"),
        (["plan", "nope"], 2, "error: no such playbook: nope"),
        (["plan", "az-power-off", "--seed", "x"], 2, "Invalid value for '--seed'"),
        (["plan", "az-power-off", "--seed", "-1"], 2, "Invalid value for '--seed'"),
        (["plan", "az-power-off", "extra"], 2, "unexpected extra argument"),
        (["plan", "/dev"], 2, "/dev is a directory"),
    ],
)
def test_wrong_usage(argv: list[str], code: int, text: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.run(argv) == code
    out, err = capfd.readouterr()
    assert text in err
    assert out == "", "stdout is for JSON"
    assert "Traceback" not in err


def test_a_group_without_a_command_is_answered_with_its_help(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["cluster"]) == 2
    out, err = capfd.readouterr()
    assert "Commands" in out + err
    assert "error:" not in err, "there is nothing to say besides"


def test_a_bad_playbook_gives_code_2_and_its_lines(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("title: x\nmethod: [{action: power-off, targets: nobody, for: 5s}]\nbogus: 1\n")
    assert cli.run(["plan", str(bad)]) == 2
    err = capfd.readouterr().err
    assert "2 problems" in err
    assert "line 2: method[0].targets: no target set named 'nobody'" in err
    assert "line 3: bogus: unknown field" in err


def test_plan_json_is_one_object(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["plan", "az-power-off", "--json", "--seed", "9"]) == 0
    plan = json.loads(capfd.readouterr().out)
    assert plan["schema"] == 1
    assert plan["seed"] == 9
    assert plan["actions"][0]["kind"] == "power-off"


def test_an_unexpected_error_is_a_defect_of_ours(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError) as caught:
        raise RuntimeError("boom")
    assert cli.explain(caught.value) == 4
    err = capfd.readouterr().err
    assert "Blackstart itself failed: RuntimeError: boom" in err
    assert "test_cli.py" in err


def test_any_exception_with_an_exit_code_is_expected(capfd: pytest.CaptureFixture[str]) -> None:
    class Lower(Exception):
        exit_code = 2

    assert cli.explain(Lower("write it so")) == 2
    assert capfd.readouterr().err == "error: write it so\n"


@pytest.mark.parametrize("lost", ["pipe", "terminal"])
def test_work_goes_on_when_nobody_hears_it_any_more(tmp_path: Path, lost: str) -> None:
    """Its terminal was closed, or `2>&1 | head` has seen enough: a run still heals and tears down."""
    code = (
        "import sys, time; from pathlib import Path; from rich.console import Console; from chaos import cli\n"
        "def work(**_):\n"
        "    console = Console(stderr=True)\n"
        "    console.print('begun')\n"
        "    sys.stdin.read()\n"
        "    for _ in range(3):\n"
        "        console.print('healing'); print('told', file=sys.stderr, flush=True)\n"
        "    Path(sys.argv[1]).write_text('torn down')\n"
        "    return 3\n"
        "cli.app = work\n"
        "sys.exit(cli.run())\n"
    )
    ours, theirs = os.openpty() if lost == "terminal" else os.pipe()
    done = tmp_path / "done"
    command = [sys.executable, "-c", code, str(done)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stderr=theirs, start_new_session=True) as process:
        os.close(theirs)
        assert b"begun" in os.read(ours, 100)
        os.close(ours)
        process.communicate(timeout=30)
    assert (process.returncode, done.read_text()) == (3, "torn down")
