"""Corruption: every damage that was done to live bytes was found by the database, by nobody else.

Damage that was rewritten in the ordinary course of things before anything read it, and damage in free space, prove
nothing and are counted by themselves. Whether a wrong answer was given is for the checks of histories to say.
"""

from __future__ import annotations

from reports.checkers.evidence import FINDINGS_MAX, count
from reports.rundir import CheckResult, DamageEntry, Finding

NAME = "corruption"


def check(entries: list[DamageEntry], *, planned: bool) -> CheckResult:
    """Judge the ledger. ``planned`` says that the run meant to damage something: then an empty one proves nothing."""
    if not entries:
        why = "nothing was damaged" + (", though the playbook asks for it" if planned else "")
        return CheckResult(name=NAME, result="unknown" if planned else "ok", why=why)
    live = [entry for entry in entries if entry.live]
    free = [entry for entry in entries if not entry.live]
    gone = [entry for entry in live if entry.gone_s is not None]
    missed = [entry for entry in live if entry.found_s is None and entry.gone_s is None]
    unmended = [entry for entry in live if entry.found_s is not None and entry.repaired_s is None]
    findings = [_finding(entry, "was never found") for entry in missed]
    findings += [_finding(entry, f"was found by {entry.found_by} and never mended") for entry in unmended]
    found = len(live) - len(gone) - len(missed)
    tally = f"{found} of {count(len(live), 'damage', 'damages')} in live bytes found"
    tally += f", {len(gone)} rewritten before anything read them" if gone else ""
    tally += f"; {len(free)} in free space" if free else ""
    if findings:
        return CheckResult(
            name=NAME, result="failed", looked_at=len(entries), findings=findings[:FINDINGS_MAX], found=len(findings),
            why=f"{tally}: {findings[0]['what']}",
        )  # fmt: skip
    if live and not found:
        why = f"{tally}: nothing was put to proof"
        return CheckResult(name=NAME, result="unknown", looked_at=len(entries), why=why)
    times = [entry.found_s - entry.injected_s for entry in live if entry.found_s is not None]
    slowest = f", the slowest after {max(times):.1f} s" if times else ""
    return CheckResult(name=NAME, result="ok", looked_at=len(entries), why=tally + slowest)


def _finding(entry: DamageEntry, fate: str) -> Finding:
    where = f"{entry.node}: {entry.mode} in {entry.file} at {entry.offset} ({entry.what})"
    return {
        "what": f"{where} {fate}",
        "id": entry.id,
        "node": entry.node,
        "file": entry.file,
        "offset": entry.offset,
        "length": entry.length,
        "mode": entry.mode,
        "groups": entry.groups,
        "injected_s": entry.injected_s,
        "found_s": entry.found_s,
        "repaired_s": entry.repaired_s,
    }
