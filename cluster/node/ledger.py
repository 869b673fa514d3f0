"""The transaction ledger: an internal table with one item per transaction [P23], but for those that one group decides
and that have no token.

It is a table like any other (:data:`cluster.core.transactions.LEDGER`; no caller can name it), so that what a
coordinator decided is replicated, and found by whoever takes over. A state is only ever left under the condition that
it is the one that was seen: of several who decide at once, one does. Every step repeats safely after a silence, because
each version of a row has a name of its own, and a repeated step recognises what it made.
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from cluster.core.commands import Clause, Command, Outcome
from cluster.core.errors import ApiError
from cluster.core.items import item_size, pack_image
from cluster.core.keys import KeyAttribute, KeySchema, encode_key
from cluster.core.transactions import ENSURE_LEDGER, LEDGER, Entry
from cluster.node.dispatch import Dispatch, unavailable
from cluster.node.routes import CachedTable
from cluster.node.world import World
from cluster.wire.json import decode, encode

if TYPE_CHECKING:
    from cluster.node.services import RouterServices

SCHEMA = KeySchema(KeyAttribute("id", "S"), None)
STEP_DEADLINE_S = 4.0
"""How long a step of a decision is tried before its outcome is left to whoever takes over."""

RETRY_S = 0.1
CREATE_WAIT_S = 0.1

_ABSENT = Clause("attribute_not_exists(id)", None, None)
_AS_SEEN = "version = :version"
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Entry).decode


class Row(NamedTuple):
    """A ledger row: the entry, and its version, which differs for each change and each who makes it."""

    entry: Entry
    version: str


class Ledger:
    """One router's access to the ledger."""

    def __init__(self, world: World, services: RouterServices, dispatch: Dispatch) -> None:
        self._world = world
        self._services = services
        self._dispatch = dispatch

    async def table(self) -> CachedTable:
        """The ledger's table, made at the first transaction. Raises :class:`ApiError`."""
        deadline = self._world.now() + STEP_DEADLINE_S
        asked = False
        while True:
            try:
                return await self._services.table(LEDGER)
            except ApiError as error:
                if error.kind != "ResourceNotFoundException":
                    raise
            if not asked:
                await self._services.control(ENSURE_LEDGER, {})
                asked = True
            if self._world.now() > deadline:
                raise unavailable()
            await self._world.sleep(CREATE_WAIT_S)

    async def known(self) -> CachedTable | None:
        """The ledger's table if there is one yet. Raises :class:`ApiError`."""
        try:
            return await self._services.table(LEDGER)
        except ApiError as error:
            if error.kind == "ResourceNotFoundException":
                return None
            raise

    async def get(self, id_: str) -> Row | None:
        """A transaction's row, or None. Raises :class:`ApiError` where nobody can tell."""
        table = await self.known()
        if table is None:
            return None
        command = Command("get", table.schema.name, key_of(id_), consistent=True)
        outcome: Outcome = await self._dispatch.run(table, command)
        return read_row(outcome.attributes)

    async def put(self, entry: Entry, seen: Row | None) -> tuple[Row, bool]:
        """Replace what was ``seen`` by ``entry``: the new row and True, or the row that is there instead and False.

        Where that one is gone, the answer is the row that was seen. Raises :class:`ApiError` where nobody can tell.
        """
        table = await self.table()
        row = Row(entry, f"{self._world.rng.getrandbits(96):024x}")
        command = _put(table, row, seen)
        deadline = self._world.now() + STEP_DEADLINE_S
        while True:
            try:
                outcome: Outcome = await self._dispatch.ask_leader(
                    table, command.key, "command", command, Outcome, again=True
                )
                break
            except ApiError:
                if self._world.now() > deadline:
                    raise
                await self._world.sleep(RETRY_S)
        if outcome.error is None:
            return row, True
        if outcome.error != "ConditionalCheckFailedException":
            raise ApiError(outcome.error, outcome.message)
        there = read_row(outcome.attributes)
        if there is not None and there.version == row.version:
            return row, True  # it was carried out when it was first sent, and the answer was lost
        return there or seen or row, False

    async def drop(self, row: Row) -> None:
        """Remove a row if it is still as seen."""
        table = await self.table()
        command = Command("delete", table.schema.name, key_of(row.entry.id), condition=_as_seen(row))
        await self._dispatch.run(table, command)


def key_of(id_: str) -> bytes:
    """The storage key of a transaction's row."""
    return encode_key(SCHEMA, {"id": {"S": id_}})


def read_row(body: bytes | None) -> Row | None:
    """A row from the JSON of its item."""
    if body is None:
        return None
    item: dict[str, Any] = decode(body)
    return Row(_decode(a2b_base64(item["entry"]["B"])), item["version"]["S"])


def _put(table: CachedTable, row: Row, seen: Row | None) -> Command:
    entry = row.entry
    item = {
        "id": {"S": entry.id},
        "state": {"S": entry.state},
        "version": {"S": row.version},
        "entry": {"B": b2a_base64(_encode(entry), newline=False).decode()},
    }
    return Command(
        "put",
        table.schema.name,
        key_of(entry.id),
        image=pack_image(item_size(item), encode(item)),
        condition=_ABSENT if seen is None else _as_seen(seen),
        on_failure="ALL_OLD",
    )


def _as_seen(row: Row) -> Clause:
    return Clause(_AS_SEEN, None, {":version": {"S": row.version}})
