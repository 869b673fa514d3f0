"""Canaries and alarms in the verdict and in the report."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from report_runs import Shape, make_run

from reports.canaries import alarm_records, grade, strip, summarise
from reports.conclude import conclude
from reports.judge import gather, judge
from reports.render.charts import Axis, Bin, Window, timeline
from reports.render.page import render
from reports.rundir import AlarmRecord, Event, FaultRecord, Probe, RunDir


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return make_run(tmp_path_factory.mktemp("canaries"), Shape(rate=60))


def test_the_verdict_grades_alarms_and_says_what_the_canaries_saw(run: RunDir) -> None:
    verdict = conclude(run)
    assert verdict.verdict == "passed", verdict.why
    promises = {one.name: (one.result, one.measured) for one in verdict.expect if one.name.startswith("alarm")}
    assert promises == {
        "alarm cfa-availability fires": ("ok", "after 12.0 s"),
        "alarm cfa-availability clears": ("ok", "after 14.9 s"),
        "alarm cfa-zone-a stays quiet": ("ok", "never fired"),
    }
    assert verdict.canaries is not None
    assert verdict.canaries.availability.by_endpoint["zone b"] == pytest.approx(38 / 60, abs=0.001)
    assert verdict.canaries.availability.by_endpoint["zone a"] == 1.0
    assert verdict.canaries.availability.by_az["a"] < 1.0
    assert [(alarm.name, alarm.az) for alarm in verdict.alarms] == [("cfa-availability", None), ("cfa-zone-b", "b")]
    assert any("cfa-zone-b fired at" in sentence for sentence in verdict.why)


def test_the_page_draws_the_strip_and_the_alarms(run: RunDir) -> None:
    evidence = gather(run)
    page = render(evidence, judge(evidence))
    assert "Canaries, by zone of the endpoint" in page
    assert re.search(r'class="alarm"><rect [^>]*><title>cfa-availability', page)
    assert "through the router of zone b" in page


def test_a_run_without_canaries_has_neither(tmp_path: Path) -> None:
    run = make_run(tmp_path, Shape(rate=60))
    for file in run.canaries.glob("*.jsonl"):
        file.unlink()
    evidence = gather(run)
    verdict = judge(evidence)
    assert verdict.canaries is None
    assert summarise([]) is None
    assert "Canaries, by zone" not in render(evidence, verdict)
    # The events say that the zone was quiet; without a single probe that is hearsay.
    quiet = next(one for one in verdict.expect if one.name == "alarm cfa-zone-a stays quiet")
    assert quiet.result == "unknown"
    assert verdict.verdict == "invalid"


def test_a_probe_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    run = make_run(tmp_path, Shape(rate=60))
    with (run.canaries / "a.jsonl").open("ab") as file:
        file.write(b'{"boot": 1')
    assert any("canaries/a.jsonl" in problem for problem in gather(run).event_problems)


def probe(at: float, good: bool) -> Probe:
    return Probe(boot=at, az="a", endpoint="u", endpoint_az="b", op="get", key="k",
                 outcome="ok" if good else "wrong", ms=1.0)  # fmt: skip


def test_a_column_without_probes_has_no_availability() -> None:
    probes = [probe(101.0, True), probe(101.5, False), probe(104.0, True), probe(90.0, True), probe(999.0, True)]
    assert strip(probes, 100.0, 0.0, 2.0, 3) == [{"b": 0.5}, {}, {"b": 1.0}]


def alarm(t: float, state: str, name: str = "x") -> Event:
    return {"event": "alarm", "t": t, "name": name, "state": state, "az": None}


def test_firings_are_paired_with_their_clearings() -> None:
    events = [alarm(1, "cleared"), alarm(2, "fired"), alarm(3, "fired"), alarm(4, "cleared"), alarm(5, "fired")]
    assert alarm_records(events) == [AlarmRecord(name="x", fired_s=2, cleared_s=4), AlarmRecord(name="x", fired_s=5)]


@pytest.mark.parametrize(
    ("alarms", "healed", "ended", "fires", "clears"),
    [
        ([(35.0, 70.0)], 60.0, "completed", "ok", "ok"),
        ([(45.0, 70.0)], 60.0, "completed", "failed", "ok"),
        ([(35.0, 90.0)], 60.0, "completed", "ok", "failed"),
        ([(35.0, None)], 60.0, "completed", "ok", "failed"),
        ([(35.0, None)], 60.0, "interrupted", "ok", "unknown"),
        ([(35.0, 70.0)], None, "completed", "ok", "unknown"),
        ([(10.0, 20.0), (35.0, 70.0)], 60.0, "completed", "failed", "ok"),
        ([(35.0, 65.0), (66.0, None)], 60.0, "completed", "ok", "failed"),
        ([], 60.0, "completed", "failed", "skipped"),
        ([], 60.0, "aborted", "unknown", "skipped"),
    ],
)
def test_promises_about_alarms(
    alarms: list[tuple[float, float | None]], healed: float | None, ended: str, fires: str, clears: str
) -> None:
    records = [AlarmRecord(name="cfa-availability", fired_s=f, cleared_s=c) for f, c in alarms]
    faults = [FaultRecord(name="f", kind="power-off", injected_s=30.0, healed_s=healed)]
    promised = {"alarms": [{"name": "cfa-availability", "within": 10.0, "clears_within": 20.0}]}
    found = grade(promised, records, faults, [probe(1.0, True)], ended)
    assert [one.result for one in found] == [fires, clears]


def test_an_alarm_of_a_fault_that_never_came_proves_nothing() -> None:
    found = grade({"alarms": [{"name": "cfa-availability"}]}, [], [], [probe(1.0, True)], "completed")
    assert [one.result for one in found] == ["unknown"]


def test_the_name_of_an_alarm_is_escaped_and_stands_where_there_is_room() -> None:
    columns = [Bin(0.0, canaries={"a": 1.0}), Bin(1.0)]
    early = timeline(columns, Axis(0, 100), [], [], [], [], ["a"], [Window("<x>", 1.0, 5.0)])
    late = timeline(columns, Axis(0, 100), [], [], [], [], ["a"], [Window("<x>", 70.0, 75.0)])
    assert "<x>" not in early + late
    assert re.search(r'class="alarm-label" text-anchor="start"', early)
    assert re.search(r'class="alarm-label" text-anchor="end"', late)
