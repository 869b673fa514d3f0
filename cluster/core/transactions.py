"""Transactions over items of many groups, by timestamp ordering [P23]: what one group's leader decides about them.

A coordinator gives a write transaction a timestamp and asks each leader to *prepare* its items. A leader accepts when

- no other transaction is in progress on the item,
- the action's condition holds and what it would store is within the limits,
- the timestamp is greater than the item's last-write stamp; for an item that is not there, than the stamp of any
  deletion in the group (there are no tombstones: one time for the whole group is enough).

What it accepts becomes a :class:`Pending` row beside the item (:data:`cluster.core.side.TXN`), with the effect
resolved: while it stands no other write of the item is let in, so that the effect stays true. *Commit* applies it under
the transaction's timestamp and removes the row; an item whose condition was only checked is stamped as well. *Cancel*
removes the row. All three may come twice or late: what a message is about is ``(id, stamp)``, and after a commit the
item's stamp is no longer below the timestamp, so that a prepare that comes late is refused.

A transaction whose items are all in one group needs no two rounds: its leader decides it and carries it out in one
entry of the log, *whole*, by the same rules. Where its coordinator may be asked about it later (it has a token), the
entry holds a *record* of it as well, under :func:`record_key`; the ledger's row says that such a transaction is
:attr:`Entry.alone`. Whoever takes over asks the group: with a record it was carried out; without one it never will be,
because one of its items is stamped with its timestamp first, and what comes late is refused. The record goes once the
ledger knows.

A read transaction leaves no trace: each leader tells the item and its stamp, unless a transaction is in progress on it;
the coordinator asks twice, and equal stamps mean that all items were so at one moment in between.

Pure: rows, images and commands in, votes and rows out.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from cluster.core.commands import Command, evaluate
from cluster.core.items import Codec, image_stamp
from cluster.core.side import SIDE

LEDGER = "!transactions"
"""The internal table in which coordinators keep what they decided; no table of a caller's can be called so."""

ENSURE_LEDGER = "EnsureLedger"
"""What routers ask of the control plane where there is no such table yet."""

ACTIONS_MAX = 100
REQUEST_BYTES_MAX = 4 * 1024 * 1024
"""Distinct items, and their bytes, in one transaction [DG]."""

ONGOING = "Transaction is ongoing for the item"

CONFLICT = "TransactionConflict"
LATE = "late"
"""A vote's code where only the timestamp was too old: another attempt with a later one may be made at once. Callers see
:data:`CONFLICT`."""

_REASONS = {
    "ConditionalCheckFailedException": "ConditionalCheckFailed",
    "ValidationException": "ValidationError",
    "ItemCollectionSizeLimitExceededException": "ItemCollectionSizeLimitExceeded",
}
"""A one-item operation's failure as a cancellation reason."""

_PENDING = struct.Struct(">BQH")
_CHECK, _DELETE = 1, 2


class Prepare(NamedTuple):
    """A transaction's actions on items of one group. Kinds of command: ``put``, ``update``, ``delete``, ``check``."""

    id: str
    stamp: int
    commands: tuple[Command, ...]


Report = tuple[str, int, str, bytes]
"""What a storage node tells a router: a transaction's id and timestamp, the table and the key of an item on which it
has been in progress for too long."""


class Finish(NamedTuple):
    """The end of a transaction on items of one group."""

    id: str
    stamp: int
    keys: tuple[bytes, ...]


class Vote(NamedTuple):
    """About one item. ``code`` is empty where it is accepted, else a cancellation reason's or :data:`LATE`."""

    code: str = ""
    message: str = ""
    item: bytes | None = None
    """The item's JSON, where the caller asked to see what failed its condition."""
    size_before: int = 0
    size_after: int = 0
    stamp: int = 0
    """:data:`LATE`: what the next timestamp must exceed."""
    local_units: dict[str, float] | None = None
    global_units: dict[str, float] | None = None
    """Write units that the table's indexes will take, by name; None where it has none."""


class Written(NamedTuple):
    """How a write transaction went: by action, what the leaders said; it was carried out if all are accepted."""

    votes: list[Vote]
    repeated: bool = False
    """It was carried out earlier, under the same token; this request only asked again."""
    units: tuple[tuple[str, float], ...] = ()
    """``repeated``: by table, the read units that asking again costs."""


