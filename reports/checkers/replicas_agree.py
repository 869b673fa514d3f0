"""Replicas agree: at a barrier position, all replicas of a group hold the same items, byte for byte."""

from __future__ import annotations

from collections import Counter
from typing import Any

from reports.checkers.evidence import FINDINGS_MAX, count
from reports.rundir import CheckResult, Finding, Scrub, ScrubGroup, ScrubReplica
from reports.wording import key_in_words

NAME = "replicas_agree"


def check(scrub: Scrub | None, damaged: frozenset[str] = frozenset()) -> CheckResult:
    """Compare the digests in ``scrub.json``. A replica that did not answer leaves the result unknown, not ok.

    What nodes found by themselves during the run counts too, healed or not, except on nodes whose disks the run
    damaged on purpose (``damaged``): the scrub must not hide what it mended.
    """
    if scrub is None or not scrub.groups:
        why = "no replica was asked for its digest: scrub.json is missing or empty"
        return CheckResult(name=NAME, result="unknown", why=why)
    findings: list[Finding] = []
    doubts: list[str] = []
    looked_at = 0
    for group in scrub.groups:
        looked_at += len(group.replicas)
        findings.extend(_differences(group))
        doubts.extend(_doubts(group))
    findings += [_told(event) for event in scrub.background if _unexplained(event, damaged)]
    if findings:
        why = f"{count(len(findings), 'replica is', 'replicas are')} wrong: {findings[0]['what']}"
        return CheckResult(
            name=NAME,
            result="failed",
            looked_at=looked_at,
            findings=findings[:FINDINGS_MAX],
            found=len(findings),
            why=why,
        )
    if doubts:
        more = f", and {len(doubts) - 1} more" if len(doubts) > 1 else ""
        return CheckResult(name=NAME, result="unknown", looked_at=looked_at, why=doubts[0] + more)
    return CheckResult(
        name=NAME,
        result="ok",
        looked_at=looked_at,
        why=f"{looked_at} replicas of {len(scrub.groups)} partitions are identical at their barriers",
    )


def _unexplained(event: dict[str, Any], damaged: frozenset[str]) -> bool:
    if event.get("event") == "scrub-unsettled":
        return not damaged
    return event.get("event") == "replica-damage" and str(event.get("node_damaged")) not in damaged


def _told(event: dict[str, Any]) -> Finding:
    node, group = event.get("node_damaged", "somebody"), event.get("group")
    where = f", first at key {key_in_words(event['key'])} ({event.get('detail')})" if event.get("key") else ""
    what = f"during the run {node} held something else of {group} at slot {event.get('slot')} than its peers{where}"
    return {"what": what, "group": group, "node": node, "slot": event.get("slot"), "key": event.get("key")}


def _answers(group: ScrubGroup) -> list[ScrubReplica]:
    return [r for r in group.replicas if r.error is None and r.digest is not None and r.slot == group.slot]


def _differences(group: ScrubGroup) -> list[Finding]:
    """Corrupt pages, and replicas whose digest is not that of the majority (with no majority: all of them)."""
    findings = [
        _finding(group, replica, f"{replica.node} reports damage: {', '.join(replica.corrupt[:3])}")
        for replica in group.replicas
        if replica.corrupt
    ]
    answers = _answers(group)
    counts = Counter(replica.digest for replica in answers)
    if len(counts) < 2:
        return findings
    ((digest, most),) = counts.most_common(1)
    majority = digest if most * 2 > len(answers) else None
    for replica in answers:
        if replica.digest != majority:
            others = f"the others hold {next(r.items for r in answers if r is not replica)} items"
            what = f"{replica.node} holds {replica.items} items with digest {str(replica.digest)[:12]}, {others}"
            findings.append(_finding(group, replica, f"partition {_label(group)} at slot {group.slot}: {what}"))
    return findings


def _doubts(group: ScrubGroup) -> list[str]:
    if group.error:
        return [f"partition {_label(group)} could not be scrubbed: {group.error}"]
    doubts = []
    for replica in group.replicas:
        if replica.error is not None or replica.digest is None:
            doubts.append(f"{replica.node} gave no digest of {_label(group)}: {replica.error or 'no answer'}")
        elif replica.slot != group.slot:
            doubts.append(f"{replica.node} answered for slot {replica.slot} of {_label(group)}, not {group.slot}")
    if len(group.replicas) < group.expected:
        doubts.append(f"{_label(group)} has {len(group.replicas)} of {group.expected} replicas")
    return doubts


def _label(group: ScrubGroup) -> str:
    return f"{group.table}/{group.partition} ({group.group})" if group.table else group.group


def _finding(group: ScrubGroup, replica: ScrubReplica, what: str) -> Finding:
    return {
        "what": what,
        "group": group.group,
        "table": group.table,
        "partition": group.partition,
        "slot": group.slot,
        "replica": replica.replica,
        "node": replica.node,
        "az": replica.az,
        "digest": replica.digest,
        "items": replica.items,
        "corrupt": replica.corrupt,
    }
