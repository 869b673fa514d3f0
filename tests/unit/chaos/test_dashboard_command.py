"""``blackstart dashboard``: what it refuses, with which words, and a token that survives it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from chaos.cli import run
from chaos.commands.dashboard import bound, existing, kept_token
from chaos.errors import InputError


def test_a_run_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a directory"):
        existing(tmp_path / "none")
    with pytest.raises(InputError, match=r"no events\.jsonl"):
        existing(tmp_path)
    (tmp_path / "events.jsonl").touch()
    assert existing(tmp_path) == tmp_path


def test_a_port_that_is_taken_is_named_with_a_way_out() -> None:
    listener = bound(0)
    with pytest.raises(InputError, match="--port 0"):
        bound(listener.getsockname()[1])
    assert listener.getsockname()[0] == "127.0.0.1"
    listener.close()


def test_the_token_is_kept_for_its_owner_and_made_anew_where_others_could_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    first = kept_token()
    path = tmp_path / "blackstart" / "dashboard-token"
    assert len(first) >= 32
    assert path.stat().st_mode & 0o077 == 0
    assert kept_token() == first
    os.chmod(path, 0o644)
    assert kept_token() != first


def test_wrong_use_has_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["dashboard", str(tmp_path / "none")]) == 2
    assert run(["dashboard", str(tmp_path), "--cluster", "bs123456"]) == 2
    assert "not both" in capsys.readouterr().err


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_the_command_prints_a_url_that_works_and_ends_when_asked(tmp_path: Path, how: signal.Signals) -> None:
    environment = os.environ | {"XDG_STATE_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "chaos.cli", "dashboard", "--runs", str(tmp_path), "--port", "0", "--json"]
    program = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert program.stdout is not None
        said = json.loads(program.stdout.readline())
        with urllib.request.urlopen(said["url"], timeout=10) as answer:
            assert "Waiting" in answer.read().decode()
        program.send_signal(how)
        assert program.wait(20) == 0
    finally:
        program.kill()
        program.wait()
