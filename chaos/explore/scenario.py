"""What is played: a topology, its weather, a load and a schedule of faults. Pure data; which one a seed means is in
:mod:`chaos.explore.drawing`.

A scenario can be written as YAML and read again (:func:`to_yaml`, :func:`from_yaml`); that is what shrinking leaves.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import yaml

from chaos.errors import InputError

NODES_MAX: Final = 8
ZONES: Final = ("a", "b", "c")
ARCHIVE: Final = "archive"
"""The role of the archive's node, and its name."""

LEADER: Final = "leader"
"""A target that means whoever leads the group ``of`` (counted among the table's groups) when the action starts."""


FAULTS: Final = (
    "power-off", "disk-loss", "partition", "links", "flapping", "pause", "clock-rate", "wall-jump", "fsync-failure",
    "slow-disk", "disk-error", "full-disk", "bit-rot", "move", "transfer", "blink", "midway-off", "add-index",
    "drop-index",
)  # fmt: skip
"""Every kind of action there is."""


class Skipped(Exception):
    """An action makes no sense at its moment."""


OPS: Final[dict[str, float]] = {"put": 0.2, "cput": 0.14, "update": 0.14, "delete": 0.06, "get": 0.26, "eget": 0.2}


class Action(msgspec.Struct, frozen=True):
    """One fault: at a time (seconds from the start of the load), for a time, to nodes or to whoever leads a group."""

    action: str
    at: float
    for_: float = msgspec.field(default=0.0, name="for")
    targets: list[str] = []
    with_: dict[str, Any] = msgspec.field(default={}, name="with")


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """One small game day. Times in seconds of virtual time; probabilities are of one message or one sync."""

    explore: int = 1
    """Version of this format."""
    seed: int
    title: str = ""
    plant: str | None = None
    fails: str = ""
    """The property that this scenario breaks, where it is known to."""
    storage: int = 3
    admins: int = 1
    clients: int = 2
    partitions: int = 1
    rate: float = 12.0
    """Operations a second over all clients."""
    keys: int = 8
    ops: dict[str, float] = msgspec.field(default_factory=lambda: dict(OPS))
    transactions: str = ""
    """What transactions are about (``bank``, ``list-append``); empty: there are none. Each client then is a router."""
    pairs: float = 0.0
    """The share of arrivals that are two conditional puts of the table's plain items in one transaction."""
    indexed: bool = False
    """The table has a sort key, a local index and two global ones; others may be added and dropped under way."""
    archive: bool = False
    """Committed log goes to an object store, a node of its own beside all zones."""
    lease_s: float = 1.5
    renewal_s: float = 0.3
    delay_s: float = 0.0003
    jitter_s: float = 0.0005
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    sync_s: list[float] = msgspec.field(default_factory=lambda: [0.0005, 0.002])
    stall: float = 0.002
    small_limits: bool = False
    """Logs are trimmed, checkpoints taken and segments rolled after kilobytes instead of megabytes."""
    safety_s: float = 8.0
    method: list[Action] = []
    dark: str = ""
    """A zone that stays dark in the liveness phase: what is left is a quorum, and must go on."""

    def nodes(self) -> list[tuple[str, str, str, str]]:
        """(name, role, zone, rack) of every node but the clients': at most :data:`NODES_MAX`, and the archive."""
        found = []
        for index in range(self.storage):
            zone, rack = ZONES[index % 3], index // 3 + 1
            found.append((f"storage-{zone}{rack}", "storage", zone, f"{zone}{rack}"))
        found += [(f"autoadmin-{zone}", "autoadmin", zone, f"{zone}2") for zone in ZONES[: self.admins]]
        found.append(("memds-a", "memds", "a", "a1"))
        return [*found, (ARCHIVE, ARCHIVE, "", "")] if self.archive else found

    def client_nodes(self) -> list[tuple[str, str, str, str]]:
        """The nodes that the load comes from: of its own, or routers, which coordinate its transactions."""
        role = "router" if self.transactions else "client"
        return [(f"{role}-{zone}", role, zone, f"{zone}1") for zone in ZONES[: self.clients]]


def to_yaml(scenario: Scenario, head: str = "") -> str:
    """As people read it, with ``head`` as its first comment: without what a scenario has none of."""
    value = msgspec.to_builtins(scenario)
    value = {key: item for key, item in value.items() if item not in ("", None) and item is not False}
    if not scenario.pairs:
        del value["pairs"]
    comment = "".join(f"# {line}\n" for line in head.splitlines())
    return comment + str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110))


def from_yaml(text: str, name: str) -> Scenario:
    """Read what :func:`to_yaml` wrote; ``name`` is for the error. Raises :class:`InputError`."""
    try:
        scenario = msgspec.convert(yaml.safe_load(text), Scenario)
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise InputError(f"{name} is no scenario of blackstart explore: {error}") from error
    unknown = sorted({a.action for a in scenario.method} - set(FAULTS))
    if scenario.explore != 1 or unknown:
        raise InputError(f"{name}: version {scenario.explore}, unknown actions {unknown}; this is version 1")
    return scenario
