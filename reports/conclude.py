"""The end of a run: judge what it wrote down and publish ``verdict.json``, ``junit.xml`` and ``report.html``."""

from __future__ import annotations

from reports.judge import Evidence, gather, judge
from reports.rundir import RunDir, RunDirError, Verdict


def conclude(run: RunDir, *, ended: str | None = None, reason: str | None = None) -> Verdict:
    """Judge ``run`` from its directory, write all three results there and return the verdict.

    ``ended`` (completed, aborted, interrupted, error) and ``reason`` default to the last ``run`` event. The verdict is
    written before the page is drawn: should drawing fail, the verdict stands. Raises :class:`RunDirError`.
    """
    evidence = gather(run)
    verdict = judge(evidence, ended=ended, reason=reason)
    run.write_verdict(verdict)
    publish(evidence, verdict)
    return verdict


def publish(evidence: Evidence, verdict: Verdict) -> None:
    """Write ``junit.xml`` and ``report.html`` for a verdict."""
    from reports.render.junit import junit
    from reports.render.page import render

    run = evidence.run
    run.junit.write_bytes(junit(verdict))
    run.report.write_text(render(evidence, verdict), encoding="utf-8")


def stored_verdict(run: RunDir) -> Verdict:
    """The verdict in the directory. Raises :class:`RunDirError` if the run has none."""
    verdict = run.read_verdict()
    if verdict is None:
        raise RunDirError(f"{run.path} has no verdict.json; `blackstart recheck {run.path}` judges it")
    return verdict
