"""The report in a real browser: it opens from a file, offline, without errors, and answers the mouse.

Needs Debian's chromium and the playwright package; skipped with a reason where either is missing.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "reports"))  # the made-up runs live there

from report_runs import Shape, make_run

from reports.conclude import conclude

playwright = pytest.importorskip("playwright.sync_api", reason="needs the playwright package (extra: dev)")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium")

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as engine:
        instance = engine.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield instance
        instance.close()


@pytest.fixture(scope="module")
def failed_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = make_run(tmp_path_factory.mktemp("runs"), Shape(rate=120, lose=2, stale=1, replica_differs=True))
    assert conclude(run).verdict == "failed"
    return run.report


def open_page(browser: Any, report: Path, width: int = 1200, scheme: str = "light") -> tuple[Any, list[str]]:
    """A page with the report, and the list into which its errors and outside requests go."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    trouble: list[str] = []
    page.on("console", lambda message: trouble.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("request", lambda request: None if request.url == report.as_uri() else trouble.append(request.url))
    page.goto(report.as_uri())
    return page, trouble


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (1200, "dark"), (390, "light")])
def test_opens_clean_and_fits(browser: Any, failed_report: Path, width: int, scheme: str) -> None:
    page, trouble = open_page(browser, failed_report, width, scheme)
    assert page.locator(".badge").inner_text() == "Failed"
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    failed = page.locator("details.check.failed[open] > summary").all_inner_texts()
    wanted = ("durability", "linearizability", "replicas_agree")
    assert all(any(name in summary for summary in failed) for name in wanted), failed
    light = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(251, 251, 250)"
    assert light == (scheme == "light")
    assert trouble == []
    page.close()


def test_mouse_and_theme(browser: Any, failed_report: Path) -> None:
    page, trouble = open_page(browser, failed_report)
    assert not page.locator(".tip").is_visible()
    chart = page.locator("svg.timeline")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 120)
    assert "good/s" in page.locator(".tip").inner_text()
    page.mouse.move(5, 5)
    assert not page.locator(".tip").is_visible()
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.locator("#theme").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    assert trouble == []
    page.close()


def test_labels_of_the_timeline_do_not_collide(browser: Any, failed_report: Path) -> None:
    """No two texts of the drawing overlap: at a glance is how this page is read."""
    page, _ = open_page(browser, failed_report)
    boxes = page.evaluate("""[...document.querySelectorAll('svg.timeline text')].map(t => {
        const b = t.getBBox(); return [t.textContent, b.x, b.y, b.width, b.height]; })""")
    for n, (text, x, y, width, height) in enumerate(boxes):
        for other, x2, y2, width2, height2 in boxes[n + 1 :]:
            apart = x + width <= x2 or x2 + width2 <= x or y + height <= y2 + 1 or y2 + height2 <= y + 1
            assert apart, f"{text!r} over {other!r}"
    page.close()
