"""The corruption ledger in verdict and report: what was damaged, what found it, and after how long."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from report_runs import FAULT, Shape, ledger, make_run

from reports.conclude import conclude
from reports.render.ledger import fate, figure, rows, tone

FOUND, MISSED = ledger("found"), ledger("missed")


def changed(**fields: object) -> object:
    return msgspec.structs.replace(MISSED, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("entry", "words", "colour"),
    [
        (FOUND, "found by scrub", "ok"),
        (MISSED, "never found", "failed"),
        (changed(found_by="read", found_s=40.0), "found by read, never mended", "failed"),
        (changed(gone_s=40.0), "rewritten before anything read it", "unknown"),
        (changed(live=False), "free space: nothing need read it", "unknown"),
    ],
)
def test_what_became_of_a_damage(entry: object, words: str, colour: str) -> None:
    assert (fate(entry), tone(entry)) == (words, colour)  # type: ignore[arg-type]


def test_times_count_from_the_damage() -> None:
    (row,) = rows([FOUND])
    assert (row["found"], row["repaired"]) == ("6.5 s", "8.0 s")
    assert rows([MISSED])[0]["found"] == "–"


def test_the_figure_shows_live_damage_to_its_end_and_escapes_what_it_says() -> None:
    drawing = figure([FOUND, MISSED], FAULT + 31.0)
    assert drawing.count("<rect") == 3, "found and mended, and one that nothing ever found"
    assert "never found" in drawing
    assert "&lt;b&gt;" in figure([changed(node="<b>")], 80.0)  # type: ignore[list-item]
    assert figure([changed(live=False)], 80.0) == ""  # type: ignore[list-item]


def test_verdict_and_report_carry_the_ledger(tmp_path: Path) -> None:
    run = make_run(tmp_path, Shape(rate=60, rot="found"))
    verdict = conclude(run)
    assert [entry.found_by for entry in verdict.damage] == ["scrub"]
    page = run.report.read_text()
    assert "Damage done to disks, and what found it" in page
    assert "found by scrub" in page
    bad = conclude(make_run(tmp_path, Shape(rate=60, rot="missed", seed=2)))
    assert bad.verdict == "failed"
    assert "was never found" in bad.why[1]


def test_a_ledger_that_cannot_be_read_leaves_its_check_unknown(tmp_path: Path) -> None:
    run = make_run(tmp_path, Shape(rate=60, rot="found"))
    run.ledger.write_bytes(run.ledger.read_bytes()[:-20] + b"\n")
    verdict = conclude(run)
    assert verdict.verdict == "invalid"
    assert verdict.damage == []
