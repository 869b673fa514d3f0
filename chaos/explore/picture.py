"""The end of a failing run as a sequence of messages: an SVG that opens offline, one lane a node, time downwards.

Shown are the messages between replicas of the group whose property broke (or of all), what happened to nodes, and the
moment of the finding: for what a checker found in the history, the end of the last operation that contradicts.
Heartbeats are left out, and so is everything earlier than the last elections or faults need.
"""

from __future__ import annotations

import textwrap
from html import escape
from typing import Any, Final, NamedTuple

import msgspec

from chaos.explore.faults import Faults
from chaos.explore.play import Finding, play
from chaos.explore.scenario import Scenario
from chaos.explore.stage import Planted, Stage
from cluster.core.messages import Accept, AcceptReply, Ask, AskReply, Decided, Prepare, Promise, Refuse, Relinquish
from cluster.node import codec
from cluster.node.catalog import SYSTEM_GROUP

SHOWN_MAX: Final = 90
LANE_PX, ROW_PX, LEFT_PX, TOP_PX = 250, 26, 110, 96

_envelope = msgspec.msgpack.Decoder(tuple[int, int, str, msgspec.Raw])

EVENTS: Final = {
    "crash": "power off", "start": "boots", "pause": "paused", "resume": "goes on", "exit": "exits",
    "leader-elected": "leads", "leader-stopped": "stops leading", "replica-created": "replica made",
    "replica-destroyed": "replica removed", "suspects": "suspects",
}  # fmt: skip


class Row(NamedTuple):
    """One line of the picture: a message (``target`` set) or something that happened to a node."""

    at_s: float
    source: str
    target: str
    text: str
    kind: str
    """phase1, phase2, reply, refusal, event or fault: how it is drawn."""


def draw(scenario: Scenario, planted: Planted | None = None) -> str:
    """Play a scenario once more and draw how it ended."""
    seen: list[tuple[float, str, str, bytes]] = []
    happened: list[Row] = []

    def began(stage: Stage) -> None:
        stage.sim.network.watch = lambda at, source, target, payload: _keep(seen, at, source, target, payload)

    def ended(stage: Stage, faults: Faults) -> None:
        happened.extend(_events(stage, [name for name, _, _, _ in scenario.nodes()]))

    finding = play(scenario, planted, on_begin=began, on_stage=ended).finding
    group = finding.group if finding is not None else ""
    shown = "autoadmin" if group == SYSTEM_GROUP else "storage"  # the nodes that may have replicas of it
    lanes = [name for name, role, _, _ in scenario.nodes() if role == shown]
    rows = [row for row in happened if not row.source or row.source in lanes]
    for at, source, target, payload in seen:
        if source in lanes and target in lanes:
            rows += _messages(at, source, target, payload, group)
    until = float("inf") if finding is None else _moment(finding)
    chosen = [row for row in sorted(rows, key=lambda row: row.at_s) if row.at_s <= until][-SHOWN_MAX:]
    return _svg(scenario, lanes, chosen, finding)


def _moment(finding: Finding) -> float:
    """When it went wrong: a history is judged at the end of a run, long after the operations that contradict."""
    return finding.at_s if finding.done_s is None else finding.done_s


def _keep(seen: list[tuple[float, str, str, bytes]], at: float, source: str, target: str, payload: bytes) -> None:
    if b"\xa1g" in payload[:24]:  # the method of messages between replicas
        seen.append((at, source, target, payload))


def _messages(at: float, source: str, target: str, payload: bytes, group: str) -> list[Row]:
    _, _, name, body = _envelope.decode(payload)
    if name != "g":
        return []
    rows = []
    for of, to, origin, tag, raw in codec.parcels.decode(body):
        if group and of != group:
            continue
        message = codec.decode_message(tag, raw)
        described = describe(message)
        if described is not None:
            rows.append(Row(at, source, target, f"{described[0]} ({origin} to {to})", described[1]))
    return rows


def describe(message: Any) -> tuple[str, str] | None:
    """A message in a few words and the kind it is drawn as; None for what would only fill the page."""
    if isinstance(message, Prepare):
        return f"prepare {message.ballot}", "phase1"
    if isinstance(message, Promise):
        return f"promise {message.ballot}, log ends at {message.last_slot}", "reply"
    if isinstance(message, Accept):
        if not message.entries:
            return f"accept {message.ballot}, commit {message.commit}", "phase2"
        first, last = message.entries[0].slot, message.entries[-1].slot
        return f"accept {message.ballot} slots {first}-{last}, commit {message.commit}", "phase2"
    if isinstance(message, Decided):
        return f"decided {message.ballot} to {message.slot}", "phase2"
    if isinstance(message, AcceptReply):
        return f"accepted {message.ballot} to {message.matched}", "reply"
    if isinstance(message, Refuse):
        return f"refuses {message.ballot}, promised {message.promised}", "refusal"
    if isinstance(message, Ask):
        return f"asks: is {message.ballot} over?", "phase1"
    if isinstance(message, AskReply):
        return ("free" if message.free else "not free") + f", promised {message.promised}", "reply"
    if isinstance(message, Relinquish):
        return f"relinquishes {message.ballot}", "phase1"
    return None


