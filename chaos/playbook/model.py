"""The playbook schema.

Every field has a default but ``title`` and ``method``; an unknown field is an error, because a misspelt safety limit
that is silently ignored is worse than none. Names follow Chaos Toolkit, AWS FIS and Jepsen where those have a word.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, field_validator, model_validator

from chaos.playbook.units import Duration

MODE_PATTERN = r"^(all|one|(count|percent|random)\(\d+\)|leader-of\([A-Za-z0-9_.:-]+\))$"
TERM_PATTERN = r"(az|rack|role|node)=[A-Za-z0-9_.-]+"
SELECT_PATTERN = rf"^(all|{TERM_PATTERN}(,{TERM_PATTERN})*)$"
TOLERANCE_PATTERN = r"^(>=|<=|>|<|==)\s*\d+(\.\d+)?$"
ALARM_PATTERN = r"^cfa-(availability|zone-[a-z0-9]+)$"
NAME_PATTERN = r"^[A-Za-z][A-Za-z0-9_-]{0,62}$"


def dashed(name: str) -> str:
    """The YAML name of a field: ``max_duration`` is written ``max-duration``."""
    return name.rstrip("_").replace("_", "-")


class Strict(BaseModel):
    """Immutable; refuses unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=dashed, populate_by_name=True)


def as_selectors(value: Any) -> Any:
    """One selector may stand without a list."""
    return [value] if isinstance(value, str) else value


Selector = Annotated[str, Field(pattern=SELECT_PATTERN)]
_ONE = {
    "type": "string",
    "pattern": SELECT_PATTERN,
    "description": "Terms joined by commas, all of which hold: az=b, rack=b1, role=storage, node=storage-a1; or 'all'",
}
Selectors = Annotated[
    list[Selector],
    BeforeValidator(as_selectors),
    Field(min_length=1),
    WithJsonSchema({"anyOf": [_ONE, {"type": "array", "items": _ONE, "minItems": 1}]}),
]


class LoadSpec(Strict):
    """Traffic throughout the run; ``floor`` is in offered operations a second: below it the run proved nothing."""

    profile: str = Field(default="mixed", pattern=NAME_PATTERN)
    rate: float = Field(default=300, gt=0, le=100_000, description="operations a second over all zones, open model")
    users: int = Field(default=60, ge=1, le=10_000, description="requests in flight, at most, over all zones")
    floor: float = Field(default=0, ge=0, description="offered operations a second below which the run is invalid")
    keys: int = Field(default=1000, ge=1, le=10_000_000)
    item_bytes: int = Field(default=900, ge=64, le=400 * 1024)
    partitions: int = Field(default=4, ge=1, le=64, description="partitions of the table that the load uses")
    workers: int = Field(default=1, ge=1, le=64, description="Locust worker processes in each zone")

    @model_validator(mode="after")
    def floor_under_rate(self) -> LoadSpec:
        if self.floor > self.rate:
            raise ValueError(f"floor ({self.floor:g}) is above rate ({self.rate:g}): the run could never be valid")
        return self


class CanarySpec(Strict):
    """A canary in every zone, and the alarms over what they see: availability under ``threshold`` in two of three
    windows. DynamoDB counts availability in windows of five minutes; ``window`` is that, scaled to a game day."""

    enabled: bool = True
    interval: Duration = Field(default=1.0, description="between a canary's rounds; each goes to the next endpoint")
    window: Duration = Field(default=10.0, description="over which availability is counted")
    timeout: Duration = Field(default=1.5, description="to connect, and again to answer, for each probe")
    threshold: float = Field(default=0.9, gt=0, le=1, description="availability below which a window is bad")

    @field_validator("interval")
    @classmethod
    def interval_bounds(cls, value: float) -> float:
        if not 0.1 <= value <= 600.0:
            raise ValueError("a canary's interval lies between 100ms and 10m")
        return value

    @field_validator("timeout")
    @classmethod
    def timeout_bounds(cls, value: float) -> float:
        if not 0.1 <= value <= 60.0:
            raise ValueError("a canary's timeout lies between 100ms and 1m")
        return value

    @model_validator(mode="after")
    def window_of_some_rounds(self) -> CanarySpec:
        if self.window < 3 * self.interval * (1 - 1e-9):
            raise ValueError("a window of canaries holds at least three intervals, one for each zone's endpoint")
        return self


