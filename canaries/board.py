"""Probes in, alarms out: the windows and the alarms of all canaries together. Pure; whoever has it brings the clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from canaries.alarms import Alarm, Change, rules_for
from canaries.availability import Sample, Window, Windows
from reports.rundir.probes import Probe


class Board:
    """``begin_s``: boot-clock second from which windows count. ``grace_s``: how long an answer may take to come.

    ``judged`` is called with every window once it is over, before the alarms are.
    """

    def __init__(
        self,
        zones: Iterable[str],
        begin_s: float,
        *,
        window_s: float,
        grace_s: float,
        threshold: float,
        judged: Callable[[Window], object] = lambda window: None,
    ) -> None:
        self.zones = tuple(sorted(zones))
        self.grace_s = grace_s
        self.threshold = threshold
        self._judged = judged
        self.windows = Windows(begin_s, window_s)
        self.alarms = tuple(Alarm(rule) for rule in rules_for(self.zones, threshold))
        self.last: Window | None = None
        """The newest window that was judged."""

    def take(self, probe: Probe) -> None:
        """Count one probe."""
        self.windows.add(Sample(probe.boot, probe.az, probe.endpoint_az, probe.op, probe.good, probe.ms))

    def tick(self, now_s: float) -> list[Change]:
        """Judge the windows that are over by now; which alarms fired or cleared."""
        changes: list[Change] = []
        for window in self.windows.close(now_s, self.grace_s):
            self.last = window
            self._judged(window)
            changes += [change for alarm in self.alarms if (change := alarm.take(window)) is not None]
        return changes

    def resume(self, windows: Sequence[Window], firing: Iterable[str]) -> None:
        """Go on where an earlier board stopped: the windows that it judged last, and the alarms that it left on."""
        on = set(firing)
        for alarm in self.alarms:
            for window in windows:
                alarm.take(window)
            alarm.firing = alarm.rule.name in on

    def described(self) -> dict[str, object]:
        """What whoever judges the alarms later must know of it."""
        return {
            "begin_boot": self.windows.begin_s,
            "window_s": self.windows.length_s,
            "grace_s": self.grace_s,
            "threshold": self.threshold,
            "zones": list(self.zones),
        }

    def firing(self) -> list[str]:
        """Names of the alarms that are on."""
        return [alarm.rule.name for alarm in self.alarms if alarm.firing]


def event_of(window: Window, zones: Iterable[str]) -> dict[str, object]:
    """A window as the timeline tells of it; shares are None where nothing was sent."""
    return {
        "begin_boot": round(window.begin_s, 3),
        "end_boot": round(window.end_s, 3),
        "sent": window.sent,
        "region": rounded(window.overall()),
        "zones": {zone: rounded(window.of_zone(zone)) for zone in zones},
    }


def alarm_of(change: Change, threshold: float) -> dict[str, object]:
    """An alarm's change as the timeline tells of it; ``window_end_boot`` is the window that made it."""
    return {
        "name": change.name,
        "state": change.state,
        "az": change.zone,
        "threshold": threshold,
        "shares": [rounded(share) for share in change.shares],
        "window_end_boot": round(change.at_s, 3),
    }


def rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 4)
