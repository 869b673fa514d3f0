"""A whole simulated database under recorded load: what the tests of drivers and plants stand on.

The histories of its clients (:mod:`chaos.explore.ground`) are judged by the checkers that judge real runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chaos.explore.ground import ITEM_BYTES, VOTERS, Ground, is_whole
from cluster.node.config import NodeConfig, Timing
from cluster.node.process import Node
from cluster.sim.deploy import deploy, zone_of
from cluster.sim.simulation import ConditionNotMet
from cluster.sim.world import SimWorld
from loadgen.profiles import Profile
from reports.checkers import CheckResult, durability, eventual_reads, linearizability
from reports.checkers.evidence import History

MIXED = Profile(
    "simulated", "small items, hot keys: contention within seconds",
    {"put": 0.2, "cput": 0.14, "update": 0.14, "delete": 0.06, "get": 0.26, "eget": 0.2},
    distribution="uniform", item_bytes=ITEM_BYTES, keys=40,
)  # fmt: skip
ANSWER_LIMIT_S = 3.0
Install = Callable[[Node], None]


class SimDatabase(Ground):
    """A deployed cluster with the load table, a client in each zone, and every operation's record."""

    def __init__(
        self,
        seed: int,
        install: Install | None = None,
        *,
        partitions: int = 2,
        timing: Timing | None = None,
        before_table: Callable[[SimDatabase], None] | None = None,
        **deployment: Any,
    ) -> None:
        """``deployment`` goes to :func:`cluster.sim.deploy.deploy`: other nodes, an archive, a background scrub."""
        super().__init__(seed, MIXED)
        self._install = install
        self.configs = deploy(self.sim, self._run_node, timing=timing, **deployment)
        cluster = [config.name for config in self.configs if config.role != "client"]
        self.sim.run_until(lambda: self.sim.count("ready") >= len(cluster), 20)
        if before_table is not None:
            before_table(self)
        self._create_table(partitions)
        self.start_clients()

    async def _run_node(self, world: SimWorld, config: NodeConfig) -> None:
        node = Node(world, config)
        if self._install is not None:
            self._install(node)
        self.nodes[config.name] = node
        await node.run()

    def _create_table(self, partitions: int) -> None:
        self.until(lambda: self.ask_for_table(partitions), 20)
        self.sim.run_until(lambda: self.sim.count("table-active") >= 1, 20)

    def until(self, attempt: Callable[[], bool], limit_s: float) -> None:
        """Repeat something that itself lets time pass until it succeeds."""
        deadline = self.sim.now + limit_s
        while not attempt():
            assert self.sim.now < deadline, "not in time"
            self.sim.run_for(0.1)

    # --- the game day ---

    def zone(self, az: str) -> list[str]:
        return zone_of(self.configs, az)

    def power_off(self, names: list[str]) -> None:
        for name in names:
            self.sim.crash(name)

    def power_on(self, names: list[str], *, wipe: bool = False) -> None:
        for name in names:
            self.sim.restart(name, wipe=wipe)

    def settle(self, limit_s: float = 30.0) -> float:
        """Wait until every group has a leader and three voters that are as far as it is; seconds it took."""
        self.rate = 0.0
        began = self.sim.now
        while not self.whole():
            if self.sim.now - began > limit_s:
                raise ConditionNotMet(f"seed {self.sim.seed}: not whole again within {limit_s} s")
            self.sim.run_for(0.1)
        return self.sim.now - began

    def leaders(self) -> list[Any]:
        """The replicas that serve a group of the table now, the longest log first."""
        found = [r for name in self.sim.running() for r in self.replicas(name) if r.spec.table and r.serving]
        return sorted(found, key=lambda r: (-r.group.last_slot, r.spec.group))

    def whole(self) -> bool:
        groups = self.by_group()
        return bool(groups) and all(is_whole(replicas, VOTERS) for replicas in groups.values())

    def replicas(self, name: str) -> list[Any]:
        """The replicas on a node; none for roles that hold none."""
        host = self.host(name)
        return list(host.replicas.values()) if host is not None else []

    def finish(self, limit_s: float = 60.0) -> list[CheckResult]:
        """Stop the load, wait until all is well, read every key, and judge the history."""
        self.settle(limit_s)
        self.sim.run_for(ANSWER_LIMIT_S)
        self.sweep(limit_s)
        history = History(sorted(self.history, key=lambda op: op.invoked_ns))
        return [durability.check(history), linearizability.check(history), eventual_reads.check(history)]