class Probe(Strict):
    """One measured promise. ``edge``: before and after; ``continuous``: always; ``during``: while faults are in."""

    name: str = Field(pattern=NAME_PATTERN)
    query: Literal["availability", "operations-per-second", "redundancy"]
    tolerance: str = Field(pattern=TOLERANCE_PATTERN)
    mode: Literal["edge", "continuous", "during"] = "edge"


class Hypothesis(Strict):
    """What holds when all is well, and is expected to hold again."""

    probes: list[Probe] = []


class TargetSpec(Strict):
    """A named set of nodes."""

    select: Selectors
    mode: str = Field(default="all", pattern=MODE_PATTERN)
    on_empty: Literal["fail", "skip"] = "fail"


def as_allowed(value: Any) -> Any:
    """``none``, ``any`` or a number of groups."""
    if value in ("none", "any") or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    raise ValueError(f"'{value}' is not understood: write none, any, or a number of groups")


Allowed = Annotated[Literal["none", "any"] | int, BeforeValidator(as_allowed)]


class Budget(Strict):
    """How much a plan may break at one time, held against live membership before each injection."""

    az: int = Field(default=1, ge=0, le=26, description="zones with a node down or cut off")
    quorum_loss: Allowed = Field(default="none", description="groups that may lose their write quorum: none, any, N")
    total_loss: Allowed = Field(default="none", description="groups that may lose every copy: none, any, N")


class StopCondition(Strict):
    """Aborts the run (and heals everything) once it has held for ``for``."""

    name: str = Field(pattern=NAME_PATTERN)
    query: Literal["availability", "operations-per-second", "redundancy"]
    when: str = Field(pattern=TOLERANCE_PATTERN)
    for_: Duration = Field(default=5.0)


class Safety(Strict):
    """Limits of the run. ``lease``: a fault outlives a dead controller by at most this."""

    max_duration: Duration = Field(default=600.0)
    lease: Duration = Field(default=15.0)
    budget: Budget = Budget()
    stop_conditions: list[StopCondition] = []
    unsafe: bool = Field(default=False, description="the only override of the budget")

    @field_validator("lease")
    @classmethod
    def lease_bounds(cls, value: float) -> float:
        if not 2.0 <= value <= 600.0:
            raise ValueError("a lease lies between 2s and 10m")
        return value


class _Action(Strict):
    name: str = Field(default="", max_length=100)
    at: Duration = Field(default=0.0, description="from the start of the method")


Patience = Annotated[
    Duration,
    Field(
        description="how long it waits where it would be beyond the budget at its time; after that it is refused, and "
        "the run aborted (a power-off with any patience is left out instead)"
    ),
]


class _Fault(_Action):
    targets: str = Field(pattern=NAME_PATTERN, description="a name from 'targets'")
    for_: Duration | None = Field(default=None, description="how long; to the end of the method where absent")

    @field_validator("for_")
    @classmethod
    def some_time(cls, value: float | None) -> float | None:
        if value is not None and value <= 0:
            raise ValueError("a fault lasts longer than 0s; leave 'for' out to keep it to the end of the method")
        return value


class PowerOffOptions(Strict):
    """``unsynced: lose`` drops everything not fsynced, as real power does; ``keep`` only stops the machine."""

    unsynced: Literal["lose", "keep"] = "lose"
    boot_stagger: Duration = Field(default=0.0, description="time between one node's boot and the next")


class PowerOffAction(_Fault):
    """The power of every target goes at once; ``for`` later they boot."""

    action: Literal["power-off"]
    patience: Patience = 0.0
    with_: PowerOffOptions = PowerOffOptions()


