"""``verdict.json``, version 1. Within a schema number fields are added, never renamed or removed.

Times are seconds since the run began; rates are per second; shares lie between 0 and 1; ``null`` means "not known".
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from reports.rundir.ledger import DamageEntry

Result = Literal["ok", "failed", "unknown", "skipped"]
Judgement = Literal["passed", "failed", "aborted", "interrupted", "invalid"]

SCHEMA = 1
EXIT_CODES: dict[str, int] = {"passed": 0, "failed": 1, "aborted": 3, "interrupted": 3, "invalid": 3}
"""Exit code of the command for each verdict."""

Finding = dict[str, Any]
"""One piece of evidence against a run. Always ``what`` (a sentence); where they apply ``operation`` (writer#id),
``op``, ``table``, ``key``, ``value``, ``observed``, ``writer``, ``az``, ``invoked_s``, ``ended_s``, ``related``."""


class LoadSummary(msgspec.Struct, kw_only=True, frozen=True):
    """What the clients did; the closing sweep is not counted. ``skipped`` are arrivals not sent for want of a user."""

    operations: int = 0
    acknowledged_writes: int = 0
    failed: int = 0
    unknown: int = 0
    skipped: int = 0
    offered_per_second: float | None = None
    per_second: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    max_ms: float | None = None


class FaultRecord(msgspec.Struct, kw_only=True, frozen=True):
    """One fault as it went: ``effect`` is what reading it back said; ``planned`` = never injected, ``skipped`` = left
    out at its time, because it would have been beyond the budget."""

    name: str
    kind: str
    targets: list[str] = []
    injected_s: float | None = None
    healed_s: float | None = None
    effect: Literal["confirmed", "not-confirmed", "mismatch", "planned", "skipped"] = "planned"
    detail: str = ""


class CheckResult(msgspec.Struct, kw_only=True, frozen=True):
    """What one checker says. ``looked_at`` counts what it judged (operations, replicas, things); the list of findings
    is cut, ``found`` is their full number."""

    name: str
    result: Result
    looked_at: int = 0
    findings: list[Finding] = []
    why: str = ""
    found: int = 0
    seconds: float = 0.0


class Availability(msgspec.Struct, kw_only=True, frozen=True):
    """Share of operations that got a good answer (success, or a condition that rightly failed), by several keys."""

    overall: float | None = None
    by_az: dict[str, float] = {}
    by_endpoint: dict[str, float] = {}
    by_operation: dict[str, float] = {}


class Recovery(msgspec.Struct, kw_only=True, frozen=True):
    """How the cluster took one fault, in seconds after its injection.

    ``detected_s``: until the cluster's own view showed it (a group below three voters, or a new leader).
    ``writes_stopped_s``: the longest time without an acknowledged write that began before the fault was healed and
    ended after it was injected.
    ``redundancy_s``: until every group had three durable voters again; ``redundancy_after_heal_s`` from the heal.
    ``redundancy_lost``: whether a group was short of one while the fault was in; None: nobody watched.
    """

    fault: str
    detected_s: float | None = None
    writes_stopped_s: float | None = None
    redundancy_s: float | None = None
    redundancy_after_heal_s: float | None = None
    redundancy_lost: bool | None = None


class AlarmRecord(msgspec.Struct, kw_only=True, frozen=True):
    """One firing of an alarm; ``cleared_s`` None: it was still on when the canaries ended. ``az`` None: the region."""

    name: str
    az: str | None = None
    fired_s: float
    cleared_s: float | None = None


class CanaryLatency(msgspec.Struct, kw_only=True, frozen=True):
    """How long right answers took, in milliseconds: median and 99th percentile, by the keys of the availability."""

    by_az: dict[str, tuple[float, float]] = {}
    by_endpoint: dict[str, tuple[float, float]] = {}
    by_operation: dict[str, tuple[float, float]] = {}


class CanarySummary(msgspec.Struct, kw_only=True, frozen=True):
    """What the canaries saw over the whole run. ``by_az`` is by the canary's zone; ``wrong`` counts answers that said
    what cannot be."""

    probes: int = 0
    good: int = 0
    wrong: int = 0
    availability: Availability = Availability()
    p50_ms: float | None = None
    p99_ms: float | None = None
    latency: CanaryLatency = CanaryLatency()


class Expectation(msgspec.Struct, kw_only=True, frozen=True):
    """One promise of the playbook (``expect`` and the steady state) and whether it was kept."""

    name: str
    expected: str
    measured: str
    result: Result
    why: str = ""


class Verdict(msgspec.Struct, kw_only=True, frozen=True):
    """``verdict.json``; ``why`` begins with the sentence a manager reads."""

    schema: int = SCHEMA
    verdict: Judgement
    why: list[str] = []
    playbook: str = ""
    runtime: str = ""
    seed: int = 0
    commit: str = ""
    seconds: float = 0.0
    load: LoadSummary = LoadSummary()
    faults: list[FaultRecord] = []
    checks: list[CheckResult] = []
    availability: Availability = Availability()
    recovery: list[Recovery] = []
    expect: list[Expectation] = []
    plant: str | None = None
    title: str = ""
    started: str = ""
    ended: str = "completed"
    canaries: CanarySummary | None = None
    alarms: list[AlarmRecord] = []
    damage: list[DamageEntry] = []
    """The corruption ledger: what was damaged, what found it, and when."""

    @property
    def exit_code(self) -> int:
        """What ``blackstart run`` exits with."""
        return EXIT_CODES[self.verdict]
