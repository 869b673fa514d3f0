"""A region as data: which zones and racks there are, and what runs on each.

A topology is a YAML file (``playbooks/topologies/small.yaml``); :func:`load` checks all of it at once and names the
line of everything that is wrong. From it follow, by rule and never by chance, the nodes' names and their places in the
cluster's /24: every zone has a block of addresses, and every rack a part of that, so that a rule of a firewall or a
reader of a packet dump can tell the rack from the address.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

ROLES = ("storage", "router", "memds", "autoadmin", "gac", "identity")
"""In the order in which a rack is filled, and started."""

REGIONAL_ROLES: tuple[Literal["archive"], ...] = ("archive",)
"""Roles that belong to no zone, as S3 does: nodes of their own beside the zones, one of each at most."""

WITH_DISK = ("storage", "autoadmin", "archive")
"""Roles whose state outlives a power cut; each such node has a file system of its own."""

ZONES_MAX = 3
RACKS_MAX = 3
RACK_NODES_MAX = 16
CLIENTS_MAX = 16
CANARIES_MAX = 4
"""Of a zone's clients, the last so many addresses are its canaries'."""

REGIONAL_FIRST = 240
VALUES_MAX = 20_000
ZONE_FIRST = 16
ZONE_ADDRESSES = 64
"""A zone's block: three racks of 16 addresses, then 16 for the zone's own clients (load, canaries)."""

DIRECTORY = Path(__file__).resolve().parents[1] / "playbooks" / "topologies"

_NAME = re.compile(r"[a-z][a-z0-9]{0,7}")
_SIZE = re.compile(r"(\d+)\s*([KMG]?)i?B?", re.IGNORECASE)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h)?")
_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class TopologyError(Exception):
    """A topology that cannot be used; the text lists every problem with its line."""

    exit_code = 2

    def __init__(self, file: str, problems: list[str]) -> None:
        self.file = file
        self.problems = tuple(problems)
        count = len(problems)
        super().__init__("\n".join([f"{file}: {count} problem{'s' if count != 1 else ''}", *problems]))


def _seconds(value: object) -> float:
    """``1.5s``, ``300ms`` or a number of seconds."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"'{value}' is not a duration; write 500ms, 1.5s or a number of seconds")
    return float(match[1]) * _UNITS[match[2] or ""]


