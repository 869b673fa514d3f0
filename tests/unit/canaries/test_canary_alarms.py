"""Windows and alarms, and the defects that would make them worthless: swallowed errors, an alarm that never fires."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest

from canaries.alarms import REGIONAL, Alarm, Change, Rule, rules_for
from canaries.availability import Sample, Window, Windows
from canaries.board import Board
from reports import canaries as grading
from reports.rundir import Event, FaultRecord, Probe

ZONES = ("a", "b", "c")


def sample(at: float, good: bool = True, canary: str = "a", zone: str = "a") -> Sample:
    return Sample(at, canary, zone, "get", good)


def window_of(counts: dict[tuple[str, str], tuple[int, int]]) -> Window:
    window = Window(0.0, 10.0)
    for (canary, zone), (sent, good) in counts.items():
        for number in range(sent):
            window.add(sample(1.0, number < good, canary, zone))
    return window


def test_a_probe_belongs_to_the_window_in_which_it_was_sent() -> None:
    windows = Windows(100.0, 10.0)
    for at in (99.9, 100.0, 109.99, 110.0):
        windows.add(sample(at))
    first, second = windows.close(124.0, 2.0)
    assert (first.begin_s, first.end_s, first.sent, second.sent) == (100.0, 110.0, 2, 1)


def test_a_window_waits_for_late_answers_and_counts_those_that_are_too_late() -> None:
    windows = Windows(0.0, 10.0)
    assert windows.close(11.9, 2.0) == []
    windows.add(sample(9.0, good=False))
    (closed,) = windows.close(12.0, 2.0)
    assert closed.overall() == 0.0
    windows.add(sample(9.5))
    assert windows.late == 1


def test_no_data_is_not_zero() -> None:
    empty, other = Windows(0.0, 10.0).close(22.0, 2.0)
    assert empty.overall() is None
    assert empty.of_zone("a") is None
    assert other.through("a", "b") is None


def test_a_zone_is_what_the_middle_one_of_the_canaries_sees() -> None:
    # Zone a is cut off, its canary with it: nobody reaches router a, and canary a reaches nobody.
    cut = window_of({(c, z): (5, 0 if "a" in (c, z) else 5) for c in ZONES for z in ZONES})
    assert [cut.of_zone(zone) for zone in ZONES] == [0.0, 1.0, 1.0]
    assert cut.overall() == pytest.approx(4 / 9)
    assert cut.of_canary("a") == 0.0
    # Of two canaries the worse one counts.
    assert window_of({("a", "a"): (4, 4), ("b", "a"): (4, 1)}).of_zone("a") == 0.25


def changes(shares: Sequence[float | None], alarm_class: type[Alarm] = Alarm) -> list[tuple[int, str]]:
    alarm = alarm_class(Rule(REGIONAL, None, 0.9))
    found = []
    for number, share in enumerate(shares):
        window = Window(10.0 * number, 10.0 * number + 10)
        if share is not None:
            for index in range(100):
                window.add(sample(0.0, index < share * 100))
        if (change := alarm.take(window)) is not None:
            found.append((number, change.state))
    return found


@pytest.mark.parametrize(
    ("shares", "wanted"),
    [
        ([1, 0, 1, 1, 0, 1, 1], []),
        ([1, 0, 0, 1, 1], [(2, "fired"), (4, "cleared")]),
        ([0, 1, 0, 1, 1], [(2, "fired"), (3, "cleared")]),
        ([1, 0.9, 0.9, 0.9], []),
        ([1, 0.89, 0.89], [(2, "fired")]),
        ([0, None, 0, None, 1, 1], [(2, "fired"), (5, "cleared")]),
        ([None] * 10, []),
        ([0, 0, None, None, None, None], [(1, "fired")]),
        ([0, None, None, 0], []),
    ],
)
def test_two_of_three_windows(shares: Sequence[float | None], wanted: list[tuple[int, str]]) -> None:
    assert changes(shares) == wanted


# The chain from a probe to the grade of a promise, as a run has it, and its planted defects.

FAULT, HEAL, END = 30.0, 60.0, 120.0
PROMISED = {
    "alarms": [{"name": REGIONAL, "within": 35.0, "clears_within": 40.0}, {"name": "cfa-zone-b", "within": 35.0}],
    "quiet": ["cfa-zone-a"],
}


def honest(good: bool) -> str:
    return "ok" if good else "fail"


def outage(outcome: Callable[[bool], str] = honest, zone: str = "b") -> list[Probe]:
    """Two minutes of three canaries; the endpoint of one zone is dead for a while."""
    probes = []
    for second in range(int(END)):
        for number, az in enumerate(ZONES):
            where = ZONES[(second + number) % 3]
            good = not (where == zone and FAULT <= second < HEAL)
            for step, op in enumerate(("put", "get", "eget", "update", "delete")):
                probes.append(
                    Probe(boot=second + step / 10, az=az, endpoint=where, endpoint_az=where, op=op, key="k",
                          outcome=outcome(good), ms=1.0)  # type: ignore[arg-type]
                )  # fmt: skip
    return probes


def graded(probes: Sequence[Probe], board: Board | None = None) -> dict[str, str]:
    board = board or Board(ZONES, 0.0, window_s=10.0, grace_s=2.0, threshold=0.9)
    events: list[Event] = []

    def tell(found: Sequence[Change], now: float) -> None:
        events.extend({"event": "alarm", "t": now, "name": c.name, "state": c.state, "az": c.zone} for c in found)

    now = 0.0
    for probe in probes:
        now = probe.boot
        tell(board.tick(math.floor(now)), math.floor(now))
        board.take(probe)
    faults = [FaultRecord(name="x", kind="power-off", injected_s=FAULT, healed_s=HEAL, effect="confirmed")]
    alarms = grading.alarm_records(events)
    return {one.name: one.result for one in grading.grade(PROMISED, alarms, faults, probes, "completed")}


KEPT = {
    "alarm cfa-availability fires": "ok",
    "alarm cfa-availability clears": "ok",
    "alarm cfa-zone-b fires": "ok",
    "alarm cfa-zone-a stays quiet": "ok",
}


def test_an_outage_of_one_zone_fires_its_alarm_and_the_regions_and_leaves_the_others_quiet() -> None:
    assert graded(outage()) == KEPT


def test_a_canary_that_swallows_errors_is_caught() -> None:
    found = graded(outage(outcome=lambda good: "ok"))
    assert found["alarm cfa-availability fires"] == "failed"
    assert found["alarm cfa-zone-b fires"] == "failed"
    assert found["alarm cfa-availability clears"] == "skipped"


def test_a_canary_that_leaves_failures_out_is_caught() -> None:
    found = graded([probe for probe in outage() if probe.good])
    assert found["alarm cfa-availability fires"] == "failed"


def test_an_alarm_that_never_fires_is_caught() -> None:
    class Mute(Alarm):
        def take(self, window: Window) -> Change | None:
            return None

    board = Board(ZONES, 0.0, window_s=10.0, grace_s=2.0, threshold=0.9)
    board.alarms = tuple(Mute(rule) for rule in rules_for(ZONES, 0.9))
    assert graded(outage(), board)["alarm cfa-availability fires"] == "failed"
    assert changes([1, 0, 0, 0], Mute) == []


def test_an_alarm_that_never_clears_is_caught() -> None:
    class Stuck(Alarm):
        def take(self, window: Window) -> Change | None:
            return None if self.firing else super().take(window)

    board = Board(ZONES, 0.0, window_s=10.0, grace_s=2.0, threshold=0.9)
    board.alarms = tuple(Stuck(rule) for rule in rules_for(ZONES, 0.9))
    assert graded(outage(), board)["alarm cfa-availability clears"] == "failed"


def test_the_alarm_of_the_wrong_zone_is_caught() -> None:
    found = graded(outage(zone="a"))
    assert found["alarm cfa-zone-b fires"] == "failed"
    assert found["alarm cfa-zone-a stays quiet"] == "failed"


def test_quiet_proves_nothing_where_nobody_watched() -> None:
    found = graded([])
    assert set(found.values()) == {"unknown", "skipped"}
    assert found["alarm cfa-zone-a stays quiet"] == "unknown"
    elsewhere = [probe for probe in outage() if probe.endpoint_az != "a"]
    assert graded(elsewhere)["alarm cfa-zone-a stays quiet"] == "unknown"
