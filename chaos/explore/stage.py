"""A small cluster in the simulator with a table, clients that keep a history, and everything that watches it."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from chaos.explore.ground import ITEM_BYTES, TABLE, VOTERS, Client, Ground, is_whole
from chaos.explore.scenario import Scenario
from cluster.core import archive
from cluster.core.config import Configuration
from cluster.core.quorum import Quorum
from cluster.core.transactions import ENSURE_LEDGER, LEDGER
from cluster.node import replica as replica_module
from cluster.node import transfer, upkeep
from cluster.node.autoadmin import AutoAdmin
from cluster.node.catalog import Catalog
from cluster.node.config import NodeConfig, Peer, Timing
from cluster.node.controlplane import ControlPlaneNode
from cluster.node.host import Host
from cluster.node.process import Node
from cluster.node.router import Router
from cluster.node.rpc import RpcError
from cluster.node.services import SERVED
from cluster.sim.deploy import deploy
from cluster.sim.disk import DiskProfile
from cluster.sim.invariants import Invariants
from cluster.sim.network import LinkProfile
from cluster.sim.simulation import ConditionNotMet
from cluster.sim.world import SimWorld
from cluster.store.wal import Wal
from loadgen.profiles import Profile
from reports.rundir import IndexRows, Scrub

DEPLOY_S: Final = 30.0
HOLD_BYTES: Final = 32 << 20
HOLD_BYTES_SMALL: Final = 20_000
"""Log that a node keeps for an archive that is away."""
SEGMENT_SPAN_MS: Final = 1500
"""What one archived segment spans at most: in the seconds of a scenario there would be none but by scrubs."""


@dataclass(frozen=True, slots=True)
class Planted:
    """A planted bug, loaded: its module has ``install(node)``, and ``install_client(dispatch)`` where routers are
    what is broken."""

    name: str
    module: ModuleType


def load_plant(name: str, directory: Path) -> Planted:
    """Import a plant as a node does that is given one."""
    if str(directory) not in sys.path:
        sys.path.insert(0, str(directory))
    return Planted(name, importlib.import_module(name.replace("-", "_")))


class Stage(Ground):
    """See the module. Use as a context manager; raises what the deployment raises."""

    def __init__(self, scenario: Scenario, planted: Planted | None = None) -> None:
        ops: Any = scenario.ops
        profile = Profile(
            "explored", "as the seed drew it", ops, "uniform", ITEM_BYTES, keys=scenario.keys,
            workload=scenario.transactions, indexed=scenario.indexed,
        )  # fmt: skip
        super().__init__(scenario.seed, profile, scenario.pairs)
        self.scenario = scenario
        self.planted = planted
        self.watch = Invariants(self.sim)
        self.index_rows: IndexRows | None = None
        """What the indexes held when all was quiet, once they were read."""
        self.scrub: Scrub | None = None
        """How the replicas and their archived log compared when all was quiet, once they were."""
        self._asked: list[asyncio.Task[None]] = []

    def deploy(self) -> None:
        """Start the cluster, make the table, start the clients. The load stays off."""
        scenario, sim = self.scenario, self.sim
        peers = [
            Peer(name, role, az, rack, f"198.18.0.{16 + at}")
            for at, (name, role, az, rack) in enumerate(scenario.nodes())
        ]
        peers += [
            Peer(name, role, az, rack, f"198.18.0.{64 + at}")
            for at, (name, role, az, rack) in enumerate(scenario.client_nodes())
        ]
        timing = Timing(scenario.lease_s, scenario.renewal_s)
        hold_bytes = HOLD_BYTES_SMALL if scenario.small_limits else HOLD_BYTES
        self.configs = deploy(sim, self._run_node, peers, timing=timing, hold_bytes=hold_bytes)
        self._weather()
        cluster = sum(1 for peer in peers if peer.role != "client")
        sim.run_until(lambda: sim.count("ready") >= cluster, DEPLOY_S)
        self._create_table()
        self.start_clients()
        # A client of ours is most of a router: it gets what a plant does to routers.
        module = self.planted.module if self.planted is not None else None
        install = getattr(module, "install_client", None) or getattr(module, "keep_routes", None)
        if install is not None:
            for client in self.clients:
                install(client.dispatch)

    def _weather(self) -> None:
        scenario = self.scenario
        self.sim.network.default = LinkProfile(
            scenario.delay_s, scenario.jitter_s, scenario.loss, scenario.duplicate, scenario.reorder
        )
        for node in self.sim.nodes.values():
            node.disk.profile = self.calm_disk()

    def calm_disk(self) -> DiskProfile:
        """Disks as the scenario has them when nothing befalls them."""
        scenario = self.scenario
        return DiskProfile(scenario.sync_s[0], scenario.sync_s[1], scenario.stall)

    async def _run_node(self, world: SimWorld, config: NodeConfig) -> None:
        node = Node(world, config)
        host = getattr(node.role, "host", None)
        if isinstance(host, Host):
            self.watch.attach(host)
        if self.planted is not None:
            self.planted.module.install(node)
        self.nodes[config.name] = node
        await node.run()
        if isinstance(node.role, Router):
            await Client(self, world, config, node.role).run()

    def _create_table(self) -> None:
        # Placement knows only who has reported: a table made earlier could have two replicas in one zone.
        self.sim.run_until(self._fleet_known, DEPLOY_S)
        self._until_taken("CreateTable", lambda: self.ask_for_table(self.scenario.partitions))
        self.sim.run_until(lambda: self.sim.count("table-active", table=TABLE) >= 1, DEPLOY_S)
        if self.scenario.transactions:  # else the first transaction makes it, which takes all of a group's nodes
            self._until_taken(ENSURE_LEDGER, lambda: self.ask_control(ENSURE_LEDGER, {}))
            self.sim.run_until(lambda: self.sim.count("table-active", table=LEDGER) >= 1, DEPLOY_S)

    def _until_taken(self, name: str, ask: Callable[[], bool]) -> None:
        """Ask the control plane until a node of it has carried out an operation."""
        deadline = self.sim.now + DEPLOY_S
        while not ask():
            if self.sim.now > deadline:
                raise ConditionNotMet(f"no control-plane node took {name} within {DEPLOY_S} s")
            self.sim.run_for(0.1)

    def _fleet_known(self) -> bool:
        admin = self.acting()
        heard = admin.fleet.names() if admin is not None else []
        return all(config.name in heard for config in self.configs if config.role == "storage")

    # --- looking at it ---

    def acting(self) -> AutoAdmin | None:
        """The control-plane node that acts."""
        for name in self.sim.running():
            role = self.nodes[name].role if name in self.nodes else None
            if isinstance(role, ControlPlaneNode) and role.admin.catalog is not None:
                return role.admin
        return None

    def roles(self) -> dict[str, str]:
        """Name to role, of every node."""
        return {config.name: config.role for config in self.configs}

    def can_spare(self, zone: str) -> bool:
        """Whether every group of the table has a quorum outside this zone, by the newest configuration seen of it."""
        newest: dict[str, Configuration] = {}
        for host in self.hosts():
            for name, replica in host.replicas.items():
                config = replica.group.config
                if replica.spec.table and (name not in newest or config.number > newest[name].number):
                    newest[name] = config
        outside = ({m.replica: 1 for m in config.voting() if m.zone != zone} for config in newest.values())
        return all(Quorum(config).decided(acked) for config, acked in zip(newest.values(), outside, strict=True))

    def groups(self) -> list[str]:
        """The table's groups, by name."""
        return sorted({name for host in self.hosts() for name, replica in host.replicas.items() if replica.spec.table})

    def promised(self) -> list[str]:
        """The groups of all tables and indexes that are there for everybody, by name; none where nobody knows."""
        catalog = self._catalog()
        tables = catalog.tables.values() if catalog is not None else ()
        return sorted(group for table in tables if table.status in SERVED for group in table.groups)

    def _catalog(self) -> Catalog | None:
        admin = self.acting()
        return admin.catalog if admin is not None else None

    def leader(self, which: int) -> str | None:
        """The node that leads one of the table's groups now."""
        groups = self.groups()
        return self.leader_of(groups[which % len(groups)]) if groups else None

    def leader_of(self, group: str) -> str | None:
        """The node that leads a group now."""
        for host in self.hosts():
            replica = host.replicas.get(group)
            if replica is not None and replica.serving:
                return host.name
        return None

    def whole(self) -> bool:
        """Every group has one leader and all its voters, and they are as far as it is."""
        groups, there = self.by_group(), self._catalog()
        if there is None or any(name not in groups for name in self.watch.groups if name in there.groups):
            return False
        return all(
            is_whole(found, VOTERS if found[0].spec.table else self.scenario.admins)
            and not any(r.group.config.learners for r in found if r.serving)
            for found in groups.values()
        )

    def call_later(self, name: str, method: str, timeout_s: float, params: Any = None) -> None:
        """Call a node and let time pass; what it answers does not matter."""

        async def ask() -> None:
            with suppress(RpcError):
                await self.sim.call_async(name, method, params, timeout_s)

        self._asked.append(self.sim.loop.create_task(ask()))

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self.sim.close()


