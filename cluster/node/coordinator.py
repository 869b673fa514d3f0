"""Transactions at a router, which is a coordinator for the callers it serves [P23].

A write transaction: its row goes into the ledger as PREPARING; the leaders of its items vote; the decision goes into
the ledger, and there it is made: COMMITTING or CANCELLING, whoever comes first; the leaders carry it out; the caller is
answered; the row is COMPLETED. A coordinator that dies anywhere in between leaves what :mod:`cluster.node.recovery`
needs to finish. Where one group has all the items, its leader decides and carries out in one step. Without a token that
is all; with one, which must not be used twice, the ledger's row still comes first, and learns of the outcome after the
caller did. A read transaction asks the leaders of its items twice and writes nothing; items that all belong to one
group are read at one moment anyway, and asked once.

Timestamps come from the wall clock and rise above every stamp that a refusal showed, so that clocks apart cost one more
round of votes rather than the transaction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from cluster.core.commands import Command
from cluster.core.errors import ApiError
from cluster.core.transactions import (
    CANCELLING,
    COMMITTING,
    COMPLETED,
    CONFLICT,
    LATE,
    PREPARING,
    Entry,
    Finish,
    Part,
    Prepare,
    Seen,
    Vote,
    Written,
    unchanged,
)
from cluster.node.dispatch import Dispatch, may_have_happened, unavailable
from cluster.node.ledger import Ledger, Row
from cluster.node.routes import CachedTable
from cluster.node.world import World

if TYPE_CHECKING:
    from cluster.node.services import RouterServices

ATTEMPTS = 3
"""Timestamps tried for one request."""

IN_FLIGHT_MAX = 1000
"""Transactions under way at one router; more are refused before anything is done."""

FINISH_DEADLINE_S = 4.0
"""How long a decision is carried out by the one who made it."""

TOKEN_VALID_S = 600.0
"""A client's token is remembered for so long [DG]."""

IN_PROGRESS = "Transaction from previous request is still in progress"
MISMATCH = (
    "The request uses the same client token as a previous, but non-identical request. Do not reuse a client token with "
    "different requests, unless the requests are identical"
)


class Action(NamedTuple):
    """One item of a write transaction."""

    table: CachedTable
    command: Command


class _Group(NamedTuple):
    """The part of a transaction that one group's leader decides, by places in the request."""

    table: CachedTable
    places: list[int]
    key: bytes


