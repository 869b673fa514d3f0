"""Transactions over rows in memory: nothing else happens meanwhile, so that to look at all first is enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cluster.api.answers import read_units
from cluster.api.operation import ServedTable
from cluster.core.commands import Command
from cluster.core.errors import ApiError
from cluster.core.transactions import Prepare, Seen, Written, decide_all
from cluster.wire.json import CODEC

if TYPE_CHECKING:
    from in_process_rows import Rows

STAMP = 1 << 62
"""Later than any item's stamp."""

FACTOR = 2.0


class Transactions:
    """What :class:`cluster.api.operation.Services` says of transactions."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._done: dict[str, tuple[str, Written]] = {}  # token -> digest and what came of it

    async def write(self, actions: Sequence[tuple[ServedTable, Command]], token: str, digest: str) -> Written:
        if token in self._done:
            known, written = self._done[token]
            if known != digest:
                raise ApiError(
                    "IdempotentParameterMismatchException",
                    "The request uses the same client token as a previous, but non-identical request. Do not reuse a "
                    "client token with different requests, unless the requests are identical",
                )
            return written._replace(repeated=True)
        commands = tuple(command for _, command in actions)
        images = [self._rows.get(command.table, command.key) for command in commands]
        votes, held = decide_all(Prepare("id", STAMP, commands), images, [None] * len(commands), 0, CODEC)
        if held is not None:
            for at, ((table, command), row) in enumerate(zip(actions, held, strict=True)):
                if not row.check:
                    done = self._rows.run(table.schema, command)
                    votes[at] = votes[at]._replace(local_units=done.local_units, global_units=done.global_units)
        sizes = [(c.table, max(vote.size_before, vote.size_after)) for c, vote in zip(commands, votes, strict=True)]
        written = Written(
            votes, units=tuple((table, FACTOR * read_units(size, consistent=True)) for table, size in sizes)
        )
        if token and held is not None:
            self._done[token] = (digest, written)
        return written

    async def read(self, wanted: Sequence[tuple[ServedTable, bytes]]) -> list[Seen]:
        return [Seen(self._rows.get(table.schema.name, key), 1) for table, key in wanted]
