"""The checks over canaries and alarms: each way of being blind is found, and none is seen where there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec
import pytest
from report_runs import FAULT, HEAL, Shape, make_run

from reports.checkers import alarms, canaries
from reports.checkers.evidence import History
from reports.rundir import CheckResult, Event, Operation, Probe, RunDir, read_events, read_probes

Change = Callable[[list[Probe], float], Iterable[Probe]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return make_run(tmp_path_factory.mktemp("watchers"), Shape(rate=90))


def canaries_of(
    run: RunDir, change: Change = lambda probes, start: probes, no_path: tuple[str, ...] = ()
) -> CheckResult:
    probes, events = read_probes(run.canaries)[0], read_events(run.events)[0]
    if no_path:
        events = [
            {**event, "no_path": list(no_path)} if event.get("state") == "injected" else event for event in events
        ]
    history = History.read(run.history, round(run.start_boot_s * 1e9))
    changed = list(change(probes, run.start_boot_s))
    return canaries.check(changed, events, run.read_plan(), history, run.start_boot_s)


def alarms_of(run: RunDir, change: Callable[[list[Event]], list[Event]] = lambda events: events) -> CheckResult:
    probes, events = read_probes(run.canaries)[0], read_events(run.events)[0]
    return alarms.check(probes, change(events), run.start_boot_s)


def good(probe: Probe) -> Probe:
    return Probe(**{name: getattr(probe, name) for name in probe.__struct_fields__} | {"outcome": "ok", "ms": 2.0})


def bad(probe: Probe) -> Probe:
    return msgspec.structs.replace(probe, outcome="fail", ms=1500.0, error="ConnectTimeout")


def test_an_honest_run_passes_both(run: RunDir) -> None:
    assert canaries_of(run).result == "ok"
    assert canaries_of(run).why == "900 probes of 3 canaries agree with 1 dark router, their turns and the load"
    said = alarms_of(run)
    assert (said.result, said.why) == ("ok", "4 alarms over 11 windows of 5 s: 2 fired, 2 cleared, rightly")


def test_a_canary_that_takes_errors_for_answers(run: RunDir) -> None:
    found = canaries_of(run, lambda probes, _: [good(p) if p.az == "c" else p for p in probes])
    assert found.result == "failed"
    (one,) = found.findings
    assert one["what"].startswith("the canary of zone c recorded 35 good answers through the router of zone b, which")
    assert one["fault"] == "zone b goes dark"


def test_a_canary_of_a_dark_zone_that_got_answers_all_the_same(run: RunDir) -> None:
    """The fault says that it had no path: either it made them up, or it had one."""
    found = canaries_of(run, no_path=("b",))
    (one,) = found.findings
    assert (found.result, one["az"]) == ("failed", "b")
    assert one["what"].startswith(
        "the canary of zone b recorded 70 good answers while its zone had no power, and it no"
    )

    def honest(probes: list[Probe], start: float) -> Iterable[Probe]:
        return (bad(p) if p.az == "b" and FAULT <= p.boot - start < HEAL else p for p in probes)

    assert canaries_of(run, honest, no_path=("b",)).result == "ok"


def test_a_canary_that_leaves_errors_out(run: RunDir) -> None:
    found = canaries_of(run, lambda probes, _: [p for p in probes if p.good or p.az != "a"])
    assert found.result == "failed"
    assert "zone a did not record a single round through the router of zone b" in found.findings[0]["what"]


def test_a_canary_that_leaves_its_last_errors_out(run: RunDir) -> None:
    """Until the end of the record: there no later round shows that turns are missing."""

    def until_the_end(probes: list[Probe], start: float) -> list[Probe]:
        return [p for p in probes if p.boot - start < HEAL and (p.good or p.az != "a")]

    assert "zone a did not record" in canaries_of(run, until_the_end).findings[0]["what"]


def test_a_starved_canary_is_no_liar(run: RunDir) -> None:
    """One that recorded nothing at all for a while, and one that missed a few turns."""
    gap = canaries_of(run, lambda probes, start: [p for p in probes if not FAULT < p.boot - start < FAULT + 15])
    assert gap.result == "ok"
    few = canaries_of(
        run,
        lambda probes, start: [p for p in probes if not (p.endpoint_az == "a" and FAULT < p.boot - start < FAULT + 7)],
    )
    assert few.result == "ok"


def canaries_while_load_fails(run: RunDir, begin_s: float, end_s: float, *, leaves_s: float = 1e9) -> CheckResult:
    """All that the load of zone c sent in that time failed; its canary claims that nothing did. From ``leaves_s`` on
    the load has left the endpoint, and sends one operation in forty there."""
    probes, events = read_probes(run.canaries)[0], read_events(run.events)[0]
    history = History.read(run.history, round(run.start_boot_s * 1e9))
    start = history.start_ns

    def fails(o: Operation) -> bool:
        return o.az == "c" and begin_s <= (o.invoked_ns - start) / 1e9 < end_s

    def gone(number: int, o: Operation) -> bool:
        return o.az == "c" and (o.invoked_ns - start) / 1e9 >= leaves_s and number % 40 != 0

    kept = [o for number, o in enumerate(history.operations) if not gone(number, o)]
    history = History([msgspec.structs.replace(o, outcome="unknown") if fails(o) else o for o in kept], (), start)
    urls = {
        probe.endpoint_az: o.endpoint for probe in probes for o in history.operations[:50] if o.az == probe.endpoint_az
    }
    through = [msgspec.structs.replace(p, endpoint=urls[p.endpoint_az]) for p in probes]
    return canaries.check(through, events, run.read_plan(), history, run.start_boot_s)


def test_a_canary_that_agrees_with_no_load(run: RunDir) -> None:
    found = canaries_while_load_fails(run, 60.0, 70.0)
    assert found.result == "failed"
    assert "zone c's canary through the router of zone c are recorded as good" in found.findings[0]["what"]


def test_load_that_fails_on_one_side_of_a_turn_contradicts_nobody(run: RunDir) -> None:
    """A cut that is lifted between the load's last failure and the canary's turn."""
    assert canaries_while_load_fails(run, 60.0, 62.0).result == "ok"


def test_no_canary_and_a_silent_one(run: RunDir) -> None:
    assert canaries_of(run, lambda probes, _: [p for p in probes if p.az != "b"]).result == "unknown"
    nothing = canaries.check([], [], run.read_plan(), History([]), 0.0)
    assert nothing.result == "skipped"


def dropped(name: str, state: str) -> Callable[[list[Event]], list[Event]]:
    return lambda events: [e for e in events if not (e.get("name") == name and e.get("state") == state)]


@pytest.mark.parametrize(
    ("name", "state", "said"),
    [
        ("cfa-zone-b", "fired", "cfa-zone-b did not fire at 25.0 s"),
        ("cfa-availability", "fired", "cfa-availability did not fire at"),
        ("cfa-zone-b", "cleared", "cfa-zone-b did not clear at"),
    ],
)
def test_an_alarm_that_does_not_say_what_it_must(run: RunDir, name: str, state: str, said: str) -> None:
    found = alarms_of(run, dropped(name, state))
    assert found.result == "failed"
    assert said.split(" at ")[0] in found.findings[0]["what"]


def test_an_alarm_that_cries_wolf(run: RunDir) -> None:
    def wolf(events: list[Event]) -> list[Event]:
        fired = next(e for e in events if e.get("name") == "cfa-zone-b")
        return [*events, {**fired, "name": "cfa-zone-a", "az": "a"}]

    found = alarms_of(run, wolf)
    assert "cfa-zone-a fired for no reason" in found.findings[0]["what"]


def test_an_alarm_that_fires_windows_too_late(run: RunDir) -> None:
    def late(events: list[Event]) -> list[Event]:
        return [{**e, "window_end_boot": e["window_end_boot"] + 5} if e.get("state") == "fired" else e for e in events]

    assert "did not fire" in alarms_of(run, late).findings[0]["what"]


def test_answers_that_came_late_give_the_alarm_the_benefit_of_the_doubt(run: RunDir) -> None:
    """Whether the alarm had seen them when it judged is not known: either is right."""
    probes, events = read_probes(run.canaries)[0], read_events(run.events)[0]
    slow = [p if p.good else msgspec.structs.replace(p, ms=60_000.0) for p in probes]
    assert alarms.check(slow, events, run.start_boot_s).result == "ok"
    quiet = [e for e in events if e.get("event") != "alarm"]
    assert alarms.check(slow, quiet, run.start_boot_s).result == "ok"


def test_alarms_that_were_told_nothing_are_skipped_or_unknown(run: RunDir) -> None:
    assert alarms.check([], [], 0.0).result == "skipped"
    assert alarms.check([], read_events(run.events)[0], run.start_boot_s).result == "unknown"
    end = {"event": "canaries", "state": "end", "t": 17.0, "boot": run.start_boot_s + 17}
    early = alarms_of(run, lambda events: [*(e for e in events if e["t"] < 16), end])
    assert early.result == "unknown"


def test_one_failure_after_the_load_has_left_an_endpoint_is_no_side_of_a_turn(run: RunDir) -> None:
    """A region came back: the load had met refusals at one router and gone to another one, and tried the first again,
    once, in a moment of trouble, while the canary had had its answers there in between (region-power-off in CI)."""
    assert canaries_while_load_fails(run, 60.0, 70.0, leaves_s=63.0).result == "ok"
