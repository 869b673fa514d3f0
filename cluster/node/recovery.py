"""Recovery managers: each router looks for transactions whose coordinator does not finish them, and does it [P23].

Two ways lead here. A manager reads the ledger, a page now and then, from a random place on; what it finds unfinished
and finds unchanged :data:`STALLED_S` later, it takes over. And a storage node reports a transaction that is in progress
on an item for too long. Taking over is safe at any time and by several at once: the ledger decides once, and whatever
follows from a decision may be done twice. Time is measured here alone, between two looks: no other clock counts.

On its way it removes rows that no token can refer to any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cluster.core.errors import ApiError
from cluster.core.items import image_body
from cluster.core.keys import HASH_BYTES
from cluster.core.ranges import RangeRead
from cluster.core.side import is_side
from cluster.core.transactions import COMPLETED, Entry, Finish, Part, Report, duty, fate, undecided
from cluster.node.coordinator import TOKEN_VALID_S
from cluster.node.dispatch import Dispatch
from cluster.node.ledger import Ledger, Row, read_row
from cluster.node.routes import CachedTable
from cluster.node.rpc import Responder, Rpc
from cluster.node.world import World

if TYPE_CHECKING:
    from cluster.node.services import RouterServices

SCAN_INTERVAL_S = 2.0
"""Between two pages of one manager; each waits a little longer or shorter, so that managers keep apart."""

SCAN_ROWS = 500
STALLED_S = 3.0
"""A transaction that shows no change for so long is taken over. Coordinators give up a step later than this, which only
means that some find their transaction finished by another."""

WATCHED_MAX = 1000
DROPS_PER_PAGE_MAX = 200


class Recovery:
    """One router's recovery manager."""

    def __init__(self, world: World, rpc: Rpc, services: RouterServices, dispatch: Dispatch, ledger: Ledger) -> None:
        self._world = world
        self._services = services
        self._dispatch = dispatch
        self._ledger = ledger
        self._watched: dict[str, None] = {}
        self.taken_over = 0
        rpc.register("txn-pending", self._reported, Report)

    def start(self) -> None:
        self._world.spawn(self._scan_forever(), "txn-recovery")

    async def _scan_forever(self) -> None:
        while True:
            await self._world.sleep(SCAN_INTERVAL_S * self._world.rng.uniform(0.75, 1.25))
            try:
                table = await self._ledger.known()
                if table is not None:
                    await self._scan(table)
            except ApiError:
                continue  # some of the ledger is away; it is looked at again

    async def _scan(self, table: CachedTable) -> None:
        start = self._world.rng.getrandbits(8 * HASH_BYTES).to_bytes(HASH_BYTES, "big")
        found: list[tuple[bytes, bytes]] = []
        for first, end in ((start, b""), (b"", start)):  # once around, or until it is enough
            rest: tuple[bytes, bytes] | None = (first, end)
            while rest is not None and len(found) < SCAN_ROWS:
                page = await self._dispatch.read_range(table, RangeRead(*rest, limit=SCAN_ROWS - len(found), raw=True))
                found += page.rows
                rest = page.rest
        drops = 0
        for key, image in found:
            row = read_row(image_body(image)) if not is_side(key) else None
            if row is None:
                continue
            if row.entry.state != COMPLETED:
                self._watch(row.entry.id)
            elif self._world.wall() - row.entry.wall > TOKEN_VALID_S and drops < DROPS_PER_PAGE_MAX:
                drops += 1
                await self._ledger.drop(row)

    def _watch(self, id_: str) -> None:
        """Look at a transaction now and later, and take it over if nothing happened."""
        if id_ not in self._watched and len(self._watched) < WATCHED_MAX:
            self._watched[id_] = None
            self._world.spawn(self._wait_and_see(id_), "txn-watch")

    async def _wait_and_see(self, id_: str) -> None:
        try:
            before = await self._ledger.get(id_)
            await self._world.sleep(STALLED_S * self._world.rng.uniform(0.75, 1.25))
            row = await self._ledger.get(id_)
            if row is not None and before is not None and row.version == before.version:
                await self.take_over(row)
        except ApiError:
            return  # it is still in the ledger, and will be found again
        finally:
            self._watched.pop(id_, None)

    async def take_over(self, row: Row) -> None:
        """Finish a transaction, as decided or, where nothing is decided, by cancelling it."""
        entry = row.entry
        wanted = duty(entry, undecided(entry) and await self._happened(entry))
        if wanted is None:
            return
        self.taken_over += 1
        self._world.event("transaction-taken-over", id=entry.id, state=entry.state, stamp=entry.stamp)
        if wanted.decide:
            row, mine = await self._ledger.put(entry._replace(state=wanted.decide), row)
            if not mine:
                return  # somebody else decided, and goes on
        method = "txn-commit" if wanted.commit else "txn-cancel"
        for part in row.entry.parts:
            for key in part.keys:
                await self._ask(row.entry, method, Part(part.table, (key,)))
        await self._ledger.put(row.entry._replace(state=COMPLETED, committed=wanted.commit, parts=()), row)

    async def _happened(self, entry: Entry) -> bool:
        """Whether the one group that has all its items carried a transaction out; if not, it never will."""
        (part,) = entry.parts
        return await self._ask(entry, "txn-settle", part)

    async def _ask(self, entry: Entry, method: str, part: Part) -> bool:
        """What the leader of some items' group answers about a transaction; False where their table was deleted."""
        try:
            table = await self._services.table(part.table)
        except ApiError as error:
            if error.kind == "ResourceNotFoundException":
                return False
            raise
        finish = Finish(entry.id, entry.stamp, part.keys)
        answer: bool = await self._dispatch.ask_leader(table, part.keys[0], method, finish, bool, again=True)
        return answer

    # --- what storage nodes report ---

    def _reported(self, sender: str, report: Report, responder: Responder) -> None:
        self._world.spawn(self._settle(report), "txn-settle")

    async def _settle(self, report: Report) -> None:
        """An item is held by a transaction for long: let it go as its transaction went, or watch that one."""
        id_, stamp, table_name, key = report
        try:
            row = await self._ledger.get(id_)
            committed = fate(row.entry if row is not None else None, stamp)
            if committed is None:
                self._watch(id_)
                return
            entry = Entry(id_, stamp, COMPLETED)
            await self._ask(entry, "txn-commit" if committed else "txn-cancel", Part(table_name, (key,)))
        except ApiError:
            return  # it will be reported again
