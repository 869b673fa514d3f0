"""The timeline as SVG: throughput, latency, per-zone success and redundancy over one axis, fault windows over all.

Plain strings with classes; colours and fonts come from the page's style sheet, so that dark and light need no second
drawing. All text that comes from a run is escaped here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

from reports.metrics import Second, percentile

WIDTH = 1080
LEFT = 64
RIGHT = 16
BINS_MAX = 240
TIME_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600)
STRIP = 16
LABEL_ROW = 16
HATCH = (
    '<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect class="hatch-back" width="6" height="6"/><line class="hatch-line" x1="0" y1="0" x2="0" y2="6"/>'
    "</pattern></defs>"
)
"""How a time without data looks."""
LOAD_LATENCY = "median and 99th percentile, counted from the intended send time, logarithmic"
CANARY_LATENCY = "median and 99th percentile of the canaries' right answers, logarithmic"


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time with a label: a fault, a phase."""

    label: str
    begin_s: float
    end_s: float
    kind: str = ""


@dataclass(slots=True)
class Bin:
    """Several seconds as one column."""

    begin_s: float
    sent: float = 0.0
    good: float = 0.0
    failed: float = 0.0
    unknown: float = 0.0
    skipped: float = 0.0
    p50: float | None = None
    p99: float | None = None
    zones: dict[str, float | None] = field(default_factory=dict)
    canaries: dict[str, float | None] = field(default_factory=dict)
    """Endpoint's zone to the share of right answers that the canaries got through it."""


@dataclass(frozen=True, slots=True)
class Axis:
    """Time to pixels."""

    begin_s: float
    end_s: float

    def x(self, t: float) -> float:
        """Horizontal position of a time, held within the drawing."""
        share = (min(max(t, self.begin_s), self.end_s) - self.begin_s) / max(self.end_s - self.begin_s, 1e-9)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 2)


def bins(seconds: Sequence[Second], begin: int, end: int, zones: Sequence[str]) -> list[Bin]:
    """Columns for seconds ``begin`` to ``end``, at most :data:`BINS_MAX`; rates are per second."""
    width = max(1, math.ceil((end - begin) / BINS_MAX))
    columns = []
    for first in range(begin, end, width):
        part = [s for s in seconds[first : first + width] if s is not None]
        column = Bin(first)
        for name in ("sent", "good", "failed", "unknown", "skipped"):
            setattr(column, name, sum(getattr(s, name) for s in part) / width)
        latencies = [ms for s in part for ms in s.latencies_ms]
        column.p50, column.p99 = percentile(latencies, 0.5), percentile(latencies, 0.99)
        for zone in zones:
            sent = sum(s.by_az.get(zone, (0, 0))[0] for s in part)
            column.zones[zone] = sum(s.by_az.get(zone, (0, 0))[1] for s in part) / sent if sent else None
        columns.append(column)
    return columns


