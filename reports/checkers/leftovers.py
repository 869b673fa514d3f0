"""Leftovers: is the host as it was before the run? Nothing of ours stays, nothing of others is gone."""

from __future__ import annotations

from collections import Counter

from reports.checkers.evidence import FINDINGS_MAX, count
from reports.rundir import CheckResult, Finding, Leftovers

NAME = "leftovers"


def check(leftovers: Leftovers | None) -> CheckResult:
    """Compare the host's state before and after, kind by kind; a kind seen on one side only cannot be judged."""
    if leftovers is None:
        return CheckResult(name=NAME, result="unknown", why="the host was not looked at: leftovers.json is missing")
    findings: list[Finding] = []
    for kind in leftovers.before.keys() & leftovers.after.keys():
        before, after = Counter(leftovers.before[kind]), Counter(leftovers.after[kind])
        findings.extend(_finding(kind, thing, "was left behind") for thing in (after - before).elements())
        findings.extend(
            _finding(kind, thing, "was there before the run and is gone") for thing in (before - after).elements()
        )
    findings.sort(key=lambda entry: (entry["kind"], entry["thing"]))
    looked_at = sum(len(things) for things in leftovers.after.values())
    doubts = [
        *leftovers.errors,
        *(f"{kind} was looked at only once" for kind in sorted(leftovers.before.keys() ^ leftovers.after.keys())),
    ]
    if not leftovers.before and not leftovers.after:
        doubts.append("the host was not looked at")
    if findings:
        why = f"{count(len(findings), 'thing differs', 'things differ')}: {findings[0]['what']}"
        return CheckResult(
            name=NAME,
            result="failed",
            looked_at=looked_at,
            findings=findings[:FINDINGS_MAX],
            found=len(findings),
            why=why,
        )
    if doubts:
        return CheckResult(name=NAME, result="unknown", looked_at=looked_at, why=doubts[0])
    return CheckResult(
        name=NAME,
        result="ok",
        looked_at=looked_at,
        why=f"{looked_at} things of {len(leftovers.after)} kinds are as before",
    )


def _finding(kind: str, thing: str, fate: str) -> Finding:
    return {"what": f"{kind}: {thing} {fate}", "kind": kind, "thing": thing}
