"""``plan.json``, ``scrub.json``, ``leftovers.json``: what was decided, what replicas held, what the host kept."""

from __future__ import annotations

from typing import Any

import msgspec

CHECKS = (
    "durability",
    "linearizability",
    "eventual_reads",
    "transactions",
    "replicas_agree",
    "archive_agrees",
    "indexes",
    "corruption",
    "canaries",
    "alarms",
    "leftovers",
)
"""The checks every run requires unless its plan says otherwise, in the order of the report."""


class NodeInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One node of the topology as deployed."""

    name: str
    role: str
    az: str
    rack: str = ""
    address: str = ""


class PlannedFault(msgspec.Struct, frozen=True, kw_only=True):
    """One fault as resolved: ``at_s`` counts from the begin of the method phase, ``for_s`` None = until rollback."""

    name: str
    kind: str
    targets: list[str]
    at_s: float
    for_s: float | None = None
    options: dict[str, Any] = {}
    undo: str = ""


class LoadPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The load as asked for. ``floor`` is the least offered rate (operations/s) at which the run proves something."""

    profile: str = ""
    rate: float = 0.0
    users: int = 0
    floor: float = 0.0
    keys: int = 0
    item_bytes: int = 0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """``plan.json``: everything decided before anything was touched, and all that judging a stored run needs.

    ``expect`` is the playbook's ``expect`` block with durations in seconds; keys the judge knows are
    ``recovery: {writes, redundancy, detect}`` and ``data: {lost}``. ``checks`` names the checks this run requires: one
    of them unknown makes the verdict ``invalid``. ``shared`` says in sentences what the zones shared in truth,
    ``not_tested`` what the run says nothing about. ``extra`` is for whatever else the engine wants to keep.
    """

    schema: int = 1
    playbook: str
    title: str = ""
    description: str = ""
    tags: list[str] = []
    runtime: str = ""
    seed: int = 0
    commit: str = ""
    started: str = ""
    start_boot_s: float = 0.0
    cluster: str = ""
    region: str = ""
    topology: str = ""
    nodes: list[NodeInfo] = []
    load: LoadPlan = LoadPlan()
    faults: list[PlannedFault] = []
    expect: dict[str, Any] = {}
    checks: list[str] = msgspec.field(default_factory=lambda: list(CHECKS))
    shared: list[str] = []
    not_tested: list[str] = []
    plant: str | None = None
    extra: dict[str, Any] = {}


class ScrubReplica(msgspec.Struct, frozen=True, kw_only=True):
    """One replica's answer at the barrier: a digest of its items in key order, or why there is none (``error``).

    Of one that differs: the range of keys (``start`` to ``end``, hex, an empty end is open) and the first item in it
    that differs (``key``, and how); ``healed_s`` is how long its healing took, where it was asked for and helped.
    """

    replica: str
    node: str
    az: str = ""
    digest: str | None = None
    items: int = 0
    bytes: int = 0
    slot: int = 0
    corrupt: list[str] = []
    error: str | None = None
    start: str | None = None
    end: str | None = None
    key: str | None = None
    difference: str = ""
    healed_s: float | None = None


class ScrubReference(msgspec.Struct, frozen=True, kw_only=True):
    """The copy of a group built from its archived log at the same barrier, or why there is none (``problems``).

    ``bridged`` are positions (first, last) whose log was never archived; an image stands for them. ``damaged`` are
    archived objects that are not what they were.
    """

    digest: str | None = None
    items: int = 0
    bytes: int = 0
    segments: int = 0
    archived_bytes: int = 0
    problems: list[str] = []
    bridged: list[tuple[int, int]] = []
    damaged: list[str] = []


class ScrubDisk(msgspec.Struct, frozen=True, kw_only=True):
    """One node's disk, read past the caches: every page of every B-tree and every batch of the log."""

    node: str
    bytes: int = 0
    seconds: float = 0.0
    bad: int = 0
    error: str | None = None


class ScrubGroup(msgspec.Struct, frozen=True, kw_only=True):
    """One replication group at the barrier position ``slot``. ``expected`` is how many replicas it should have.

    ``error`` tells why the group could not be scrubbed at all (no leader, no barrier). Learners may be listed; they
    must agree like the voters.
    """

    group: str
    table: str = ""
    partition: int = 0
    slot: int = 0
    expected: int = 3
    replicas: list[ScrubReplica] = []
    reference: ScrubReference | None = None
    error: str | None = None


class Scrub(msgspec.Struct, frozen=True, kw_only=True):
    """``scrub.json``: every group's replicas at one position each. ``archived`` says whether the cluster has an archive
    that they were held against; ``background`` is what nodes found and told by themselves during the run."""

    schema: int = 1
    groups: list[ScrubGroup] = []
    archived: bool = False
    disks: list[ScrubDisk] = []
    background: list[dict[str, Any]] = []


class Leftovers(msgspec.Struct, frozen=True, kw_only=True):
    """``leftovers.json``: the host before the run and after it.

    Each side maps a kind (``nft``, ``qdiscs``, ``mounts``, ``loop devices``, ``namespaces``, ``cgroups``,
    ``containers``, ``networks``, ``volumes``, ``processes``) to lines that identify the things of that kind; whoever
    collects them leaves out what other tenants of the machine own. ``errors`` names kinds that could not be read.
    """

    schema: int = 1
    before: dict[str, list[str]] = {}
    after: dict[str, list[str]] = {}
    errors: list[str] = []