def nice_ceiling(value: float) -> float:
    """The next round number at or above ``value``."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * power >= value * 0.999)


def timeline(
    columns: Sequence[Bin],
    axis: Axis,
    faults: Sequence[Window],
    phases: Sequence[Window],
    redundancy: Sequence[Window],
    leaders: Sequence[float],
    zones: Sequence[str],
    alarms: Sequence[Window] = (),
) -> str:
    """The whole drawing."""
    top = 42 + LABEL_ROW * _rows(faults)
    parts: list[str] = []
    y = top
    loaded = any(column.sent or column.skipped for column in columns)
    if loaded:
        parts.append(_throughput(columns, axis, y, 150))
        y += 150 + 30
    if loaded or any(column.p50 is not None for column in columns):
        parts.append(_latency(columns, axis, y, 120, LOAD_LATENCY if loaded else CANARY_LATENCY))
        y += 120 + 30
    if loaded:
        parts.append(_zones(columns, axis, y, zones))
        y += 20 + len(zones) * (STRIP + 3) + 14
    if any(column.canaries for column in columns):
        parts.append(_canaries(columns, axis, y, zones, alarms))
        y += 20 + (len(zones) + len(_alarm_names(alarms))) * (STRIP + 3) + 14
    parts.append(_redundancy(redundancy, leaders, axis, y))
    y += 20 + STRIP + 6
    bottom = y
    head = _phases(phases, axis) + _windows(faults, axis, bottom)
    tail = _time_axis(axis, bottom)
    height = bottom + 26
    return (
        f'<svg class="timeline" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="Timeline of the run" '
        f'data-begin="{axis.begin_s:g}" data-end="{axis.end_s:g}" data-left="{LEFT}" data-right="{WIDTH - RIGHT}">'
        f"{HATCH}{head}{''.join(parts)}{tail}"
        f'<line class="cursor" x1="0" x2="0" y1="{top}" y2="{bottom}"/></svg>'
    )


def days(rows: Sequence[tuple[str, Sequence[tuple[float, float | None]]]], axis: Axis, day_s: float = 86400.0) -> str:
    """Availability over days: a row for each zone, (begin, share) in order; times are Unix seconds, days are UTC."""
    y, out = 16.0, []
    for label, columns in rows:
        out.append(_text(LEFT - 6, y + STRIP - 4, label, "tick", "end"))
        out.append(_strip([(begin, share_class(share)) for begin, share in columns], axis, y))
        y += STRIP + 3
    moment = math.ceil(axis.begin_s / day_s) * day_s
    while moment < axis.end_s:
        x = axis.x(moment)
        out.append(f'<line class="axis" x1="{x:g}" x2="{x:g}" y1="12" y2="{y + 4:g}"/>')
        out.append(_text(x + 4, y + 14, time.strftime("%a %d %b", time.gmtime(moment)), "tick"))
        moment += day_s
    return (
        f'<svg class="timeline" viewBox="0 0 {WIDTH} {y + 20:g}" role="img" aria-label="Availability over days">'
        f"{HATCH}{''.join(out)}</svg>"
    )


def _text(x: float, y: float, text: str, css: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{css}" text-anchor="{anchor}">{escape(text)}</text>'


def _title(y: float, text: str, note: str = "") -> str:
    more = f'<tspan class="note" dx="8">{escape(note)}</tspan>' if note else ""
    return f'<text x="{LEFT}" y="{y - 8:g}" class="panel">{escape(text)}{more}</text>'


def _grid(y: float, label: str) -> str:
    return f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>' + _text(
        LEFT - 6, y + 3.5, label, "tick", "end"
    )


def _column_width(columns: Sequence[Bin], axis: Axis) -> float:
    if len(columns) < 2:
        return WIDTH - LEFT - RIGHT
    return max(1.0, axis.x(columns[1].begin_s) - axis.x(columns[0].begin_s))


def _throughput(columns: Sequence[Bin], axis: Axis, y: float, height: float) -> str:
    top = nice_ceiling(max((c.sent + c.skipped for c in columns), default=1.0))
    scale = height / top
    out = [_title(y, "Operations per second", "by the second in which they were due")]
    out += [_grid(y + height - value * scale, f"{value:,.0f}") for value in (0, top / 2, top)]
    width = _column_width(columns, axis)
    for column in columns:
        base = y + height
        for css, amount in (
            ("good", column.good),
            ("failed", column.failed),
            ("unknown", column.unknown),
            ("skipped", column.skipped),
        ):
            if amount > 0:
                tall = max(amount * scale, 0.8)
                base -= tall
                out.append(
                    f'<rect class="bar {css}" x="{axis.x(column.begin_s):g}" y="{base:.1f}" '
                    f'width="{max(width - 0.6, 0.6):.2f}" height="{tall:.1f}"/>'
                )
    return "".join(out)


def _latency(columns: Sequence[Bin], axis: Axis, y: float, height: float, note: str) -> str:
    values = [v for c in columns for v in (c.p50, c.p99) if v is not None and v > 0]
    low = 10.0 ** math.floor(math.log10(max(min(values, default=1.0), 0.01)))
    high = 10.0 ** math.ceil(math.log10(max(max(values, default=10.0), low * 10)))
    span = math.log10(high / low)

    def place(value: float) -> float:
        return y + height - math.log10(max(value, low) / low) / span * height

    out = [_title(y, "Latency", note)]
    decades = round(span)
    out += [_grid(place(low * 10**n), _ms(low * 10**n)) for n in range(decades + 1)]
    width = _column_width(columns, axis)
    for css, name in (("p99", "p99"), ("p50", "p50")):
        for run in _runs(columns, name):
            points = [(axis.x(c.begin_s) + width / 2, place(getattr(c, name))) for c in run]
            if len(points) == 1:
                out.append(f'<circle class="dot {css}" cx="{points[0][0]:.1f}" cy="{points[0][1]:.1f}" r="1.8"/>')
            else:
                path = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
                out.append(f'<polyline class="line {css}" points="{path}"/>')
    return "".join(out)


def _runs(columns: Sequence[Bin], name: str) -> Iterable[list[Bin]]:
    """Stretches of columns that have a value: a line must not bridge a time without data."""
    run: list[Bin] = []
    for column in columns:
        if getattr(column, name) is None:
            if run:
                yield run
            run = []
        else:
            run.append(column)
    if run:
        yield run


def _ms(value: float) -> str:
    return f"{value / 1000:g} s" if value >= 1000 else f"{value:g} ms"


def share_class(share: float | None) -> str:
    """The shade of a share of success."""
    if share is None:
        return "s-none"
    for css, floor in (("s-full", 1.0), ("s-high", 0.99), ("s-mid", 0.9), ("s-low", 0.5)):
        if share >= floor:
            return css
    return "s-dead"


def _zones(columns: Sequence[Bin], axis: Axis, y: float, zones: Sequence[str]) -> str:
    out = [
        _title(
            y,
            "Success by zone of the client",
            "full colour: all operations good; hatched: no operation, which is not the same as zero",
        )
    ]
    for row, zone in enumerate(zones):
        line = y + row * (STRIP + 3)
        out.append(_text(LEFT - 6, line + STRIP - 4, f"zone {zone}", "tick", "end"))
        out.append(_strip([(c.begin_s, share_class(c.zones.get(zone))) for c in columns], axis, line))
    return "".join(out)


def _strip(shades: Sequence[tuple[float, str]], axis: Axis, y: float) -> str:
    """One row of columns, (begin, shade) each; neighbours of one shade are one rectangle."""
    out = []
    first = 0
    for n in range(1, len(shades) + 1):
        if n == len(shades) or shades[n][1] != shades[first][1]:
            begin, end = axis.x(shades[first][0]), axis.x(axis.end_s if n == len(shades) else shades[n][0])
            out.append(
                f'<rect class="{shades[first][1]}" x="{begin:g}" y="{y:g}" '
                f'width="{max(end - begin, 0.5):.2f}" height="{STRIP}"/>'
            )
            first = n
    return "".join(out)


def _canaries(columns: Sequence[Bin], axis: Axis, y: float, zones: Sequence[str], alarms: Sequence[Window]) -> str:
    """A row for each zone's endpoint as all canaries see it, and below them one for each alarm that fired."""
    out = [_title(y, "Canaries, by zone of the endpoint", "all zones' canaries through it; below, alarms that were on")]
    for row, zone in enumerate(zones):
        line = y + row * (STRIP + 3)
        out.append(_text(LEFT - 6, line + STRIP - 4, f"router {zone}", "tick", "end"))
        out.append(_strip([(c.begin_s, share_class(c.canaries.get(zone))) for c in columns], axis, line))
    for row, name in enumerate(_alarm_names(alarms), len(zones)):
        out.append(_alarm_row([alarm for alarm in alarms if alarm.label == name], axis, y + row * (STRIP + 3)))
    return "".join(out)


