"""Admission at a router: local, time-limited tokens that GAC refills [P22 §4.3].

While no GAC node answers, the router vends itself an equal share of each table's rate, so that GAC can be away for ever
without anybody standing still or a table's budget being overrun.
"""

from __future__ import annotations

import asyncio

from cluster.core.admission import INTERVAL_S, LocalBucket
from cluster.node.config import NodeConfig
from cluster.node.gac import home
from cluster.node.pace import until_next_turn
from cluster.node.rpc import Rpc, RpcError
from cluster.node.world import World

CALL_TIMEOUT_S = 0.4
FORGET_AFTER_S = 60.0
BURST_S = 300.0


class TableBudget:
    """One table's tokens at this router. Rates are units per second for the whole table."""

    __slots__ = ("read_rate", "reads", "used_at", "write_rate", "writes")

    def __init__(self, read_rate: float, write_rate: float, share: float, now: float) -> None:
        self.read_rate = read_rate
        self.write_rate = write_rate
        self.reads = LocalBucket()
        self.writes = LocalBucket()
        self.used_at = now
        # A table begins with its burst credit: up to five minutes of unused capacity are kept [P22 §4.1].
        self.reads.refill(read_rate * share * BURST_S, now, BURST_S)
        self.writes.refill(write_rate * share * BURST_S, now, BURST_S)


class Throttle:
    """All tables' budgets at this router."""

    def __init__(self, world: World, config: NodeConfig, rpc: Rpc) -> None:
        self._world = world
        self._rpc = rpc
        self._nodes = [peer.name for peer in config.of_role("gac")]
        self._share = 1.0 / max(1, len(config.of_role("router")))
        self._budgets: dict[str, TableBudget] = {}
        self._used = asyncio.Event()
        """Set while there are budgets to refill."""
        self.alone = False
        """True while no GAC node answers."""

    async def start(self) -> None:
        self._world.spawn(self._refill_forever(), "throttle-refill")

    def budget(self, table_id: str, read_rate: float, write_rate: float) -> TableBudget:
        budget = self._budgets.get(table_id)
        now = self._world.now()
        if budget is None:
            budget = self._budgets[table_id] = TableBudget(read_rate, write_rate, self._share, now)
            self._used.set()
        budget.used_at = now
        if read_rate < budget.read_rate:
            budget.reads.cap(read_rate * self._share * BURST_S)
        if write_rate < budget.write_rate:
            budget.writes.cap(write_rate * self._share * BURST_S)
        budget.read_rate, budget.write_rate = read_rate, write_rate
        return budget

    async def _refill_forever(self) -> None:
        attempt = 0
        while True:
            await self._used.wait()
            await until_next_turn(self._world, INTERVAL_S)
            now = self._world.now()
            for table_id in [t for t, b in self._budgets.items() if now - b.used_at > FORGET_AFTER_S]:
                del self._budgets[table_id]
            if not self._budgets:
                self._used.clear()
            if not self._budgets or not self._nodes:
                continue
            by_node: dict[str, list[str]] = {}
            for table_id in self._budgets:
                by_node.setdefault(home(table_id, self._nodes, attempt), []).append(table_id)
            answered = [await self._refill(node, tables) for node, tables in by_node.items()]
            self.alone = not all(answered)
            attempt = attempt + 1 if self.alone else attempt

    async def _refill(self, node: str, table_ids: list[str]) -> bool:
        budgets = [self._budgets[table_id] for table_id in table_ids]
        reports = [
            (table_id, b.reads.report()[1], b.writes.report()[1], b.read_rate, b.write_rate)
            for table_id, b in zip(table_ids, budgets, strict=True)
        ]
        grants: list[tuple[float, float]]
        answered = True
        try:
            grants = await self._rpc.call(node, "vend", reports, CALL_TIMEOUT_S)
        except RpcError:
            answered = False
            grants = [
                (b.read_rate * self._share * INTERVAL_S, b.write_rate * self._share * INTERVAL_S) for b in budgets
            ]
        now = self._world.now()
        for budget, (reads, writes) in zip(budgets, grants, strict=True):
            budget.reads.refill(reads, now)
            budget.writes.refill(writes, now)
        return answered
