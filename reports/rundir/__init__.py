"""The run directory: the contract between those who write evidence and those who judge and read it.

A leaf package. It needs only ``msgspec``, ``google-crc32c`` and the standard library, and imports quickly, because the
load driver in a client container imports it. The layout is that of the design::

    runs/<utc time>-<playbook>-<seed>/
      playbook.yaml    as resolved            plan.json        what was decided before anything was touched (Plan)
      events.jsonl     one timeline (EventLog)                 nodes/<node>.jsonl   each node's own events
      history/<writer>.log  every client operation (HistoryWriter, read_history)
      load/<az>.jsonl  per-second load statistics              canaries/<az>.jsonl   every probe (Probe)
      scrub.json       digests per replica (Scrub)             leftovers.json       host before and after (Leftovers)
      corruption.jsonl the ledger of injected damage (DamageEntry)
      indexes.json     tables with indexes, row by row (IndexRows)
      verdict.json     the machine-readable result (Verdict)   report.html, junit.xml

Times are seconds since the run began, or boot-clock (``CLOCK_BOOTTIME``) seconds or nanoseconds where a name says so.
"""

from __future__ import annotations

from reports.rundir.events import Event, EventLog, read_events
from reports.rundir.history import (
    ANY_ITEM,
    CONDITION_FAILED,
    NO_ITEM,
    READS,
    WRITES,
    HistoryWriter,
    Operation,
    Problem,
    boot_ns,
    read_history,
)
from reports.rundir.indexrows import IndexDump, IndexRows, TableDump
from reports.rundir.layout import RunDir, RunDirError
from reports.rundir.ledger import DamageEntry, append_damage, read_ledger
from reports.rundir.probes import Probe, ProbeLog, read_probes
from reports.rundir.records import (
    CHECKS,
    Leftovers,
    LoadPlan,
    NodeInfo,
    Plan,
    PlannedFault,
    Scrub,
    ScrubDisk,
    ScrubGroup,
    ScrubReference,
    ScrubReplica,
)
from reports.rundir.verdict import (
    AlarmRecord,
    Availability,
    CanaryLatency,
    CanarySummary,
    CheckResult,
    Expectation,
    FaultRecord,
    Finding,
    LoadSummary,
    Recovery,
    Verdict,
)

__all__ = [
    "ANY_ITEM",
    "CHECKS",
    "CONDITION_FAILED",
    "NO_ITEM",
    "READS",
    "WRITES",
    "AlarmRecord",
    "Availability",
    "CanaryLatency",
    "CanarySummary",
    "CheckResult",
    "DamageEntry",
    "Event",
    "EventLog",
    "Expectation",
    "FaultRecord",
    "Finding",
    "HistoryWriter",
    "IndexDump",
    "IndexRows",
    "Leftovers",
    "LoadPlan",
    "LoadSummary",
    "NodeInfo",
    "Operation",
    "Plan",
    "PlannedFault",
    "Probe",
    "ProbeLog",
    "Problem",
    "Recovery",
    "RunDir",
    "RunDirError",
    "Scrub",
    "ScrubDisk",
    "ScrubGroup",
    "ScrubReference",
    "ScrubReplica",
    "TableDump",
    "Verdict",
    "append_damage",
    "boot_ns",
    "read_events",
    "read_history",
    "read_ledger",
    "read_probes",
]
