"""The live page in a real browser, in the states in which somebody looks at it: it fits, it is quiet on the console, it
asks nobody else for anything, it can be read without colours and used without a mouse, and it follows what happens."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="needs the playwright package (extra: dev)")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium")

_spec = importlib.util.spec_from_file_location(
    "dashboard_server", Path(__file__).parents[1] / "unit" / "canaries" / "dashboard_server.py"
)
assert _spec is not None
assert _spec.loader is not None
support = importlib.util.module_from_spec(_spec)
sys.modules.setdefault("dashboard_server", support)
_spec.loader.exec_module(support)

from canaries.dashboard import view  # noqa: E402
from canaries.dashboard.source import Source  # noqa: E402
from reports.conclude import conclude  # noqa: E402

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
SHOTS = os.environ.get("BLACKSTART_SHOTS")
"""A directory for pictures of every state, for people."""
MOMENTS = {"deploying": (5.0, "Deploy"), "quiet": (28.0, "All quiet"), "fault": (33.0, "Fault in"),
           "alarm": (48.0, "Alarm"), "recovered": (72.0, "All quiet")}  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as engine:
        instance = engine.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield instance
        instance.close()


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stored runs are not written to any more; however slow the machine, they are no news."""
    monkeypatch.setattr(view, "STALE_S", 1e9)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = support.make_run(tmp_path_factory.mktemp("runs"), support.Shape(rate=90))
    conclude(made)
    return made


def opened(browser: Any, url: str, width: int = 1600, scheme: str = "dark") -> tuple[Any, list[str]]:
    """The page, and the list into which its errors and requests to others go."""
    page = browser.new_page(viewport={"width": width, "height": 1000}, color_scheme=scheme)
    trouble: list[str] = []
    page.on("console", lambda message: trouble.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith((url, "data:")) else trouble.append(request.url))
    page.goto(f"{url}?token={support.TOKEN}")
    playwright.expect(page).to_have_title(re.compile("–"), timeout=15_000)
    return page, trouble


def picture(page: Any, name: str) -> None:
    if SHOTS:
        page.screenshot(path=str(Path(SHOTS) / f"{name}.png"), full_page=True)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize(("width", "scheme"), [(1600, "dark"), (1280, "light"), (390, "light")])
def test_every_state_fits_and_is_clean(
    browser: Any, run: Any, tmp_path: Path, moment: str, width: int, scheme: str
) -> None:
    t, word = MOMENTS[moment]
    path = support.moments.at(run.path, tmp_path / moment, t)
    with support.served(Source(tmp_path, path)) as url:
        page, trouble = opened(browser, url, width, scheme)
        picture(page, f"{moment}-{width}-{scheme}")
        assert page.locator(".banner .word").inner_text() == word
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"
        assert dark == (scheme == "dark")
        assert trouble == []
        assert page.evaluate(CONTRAST) == []
        page.close()


CONTRAST = """
() => {
  // WCAG AA of what is read first: every text within the banner and the zones against what lies behind it.
  const rgb = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const linear = v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = c => { const [r, g, b] = c.map(v => linear(v / 255));
    return .2126 * r + .7152 * g + .0722 * b; };
  const behind = node => { for (; node; node = node.parentElement) {
    const c = rgb(getComputedStyle(node).backgroundColor);
    if (c.length === 3 || c[3] > .5) { return c.slice(0, 3); } } return [255, 255, 255]; };
  const bad = [];
  for (const node of document.querySelectorAll(
      '.word, .said, .share, .zone-card .note, .node, .node em, .steps li, .pill, .flag, td, th, .kicker')) {
    if (!node.textContent.trim()) { continue; }
    const a = light(rgb(getComputedStyle(node).color).slice(0, 3)), b = light(behind(node));
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) { bad.push([node.className, node.textContent.trim().slice(0, 30), ratio.toFixed(2)]); }
  }
  return bad;
}
"""


def test_the_verdict_at_the_end(browser: Any, run: Any) -> None:
    with support.served(Source(run.path.parent, run.path)) as url:
        page, trouble = opened(browser, url)
        picture(page, "finished-1600-dark")
        assert page.locator(".banner .word").inner_text() == "Passed"
        assert page.locator("#details .pill.ok").count() >= 5
        assert page.evaluate(CONTRAST) == []
        assert trouble == []
        page.close()


def test_it_is_read_from_across_the_room(browser: Any, run: Any, tmp_path: Path) -> None:
    """On a wall of 1080 lines the word and the zones' figures are at least 40 pixels high, and above the fold."""
    path = support.moments.at(run.path, tmp_path / "run", 48)
    with support.served(Source(tmp_path, path)) as url:
        page, _ = opened(browser, url, 1920)
        sizes = "[...document.querySelectorAll('.word, .share')].map(n => parseFloat(getComputedStyle(n).fontSize))"
        assert min(page.evaluate(sizes)) >= 40
        assert page.locator(".zone-card").last.bounding_box()["y"] < 600
        # Nothing is told by colour alone: alarm, dark nodes and tone have words or signs of their own.
        assert "⚑ alarm" in page.locator(".zone-card.bad").inner_text()
        assert page.locator(".node.dark em").first.inner_text() == "dark"
        assert page.locator(".sign").inner_text() == "✖"
        page.close()


def test_keyboard_theme_and_screen_readers(browser: Any, run: Any, tmp_path: Path) -> None:
    path = support.moments.at(run.path, tmp_path / "run", 28)
    with support.served(Source(tmp_path, path)) as url:
        page, trouble = opened(browser, url, scheme="light")
        before = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "theme"
        page.keyboard.press("Enter")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
        page.reload()
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"
        assert page.locator("#banner[aria-live=polite]").count() == 1
        assert page.locator("[aria-current=step]").count() == 1
        assert trouble == []
        page.close()


def test_it_follows_what_happens_and_says_when_it_is_lost(browser: Any, run: Any, tmp_path: Path) -> None:
    path = support.moments.at(run.path, tmp_path / "run", 28)
    with support.served(Source(tmp_path, path)) as url:
        page, _ = opened(browser, url)
        assert page.locator(".banner .word").inner_text() == "All quiet"
        support.moments.grow(run.path, path, 33)
        word = playwright.expect(page.locator(".banner .word"))
        word.to_have_text("Fault in", timeout=15_000)
        assert page.locator(".node.dark").count() == 7
        assert page.title().startswith("▲ Fault in")
        support.moments.grow(run.path, path, 48)
        word.to_have_text("Alarm", timeout=15_000)
        assert not page.locator("#lost").is_visible()
    page.wait_for_selector("#lost:not([hidden])", timeout=15_000)
    picture(page, "lost-1600-dark")
    page.close()


def test_a_page_that_stays_open_needs_no_more_memory(browser: Any, run: Any, tmp_path: Path) -> None:
    """A hundred redrawn pages later there are as many elements as at the beginning."""
    path = support.moments.at(run.path, tmp_path / "run", 48)
    with support.served(Source(tmp_path, path)) as url:
        page, _ = opened(browser, url)
        count = "document.getElementsByTagName('*').length"
        first = page.evaluate(count)
        for number in range(12):
            with (path / "events.jsonl").open("a") as file:
                file.write(f'{{"t":{48 + number / 100},"boot":1,"event":"note","text":"{number}"}}\n')
            page.wait_for_timeout(600)
        assert page.evaluate(count) < first * 1.2 + 50
        page.close()