class PartitionOptions(Strict):
    """Which packets are stopped, and how.

    ``how``: ``drop`` is silence, as of a cut cable; ``reset`` answers with a TCP reset, as a firewall or a dead service
    does, so that both ends know at once; ``new`` lets connections that are there go on and no new one come about.

    ``isolate``: the targets, as one set, from ``from`` (everyone else where absent); ``isolate-each``: every target
    from every other node; ``zones``: the targets' zones from one another; ``halves``, ``majority-minority``,
    ``bridge`` and ``majorities-ring`` as in Jepsen, among the targets. ``direction`` is seen from the targets.
    """

    cut: Literal["isolate", "isolate-each", "zones", "halves", "majority-minority", "bridge", "majorities-ring"] = (
        "isolate"
    )
    from_: Selectors | None = None
    direction: Literal["both", "inbound", "outbound"] = "both"
    how: Literal["drop", "reset", "new"] = "drop"

    @model_validator(mode="after")
    def only_isolate_has_sides(self) -> PartitionOptions:
        if self.cut not in ("isolate", "isolate-each") and (self.from_ is not None or self.direction != "both"):
            raise ValueError(f"'from' and 'direction' belong to the cuts isolate and isolate-each, not to '{self.cut}'")
        return self


class PartitionAction(_Fault):
    """Packets between the two sides are stopped, in silence or with a reset, both sides staying up."""

    action: Literal["partition"]
    with_: PartitionOptions = PartitionOptions()


class BitRotOptions(Strict):
    """Which bytes change.

    ``place``: the pages of a replica's B-tree, the node's log, or the archive's objects. ``mode``: ``bit-flip``;
    ``chunk-copy``: a sector holds what belongs elsewhere in the file; ``old-chunk``: it holds what stood there before;
    ``truncate``: the file ends early; ``helix``: every replica of one group, no two in the same place. ``of``: a table
    or a group. ``space: free`` damages what nothing need ever read.
    """

    place: Literal["btree", "log", "archive"] = "btree"
    mode: Literal["bit-flip", "chunk-copy", "old-chunk", "truncate", "helix"] = "bit-flip"
    of: str | None = Field(default=None, max_length=128)
    space: Literal["live", "free"] = "live"
    count: int = Field(default=1, ge=1, le=64, description="places on each target")

    @model_validator(mode="after")
    def what_can_be(self) -> BitRotOptions:
        if self.place != "btree" and self.space == "free":
            raise ValueError(f"there is no free space in the {self.place}: every byte of it is under a checksum")
        if self.mode == "helix" and (self.place != "btree" or self.space == "free" or self.count != 1):
            raise ValueError("a helix is one live place in the B-tree of each replica of one group")
        return self


class BitRotAction(_Action):
    """Bytes on the targets' disks change at rest, and stay changed: what finds and mends them is the database."""

    action: Literal["bit-rot"]
    patience: Patience = 0.0
    targets: str = Field(pattern=NAME_PATTERN, description="a name from 'targets'")
    with_: BitRotOptions = BitRotOptions()


class RestartAction(_Fault):
    """Every target is stopped as for maintenance (SIGTERM: leaders hand over first) and ``for`` later it boots."""

    action: Literal["restart"]
    patience: Patience = 0.0
    alone: bool = Field(
        default=False, description="waits until no fault is in, all groups have their voters, and earlier ones are over"
    )


class RollingOptions(Strict):
    """``every``: from one node's stop to the next one's, at the earliest: a node's turn comes when the one before it is
    back and every group has its voters again, or after ``patience`` never."""

    every: Duration = Field(default=4.0)
    down: Duration = Field(default=0.5, description="how long each stays down")
    patience: Duration = Field(default=300.0)


class RollingRestartAction(_Action):
    """The targets are restarted one after the other, in the order of their names, zone by zone."""

    action: Literal["rolling-restart"]
    targets: str = Field(pattern=NAME_PATTERN, description="a name from 'targets'")
    with_: RollingOptions = RollingOptions()


class RandomPowerOffOptions(Strict):
    """A job that powers off random nodes: the times between two cuts are exponential with the mean ``every``, each
    lasts from ``shortest`` to ``longest``, at most ``at-once`` are dark at one time, and never beyond the budget."""

    every: Duration = Field(default=6.0)
    shortest: Duration = Field(default=3.0)
    longest: Duration = Field(default=12.0)
    at_once: int = Field(default=2, ge=1, le=64)
    patience: Duration = Field(default=5.0, description="how long a cut waits for its budget before it is left out")

    @model_validator(mode="after")
    def some_range(self) -> RandomPowerOffOptions:
        if not 0 < self.shortest <= self.longest:
            raise ValueError("a node stays dark for more than 0s: 'shortest' is not above 'longest'")
        if self.every <= 0:
            raise ValueError("'every' is more than 0s")
        return self