def _events(stage: Stage, lanes: list[str]) -> list[Row]:
    rows = []
    for entry in stage.sim.events:
        node, what = entry["node"], EVENTS.get(entry["event"])
        if what is not None and node in lanes:
            detail = " ".join(str(entry[key]) for key in ("round", "peer", "replica") if key in entry)
            rows.append(Row(entry["t"], node, "", f"{what} {detail}".strip(), "event"))
        elif entry["event"] == "fault":
            rows.append(Row(entry["t"], "", "", f"{entry['kind']}: {', '.join(entry['targets'])}", "fault"))
        elif entry["event"] in ("heal", "heal-all"):
            rows.append(
                Row(entry["t"], "", "", "a cut is healed" if entry["event"] == "heal" else "all heals", "fault")
            )
    return rows


_STYLE: Final = """
svg { font: 12px/1.3 system-ui, sans-serif; background: #fff; color: #1c1f24 }
text { fill: currentColor } .dim { fill: #6b7280 } .lane { stroke: #d1d5db } .head { font-weight: 600 }
.phase1 { stroke: #7c3aed } .phase2 { stroke: #2563eb } .reply { stroke: #059669 } .refusal { stroke: #d97706 }
.event circle { fill: #374151 } .fault line { stroke: #d97706; stroke-dasharray: 5 4 } .fault text { fill: #b45309 }
.finding line { stroke: #dc2626; stroke-width: 2 } .finding text { fill: #dc2626; font-weight: 600 }
@media (prefers-color-scheme: dark) {
  svg { background: #14171c; color: #e5e7eb } .lane { stroke: #374151 } .dim { fill: #9ca3af }
  .event circle { fill: #d1d5db } .fault text { fill: #fbbf24 } .finding text { fill: #f87171 } }
"""


def _svg(scenario: Scenario, lanes: list[str], rows: list[Row], finding: Finding | None) -> str:
    x = {name: LEFT_PX + LANE_PX // 2 + LANE_PX * at for at, name in enumerate(lanes)}
    width = max(LEFT_PX + LANE_PX * len(lanes) + 20, 900)
    lines = [] if finding is None else _said(finding, width)
    height = TOP_PX + ROW_PX * (len(rows) + 2) + 18 * (len(lines) + 1)
    title = scenario.title or f"Seed {scenario.seed}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="context-stroke"/></marker></defs>',
        f'<text class="head" x="16" y="28">{escape(title)}</text>',
        f'<text class="dim" x="16" y="48">the last {len(rows)} of what happened; true time in seconds</text>',
    ]
    for name in lanes:
        parts.append(f'<text class="head" x="{x[name]}" y="{TOP_PX - 16}" text-anchor="middle">{escape(name)}</text>')
        parts.append(f'<line class="lane" x1="{x[name]}" y1="{TOP_PX - 8}" x2="{x[name]}" y2="{height - ROW_PX}"/>')
    y, last = float(TOP_PX), -1.0
    for row in rows:
        y += ROW_PX
        if row.at_s - last >= 0.0005:
            parts.append(f'<text class="dim" x="16" y="{y + 4:.0f}">{row.at_s:.4f}</text>')
        last = row.at_s
        parts.append(_row(row, x, y, width))
    if lines:
        parts.append(_finding(lines, y + ROW_PX * 1.5, width))
    return "\n".join([*parts, "</svg>\n"])


def _row(row: Row, x: dict[str, int], y: float, width: int) -> str:
    text = escape(row.text)
    if row.kind == "fault":
        line = f'<line x1="{LEFT_PX}" y1="{y:.0f}" x2="{width - 16}" y2="{y:.0f}"/>'
        return f'<g class="fault">{line}<text x="{LEFT_PX}" y="{y - 4:.0f}">{text}</text></g>'
    here = x[row.source]
    if not row.target:
        return (f'<g class="event"><circle cx="{here}" cy="{y:.0f}" r="4"/>'
                f'<text x="{here + 8}" y="{y + 4:.0f}">{text}</text></g>')  # fmt: skip
    there = x[row.target]
    middle = (here + there) // 2
    ends = f'x1="{here}" y1="{y - 4:.0f}" x2="{there}" y2="{y + 4:.0f}"'
    label = f'<text x="{middle}" y="{y - 6:.0f}" text-anchor="middle">{text}</text>'
    return f'<g><line class="{row.kind}" {ends} marker-end="url(#tip)"/>{label}</g>'


def _finding(lines: list[str], y: float, width: int) -> str:
    line = f'<line x1="16" y1="{y:.0f}" x2="{width - 16}" y2="{y:.0f}"/>'
    text = "".join(f'<text x="16" y="{y + 18 * n:.0f}">{escape(said)}</text>' for n, said in enumerate(lines, 1))
    return f'<g class="finding">{line}{text}</g>'


def _said(finding: Finding, width: int) -> list[str]:
    """What was found, in lines that fit; a checker's facts, which follow its sentence, are in the scenario's file."""
    sentence = finding.text.partition(" {'")[0]
    return textwrap.wrap(f"{_moment(finding):.4f}  {finding.prop}: {sentence}", (width - 32) // 8)
