"""Customer-facing alarms: availability under a threshold in two of the last three windows. Pure.

DynamoDB's own thresholds are not published; these are ours. A window without data argues for nothing: it neither
raises an alarm nor clears one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from canaries.availability import Window

REGIONAL: Final = "cfa-availability"
ZONAL: Final = "cfa-zone-"
NEEDED: Final = 2
OF: Final = 3
State = Literal["fired", "cleared"]


@dataclass(frozen=True, slots=True)
class Rule:
    """When an alarm fires. ``zone`` None is the whole region."""

    name: str
    zone: str | None
    threshold: float

    def measure(self, window: Window) -> float | None:
        """The availability that this alarm watches."""
        return window.overall() if self.zone is None else window.of_zone(self.zone)


class Change(NamedTuple):
    """An alarm that fired or cleared: at the end of which window, and the shares it was judged by."""

    name: str
    zone: str | None
    state: State
    at_s: float
    shares: tuple[float | None, ...]


def rules_for(zones: Iterable[str], threshold: float) -> tuple[Rule, ...]:
    """One alarm for the region, and one a zone."""
    return (
        Rule(REGIONAL, None, threshold),
        *(Rule(f"{ZONAL}{zone}", zone, threshold) for zone in sorted(zones)),
    )


class Alarm:
    """One alarm over time."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.firing = False
        self._last: deque[float | None] = deque(maxlen=OF)

    @property
    def shares(self) -> Sequence[float | None]:
        """What the last windows showed, the newest last."""
        return tuple(self._last)

    def take(self, window: Window) -> Change | None:
        """Judge the next window; the change, if it made one."""
        self._last.append(self.rule.measure(window))
        low = sum(1 for share in self._last if share is not None and share < self.rule.threshold)
        fine = sum(1 for share in self._last if share is not None and share >= self.rule.threshold)
        if not self.firing and low >= NEEDED:
            return self._change("fired", window)
        if self.firing and fine >= NEEDED:
            return self._change("cleared", window)
        return None

    def _change(self, state: State, window: Window) -> Change:
        self.firing = state == "fired"
        return Change(self.rule.name, self.rule.zone, state, window.end_s, tuple(self._last))