class Seen(NamedTuple):
    """One item as a read transaction finds it."""

    image: bytes | None
    stamp: int
    ongoing: bool = False


class Pending(NamedTuple):
    """What a transaction will do to an item if it commits."""

    id: str
    stamp: int
    check: bool
    """The item stays as it is; it is only stamped."""
    image: bytes | None
    """The item's new image, None for its deletion (and for a check)."""


def pack_pending(pending: Pending) -> bytes:
    """The row of a transaction in flight."""
    name = pending.id.encode()
    flags = _CHECK if pending.check else _DELETE if pending.image is None else 0
    return _PENDING.pack(flags, pending.stamp, len(name)) + name + (pending.image or b"")


def unpack_pending(row: bytes) -> Pending:
    flags, stamp, length = _PENDING.unpack_from(row)
    start = _PENDING.size
    name = row[start : start + length].decode()
    return Pending(name, stamp, bool(flags & _CHECK), None if flags else row[start + length :])


def decide(
    id_: str,
    stamp: int,
    command: Command,
    current: bytes | None,
    held: Pending | None,
    deleted_at: int,
    codec: Codec,
) -> tuple[Vote, Pending | None]:
    """Vote on one action of transaction ``(id_, stamp)``, over the item's image in proposed state and the transaction
    in progress on it, if any; what is to be held where the vote is yes."""
    if held is not None:
        if held.id == id_ and held.stamp == stamp:
            return _again(command, current, held, codec), held
        if held.id != id_ or held.stamp > stamp:
            return Vote(CONFLICT, ONGOING), None
        # An earlier attempt of the same transaction: its coordinator has given it up for this one.
    decision = evaluate(command, current, codec)
    outcome = decision.outcome
    if outcome.error is not None:
        code = _REASONS.get(outcome.error, outcome.error)
        return Vote(code, outcome.message, outcome.attributes, outcome.size_before, outcome.size_after), None
    last = image_stamp(current) if current is not None else deleted_at
    if stamp <= last:
        return Vote(LATE, ONGOING, stamp=last), None
    check = command.kind == "check"
    pending = Pending(id_, stamp, check, None if check else decision.image)
    return Vote(size_before=outcome.size_before, size_after=outcome.size_after), pending


def _again(command: Command, current: bytes | None, held: Pending, codec: Codec) -> Vote:
    """The vote that was given when this was first asked: the item is the same since."""
    outcome = evaluate(command, current, codec).outcome
    return Vote(size_before=outcome.size_before, size_after=outcome.size_after)


def decide_all(
    request: Prepare, current: Sequence[bytes | None], held: Sequence[Pending | None], deleted_at: int, codec: Codec
) -> tuple[list[Vote], list[Pending] | None]:
    """The votes on a group's part of a transaction, and what to hold: all of it, or None if any action is refused."""
    votes: list[Vote] = []
    pending: list[Pending] = []
    for command, image, row in zip(request.commands, current, held, strict=True):
        vote, kept = decide(request.id, request.stamp, command, image, row, deleted_at, codec)
        votes.append(vote)
        if kept is not None:
            pending.append(kept)
    return votes, pending if len(pending) == len(votes) else None


def holds(held: Pending | None, id_: str, stamp: int) -> bool:
    """Whether the transaction in progress on an item is the one that a message is about."""
    return held is not None and held.id == id_ and held.stamp == stamp


def cancels(held: Pending | None, id_: str, stamp: int) -> bool:
    """Whether the end of the attempt ``(id_, stamp)`` takes with it what is in progress on an item: it, or an earlier
    attempt of the same transaction."""
    return held is not None and held.id == id_ and held.stamp <= stamp


def record_key(id_: str) -> bytes:
    """Where a group keeps the record of a transaction that it decided: among what is in progress on items, in the place
    of an item that cannot be."""
    return SIDE + id_.encode()


def record(id_: str, stamp: int) -> Pending:
    """The record of a transaction that was carried out whole."""
    return Pending(id_, stamp, True, None)