class Coordinator:
    """Carries out transactions for one router's callers."""

    def __init__(self, world: World, services: RouterServices, dispatch: Dispatch, ledger: Ledger) -> None:
        self._world = world
        self._services = services
        self._dispatch = dispatch
        self._ledger = ledger
        self._last = 0
        self._under_way = 0

    # --- reads ---

    async def read(self, wanted: Sequence[tuple[CachedTable, bytes]]) -> list[Seen]:
        """Items as they all were at one moment, ``ongoing`` set where a write transaction was in the way."""
        groups = await self._groups(wanted)
        first = await self._read_once(wanted, groups)
        if len(groups) == 1 or any(seen.ongoing for seen in first):
            return first
        second = await self._read_once(wanted, groups)
        same = unchanged(first, second)
        return [seen if kept else Seen(None, 0, ongoing=True) for seen, kept in zip(second, same, strict=True)]

    async def _read_once(self, wanted: Sequence[tuple[CachedTable, bytes]], groups: list[_Group]) -> list[Seen]:
        asked = [
            self._dispatch.ask_leader(
                g.table, g.key, "txn-read", tuple(wanted[place][1] for place in g.places), list[Seen], again=True
            )
            for g in groups
        ]
        found: dict[int, Seen] = {}
        for group, answer in zip(groups, await self._services.each(asked), strict=True):
            if isinstance(answer, ApiError):
                raise answer
            found.update(zip(group.places, answer, strict=True))
        return [found[place] for place in range(len(wanted))]

    # --- writes ---

    async def write(self, actions: Sequence[Action], token: str, digest: str) -> Written:
        """Carry out a write transaction, or say which of its actions were refused. Raises :class:`ApiError`."""
        if self._under_way >= IN_FLIGHT_MAX:
            raise unavailable()
        self._under_way += 1
        try:
            groups = await self._groups([(action.table, action.command.key) for action in actions])
            if len(groups) == 1 and not token:
                return await self._at_once(groups[0], actions)
            row = await self._begin(actions, token, digest, alone=len(groups) == 1)
            if row.entry.carried_out:
                return Written([Vote() for _ in actions], True, row.entry.units)
            return await self._carry_out(row, groups, actions)
        finally:
            self._under_way -= 1

    async def _at_once(self, group: _Group, actions: Sequence[Action]) -> Written:
        """A transaction that its one group decides, and that nobody can ask for again."""
        attempt = 1
        while _is_late(votes := await self._whole("", self._timestamp(), group, actions)) and attempt < ATTEMPTS:
            self._saw(max(vote.stamp for vote in votes))
            attempt += 1
        return Written(_shown(votes))

    async def _whole(self, id_: str, stamp: int, group: _Group, actions: Sequence[Action]) -> list[Vote]:
        """The votes of the group that has all the items: if it accepts all of them, it is done."""
        request = Prepare(id_, stamp, tuple(action.command for action in actions))
        votes: list[Vote] = await self._dispatch.ask_leader(
            group.table, group.key, "txn-whole", request, list[Vote], again=False
        )
        return votes

    async def _begin(self, actions: Sequence[Action], token: str, digest: str, *, alone: bool) -> Row:
        """The transaction's row in the ledger, PREPARING; or one that says that it was carried out, if its token was
        used for it before."""
        id_ = "t" + hashlib.sha256(token.encode()).hexdigest() if token else f"r{self._world.rng.getrandbits(128):032x}"
        wall = self._world.wall()
        entry = Entry(id_, self._timestamp(), PREPARING, _parts(actions), digest=digest, wall=wall, alone=alone)
        row, mine = await self._ledger.put(entry, None)
        while not mine:
            known = row.entry
            fresh = self._world.wall() - known.wall < TOKEN_VALID_S
            if known.state != COMPLETED and not (fresh and known.carried_out):
                raise ApiError("TransactionInProgressException", IN_PROGRESS)
            if fresh and known.digest != digest:
                raise ApiError("IdempotentParameterMismatchException", MISMATCH)
            if fresh and known.carried_out:
                return row
            self._saw(known.stamp)
            row, mine = await self._ledger.put(entry._replace(stamp=self._timestamp()), row)
        return row

    async def _carry_out(self, row: Row, groups: list[_Group], actions: Sequence[Action]) -> Written:
        attempt = 1
        while True:
            if row.entry.alone:
                votes: Sequence[Vote | None] = await self._decide_there(row, groups[0], actions)
            else:
                votes = await self._prepare(row.entry, actions, groups)
            if not _is_late(votes) or attempt == ATTEMPTS:
                break
            self._saw(max(vote.stamp for vote in votes if vote is not None))
            attempt += 1
            row, mine = await self._ledger.put(row.entry._replace(stamp=self._timestamp()), row)
            if not mine:
                raise unavailable()  # taken for dead, and cancelled
        accepted = [vote for vote in votes if vote is not None and not vote.code]
        if row.entry.alone:
            done = len(accepted) == len(votes)
            later = self._account_for(row, groups, actions, accepted) if done else self._complete(row, False)
            self._world.spawn(later, "txn-account")
            return Written(_shown(votes))
        if len(accepted) == len(votes):
            return await self._commit(row, groups, actions, accepted)
        return await self._cancel(row, groups, actions, votes)

    async def _decide_there(self, row: Row, group: _Group, actions: Sequence[Action]) -> list[Vote]:
        try:
            return await self._whole(row.entry.id, row.entry.stamp, group, actions)
        except ApiError as error:
            if error.kind == unavailable().kind:  # nothing was proposed, nor will be
                self._world.spawn(self._complete(row, False), "txn-complete")
            raise

    async def _account_for(self, row: Row, groups: list[_Group], actions: Sequence[Action], votes: list[Vote]) -> None:
        """Have the ledger know what the group carried out, so that the record of it can go."""
        try:
            await self._commit(row, groups, actions, votes)
        except ApiError:
            return  # it is found in the ledger, and whoever takes over asks the group

    async def _prepare(self, entry: Entry, actions: Sequence[Action], groups: list[_Group]) -> list[Vote | None]:
        """By action, its vote; None where there is none to be had."""
        asked = [
            self._dispatch.ask_leader(
                group.table,
                group.key,
                "txn-prepare",
                Prepare(entry.id, entry.stamp, tuple(actions[place].command for place in group.places)),
                list[Vote],
                again=True,
            )
            for group in groups
        ]
        votes: list[Vote | None] = [None] * len(actions)
        for group, answer in zip(groups, await self._services.each(asked), strict=True):
            if not isinstance(answer, ApiError):
                for place, vote in zip(group.places, answer, strict=True):
                    votes[place] = vote
        return votes

    async def _commit(self, row: Row, groups: list[_Group], actions: Sequence[Action], votes: list[Vote]) -> Written:
        units, stamp = _read_units(actions, votes), row.entry.stamp
        try:
            row, mine = await self._ledger.put(row.entry._replace(state=COMMITTING, units=units), row)
        except ApiError as error:
            raise may_have_happened() from error
        if not mine and not _committed(row.entry, stamp):
            raise unavailable()  # taken for dead, and cancelled
        if not await self._finish("txn-commit", row.entry, groups, actions):
            raise may_have_happened()  # it will happen; who takes over sees to it
        if row.entry.state != COMPLETED:
            self._world.spawn(self._complete(row, True), "txn-complete")
        return Written(votes)

    async def _cancel(
        self, row: Row, groups: list[_Group], actions: Sequence[Action], votes: Sequence[Vote | None]
    ) -> Written:
        """Undo what was prepared; the caller is told once nothing of it can happen any more."""
        try:
            row, _ = await self._ledger.put(row.entry._replace(state=CANCELLING), row)
        except ApiError as error:
            raise may_have_happened() from error
        # Whoever else moved the row took this coordinator for dead: then it was cancelled as well.
        letting_go = self._let_go(row, groups, actions)
        if any(vote is None for vote in votes):
            self._world.spawn(letting_go, "txn-cancel")  # somebody is away: the caller need not wait for that one
        else:
            await letting_go
        if not any(vote is not None and vote.code for vote in votes):
            raise unavailable()
        return Written(_shown(votes))

    async def _let_go(self, row: Row, groups: list[_Group], actions: Sequence[Action]) -> None:
        if await self._finish("txn-cancel", row.entry, groups, actions):
            self._world.spawn(self._complete(row, False), "txn-complete")

    async def _finish(self, method: str, entry: Entry, groups: list[_Group], actions: Sequence[Action]) -> bool:
        """Have every leader carry out the decision; False where some did not answer in time."""
        deadline = self._world.now() + FINISH_DEADLINE_S
        left = groups
        while left:
            asked = [
                self._dispatch.ask_leader(
                    group.table,
                    group.key,
                    method,
                    Finish(entry.id, entry.stamp, tuple(actions[place].command.key for place in group.places)),
                    bool,
                    again=True,
                )
                for group in left
            ]
            answers = await self._services.each(asked)
            left = [group for group, answer in zip(left, answers, strict=True) if isinstance(answer, ApiError)]
            if left and self._world.now() > deadline:
                return False
        return True

    async def _complete(self, row: Row, committed: bool) -> None:
        try:
            await self._ledger.put(row.entry._replace(state=COMPLETED, committed=committed, parts=()), row)
        except ApiError:
            return  # it is found in the ledger, and done again

    # --- both ---

    async def _groups(self, items: Sequence[tuple[CachedTable, bytes]]) -> list[_Group]:
        """Items by the group that holds them, in order of first mention."""
        groups: dict[str, _Group] = {}
        for place, (table, key) in enumerate(items):
            route = await self._dispatch.route(table, key)
            groups.setdefault(route.group, _Group(table, [], key)).places.append(place)
        return list(groups.values())

    def _timestamp(self) -> int:
        self._last = max(self._last + 1, int(self._world.wall() * 1e6))
        return self._last

    def _saw(self, stamp: int) -> None:
        self._last = max(self._last, stamp)


