"""What a verdict says in sentences: the first one is for a manager, the others for whoever asks next."""

from __future__ import annotations

import json
from collections.abc import Sequence

from cluster.core.keys import decode_key
from reports.rundir import CheckResult, FaultRecord, NodeInfo, Plan, Verdict

_VERBS = {
    "power-off": "lost power",
    "partition": "was cut off",
    "pause": "was frozen",
    "bit-rot": "had its disk damaged",
    "restart": "was restarted",
}


def headline(verdict: Verdict, plan: Plan, reasons: Sequence[str]) -> str:
    """The verdict in one sentence; ``reasons`` are what stands against ``passed``, the weightiest first."""
    story = _story(verdict, plan)
    checks = {check.name: check for check in verdict.checks}
    if verdict.verdict == "passed":
        return f"The database kept its promises: {story}, {_kept(checks)}."
    if verdict.verdict == "failed":
        broken = [check.name for check in verdict.checks if check.result == "failed"]
        promises = any(promise.result == "failed" for promise in verdict.expect)
        who = "The database broke its promises" if promises or broken != ["leftovers"] else "The run failed"
        return f"{who}: {story}, {_broken(verdict)}."
    if verdict.verdict == "invalid":
        return f"This run proves nothing either way: {reasons[0] if reasons else 'the evidence does not suffice'}."
    by = "A stop condition aborted" if verdict.verdict == "aborted" else "A person interrupted"
    return f"{by} the run; up to there nothing was found lost or wrong."


def _kept(checks: dict[str, CheckResult]) -> str:
    parts = []
    if (check := checks.get("durability")) and check.result == "ok":
        parts.append(f"all {check.looked_at:,} acknowledged writes survived")
    if (check := checks.get("linearizability")) and check.result == "ok":
        parts.append("no strong read was wrong")
    return " and ".join(parts) or "and every check it asked for is satisfied"


_FAILED = {
    "linearizability": "reads or writes gave wrong answers",
    "eventual_reads": "reads or writes gave wrong answers",
    "transactions": "transactions were not all or nothing, or not in one order",
    "replicas_agree": "replicas of the same data differ",
    "archive_agrees": "the archived log does not give the same data",
    "indexes": "indexes do not match their tables",
    "corruption": "damage on disks was not found or not mended",
    "canaries": "canaries told what cannot be",
    "alarms": "alarms did not say what was measured",
    "leftovers": "the run left things behind on the host",
    "invariants": "a rule of the database's protocol was broken",
}
"""A failed check in words; durability has a count besides."""

_PROMISES = (
    ("recovery.writes", "writes were refused for longer than promised"),
    ("recovery.redundancy", "the data did not have all its copies again in the time promised"),
    ("recovery.detect", "the trouble was noticed later than promised"),
    ("steady state", "the database was less healthy afterwards than promised"),
    ("alarm", "alarms did not fire, clear or stay quiet as promised"),
)
"""How the name of a promise begins, and what it means to have broken it."""


def _broken(verdict: Verdict) -> str:
    failed = [check for check in verdict.checks if check.result == "failed"]
    parts = []
    for check in failed:
        if check.name == "durability":
            parts.append(f"{check.found:,} acknowledged write{'s were' if check.found != 1 else ' was'} lost")
        else:
            parts.append(_FAILED.get(check.name, f"{check.name} failed"))
    for promise in verdict.expect:
        if promise.result == "failed" and not (promise.name == "data.lost" and failed):
            words = (words for begin, words in _PROMISES if promise.name.startswith(begin))
            parts.append(next(words, f"{promise.name} was not kept"))
    return listed(list(dict.fromkeys(parts))) or "a promise was not kept"


