"""The corruption ledger in the report: a row for each damage, and how long it lay there before anything found it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from reports.rundir import DamageEntry

WIDTH = 1080
LABEL = 330
RIGHT = 90
ROW = 24
BAR = 12
STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)


def rows(entries: Sequence[DamageEntry]) -> list[dict[str, Any]]:
    """What the table shows, in order of injection."""
    return [
        {
            "id": entry.id,
            "where": f"{entry.node}: {entry.file}",
            "what": entry.what,
            "bytes": f"{entry.length:,} at {entry.offset:,}",
            "mode": entry.mode,
            "hashes": f"{entry.old[:8]} → {entry.new[:8]}",
            "fate": fate(entry),
            "tone": tone(entry),
            "found": _after(entry.found_s, entry),
            "repaired": _after(entry.repaired_s, entry),
        }
        for entry in sorted(entries, key=lambda entry: (entry.injected_s, entry.id))
    ]


def fate(entry: DamageEntry) -> str:
    """What became of a damage, in a few words."""
    if not entry.live:
        return "free space: nothing need read it"
    if entry.found_s is not None:
        return f"found by {entry.found_by}" + ("" if entry.repaired_s is not None else ", never mended")
    return "rewritten before anything read it" if entry.gone_s is not None else "never found"


def tone(entry: DamageEntry) -> str:
    """The pill's colour: ok, unknown, or failed."""
    if entry.live and entry.found_s is not None and entry.repaired_s is not None:
        return "ok"
    return "unknown" if not entry.live or entry.gone_s is not None else "failed"


def _after(moment: float | None, entry: DamageEntry) -> str:
    return "–" if moment is None else f"{moment - entry.injected_s:.1f} s"


def figure(entries: Sequence[DamageEntry], end_s: float) -> str:
    """Bars from the damage to its find and on to its mending, as SVG; empty where nothing live was damaged."""
    live = sorted((entry for entry in entries if entry.live), key=lambda entry: (entry.injected_s, entry.id))
    if not live:
        return ""
    spans = [_span(entry, end_s) for entry in live]
    longest = max(0.1, *(end for _, end in spans))
    step = next((step for step in STEPS if longest / step <= 8), STEPS[-1])
    scale = (WIDTH - LABEL - RIGHT) / longest
    height = ROW * len(live) + 34
    parts = [f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="How long each damage lay there, in seconds">']
    for number in range(int(longest / step) + 1):
        x = round(LABEL + number * step * scale, 1)
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="4" y2="{height - 26}"/>')
        parts.append(f'<text class="tick" x="{x}" y="{height - 8}" text-anchor="middle">{number * step:g} s</text>')
    for place, (entry, (found, end)) in enumerate(zip(live, spans, strict=True)):
        y = 8 + place * ROW
        label = f"{entry.id}  {entry.node}  {entry.place}, {entry.mode}"
        parts.append(f'<text class="tick" x="{LABEL - 10}" y="{y + BAR - 2}" text-anchor="end">{escape(label)}</text>')
        parts.append(_bar("rot-hidden", 0.0, found, scale, y, "not found yet"))
        if end > found:
            parts.append(_bar("rot-found", found, end, scale, y, "found, not mended yet"))
        words = f"{found:.1f} s" if entry.found_s is not None else fate(entry)
        parts.append(
            f'<text class="tick" x="{round(LABEL + end * scale + 6, 1)}" y="{y + BAR - 2}">{escape(words)}</text>'
        )
    return "".join([*parts, "</svg>"])


def _span(entry: DamageEntry, end_s: float) -> tuple[float, float]:
    """Seconds from the damage to its find, and to its mending; to the end of the run where they never came."""
    last = max(end_s, entry.injected_s)
    found = next((t for t in (entry.found_s, entry.gone_s) if t is not None), last)
    end = entry.repaired_s if entry.repaired_s is not None else found if entry.gone_s is not None else last
    return found - entry.injected_s, max(end, found) - entry.injected_s


def _bar(kind: str, begin: float, end: float, scale: float, y: float, title: str) -> str:
    x, width = round(LABEL + begin * scale, 1), round(max(1.0, (end - begin) * scale), 1)
    return f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{BAR}"><title>{title}</title></rect>'
