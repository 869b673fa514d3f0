"""Live progress on the terminal: where the run is, what the clients see, what is broken, what happened last.

On a terminal it is one picture that redraws itself; where stderr is no terminal, one plain line for everything that
matters. It only ever reads events: the run does not know whether anybody watches.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from chaos.prepare import Prepared

PHASES = (
    "resolve", "preflight", "deploy", "warm-up", "steady-before", "method", "steady-after",
    "rollback", "quiesce", "verify", "tear-down", "leftovers", "report",
)  # fmt: skip
BARS = "▁▂▃▄▅▆▇█"
WIDTH = 48
STYLE = {"confirmed": "green", "healed": "green", "mismatch": "red", "failed": "red", "not-confirmed": "yellow"}


class State:
    """What the events have said so far."""

    def __init__(self) -> None:
        self.t = 0.0
        self.phase = ""
        self.done: list[str] = []
        self.deploy = ""
        self.zones: dict[str, deque[dict[str, Any]]] = {}
        self.faults: dict[str, tuple[str, list[str], str]] = {}
        self.redundancy: dict[str, Any] = {}
        self.alarms: list[str] = []
        """Those that are on."""
        self.last: deque[str] = deque(maxlen=6)

    def take(self, event: dict[str, Any]) -> str | None:
        """Learn from an event; the line that a person should read about it, if any."""
        self.t = max(self.t, float(event.get("t", 0.0)))
        kind = event["event"]
        if kind == "load":
            self.zones.setdefault(str(event["az"]), deque(maxlen=WIDTH)).append(event)
            return None
        line = self.line(kind, event)
        if line is not None:
            self.last.append(f"{event['t']:7.1f}s  {line}")
        return line

    def line(self, kind: str, event: dict[str, Any]) -> str | None:
        if kind == "phase":
            name = str(event["phase"])
            if event["state"] == "end":
                self.done.append(name)
                return None
            self.phase = name
            return f"phase: {name}"
        if kind == "fault":
            name, state = str(event["name"]), str(event["state"])
            self.faults[name] = (state, list(event.get("targets", [])), str(event.get("detail", "")))
            return f"{name}: {state}" + (f" ({event['detail']})" if event.get("detail") else "")
        if kind == "redundancy":
            self.redundancy = event
            return f"{event['groups'] - event['below']} of {event['groups']} groups have all their voters"
        if kind == "leader":
            return f"{event['group']}: leader {event['previous'] or 'nobody'} -> {event['node'] or 'nobody'}"
        if kind == "node":
            why = f" ({event['detail']})" if event["state"] == "ended" else ""
            return f"{event['node']} is {event['state']}{why}"
        if kind == "probe":
            return (
                f"steady state {event['name']}: {event['query']} {event['value']} {'holds' if event['ok'] else 'FAILS'}"
            )
        if kind == "alarm":
            fired = event["state"] == "fired"
            self.alarms = [name for name in self.alarms if name != event["name"]] + ([str(event["name"])] * fired)
            return f"alarm {event['name']} {event['state']}"
        return str(event["text"]) if kind == "note" else None


class Display:
    """Shows a run. Use as a context manager; :meth:`take` may be called from any thread."""

    def __init__(self, prepared: Prepared, console: Console) -> None:
        self.prepared = prepared
        self.console = console
        self.state = State()
        self._lock = threading.Lock()
        self._live: Live | None = None

    def __enter__(self) -> Display:
        if self.console.is_terminal:
            self._live = Live(get_renderable=self.picture, console=self.console, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def take(self, event: dict[str, Any]) -> None:
        """One event of the run."""
        with self._lock:
            line = self.state.take(event)
        if line is not None and self._live is None and not quiet(event):
            self.console.print(f"{event['t']:7.1f}s  {line}", markup=False, highlight=False, soft_wrap=True)

    def progress(self, what: str, done: int, total: int) -> None:
        """How far the deployment is."""
        with self._lock:
            self.state.deploy = f"{what} {done}/{total}"

    def ask(self, prompt: str, timeout_s: float) -> str | None:
        """Ask the person at the terminal; None where there is no terminal or no answer in time."""
        if not (sys.stdin.isatty() and self.console.is_terminal):
            return None
        return ask_terminal(self.console, self._live, prompt, timeout_s)

    def picture(self) -> RenderableType:
        """The whole display as it is now."""
        with self._lock:
            state = self.state
            parts: list[RenderableType] = [self._phases(), self._zones(), self._faults()]
            parts.append(Text("\n".join(state.last), style="dim", no_wrap=True, overflow="ellipsis"))
        title = f"[bold]{escape(self.prepared.plan.title)}[/bold]  seed {self.prepared.seed}  {state.t:.0f}s"
        return Panel(Group(*parts), title=title, title_align="left", border_style="cyan")

    def _phases(self) -> Text:
        text = Text()
        for name in PHASES:
            now = name == self.state.phase and name not in self.state.done
            style = "bold reverse" if now else "green" if name in self.state.done else "dim"
            text.append(name, style=style)
            text.append("  ")
        if self.state.phase == "deploy" and self.state.deploy:
            text.append(self.state.deploy, style="cyan")
        return text

    def _zones(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for az, lines in sorted(self.state.zones.items()):
            last = lines[-1]
            p99 = last.get("p99_ms")
            table.add_row(
                f"zone {az}",
                Text(spark([line["ok"] for line in lines]), style="green"),
                f"{last['ok']:>4} ok/s",
                Text(f"{last['unknown']:>3} unanswered", style="red" if last["unknown"] else "dim"),
                f"p99 {p99:.0f} ms" if p99 is not None else "",
            )
        return table

    def _faults(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for name, (state, targets, _) in self.state.faults.items():
            shown = ", ".join(targets[:4]) + (f" and {len(targets) - 4} more" if len(targets) > 4 else "")
            table.add_row(Text(f"⚡ {name}"), Text(state, style=STYLE.get(state, "yellow")), Text(shown, style="dim"))
        if self.state.alarms:
            table.add_row("alarms", Text(", ".join(self.state.alarms), style="bold red"), "")
        whole = self.state.redundancy
        if whole:
            style = "green" if whole["full"] else "red"
            table.add_row("groups", Text(f"{whole['groups'] - whole['below']}/{whole['groups']} full", style=style), "")
        return table


def spark(values: list[int]) -> str:
    """A row of bars, the highest value the highest bar."""
    top = max(values, default=0)
    return "".join(BARS[round((len(BARS) - 1) * value / top)] if top else BARS[0] for value in values)


def ask_terminal(console: Console, live: Live | None, prompt: str, timeout_s: float) -> str | None:
    """Stop redrawing, ask, wait for a line, go on."""
    import select

    resume: Callable[[], None] = lambda: None  # noqa: E731
    if live is not None:
        live.stop()
        resume = live.start
    try:
        console.print(f"[bold yellow]?[/bold yellow] {escape(prompt)} [dim](Enter to go on, n to stop the run)[/dim]")
        ready, _, _ = select.select([sys.stdin], [], [], timeout_s)
        return sys.stdin.readline() if ready else None
    finally:
        resume()


def quiet(event: dict[str, Any]) -> bool:
    """Whether an event is too much for plain lines: leaders and nodes come and go by the dozen when a zone does."""
    kind, state = str(event["event"]), str(event.get("state", ""))
    return kind == "leader" or (kind == "node" and state != "ended")
