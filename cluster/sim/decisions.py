"""What became of transactions, seen from inside a simulation: one decision each, and every item goes its way.

Fed by :mod:`cluster.sim.invariants` with what replicas apply: the ledger's rows, which decide, and the items that let
go of a transaction; or the records of those that one group decided. A method answers with what is wrong, in words, or
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.core.items import image_body, image_stamp
from cluster.core.side import is_side
from cluster.core.transactions import CANCELLING, COMMITTING, COMPLETED, Pending
from cluster.node.ledger import read_row

Written = Sequence[int | None]
"""Stamps of an item's writes within one log entry, None for a deletion, which carries none."""


class Decisions:
    """By transaction and attempt: whether it was decided to commit."""

    def __init__(self) -> None:
        self._decided: dict[tuple[str, int], bool] = {}
        self._whole: dict[str, bool] = {}
        """Transactions that their one group decided and carried out: whether the ledger knows."""

    def recorded(self, key: bytes, image: bytes | None) -> str:
        """A row of the ledger was applied somewhere."""
        row = read_row(image_body(image)) if image is not None and not is_side(key) else None
        if row is None:
            return ""
        entry = row.entry
        if entry.state not in (COMMITTING, CANCELLING, COMPLETED):
            return ""
        committed = entry.state == COMMITTING or (entry.state == COMPLETED and entry.committed)
        if entry.alone and committed:
            if entry.id not in self._whole:
                return f"transaction {entry.id} was decided to commit, and its group has not carried it out"
            self._whole[entry.id] = True
        if self._decided.setdefault((entry.id, entry.stamp), committed) != committed:
            return f"transaction {entry.id} was decided both ways"
        return ""

    def whole(self, record: Pending) -> str:
        """A replica applied an entry that carries out a transaction and holds the record of it."""
        self._whole.setdefault(record.id, False)
        if not self._decided.setdefault((record.id, record.stamp), True):
            return f"transaction {record.id} was carried out, although it was decided that it is not to be"
        return ""

    def forgotten(self, record: Pending) -> str:
        """A replica applied an entry in which the record of such a transaction goes."""
        return "" if self._whole[record.id] else f"the record of transaction {record.id} went before the ledger knew"

    def let_go(self, pending: Pending, written: Written) -> str:
        """A replica applied an entry in which an item lets go of a transaction, and these writes of that item."""
        if pending.stamp not in written and None in written:
            return ""  # a deletion, whose stamp is not kept
        committed = pending.stamp in written
        decided = self._decided.get((pending.id, pending.stamp), False)
        if committed == decided:
            return ""
        was = "committed" if committed else "cancelled"
        return f"an item of transaction {pending.id} was {was}, although it was decided that it is not to be"


def stamp_of(image: bytes | None) -> int | None:
    """The stamp of an item's write, None of its deletion."""
    return None if image is None else image_stamp(image)