def bar(current: Sequence[bytes | None], held: Sequence[Pending | None], stamp: int) -> int | None:
    """Which item to stamp so that a transaction of that timestamp is never carried out whole; -1: it is too late for it
    already; None: all its items are in others' hands, and nobody can say yet.

    One is enough, since it takes all of them. An item that is held must stay as it is until it is let go of. Of missing
    items nothing is known for certain: when they were deleted is an estimate, too late rather than too early, and the
    next leader's may be lower.
    """
    if any(image is not None and image_stamp(image) >= stamp for image in current):
        return -1
    return next((at for at, row in enumerate(held) if row is None), None)


def result(pending: Pending, current: bytes | None) -> bytes | None:
    """The item's image after the commit, to be stamped with the transaction's timestamp."""
    return current if pending.check else pending.image


def see(current: bytes | None, held: Pending | None, deleted_at: int) -> Seen:
    """An item as a read transaction finds it."""
    if held is not None:
        return Seen(None, 0, ongoing=True)
    return Seen(current, image_stamp(current) if current is not None else deleted_at)


def unchanged(first: Sequence[Seen], second: Sequence[Seen]) -> list[bool]:
    """By item: whether two rounds of a read transaction found it in the same state, with nothing in progress."""
    return [
        not one.ongoing and not two.ongoing and one.stamp == two.stamp and (one.image is None) == (two.image is None)
        for one, two in zip(first, second, strict=True)
    ]


# --- the ledger ---

PREPARING, COMMITTING, CANCELLING, COMPLETED = "PREPARING", "COMMITTING", "CANCELLING", "COMPLETED"


class Part(NamedTuple):
    """Where a transaction has items: a table's name and the items' storage keys."""

    table: str
    keys: tuple[bytes, ...]


class Entry(NamedTuple):
    """A transaction's row in the ledger. What may be done to it, and by whom, follows from it alone: :func:`duty`."""

    id: str
    stamp: int
    """The timestamp of the attempt that the row is about."""
    state: str
    parts: tuple[Part, ...] = ()
    """Empty once it is completed."""
    committed: bool = False
    """The outcome, once it is completed."""
    digest: str = ""
    """Of the request's parameters, to tell a repeated one from another that uses its token."""
    wall: float = 0.0
    """When it began, by its coordinator's clock."""
    units: tuple[tuple[str, float], ...] = ()
    """By table: read units that answering a repeated request costs."""
    alone: bool = False
    """All its items are in one group, which decides it: COMMITTING says that it was carried out there."""

    @property
    def carried_out(self) -> bool:
        """Whether all of it has happened, as far as the row tells."""
        return self.committed if self.state == COMPLETED else self.alone and self.state == COMMITTING


class Duty(NamedTuple):
    """What whoever takes over a stalled transaction must do."""

    decide: str
    """The state to move the ledger to first, conditional on the state seen; empty: it is decided."""
    commit: bool
    """Whether its items are then committed or cancelled."""


def undecided(entry: Entry) -> bool:
    """Whether only the group that has all its items can say what became of a transaction."""
    return entry.alone and entry.state == PREPARING


def duty(entry: Entry, happened: bool = False) -> Duty | None:
    """What is left to be done about a transaction whose coordinator may be gone; None where it is completed.

    A transaction still being prepared is cancelled: nobody knows what its coordinator has heard. One that is decided is
    carried out as decided; each step may be done by several at once. ``happened``: what the group said of one that was
    :func:`undecided`.
    """
    if entry.state == COMPLETED:
        return None
    if happened:
        return Duty(COMMITTING, True)
    if entry.state == PREPARING:
        return Duty(CANCELLING, False)
    return Duty("", entry.state == COMMITTING)


def fate(entry: Entry | None, stamp: int) -> bool | None:
    """What an item held by ``(id, stamp)`` is to expect of the ledger's row: True commit, False cancel, None wait.

    A row that is gone, or is about a later attempt, means that this one came to nothing: rows are removed only long
    after all their items were told.
    """
    if entry is None or entry.stamp != stamp:
        return False
    if entry.state == COMPLETED:
        return entry.committed
    return {COMMITTING: True, CANCELLING: False}.get(entry.state)
