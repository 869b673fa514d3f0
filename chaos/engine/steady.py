"""The steady state and the stop conditions: measured promises, judged at the edges, continuously, or under fault."""

from __future__ import annotations

import operator
import re
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from chaos.engine.stop import StopRequest
from chaos.engine.traffic import Traffic, availability
from chaos.errors import PlatformError
from chaos.journal import boot_s

if TYPE_CHECKING:
    from chaos.engine.watch import Watcher
    from chaos.playbook.model import Playbook, Probe

WINDOW_S = 4.0
MONITOR_S = 0.5
OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "==": operator.eq,
}
When = Literal["before", "during", "after"]
Emit = Callable[..., object]


def holds(value: float | None, tolerance: str) -> bool:
    """Whether a value satisfies ``>= 0.999``. No data is not good."""
    match = re.fullmatch(r"(>=|<=|>|<|==)\s*(\d+(?:\.\d+)?)", tolerance)
    if match is None:
        raise ValueError(f"not a comparison: {tolerance}")
    return value is not None and OPERATORS[match[1]](value, float(match[2]))


class Monitor:
    """Measures while the run goes on."""

    def __init__(self, playbook: Playbook, traffic: Traffic, watcher: Watcher, emit: Emit, stop: StopRequest) -> None:
        self.playbook = playbook
        self.traffic = traffic
        self.watcher = watcher
        self.emit = emit
        self.stop = stop
        self.phase: When = "before"
        self.fault_in: Callable[[], bool] = lambda: False
        self.died: Callable[[], str | None] = traffic.died
        """Which client ended although nobody asked it to."""
        self._since: dict[str, float] = {}
        self._bad: set[str] = set()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="monitor", daemon=True)
        self._deadline = boot_s() + playbook.safety.max_duration

    def start(self) -> None:
        """Begin to watch the stop conditions and the run's greatest length."""
        self._deadline = boot_s() + self.playbook.safety.max_duration
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def measure(self, query: str, seconds: float = WINDOW_S) -> float | None:
        """A value now: a share for availability and redundancy, operations a second for the load."""
        if query == "redundancy":
            return self.watcher.view.redundancy
        lines = self.traffic.recent(seconds + 1.0)
        if query == "availability":
            return availability(lines)
        if query == "operations-per-second":
            spans = {line["second"] for line in lines}
            return sum(line["ok"] for line in lines) / len(spans) if spans else None
        raise PlatformError(f"there is no probe query '{query}'")

    def edge(self, when: When, seconds: float) -> list[str]:
        """Judge every edge probe now; the sentences of those that do not hold."""
        return [
            text
            for probe in self.playbook.steady_state_hypothesis.probes
            if probe.mode != "during" and (text := self._judge(probe, when, min(seconds, WINDOW_S)))
        ]

    def _judge(self, probe: Probe, when: When, seconds: float = WINDOW_S, *, quiet: bool = False) -> str:
        value = self.measure(probe.query, seconds)
        ok = holds(value, probe.tolerance)
        # While things go on, only changes are worth a line.
        if not quiet or ok == (probe.name in self._bad):
            shown = None if value is None else round(value, 5)
            self.emit(
                "probe", name=probe.name, query=probe.query, value=shown, ok=ok, mode=probe.mode, when=when,
                tolerance=probe.tolerance,
            )  # fmt: skip
        self._bad = self._bad - {probe.name} if ok else self._bad | {probe.name}
        return "" if ok else f"{probe.name}: {probe.query} is {value}, not {probe.tolerance}"

    def _run(self) -> None:
        while not self._closing.wait(MONITOR_S):
            try:
                self._look()
            except Exception as error:
                self.stop.request("error", f"the monitor failed: {type(error).__name__}: {error}")
                return

    def _look(self) -> None:
        now = boot_s()
        if now > self._deadline:
            self.stop.request("aborted", f"the run took longer than safety.max-duration ({self._limit():g} s)")
        died = self.died()
        if died is not None and not self.stop.requested:
            self.stop.request("error", died)
        for condition in self.playbook.safety.stop_conditions:
            if holds(self.measure(condition.query), condition.when):
                since = self._since.setdefault(condition.name, now)
                if now - since >= condition.for_:
                    self.stop.request("aborted", f"stop condition '{condition.name}' held for {now - since:.1f} s")
            else:
                self._since.pop(condition.name, None)
        for probe in self.playbook.steady_state_hypothesis.probes:
            wanted = probe.mode == "continuous" or (probe.mode == "during" and self.fault_in())
            if wanted and self.phase == "during":
                self._judge(probe, "during", quiet=True)

    def _limit(self) -> float:
        return self.playbook.safety.max_duration