def _size(value: object) -> int:
    """``512M`` or a number of bytes."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"'{value}' is not a size; write 512M, 2G or a number of bytes")
    return int(match[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[match[2].upper()]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Timing(_Model):
    """The lease between nodes, in seconds, and the bound on the drift between two boot clocks, as a fraction."""

    lease: Annotated[float, BeforeValidator(_seconds), Field(ge=0.1, le=60)] = 1.5
    renewal: Annotated[float, BeforeValidator(_seconds), Field(ge=0.02, le=20)] = 0.3
    drift: Annotated[float, Field(ge=0, le=0.5)] = 0.01

    @model_validator(mode="after")
    def renewed_in_time(self) -> Timing:
        """A lease must survive one lost renewal."""
        if self.renewal * 2 > self.lease:
            raise ValueError(f"renewal ({self.renewal} s) must be at most half of the lease ({self.lease} s)")
        return self


class Disks(_Model):
    """The size in bytes of the file system of each role that has one."""

    storage: Annotated[int, BeforeValidator(_size), Field(ge=32 << 20, le=64 << 30)] = 512 << 20
    autoadmin: Annotated[int, BeforeValidator(_size), Field(ge=32 << 20, le=64 << 30)] = 128 << 20
    archive: Annotated[int, BeforeValidator(_size), Field(ge=32 << 20, le=64 << 30)] = 512 << 20


class ArchiveSpec(_Model):
    """Where the log is archived, besides a node of the region's own.

    ``url`` names an S3 bucket elsewhere (``https://s3.eu-west-1.amazonaws.com/bucket``; the keys are the deployer's
    ``AWS_ACCESS_KEY_ID`` and ``AWS_SECRET_ACCESS_KEY``) or a directory that every node sees (``file:///mnt/archive``).
    ``hold`` is how much log a storage node keeps beyond its usual tail while the archive cannot take it, in bytes; the
    log of a node begins every segment with a statement of what it keeps, so it must stay well below a segment (64 MiB).
    """

    url: Annotated[str, Field(pattern=r"^(|(https?|file)://.+)$")] = ""
    hold: Annotated[int, BeforeValidator(_size), Field(ge=1 << 20, le=48 << 20)] = 32 << 20


class ScrubSpec(_Model):
    """The scrub in the background of every storage node: ``rate`` in bytes read from its disk a second (0: none), and
    ``every``, the seconds between two comparisons of a group's replicas at a barrier."""

    rate: Annotated[int, BeforeValidator(_size), Field(ge=0, le=1 << 30)] = 256 << 10
    every: Annotated[float, BeforeValidator(_seconds), Field(ge=1, le=86400 * 30)] = 60.0


Rack = dict[str, Annotated[int, Field(ge=0, le=RACK_NODES_MAX)]]
Zone = dict[str, Rack]


class NodeSpec(NamedTuple):
    """A node before it has an address: its name, role and place; ``host`` is the last byte of its address."""

    name: str
    role: str
    az: str
    rack: str
    host: int


class Topology(_Model):
    """A checked topology. ``zones`` maps zone to rack to role to how many of it."""

    version: Literal[1] = 1
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
    description: str = ""
    region: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")] = "local-1"
    zones: dict[str, Zone]
    regional: dict[Literal["archive"], Annotated[int, Field(ge=0, le=1)]] = {}
    timing: Timing = Timing()
    disks: Disks = Disks()
    archive: ArchiveSpec = ArchiveSpec()
    scrub: ScrubSpec = ScrubSpec()

    @field_validator("zones")
    @classmethod
    def fits(cls, zones: dict[str, Zone]) -> dict[str, Zone]:
        """The places exist in the address plan, and the roles exist at all."""
        problems = [*_misnamed(zones), *_too_many(zones)]
        if not problems and not any(rack.get("storage") for zone in zones.values() for rack in zone.values()):
            problems.append("there is no storage node")
        if problems:
            raise ValueError("; ".join(problems))
        return zones

    @property
    def azs(self) -> tuple[str, ...]:
        """Zone names in order."""
        return tuple(sorted(self.zones))

    def nodes(self) -> tuple[NodeSpec, ...]:
        """Every node, in zone and rack order, then those of no zone, whose ``az`` and ``rack`` are empty. The same
        topology always gives the same names and addresses."""
        zonal = [spec for index, az in enumerate(self.azs) for spec in _zone_nodes(az, index, self.zones[az])]
        wanted = [(REGIONAL_FIRST + at, role) for at, role in enumerate(REGIONAL_ROLES) if self.regional.get(role)]
        return (*zonal, *(NodeSpec(role, role, "", "", host) for host, role in wanted))

    @property
    def archived(self) -> bool:
        """Whether the log of this region is archived anywhere."""
        return bool(self.archive.url or self.regional.get("archive"))

    def client_hosts(self, az: str) -> range:
        """Last bytes of the addresses that belong to the zone's own clients (load generators, canaries)."""
        first = ZONE_FIRST + ZONE_ADDRESSES * self.azs.index(az) + RACKS_MAX * RACK_NODES_MAX
        return range(first, first + CLIENTS_MAX)

    def canary_hosts(self, az: str) -> range:
        """Those of them that are the canaries': a dark zone takes their path away, and leaves the load's."""
        return self.client_hosts(az)[-CANARIES_MAX:]

    def disk_bytes(self, role: str) -> int | None:
        """The size of the file system of a node of that role, or None where it has none."""
        return getattr(self.disks, role) if role in WITH_DISK else None


def _misnamed(zones: dict[str, Zone]) -> Iterator[str]:
    racks: set[str] = set()
    for az, zone in zones.items():
        if not re.fullmatch(r"[a-z]", az):
            yield f"zone '{az}': a zone is one letter, like a"
        for rack, roles in zone.items():
            if not _NAME.fullmatch(rack) or not rack.startswith(az) or rack == az:
                yield f"rack '{rack}': its name must begin with its zone's letter, like {az}1"
            if rack in racks:
                yield f"rack '{rack}' is in two zones"
            racks.add(rack)
            for role in roles:
                if role not in ROLES:
                    yield f"rack '{rack}': there is no role '{role}'; the roles are {', '.join(ROLES)}"


def _too_many(zones: dict[str, Zone]) -> Iterator[str]:
    if not 1 <= len(zones) <= ZONES_MAX:
        yield f"{len(zones)} zones; the address plan has room for 1 to {ZONES_MAX}"
    for az, zone in zones.items():
        if not 1 <= len(zone) <= RACKS_MAX:
            yield f"zone '{az}' has {len(zone)} racks; the address plan has room for 1 to {RACKS_MAX}"
        for rack, roles in zone.items():
            if sum(roles.values()) > RACK_NODES_MAX:
                yield f"rack '{rack}' has {sum(roles.values())} nodes; the address plan has room for {RACK_NODES_MAX}"


def _zone_nodes(az: str, index: int, zone: Zone) -> Iterator[NodeSpec]:
    totals = {role: sum(rack.get(role, 0) for rack in zone.values()) for role in ROLES}
    counts = dict.fromkeys(ROLES, 0)
    for rack_index, rack in enumerate(sorted(zone)):
        host = ZONE_FIRST + ZONE_ADDRESSES * index + RACK_NODES_MAX * rack_index
        for role in ROLES:
            for _ in range(zone[rack].get(role, 0)):
                counts[role] += 1
                numbered = role == "storage" or totals[role] > 1
                yield NodeSpec(f"{role}-{az}{counts[role] if numbered else ''}", role, az, rack, host)
                host += 1


@dataclass(slots=True)
class _Lines:
    """The line of every path in a YAML file."""

    known: dict[tuple[str | int, ...], int]

    def of(self, path: tuple[str | int, ...]) -> int:
        while path and path not in self.known:
            path = path[:-1]
        return self.known.get(path, 1)


def _walk(node: yaml.Node, path: tuple[str | int, ...], lines: _Lines, problems: list[str]) -> None:
    if len(lines.known) > VALUES_MAX:
        raise RecursionError  # aliases that repeat one another: a small file without end
    lines.known.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            line = key.start_mark.line + 1
            if str(key.value) in seen:
                problems.append(f"line {line}: '{key.value}' is given twice")
            seen.add(str(key.value))
            lines.known[(*path, str(key.value))] = line
            _walk(value, (*path, str(key.value)), lines, problems)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _walk(value, (*path, index), lines, problems)


def parse(text: str, file: str = "topology") -> Topology:
    """Check ``text``. Raises :class:`TopologyError` with everything that is wrong and where."""
    problems: list[str] = []
    lines = _Lines({})
    if len(text) > 1 << 20:
        raise TopologyError(file, ["larger than 1 MiB"])
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        value: Any = yaml.safe_load(text)
        if root is not None:
            _walk(root, (), lines, problems)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        why = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise TopologyError(file, [f"line {mark.line + 1 if mark else 1}: not valid YAML: {why}"]) from None
    except RecursionError:
        raise TopologyError(file, ["nested too deeply, or made endless by aliases"]) from None
    if not isinstance(value, dict):
        raise TopologyError(file, ["line 1: a topology is a mapping with name, zones, ..."])
    topology: Topology | None = None
    try:
        topology = Topology.model_validate(value)
    except ValidationError as error:
        problems += [_problem(item, lines) for item in error.errors(include_url=False)]
    if problems or topology is None:
        raise TopologyError(file, problems)
    return topology


def _problem(item: Any, lines: _Lines) -> str:
    path = tuple(item["loc"])
    where = ".".join(str(part) for part in path) or "the file"
    what = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        what = "unknown field" + (f"; a topology has {', '.join(Topology.model_fields)}" if len(path) == 1 else "")
    return f"line {lines.of(path)}: {where}: {what}"


def load(name: str | Path) -> Topology:
    """The topology in a file, or the shipped one of that name (``small``).

    Raises :class:`TopologyError` where there is none, and where it is wrong.
    """
    path = Path(name)
    if path.suffix not in {".yaml", ".yml"}:
        path = DIRECTORY / f"{name}.yaml"
    if not path.is_file():
        shipped = ", ".join(sorted(p.stem for p in DIRECTORY.glob("*.yaml")))
        raise TopologyError(str(name), [f"there is no such topology; give a .yaml file or one of: {shipped}"])
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TopologyError(str(path), [f"cannot be read: {error}"]) from None
    return parse(text, str(path))
