"""A run whose directory cannot be written any more: it ends, and takes everything down all the same."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chaos import cli
from chaos.engine.game import GameDay, Options
from chaos.engine.stop import StopRequest
from chaos.errors import PlatformError
from chaos.prepare import prepare
from reports.rundir import RunDir


def full(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


class FullClosing:
    """A part that has something to write when it is closed."""

    close = staticmethod(full)


@pytest.fixture
def game(tmp_path: Path) -> GameDay:
    told: list[dict[str, Any]] = []
    made = GameDay(prepare("az-power-off"), Options(out=tmp_path), StopRequest(), told.append, lambda *_: None)
    made.run = RunDir.create(tmp_path, "az-power-off", 1)
    made.log = SimpleNamespace(append=full, close=lambda: None)  # type: ignore[assignment]
    made.traffic = FullClosing()  # type: ignore[assignment]
    made.traffic.started = False
    made.traffic.stop = list
    return made


def test_a_full_disk_does_not_keep_a_cluster_up(game: GameDay) -> None:
    downs: list[str] = []
    game.cluster = SimpleNamespace(  # type: ignore[assignment]
        id="bs000000", nodes={}, down=lambda: downs.append("down"), state_dir=game.run.path
    )
    game._backward()
    assert downs == ["down"]
    assert game.stop.ended == "error"
    assert isinstance(game.failure, PlatformError)
    assert "cannot be written: No space left" in str(game.failure)
    assert "--out" in str(game.failure)


def test_the_display_is_told_what_could_not_be_written(game: GameDay) -> None:
    seen: list[dict[str, Any]] = []
    game.listener = seen.append
    game.emit("note", text="still here")
    assert seen[0]["event"] == "note"
    assert seen[0]["text"] == "still here"
    assert seen[0]["t"] >= 0


def test_half_a_line_is_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up takes part of a write, and says so in its length alone."""
    with RunDir.create(tmp_path, "x", 1).event_log() as log:
        write = os.write
        monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:7]))
        with pytest.raises(OSError, match="No space left"):
            log.append("note", text="x")
        monkeypatch.undo()


def test_a_full_disk_is_no_defect_of_the_platform(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.explain(OSError(errno.ENOSPC, "No space left on device", "/somewhere")) == 4
    said = capfd.readouterr().err
    assert said == "error: nothing more can be written to /somewhere: No space left on device\n"