def _alarm_row(firings: Sequence[Window], axis: Axis, y: float) -> str:
    """One alarm's firings, named once: left of the first where there is room, else right of the last."""
    name = firings[0].label
    first, last = axis.x(firings[0].begin_s), axis.x(firings[-1].end_s)
    room = first - 4 - 7 * (len(name) + 2) > LEFT
    place, anchor = (first - 4, "end") if room else (last + 6, "start")
    marks = [
        f'<rect x="{axis.x(one.begin_s):g}" y="{y:g}" '
        f'width="{max(axis.x(one.end_s) - axis.x(one.begin_s), 2):.1f}" height="{STRIP}">'
        f"<title>{escape(name)}, {one.begin_s:.1f} s to {one.end_s:.1f} s</title></rect>"
        for one in firings
    ]
    return f'<g class="alarm">{"".join(marks)}{_text(place, y + STRIP - 4, f"⚑ {name}", "alarm-label", anchor)}</g>'


def _alarm_names(alarms: Sequence[Window]) -> list[str]:
    return sorted({alarm.label for alarm in alarms})


def _redundancy(states: Sequence[Window], leaders: Sequence[float], axis: Axis, y: float) -> str:
    out = [_title(y, "Redundancy", "have all partitions three durable replicas? Ticks: a partition got a new leader")]
    out.append(f'<rect class="s-none" x="{LEFT}" y="{y}" width="{WIDTH - LEFT - RIGHT}" height="{STRIP}"/>')
    for state in states:
        begin, end = axis.x(state.begin_s), axis.x(state.end_s)
        if end > begin:
            out.append(
                f'<rect class="{escape(state.kind)}" x="{begin:g}" y="{y}" width="{end - begin:.1f}" '
                f'height="{STRIP}"><title>{escape(state.label)}</title></rect>'
            )
    for moment in leaders:
        if axis.begin_s <= moment <= axis.end_s:
            x = axis.x(moment)
            out.append(f'<line class="leader" x1="{x:g}" x2="{x:g}" y1="{y - 3}" y2="{y + STRIP + 3}"/>')
    return "".join(out)