def listed(parts: Sequence[str]) -> str:
    """``a, b and c``."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


def _story(verdict: Verdict, plan: Plan) -> str:
    injected = [fault for fault in verdict.faults if fault.injected_s is not None]
    under = f"under {verdict.load.offered_per_second:,.0f} requests a second" if verdict.load.offered_per_second else ""
    if not injected:
        return f"with no fault injected {under}".strip()
    told = [_fault(fault, plan.nodes) for fault in injected[:3]]
    if len(injected) > 3:
        told.append(f"{len(injected) - 3} more faults struck")
    return " ".join(filter(None, ["when", " and ".join(told), under]))


def _fault(fault: FaultRecord, nodes: Sequence[NodeInfo]) -> str:
    verb = _VERBS.get(fault.kind, f"suffered '{fault.kind}'")
    whom = place(fault.targets, nodes)
    if whom.startswith("all ") or ", " in whom:
        verb = verb.replace("was ", "were ", 1).replace("its disk", "their disks", 1)
    lasted = ""
    if fault.healed_s is not None and fault.injected_s is not None:
        lasted = f" for {fault.healed_s - fault.injected_s:.0f} s"
    return f"{whom} {verb}{lasted}"


def place(targets: Sequence[str], nodes: Sequence[NodeInfo]) -> str:
    """Targets as a person would say them: zones or racks where the targets are all of one, else names."""
    members = [node for node in nodes if node.role != "client"]
    wanted = set(targets)
    if not members or not wanted:
        return ", ".join(targets) or "nothing"
    if all(node.name in wanted for node in members):
        return "all zones"
    for kind in ("az", "rack"):
        places = sorted({getattr(node, kind) for node in members if node.name in wanted})
        # What stands in no zone has no place to be called by.
        if all(places) and all(node.name in wanted for node in members if getattr(node, kind) in places):
            noun = "zone" if kind == "az" else "rack"
            return f"{noun} {places[0]}" if len(places) == 1 else f"{noun}s {', '.join(places)}"
    names = [node.name for node in members if node.name in wanted] or list(targets)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def details(verdict: Verdict) -> list[str]:
    """What happened, in figures: time without writes, redundancy, availability."""
    sentences = []
    for recovery in verdict.recovery:
        parts = []
        if recovery.detected_s is not None:
            parts.append(f"noticed after {recovery.detected_s:.1f} s")
        if recovery.writes_stopped_s is not None:
            parts.append(f"at most {recovery.writes_stopped_s:.1f} s without writes in any part of the key space")
        if recovery.redundancy_s is not None:
            after = recovery.redundancy_after_heal_s
            heal = f", {after:.1f} s after the fault was lifted" if after is not None else ""
            parts.append(f"three replicas everywhere again after {recovery.redundancy_s:.1f} s{heal}")
        if parts:
            sentences.append(f"{recovery.fault}: " + "; ".join(parts) + ".")
    for alarm in verdict.alarms:
        lasted = "stayed on" if alarm.cleared_s is None else f"cleared {alarm.cleared_s - alarm.fired_s:.1f} s later"
        sentences.append(f"The alarm {alarm.name} fired at {alarm.fired_s:.1f} s and {lasted}.")
    if verdict.canaries is not None and verdict.canaries.wrong:
        sentences.append(f"{verdict.canaries.wrong:,} answers to canaries said what cannot be.")
    if verdict.availability.overall is not None:
        load = verdict.load
        sentences.append(
            f"{percent(verdict.availability.overall)} of {load.operations:,} operations succeeded; "
            f"{load.failed:,} were refused, {load.unknown:,} got no clear answer, "
            f"{load.skipped:,} arrivals were never sent."
        )
    return sentences


def percent(share: float) -> str:
    """A share in percent, never rounded up to 100: one failure in a million shows."""
    if share >= 1.0:
        return "100 %"
    digits = 2
    while digits < 6 and round(share * 100, digits) >= 100.0:
        digits += 1
    return f"{min(share * 100, 100 - 10**-digits):.{digits}f} %"


def key_in_words(key: str) -> str:
    """A storage key that a scrub tells in hex as the item's key attributes, which is what somebody would look it up
    by: ``"user-17", 3``. What is no item's key stays as it is."""
    try:
        found = decode_key(bytes.fromhex(key))
    except ValueError:
        return key
    return ", ".join(value if kind == "N" else json.dumps(value, ensure_ascii=False) for kind, value in found)
