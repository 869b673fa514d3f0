"""Eventual reads, replicas, leftovers; and the frame around all checkers."""

from __future__ import annotations

from pathlib import Path

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from report_runs import Shape, make_run
from report_synth import Mix, operation, simulate

from reports.checkers import CHECKERS, check_safely, eventual_reads, leftovers, replicas_agree, run_checks
from reports.checkers.evidence import FINDINGS_MAX, History
from reports.rundir import CheckResult, Leftovers, Operation, RunDir, Scrub, ScrubGroup, ScrubReplica
from reports.rundir.records import CHECKS


def eget(id: int, invoked: int, ended: int, observed: str | None) -> Operation:
    return operation("eget", id, invoked, ended, observed=observed)


@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.3]))
@settings(max_examples=60)
def test_stale_reads_are_allowed(seed: int, unknown: float) -> None:
    mix = Mix(operations=80, unknown=unknown, weights={"put": 2, "delete": 1, "eget": 5, "get": 1})
    history, _, _ = simulate(seed, mix)
    assert not eventual_reads.check(History(history)).findings


def test_invented_reads_are_named() -> None:
    put = operation("put", 1, 100, 110, value="x")
    refused = operation("put", 2, 0, 5, value="no", outcome="fail", error="ThrottlingException")
    other = operation("put", 3, 0, 5, value="elsewhere", key="other")
    for read in (
        eget(9, 0, 50, "x"),
        eget(9, 200, 210, "ghost"),
        eget(9, 200, 210, "no"),
        eget(9, 200, 210, "elsewhere"),
    ):
        result = eventual_reads.check(History([put, refused, other, read]))
        assert (result.result, [f["operation"] for f in result.findings]) == ("failed", ["w#9"])
    for read in (eget(9, 0, 105, "x"), eget(9, 200, 210, "x"), eget(9, 200, 210, None)):
        assert eventual_reads.check(History([put, read])).result == "ok"


def test_a_load_without_eventual_reads_leaves_nothing_to_judge() -> None:
    """Not sent is skipped; sent and never answered is unknown: no data is not good data."""
    put = operation("put", 1, 0, 1, value="x")
    assert eventual_reads.check(History([put])).result == "skipped"
    assert eventual_reads.check(History([put, operation("eget", 2, 5, None)])).result == "unknown"


def group(*digests: str | None, slot: int = 9, corrupt: tuple[str, ...] = (), expected: int = 3) -> Scrub:
    replicas = [
        ScrubReplica(
            replica=f"r{n}",
            node=f"storage-{az}1",
            az=az,
            digest=digest,
            slot=9,
            items=5,
            error=None if digest else "timeout",
            corrupt=list(corrupt) if n == 0 else [],
        )
        for n, (az, digest) in enumerate(zip("abc", digests, strict=False))
    ]
    return Scrub(groups=[ScrubGroup(group="g1", table="t", slot=slot, replicas=replicas, expected=expected)])


def test_replicas() -> None:
    assert replicas_agree.check(group("d", "d", "d")).result == "ok"
    wrong = replicas_agree.check(group("d", "x", "d"))
    assert (wrong.result, [f["node"] for f in wrong.findings]) == ("failed", ["storage-b1"])
    assert len(replicas_agree.check(group("x", "y", "z")).findings) == 3
    assert replicas_agree.check(group("d", "d", "d", corrupt=("page 7",))).result == "failed"
    assert replicas_agree.check(group("d", None, "d")).result == "unknown"
    assert replicas_agree.check(group("d", "d")).result == "unknown"
    assert replicas_agree.check(group("d", "d", "d", slot=10)).result == "unknown"
    assert replicas_agree.check(group("d", "x", None)).result == "failed"
    assert replicas_agree.check(None).result == "unknown"
    assert replicas_agree.check(Scrub(groups=[ScrubGroup(group="g", error="no leader")])).result == "unknown"


def test_leftovers() -> None:
    before = {"mounts": ["/", "/var"], "nft": []}
    assert leftovers.check(Leftovers(before=before, after=before)).result == "ok"
    left = leftovers.check(Leftovers(before=before, after={"mounts": ["/", "/var", "/var"], "nft": []}))
    assert [f["thing"] for f in left.findings] == ["/var"]
    gone = leftovers.check(Leftovers(before=before, after={"mounts": ["/"], "nft": []}))
    assert "gone" in gone.why
    assert leftovers.check(Leftovers(before=before, after={"mounts": ["/", "/var"]})).result == "unknown"
    assert leftovers.check(Leftovers(before=before, after=before, errors=["nft: not permitted"])).result == "unknown"
    assert leftovers.check(Leftovers()).result == "unknown"
    assert leftovers.check(None).result == "unknown"


def test_a_checker_that_crashes_is_unknown() -> None:
    def broken() -> CheckResult:
        raise ZeroDivisionError("oops")

    result = check_safely("broken", broken)
    assert (result.name, result.result) == ("broken", "unknown")
    assert "oops" in result.why


def test_a_required_check_that_does_not_exist_is_unknown(tmp_path: Path) -> None:
    run = make_run(tmp_path, Shape(rate=40))
    results = {r.name: r for r in run_checks(run, History.read(run.history), ["durability", "telepathy"])}
    assert results["durability"].result == "ok"
    assert results["telepathy"].result == "unknown"
    assert results["linearizability"].result == "skipped"


def test_damaged_scrub_is_unknown_not_a_crash(tmp_path: Path) -> None:
    run = make_run(tmp_path, Shape(rate=40))
    run.scrub.write_text("{")
    results = {r.name: r for r in run_checks(run, History.read(run.history), CHECKS)}
    assert results["replicas_agree"].result == "unknown"


ELSEWHERE = ("transactions", "indexes")
"""Checks whose evidence these made-up runs do not have: modules of their own show that they can fail."""


def test_no_checker_always_says_ok(tmp_path: Path) -> None:
    """Each checker, shown a run with its defect, fails; shown an empty run, it does not say ok."""
    bad_shape = Shape(
        rate=120, lose=2, stale=1, replica_differs=True, leftover=True, rot="missed", blind_canary=True, mute_alarm=True
    )
    good, bad = (
        make_run(tmp_path / "good", Shape(rate=120, rot="found")),
        make_run(tmp_path / "bad", bad_shape),
    )
    invent(bad)
    asked = [name for name in CHECKS if name not in ELSEWHERE]
    fine = {r.name: r.result for r in run_checks(good, History.read(good.history), asked) if r.name in asked}
    broken = {r.name: r for r in run_checks(bad, History.read(bad.history), asked) if r.name in asked}
    assert set(CHECKS) == set(CHECKERS)
    assert set(fine.values()) == {"ok"}, fine
    assert {r.result for r in broken.values()} == {"failed"}, broken
    assert all(r.findings and r.found >= len(r.findings) <= FINDINGS_MAX for r in broken.values())
    empty = RunDir.create(tmp_path, "empty", 1)
    assert "ok" not in {r.result for r in run_checks(empty, History.read(empty.history), CHECKS)}


def invent(run: RunDir) -> None:
    """Add a writer whose eventual read returns what nobody wrote."""
    from report_synth import write_history

    write_history(
        run.history,
        [msgspec.structs.replace(eget(1, 0, 5, "ghost"), writer="ghost", key="key-00001", invoked_ns=1, intended_ns=1)],
    )
