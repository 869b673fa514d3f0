"""Verdicts: the rules, one row each; figures; and what is published."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest
from report_runs import FAULT, HEAL, S, Shape, make_run
from report_synth import operation

from reports import metrics, wording
from reports.conclude import conclude
from reports.judge import decide, expectations, gather, judge
from reports.render.charts import nice_ceiling
from reports.render.compare import compare, differences
from reports.render.junit import junit
from reports.render.page import render
from reports.rundir import (
    CheckResult,
    Expectation,
    FaultRecord,
    LoadPlan,
    LoadSummary,
    NodeInfo,
    Plan,
    Recovery,
    Verdict,
)

PLAN = Plan(playbook="p", load=LoadPlan(floor=100.0))
GOOD_LOAD = LoadSummary(operations=1000, offered_per_second=120.0)
CONFIRMED = FaultRecord(name="f", kind="power-off", targets=["n"], injected_s=1.0, effect="confirmed")


def check(result: str) -> CheckResult:
    return CheckResult(name="durability", result=result, why="because")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("result", "promise", "effect", "offered", "ended", "verdict"),
    [
        ("ok", "ok", "confirmed", 120, "completed", "passed"),
        ("failed", "ok", "confirmed", 120, "completed", "failed"),
        ("failed", "ok", "confirmed", 120, "aborted", "failed"),
        ("failed", "ok", "confirmed", 120, "interrupted", "failed"),
        ("failed", "unknown", "mismatch", 1, "completed", "failed"),
        ("ok", "failed", "confirmed", 120, "completed", "failed"),
        ("unknown", "ok", "confirmed", 120, "completed", "invalid"),
        ("unknown", "ok", "confirmed", 120, "interrupted", "invalid"),
        ("skipped", "ok", "confirmed", 120, "interrupted", "interrupted"),
        ("ok", "ok", "confirmed", 120, "aborted", "aborted"),
        ("ok", "ok", "planned", 1, "interrupted", "interrupted"),
        ("ok", "unknown", "confirmed", 120, "completed", "invalid"),
        ("ok", "ok", "confirmed", 99, "completed", "invalid"),
        ("ok", "ok", "not-confirmed", 120, "completed", "invalid"),
        ("ok", "ok", "mismatch", 120, "completed", "invalid"),
        ("ok", "ok", "planned", 120, "completed", "invalid"),
        ("ok", "ok", "confirmed", 120, "error", "invalid"),
    ],
)
def test_rules(result: str, promise: str, effect: str, offered: float, ended: str, verdict: str) -> None:
    expect = [Expectation(name="p", expected="", measured="", result=promise, why="so")]  # type: ignore[arg-type]
    fault = msgspec.structs.replace(CONFIRMED, effect=effect)  # type: ignore[arg-type]
    load = msgspec.structs.replace(GOOD_LOAD, offered_per_second=offered)
    decided, reasons = decide(PLAN, [check(result)], expect, [fault], load, ended, "reason")
    assert decided == verdict
    assert bool(reasons) == (verdict != "passed")


def test_faults_that_overlap_each_have_their_own_recovery() -> None:
    """A router that dies while a storage node is away, and returns after it: short of replicas it was all the same."""
    faults = [
        FaultRecord(name="storage", kind="power-off", injected_s=10.0, healed_s=17.0),
        FaultRecord(name="router", kind="power-off", injected_s=12.0, healed_s=25.0),
        FaultRecord(name="alone", kind="power-off", injected_s=30.0, healed_s=35.0),
    ]
    said = [(2.0, True), (10.5, False), (18.0, True)]
    events = [{"t": t, "event": "redundancy", "full": full} for t, full in said]
    storage, router, alone = metrics.recoveries(faults, events, [], 0)
    assert (storage.redundancy_s, router.redundancy_s) == (8.0, 6.0)
    assert (alone.redundancy_s, alone.redundancy_lost) == (None, False)
    plan = Plan(playbook="p", expect={"recovery": {"redundancy": 60}})

    def grade(recovery: Recovery) -> str:
        return expectations(plan, [], [recovery], [], "completed")[0].result

    (never_back,) = metrics.recoveries(faults[:1], events[:2], [], 0)
    (unwatched,) = metrics.recoveries(faults[:1], [], [], 0)
    assert [grade(recovery) for recovery in (router, alone, never_back, unwatched)] == ["ok", "ok", "failed", "failed"]


def test_what_made_the_platform_fail_comes_before_what_follows_from_it() -> None:
    doubt = Expectation(name="alarm", expected="", measured="", result="unknown", why="no fault was injected")
    planned = msgspec.structs.replace(CONFIRMED, effect="planned")
    args = ([check("ok")], [doubt], [planned], LoadSummary(), "error", "no space left")
    verdict, reasons = decide(PLAN, *args)
    assert (verdict, reasons[0]) == ("invalid", "the platform failed: no space left")
    verdict, reasons = decide(PLAN, [check("failed")], *args[1:])
    assert (verdict, reasons[0]) == ("failed", "durability: because")
    assert "the platform failed: no space left" in reasons


@pytest.mark.parametrize("ended", ["interrupted", "aborted"])
def test_promises_that_a_run_cut_short_did_not_come_to_are_no_doubts(tmp_path: Path, ended: str) -> None:
    """Ctrl-C while the cluster is being made: the verdict is that somebody stopped it, in those words."""
    from reports.rundir import RunDir

    run = RunDir.create(tmp_path, "x", 1)
    alarms = [{"name": "cfa-zone-b", "within": 60.0}]
    run.write_plan(Plan(playbook="x", load=LoadPlan(floor=100.0), expect={"alarms": alarms, "quiet": ["cfa-zone-a"]}))
    verdict = conclude(run, ended=ended, reason="a person stopped the run (SIGINT)")
    assert verdict.verdict == ended
    assert {promise.result for promise in verdict.expect} == {"skipped"}
    assert verdict.why[1] == f"the run was {ended}: a person stopped the run (SIGINT)"


def test_what_was_broken_is_told_in_words() -> None:
    promises = [
        Expectation(name=name, expected="", measured="", result="failed")
        for name in ("data.lost", "recovery.writes (x)", "recovery.redundancy (x)", "alarm a fires", "alarm b clears")
    ]
    lost = CheckResult(name="durability", result="failed", found=3)
    draft = Verdict(
        verdict="failed", playbook="p", runtime="docker", seed=1, checks=[lost, check("ok")], expect=promises
    )
    assert wording.headline(draft, PLAN, []) == (
        "The database broke its promises: with no fault injected, 3 acknowledged writes were lost, "
        "writes were refused for longer than promised, the data did not have all its copies again in the time promised "
        "and alarms did not fire, clear or stay quiet as promised."
    )


def test_arrivals_never_sent_prove_nothing() -> None:
    load = msgspec.structs.replace(GOOD_LOAD, skipped=1001)
    assert decide(PLAN, [check("ok")], [], [CONFIRMED], load, "completed", "")[0] == "invalid"


def test_a_whole_run_passes_and_its_figures_are_right(tmp_path: Path) -> None:
    run = make_run(tmp_path, Shape(rate=240))
    verdict = conclude(run)
    assert verdict.verdict == "passed", verdict.why
    assert "zone b lost power for 22 s" in verdict.why[0]
    recovery = verdict.recovery[0]
    assert recovery.detected_s == pytest.approx(0.9, abs=0.01)
    assert recovery.writes_stopped_s == pytest.approx(1.7, abs=0.5)
    assert recovery.redundancy_s == pytest.approx(HEAL + 4.9 - FAULT, abs=0.01)
    assert recovery.redundancy_after_heal_s == pytest.approx(4.8, abs=0.01)
    assert verdict.load.skipped == 36
    assert verdict.load.offered_per_second == pytest.approx(240, rel=0.1)
    zones = verdict.availability.by_az
    assert zones["b"] < zones["a"] < 1
    assert [e.name for e in verdict.expect if e.result != "ok"] == []
    assert json.loads(run.verdict.read_bytes())["verdict"] == "passed"
    assert run.read_verdict() == verdict


@pytest.mark.parametrize(
    ("shape", "verdict", "word"),
    [
        (Shape(rate=60, lose=2), "failed", "lost"),
        (Shape(rate=60, stale=1), "failed", "wrong answers"),
        (Shape(rate=60, replica_differs=True), "failed", "replicas of the same data differ"),
        (Shape(rate=60, leftover=True), "failed", "The run failed"),
        (Shape(rate=60, confirmed=False), "invalid", "proves nothing"),
        (Shape(rate=60, ended="interrupted"), "interrupted", "A person interrupted"),
        (Shape(rate=60, ended="aborted"), "aborted", "A stop condition"),
    ],
)
def test_each_way_to_end(tmp_path: Path, shape: Shape, verdict: str, word: str) -> None:
    result = judge(gather(make_run(tmp_path, shape)))
    assert result.verdict == verdict, result.why
    assert word in result.why[0]


@pytest.mark.parametrize(("ended", "verdict"), [("interrupted", "interrupted"), ("completed", "failed")])
def test_too_little_to_judge_who_watches_by_is_a_doubt_only_in_a_whole_run(
    tmp_path: Path, ended: str, verdict: str
) -> None:
    run = make_run(tmp_path, Shape(rate=60, ended=ended))
    events = [json.loads(line) for line in run.events.read_bytes().splitlines()]
    begun = next(event for event in events if event["event"] == "canaries" and event["state"] == "begin")
    kept = []
    for event in events:
        if event["event"] in ("alarm", "window"):
            continue
        if event["event"] == "canaries" and event["state"] == "end":
            event["boot"] = begun["begin_boot"] + 1.0  # not one window was over
        kept.append(event)
    run.events.write_text("".join(f"{json.dumps(event)}\n" for event in kept))
    result = judge(gather(run))
    alarms = next(check for check in result.checks if check.name == "alarms")
    assert alarms.result == ("skipped" if ended == "interrupted" else "unknown"), alarms.why
    assert result.verdict == verdict, result.why


def test_a_controller_that_died_passes_nothing(tmp_path: Path) -> None:
    run = make_run(tmp_path, Shape(rate=60))
    lines = run.events.read_bytes().splitlines(keepends=True)
    run.events.write_bytes(b"".join(line for line in lines if b'"ended"' not in line))
    verdict = judge(gather(run))
    assert verdict.verdict == "invalid"
    assert any("controller died" in why for why in verdict.why)


def test_recheck_does_not_change_its_mind(tmp_path: Path) -> None:
    run = make_run(tmp_path, Shape(rate=60, lose=1))
    once, again = conclude(run), judge(gather(run))

    def timeless(verdict: Verdict) -> Verdict:
        return msgspec.structs.replace(
            verdict, checks=[msgspec.structs.replace(c, seconds=0.0) for c in verdict.checks]
        )

    assert timeless(once) == timeless(again)


def test_broken_promises() -> None:
    plan = Plan(
        playbook="p",
        expect={"recovery": {"writes": 1.0, "redundancy": 60, "detect": 0.5}, "data": {"lost": 0}, "novelty": {"x": 1}},
    )
    from reports.rundir import Recovery

    recovery = [Recovery(fault="f", detected_s=0.4, writes_stopped_s=1.2, redundancy_s=None, redundancy_lost=True)]
    checks = [CheckResult(name="durability", result="failed", found=3)]
    graded = {e.name.split(" ")[0]: e.result for e in expectations(plan, checks, recovery, [], "completed")}
    assert graded == {
        "recovery.writes": "failed",
        "recovery.redundancy": "failed",
        "recovery.detect": "ok",
        "data.lost": "failed",
        "novelty": "unknown",
    }


def test_an_unhealthy_start_is_no_failure_of_the_fault() -> None:
    events = [
        {"event": "probe", "name": "available", "ok": False, "value": 0.5, "when": when, "t": 0.0}
        for when in ("before", "after")
    ]
    graded = [e.result for e in expectations(Plan(playbook="p"), [], [], events, "completed")]
    assert graded == ["unknown", "failed"]


def test_write_gaps_count_silence_at_the_end() -> None:
    history = [operation("put", n, n * S // 10, n * S // 10 + 5, value=f"v{n}") for n in range(10)]
    history += [operation("put", 10 + n, S + n * S // 10, None, value=f"u{n}") for n in range(20)]
    gaps = metrics.write_gaps(history, 0, 1)
    assert max(end - begin for begin, end in gaps) == pytest.approx(2.0, abs=0.01)


def test_one_stuck_slice_shows_though_others_serve() -> None:
    history = []
    for n in range(400):
        key = f"k{n % 40}"
        stuck = metrics.encode_hash("S", key)[0] >> 6 == 2 and 1.0 < n * 0.01 < 3.0
        history.append(operation("put", n, n * S // 100, None if stuck else n * S // 100 + 5, value=f"v{n}", key=key))
    assert max(end - begin for begin, end in metrics.write_gaps(history, 0, 4)) == pytest.approx(2.0, abs=0.2)
    assert max((end - begin for begin, end in metrics.write_gaps(history, 0, 1)), default=0) < 0.5


def test_places_in_words() -> None:
    nodes = [
        NodeInfo(name=f"{role}-{az}{n}", role=role, az=az, rack=f"{az}{n}")
        for az in "ab"
        for n in (1, 2)
        for role in ("storage", "memds")
    ]
    names = [node.name for node in nodes]
    assert wording.place(names, nodes) == "all zones"
    assert wording.place([n for n in names if "-a" in n], nodes) == "zone a"
    assert wording.place([n for n in names if n.endswith("b2")], nodes) == "rack b2"
    assert wording.place(["storage-a1"], nodes) == "storage-a1"
    assert wording.place([], nodes) == "nothing"


def test_percent_never_rounds_up_to_all() -> None:
    assert wording.percent(1.0) == "100 %"
    assert wording.percent(0.99) == "99.00 %"
    assert wording.percent(0.9999999) != "100 %"
    assert not wording.percent(0.99999).startswith("100")


def test_round_numbers() -> None:
    assert [nice_ceiling(v) for v in (0, 1, 1.2, 7, 270, 99, 0.03)] == [1, 1, 1.5, 8, 300, 100, 0.03]


def test_junit_agrees_with_the_verdict(tmp_path: Path) -> None:
    for number, (shape, failures, errors) in enumerate(
        [
            (Shape(rate=60), 0, 0),
            (Shape(rate=60, lose=1), 3, 0),
            (Shape(rate=60, confirmed=False), 0, 1),
            (Shape(rate=60, ended="interrupted"), 0, 1),
        ]
    ):
        verdict = judge(gather(make_run(tmp_path / str(number), shape)))
        suite = ElementTree.fromstring(junit(verdict))[0]
        assert (int(suite.get("failures", -1)), int(suite.get("errors", -1))) == (failures, errors), verdict.why
        assert len(suite.findall("testcase")) == int(suite.get("tests", -1))
        assert len(suite.findall("testcase/failure")) == failures
        assert len(suite.findall("testcase/error")) == errors


def test_junit_survives_any_text() -> None:
    verdict = Verdict(
        verdict="failed",
        playbook="a<b&\x00\x1b",
        checks=[CheckResult(name="x", result="failed", why="\x07\ud800 <>", findings=[{"what": "]]>"}])],
    )
    assert ElementTree.fromstring(junit(verdict)).find("testsuite/testcase/failure") is not None


def test_the_page_needs_nothing_from_outside(tmp_path: Path) -> None:
    evidence = gather(make_run(tmp_path, Shape(rate=60)))
    page = render(evidence, judge(evidence))
    assert not re.findall(r"""(?:src|href|action)\s*=|@import|url\((?!#)|\bfetch\(""", page)
    assert page.count("<svg") == 1


def test_the_page_escapes_what_a_run_wrote(tmp_path: Path) -> None:
    run = make_run(tmp_path, Shape(rate=60))
    evil = "</script><script>alert(1)</script><img onerror=x>"
    run.write_plan(msgspec.structs.replace(run.read_plan(), title=evil, plant=evil, shared=[evil]))
    lines = run.events.read_text().replace("zone b goes dark", json.dumps(evil)[1:-1])
    run.events.write_text(lines)
    evidence = gather(run)
    page = render(evidence, judge(evidence))
    assert "<script>alert" not in page
    assert "<img" not in page


def test_the_page_of_an_empty_run_renders(tmp_path: Path) -> None:
    """A run that died in deploy has no load, no scrub, no faults; its report must still open."""
    from reports.rundir import RunDir

    run = RunDir.create(tmp_path, "x", 1)
    run.write_plan(Plan(playbook="x"))
    verdict = conclude(run, ended="error", reason="no space left")
    assert verdict.verdict == "invalid"
    assert "no space left" in run.report.read_text()


def test_compare(tmp_path: Path) -> None:
    a = judge(gather(make_run(tmp_path / "a", Shape(rate=60))))
    b = judge(gather(make_run(tmp_path / "b", Shape(rate=60, lose=1, stall_s=4.0, plant="p"))))
    trends = {row.name: row.trend for row in compare(a, b)}
    assert trends["verdict"] == trends["check durability"] == trends["longest without writes"] == "worse"
    assert trends["redundancy back"] == "same"
    assert differences(a, b) == ["plant: None / p"]
    assert {row.trend for row in compare(a, a)} <= {"same", ""}