@contextmanager
def limits(small: bool) -> Iterator[None]:
    """With archived segments that end within a scenario, and, if ``small``, limits that a few seconds of light load can
    reach, so that trimming, snapshots and new segments of the log are explored, too (FoundationDB: buggification)."""
    span = archive.SEGMENT_SPAN_MS
    open_defaults: dict[str, Any] = Wal.open.__func__.__kwdefaults__  # type: ignore[attr-defined]
    places: list[tuple[Any, str, Any]] = [
        (replica_module, "TRIM_MARK_BYTES", 1500),
        (replica_module, "TRIM_MARKS_KEPT", 2),
        (upkeep, "CHECKPOINT_INTERVAL_S", 0.7),
        (upkeep, "CHECKPOINT_LOG_BYTES", 3000),
        (transfer, "CHUNK_ROWS", 3),
    ]
    before = [getattr(owner, name) for owner, name, _ in places]
    segment = open_defaults["segment_bytes"]
    try:
        archive.SEGMENT_SPAN_MS = SEGMENT_SPAN_MS
        if small:
            for owner, name, value in places:
                setattr(owner, name, value)
            open_defaults["segment_bytes"] = 16 * 1024
        yield
    finally:
        archive.SEGMENT_SPAN_MS = span
        for (owner, name, _), value in zip(places, before, strict=True):
            setattr(owner, name, value)
        open_defaults["segment_bytes"] = segment
