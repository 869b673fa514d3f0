"""The archive agrees: the copy built from each group's archived log is what its replicas hold, at the same barrier.

[P22 §5] calls this the most reliable guard of all: it finds what all three replicas got wrong alike, and what was lost
on the way to the archive. A hole, a segment that is damaged, gone, or of another history is a failure; positions that
an image bridges are told, for they are lost to history, though not to the rows.
"""

from __future__ import annotations

from typing import Any

from reports.checkers.evidence import FINDINGS_MAX, count
from reports.rundir import CheckResult, Finding, Scrub, ScrubGroup
from reports.wording import key_in_words

NAME = "archive_agrees"
AWAY = "the archive cannot be read"
DISAGREEMENTS = ("archive-disagrees", "archive-refused")
"""What agents tell: what is archived is sound and not what their log says; their own segment failed its checks."""


def check(scrub: Scrub | None, *, expected: bool) -> CheckResult:
    """Judge ``scrub.json``. ``expected``: the topology has an archive."""
    if not expected and not (scrub is not None and scrub.archived):
        return CheckResult(name=NAME, result="skipped", why="this topology has no archive")
    if scrub is None or not scrub.groups:
        why = "no group was held against its archive: scrub.json is missing or empty"
        return CheckResult(name=NAME, result="unknown", why=why)
    findings: list[Finding] = []
    doubts: list[str] = []
    notes: list[str] = []
    for group in (group for group in scrub.groups if group.table):
        findings += _wrong(group)
        doubts += _doubts(group)
        if group.reference is not None:
            notes += [f"{_label(group)}: slots {a} to {b} stand as an image only" for a, b in group.reference.bridged]
    findings += [_told(event) for event in scrub.background if event.get("event") in DISAGREEMENTS]
    looked_at = sum(group.reference.segments for group in scrub.groups if group.reference is not None)
    if findings:
        why = f"{count(len(findings), 'thing is', 'things are')} wrong: {findings[0]['what']}"
        return CheckResult(
            name=NAME, result="failed", looked_at=looked_at, findings=findings[:FINDINGS_MAX], found=len(findings),
            why=why,
        )  # fmt: skip
    if doubts:
        more = f", and {len(doubts) - 1} more" if len(doubts) > 1 else ""
        return CheckResult(name=NAME, result="unknown", looked_at=looked_at, why=doubts[0] + more)
    groups = sum(1 for group in scrub.groups if group.reference is not None)
    why = f"{count(groups, 'partition', 'partitions')} rebuilt from {count(looked_at, 'segment', 'segments')}: "
    why += "what their replicas hold"
    return CheckResult(name=NAME, result="ok", looked_at=looked_at, why="; ".join([why, *notes[:3]]))


def _told(event: dict[str, Any]) -> Finding:
    node, group, first = event.get("node"), event.get("group"), event.get("first")
    if event.get("event") == "archive-refused":
        what = f"{node} would not upload the segment of {group} at slot {first}: {event.get('why')}"
    else:
        what = f"{node}'s log of {group} differs from what is archived, first at slot {event.get('slot') or first}"
    return {"what": what, "group": group, "node": node, "slot": event.get("slot") or first}


def _wrong(group: ScrubGroup) -> list[Finding]:
    reference = group.reference
    if reference is None:
        return []
    found = [
        _finding(group, f"{_label(group)}: {problem}")
        for problem in reference.problems
        if not problem.startswith(AWAY) and not _late(problem)
    ]
    if reference.digest is None:
        return found
    for replica in group.replicas:
        if replica.digest is not None and replica.slot == group.slot and replica.digest != reference.digest:
            where = f"; the first is {key_in_words(replica.key)} ({replica.difference})" if replica.key else ""
            what = (
                f"{replica.node} holds {replica.items} items of {_label(group)} at slot {group.slot}, its archived log "
                f"gives {reference.items}, and they differ{where}"
            )
            extra = {"node": replica.node, "replica": replica.replica, "key": replica.key, "start": replica.start}
            found.append(_finding(group, what) | extra | {"end": replica.end})
    return found


def _doubts(group: ScrubGroup) -> list[str]:
    if group.error is not None:
        return [f"{_label(group)} could not be scrubbed: {group.error}"]
    if group.reference is None:
        return [f"{_label(group)} was not held against the archive"]
    return [f"{_label(group)}: {p}" for p in group.reference.problems if p.startswith(AWAY) or _late(p)]


def _late(problem: str) -> bool:
    """Whether a problem says only that the archive had not come so far when it was asked, or was further already."""
    return problem.startswith(("the archive's segments end at slot", "the archive began anew with an image beyond"))


def _label(group: ScrubGroup) -> str:
    return f"{group.table}/{group.partition} ({group.group})"


def _finding(group: ScrubGroup, what: str) -> Finding:
    return {
        "what": what,
        "group": group.group,
        "table": group.table,
        "partition": group.partition,
        "slot": group.slot,
    }