def _placed(windows: Sequence[Window]) -> list[tuple[int, Window]]:
    """Rows for labels so that windows which overlap do not share one."""
    free_from: list[float] = []
    placed = []
    for window in sorted(windows, key=lambda w: w.begin_s):
        row = next((n for n, until in enumerate(free_from) if until <= window.begin_s), len(free_from))
        if row == len(free_from):
            free_from.append(0.0)
        free_from[row] = window.end_s
        placed.append((row, window))
    return placed


def _rows(windows: Sequence[Window]) -> int:
    return max((row + 1 for row, _ in _placed(windows)), default=0)


def _windows(windows: Sequence[Window], axis: Axis, bottom: float) -> str:
    out = []
    for row, window in _placed(windows):
        begin, end = axis.x(window.begin_s), axis.x(window.end_s)
        y = 20 + LABEL_ROW * row
        out.append(
            f'<g class="fault"><rect x="{begin:g}" y="{y:g}" width="{max(end - begin, 2):.1f}" '
            f'height="{bottom - y:g}"/><line x1="{begin:g}" x2="{begin:g}" y1="{y:g}" y2="{bottom:g}"/>'
            f'<line x1="{end:g}" x2="{end:g}" y1="{y:g}" y2="{bottom:g}"/>'
            f"{_label(window.label, begin, y + 11)}</g>"
        )
    return "".join(out)


def _label(text: str, x: float, y: float) -> str:
    """Right of ``x``, or left of it where there is no room."""
    if x > WIDTH - RIGHT - 7 * len(text):
        return _text(x - 5, y, text, "fault-label", "end")
    return _text(x + 5, y, text, "fault-label")


def _phases(phases: Sequence[Window], axis: Axis) -> str:
    out = []
    for number, phase in enumerate(phases):
        begin, end = axis.x(phase.begin_s), axis.x(phase.end_s)
        if end - begin < 1:
            continue
        out.append(
            f'<rect class="phase p{number % 2}" x="{begin:g}" y="2" width="{end - begin:.1f}" height="14">'
            f"<title>{escape(phase.label)}</title></rect>"
        )
        if end - begin > 6.5 * len(phase.label) + 8:
            out.append(_text((begin + end) / 2, 12.5, phase.label, "phase-label", "middle"))
    return "".join(out)


def _time_axis(axis: Axis, y: float) -> str:
    span = axis.end_s - axis.begin_s
    step = next((s for s in TIME_STEPS if span / s <= 14), TIME_STEPS[-1])
    out = [f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>']
    moment = float(math.ceil(axis.begin_s / step) * step)
    while moment <= axis.end_s:
        x = axis.x(moment)
        out.append(
            f'<line class="axis" x1="{x:g}" x2="{x:g}" y1="{y}" y2="{y + 4}"/>'
            + _text(x, y + 17, f"{moment:g} s", "tick", "middle")
        )
        moment += step
    return "".join(out)