class RandomPowerOffAction(_Fault):
    """Random nodes among the targets lose their power at random moments and return staggered, for ``for`` in all."""

    action: Literal["random-power-off"]
    with_: RandomPowerOffOptions = RandomPowerOffOptions()

    @model_validator(mode="after")
    def some_end(self) -> RandomPowerOffAction:
        if self.for_ is None:
            raise ValueError("random-power-off needs 'for': how long nodes are powered off")
        return self


class HumanAction(_Action):
    """Asks a person at the terminal; skipped with --no-human."""

    action: Literal["human"]
    prompt: str = Field(min_length=1, max_length=500)
    timeout: Duration = Field(default=120.0)


FaultAction = PowerOffAction | PartitionAction | BitRotAction | RestartAction
SeriesAction = RollingRestartAction | RandomPowerOffAction
"""Written as one action and played as many: see :mod:`chaos.series`."""
Action = Annotated[FaultAction | SeriesAction | HumanAction, Field(discriminator="action")]


class Recovery(Strict):
    """Promises about time, from the injection of each fault."""

    writes: Duration | None = Field(default=None, description="the longest time without any acknowledged write")
    redundancy: Duration | None = Field(
        default=None, description="until every group has its voters again, from the heal"
    )


class DataPromise(Strict):
    """What may be lost of what was acknowledged: nothing."""

    lost: Literal[0] = 0


AlarmName = Annotated[str, Field(pattern=ALARM_PATTERN)]


class AlarmPromise(Strict):
    """An alarm that must tell of the faults: fired ``within`` of the first injection, cleared ``clears-within`` of the
    last heal."""

    name: AlarmName
    within: Duration = Field(default=60.0, description="from the first fault's injection until it fires")
    clears_within: Duration | None = Field(default=None, description="from the last fault's heal until it clears")


class Expect(Strict):
    """Promises of the product that this run grades."""

    recovery: Recovery = Recovery()
    data: DataPromise = DataPromise()
    alarms: list[AlarmPromise] = []
    quiet: list[AlarmName] = Field(default=[], description="alarms that must not fire at any time")


class Rollbacks(Strict):
    """``always``: whatever happens; ``on-deviation``: left in place when all went well, for a look at the cluster."""

    strategy: Literal["always"] = "always"


class Verify(Strict):
    """What is checked at the end. ``none`` is for short experiments; the verdict then says what it did not look at."""

    logical: Literal["all", "none"] = "all"
    scrub: Literal["full", "none"] = "full"


class ReportSpec(Strict):
    """Quiet running before the first fault and after the last heal, so that the timeline shows what normal is."""

    before: Duration = Field(default=10.0)
    after: Duration = Field(default=20.0)


class Playbook(Strict):
    """A game day."""

    version: Literal[1] = 1
    title: str = Field(min_length=1, max_length=120)
    description: str = Field(default="", max_length=4000)
    tags: list[Annotated[str, Field(pattern=NAME_PATTERN)]] = []
    topology: str = Field(default="small", min_length=1, description="a name in playbooks/topologies, or a path")
    seed: int | None = Field(default=None, ge=0, lt=1 << 63, description="chosen and printed where absent")
    load: LoadSpec = LoadSpec()
    canaries: CanarySpec = CanarySpec()
    steady_state_hypothesis: Hypothesis = Hypothesis()
    targets: dict[Annotated[str, Field(pattern=NAME_PATTERN)], TargetSpec] = {}
    safety: Safety = Safety()
    method: list[Action] = Field(min_length=1)
    expect: Expect = Expect()
    rollbacks: Rollbacks = Rollbacks()
    verify: Verify = Verify()
    report: ReportSpec = ReportSpec()


def method_end(method: list[Action]) -> float:
    """When the last action of a method is over, in seconds from its start."""
    return max(action.at + (getattr(action, "for_", None) or 0.0) for action in method)


def parse_mode(mode: str) -> tuple[str, str]:
    """``count(2)`` as ``("count", "2")``; ``all`` as ``("all", "")``."""
    match = re.fullmatch(r"([a-z-]+)(?:\(([^)]*)\))?", mode)
    if match is None:
        raise ValueError(f"not a mode: {mode}")
    return match[1], match[2] or ""