def _committed(entry: Entry, stamp: int) -> bool:
    """Whether the attempt was decided to commit after all: the answer was lost, and another has gone on since."""
    return entry.stamp == stamp and (entry.state == COMMITTING or (entry.state == COMPLETED and entry.committed))


def _is_late(votes: Sequence[Vote | None]) -> bool:
    """Whether nothing but the timestamp is in the way."""
    codes = {vote.code if vote is not None else CONFLICT for vote in votes}
    return LATE in codes and codes <= {"", LATE}


def _shown(votes: Sequence[Vote | None]) -> list[Vote]:
    """The votes as callers see them."""
    shown = [vote if vote is not None else Vote() for vote in votes]
    return [vote._replace(code=CONFLICT) if vote.code == LATE else vote for vote in shown]


def _parts(actions: Sequence[Action]) -> tuple[Part, ...]:
    keys: dict[str, list[bytes]] = {}
    for action in actions:
        keys.setdefault(action.table.table.name, []).append(action.command.key)
    return tuple(Part(table, tuple(found)) for table, found in keys.items())


def _read_units(actions: Sequence[Action], votes: list[Vote]) -> tuple[tuple[str, float], ...]:
    """What a repeated request costs: its items read in a transaction, of the larger size that each has had."""
    units: dict[str, float] = {}
    for action, vote in zip(actions, votes, strict=True):
        name = action.table.table.name
        units[name] = units.get(name, 0.0) + 2.0 * max(1, -(-max(vote.size_before, vote.size_after) // 4096))
    return tuple(units.items())
