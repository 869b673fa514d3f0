"""``blackstart scrub``: what it prints and how it ends, over a stand-in for a cluster."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

import chaos.engine.scrub
from chaos.cli import run
from chaos.commands import fault
from chaos.commands.scrub import judge, show
from reports.rundir import Scrub, ScrubDisk, ScrubGroup, ScrubReference, ScrubReplica


def scrubbed(*digests: str, reference: str | None = "x", bad: int = 0) -> Scrub:
    replicas = [
        ScrubReplica(replica=str(n), node=f"storage-{az}1", az=az, digest=digest, items=5, slot=9)
        for n, (az, digest) in enumerate(zip("abc", digests, strict=False), 1)
    ]
    copy = ScrubReference(digest=reference, items=5, segments=2) if reference else None
    group = ScrubGroup(group="g", table="load", slot=9, replicas=replicas, reference=copy)
    disks = [ScrubDisk(node="storage-a1", bytes=8_000_000, seconds=0.1, bad=bad)]
    return Scrub(groups=[group], archived=reference is not None, disks=disks)


def shown(done: Scrub) -> str:
    out = io.StringIO()
    show(Console(file=out, width=200), done, judge(done))
    return out.getvalue()


def test_equal_copies_and_what_was_read_are_told() -> None:
    text = shown(scrubbed("x", "x", "x"))
    assert "load/0  slot 9  3 replicas  5 items  2 segments  equal" in text
    assert "disks: 8.0 MB read past the caches, 80 MB/s, 0 bad places" in text
    assert "archive_agrees: ok" in text
    assert "no archive  equal" in shown(scrubbed("x", "x", "x", reference=None))


def test_a_copy_that_differs_is_told() -> None:
    assert "DIFFERENT" in shown(scrubbed("x", "y", "x"))
    assert "DIFFERENT" in shown(scrubbed("y", "y", "y"))
    assert "there is no table yet" in shown(Scrub())


CASES = {
    "well": (scrubbed("x", "x", "x"), 0),
    "a replica differs": (scrubbed("x", "y", "x"), 1),
    "all differ from the archive": (scrubbed("y", "y", "y"), 1),
    "a bad place on a disk": (scrubbed("x", "x", "x", bad=1), 1),
    "a replica said nothing": (scrubbed("x", "x"), 3),
    "no table": (Scrub(), 0),
}


@pytest.mark.parametrize("case", CASES)
def test_the_exit_code_says_what_was_found(
    case: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done, code = CASES[case]
    cluster: Any = SimpleNamespace(id="bs000001", nodes={}, peers={}, key=b"k" * 32)
    monkeypatch.setattr(fault, "the_cluster", lambda asked: cluster)
    monkeypatch.setattr(chaos.engine.scrub, "reader_of", lambda asked: None)
    monkeypatch.setattr(chaos.engine.scrub, "scrub", lambda *args, **options: done)
    assert run(["scrub", "--json"]) == code
    said = json.loads(capsys.readouterr().out)
    assert (said["schema"], said["cluster"], len(said["scrub"]["groups"])) == (1, "bs000001", len(done.groups))
