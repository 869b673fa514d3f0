"""Transactions at a storage node: a leader prepares, commits, cancels and reads items for a coordinator.

The rules are :mod:`cluster.core.transactions`; this carries them out over a replica's machine, in proposed state like
any command, each answer waiting for what it rests on. A transaction that stays in progress on an item for longer than
:data:`OLD_S` is reported to a router when it turns somebody away: its coordinator may be gone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from cluster.core.commands import Command
from cluster.core.errors import ApiError
from cluster.core.transactions import (
    Finish,
    Pending,
    Prepare,
    Report,
    Vote,
    bar,
    cancels,
    decide_all,
    holds,
    pack_pending,
    record,
    record_key,
    result,
    see,
)
from cluster.core.transactions import unpack_pending as unpack
from cluster.node.host import Host
from cluster.node.machine import OVERLOADED, Done, Machine
from cluster.node.outbox import Outbox
from cluster.node.replica import Replica
from cluster.node.rpc import Responder
from cluster.wire.json import CODEC

OLD_S = 1.0
"""A transaction in progress for longer is reported; healthy ones take milliseconds."""

REPORT_INTERVAL_S = 0.5
"""One transaction is reported no more often."""


class Transacting:
    """Served by storage nodes: ``txn-prepare``, ``txn-commit``, ``txn-cancel`` and ``txn-read``; ``txn-whole`` and
    ``txn-settle`` for transactions whose items are all here."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._routers = [peer.name for peer in host.config.of_role("router", near=host.config.az)]
        self._reports = 0
        self._seen: dict[tuple[str, bytes], tuple[bytes, float, float]] = {}
        """By group and item: a transaction in progress, when it first turned somebody away, when it was reported."""
        host.on_replica.append(self._watch)
        host.rpc.register("txn-prepare", self._prepare, tuple[str, Prepare])
        host.rpc.register("txn-whole", self._whole, tuple[str, Prepare])
        host.rpc.register("txn-settle", self._settle, tuple[str, Finish])
        host.rpc.register("txn-commit", self._commit, tuple[str, Finish])
        host.rpc.register("txn-cancel", self._cancel, tuple[str, Finish])
        host.rpc.register("txn-read", self._read, tuple[str, tuple[bytes, ...]])

    def _prepare(self, sender: str, params: tuple[str, Prepare], responder: Responder) -> None:
        group, request = params
        keys = [command.key for command in request.commands]
        self._carry_out(group, keys, responder, lambda machine, done: prepare(machine, request, keys, done))

    def _whole(self, sender: str, params: tuple[str, Prepare], responder: Responder) -> None:
        group, request = params
        keys = [command.key for command in request.commands]
        self._carry_out(group, keys, responder, lambda machine, done: whole(machine, request, keys, done))

    def _settle(self, sender: str, params: tuple[str, Finish], responder: Responder) -> None:
        group, request = params
        self._carry_out(group, request.keys, responder, lambda machine, done: settle(machine, request, done))

    def _commit(self, sender: str, params: tuple[str, Finish], responder: Responder) -> None:
        group, request = params
        self._carry_out(group, request.keys, responder, lambda machine, done: commit(machine, request, done))

    def _cancel(self, sender: str, params: tuple[str, Finish], responder: Responder) -> None:
        group, request = params
        self._carry_out(group, request.keys, responder, lambda machine, done: cancel(machine, request, done))

    def _read(self, sender: str, params: tuple[str, tuple[bytes, ...]], responder: Responder) -> None:
        group, keys = params
        self._carry_out(group, keys, responder, lambda machine, done: read(machine, keys, done))

    def _carry_out(
        self, group: str, keys: Sequence[bytes], responder: Responder, act: Callable[[Machine, Done], None]
    ) -> None:
        replica = self._host.replicas.get(group)
        if replica is None or replica.damaged or not all(replica.spec.holds(key) for key in keys):
            responder.refuse("no-replica", group)
            return

        def done(code: str, answer: Any) -> None:
            if not code:
                responder.reply(answer)
            elif code == "not-leader":
                leader = replica.group.leader
                responder.refuse(code, leader.node if leader is not None else "")
            else:
                responder.refuse(code, answer)

        act(replica.machine, done)
        if not replica.queued and replica.machine.batch_due:
            self._host.touch(replica)

    # --- transactions nobody seems to finish ---

    def _watch(self, replica: Replica) -> None:
        replica.machine.met = lambda key: self._met(replica, key)

    def _met(self, replica: Replica, key: bytes) -> None:
        now = self._host.world.now()
        row = replica.machine.held[key]
        place = (replica.spec.group, key)
        known = self._seen.get(place)
        if known is None or known[0] != row:
            self._seen[place] = (row, now, now)
            if len(self._seen) > 10_000:
                self._seen = {p: s for p, s in self._seen.items() if now - s[1] < 10 * OLD_S}
            return
        _, first, reported = known
        if now - first < OLD_S or now - reported < REPORT_INTERVAL_S or not self._routers:
            return
        self._seen[place] = (row, first, now)
        pending = unpack(row)
        self._reports += 1
        router = self._routers[self._reports % len(self._routers)]
        report: Report = (pending.id, pending.stamp, replica.spec.table, key)
        self._host.rpc.notify(router, "txn-pending", report)


class _Accepted(NamedTuple):
    """A group's part of a transaction, all of which it votes for, by item."""

    current: list[bytes | None]
    held: list[Pending | None]
    votes: list[Vote]
    pending: list[Pending]


def _ask(
    machine: Machine, request: Prepare, keys: Sequence[bytes], done: Done, again: Callable[[], None]
) -> _Accepted | None:
    """Vote on a group's part of a transaction. None: it was refused and ``done`` is told, or rows must be read first,
    after which ``again`` is called."""
    if not machine.admits(done):
        return None
    current = machine.gather(keys, again)
    if current is None:
        return None
    held = [_held(machine, key) for key in keys]
    votes, pending = decide_all(request, current, held, machine.deleted_at, CODEC)
    if pending is not None and machine.outbox is not None:
        each = zip(request.commands, current, pending, votes, strict=True)
        votes = [_index_vote(machine.outbox, *one) for one in each]
        if any(vote.code for vote in votes):
            pending = None
    if pending is not None:
        return _Accepted(current, held, votes, pending)
    for key, row in zip(keys, held, strict=True):
        if row is not None and row.id != request.id:
            machine.met(key)
    machine.after_proposals(keys, votes, done)
    return None


def prepare(machine: Machine, request: Prepare, keys: Sequence[bytes], done: Done) -> None:
    """Vote on a group's part of a transaction and, if all of it is accepted, hold its items; answers with the votes."""
    part = _ask(machine, request, keys, done, lambda: prepare(machine, request, keys, done))
    if part is None:
        return
    wanted = [(key, row) for key, before, row in zip(keys, part.held, part.pending, strict=True) if row != before]
    if not wanted:  # all of it was held already
        machine.after_proposals(keys, part.votes, done)
        return
    for key, row in wanted:
        machine.hold(key, pack_pending(row))
    machine.after_batch(lambda code: done(code, None if code else part.votes))


def whole(machine: Machine, request: Prepare, keys: Sequence[bytes], done: Done) -> None:
    """Vote on a transaction whose items are all here and, if all of it is accepted, carry it out in the same entry;
    answers with the votes. One without an id is not recorded: nobody will ask what became of it."""
    place = record_key(request.id)
    if request.id and place in machine.held:  # it was carried out before
        if machine.admits(done):
            machine.after_proposals((place,), [Vote() for _ in keys], done)
        return
    part = _ask(machine, request, keys, done, lambda: whole(machine, request, keys, done))
    if part is None:
        return
    for key, image, before, row in zip(keys, part.current, part.held, part.pending, strict=True):
        machine.stage(key, image, result(row, image), row.stamp)
        if before is not None:  # an attempt that was given up for this one
            machine.hold(key, None)
    if request.id:
        machine.hold(place, pack_pending(record(request.id, request.stamp)))
    machine.after_batch(lambda code: done(code, None if code else part.votes))


def settle(machine: Machine, request: Finish, done: Done) -> None:
    """Whether a transaction whose items are all here was carried out; once it was answered that it was not, it never
    will be."""
    if not machine.admits(done):
        return
    place = record_key(request.id)
    if place in machine.held:
        machine.after_proposals((place,), True, done)
        return
    current = machine.gather(request.keys, lambda: settle(machine, request, done))
    if current is None:
        return
    held = [_held(machine, key) for key in request.keys]
    at = bar(current, held, request.stamp)
    if at is None:
        done(OVERLOADED, None)  # nothing was done; to be asked again
    elif at < 0:
        machine.after_proposals(request.keys, False, done)
    else:
        machine.stage(request.keys[at], current[at], current[at], request.stamp)
        machine.after_batch(lambda code: done(code, None if code else False))


def _index_vote(outbox: Outbox, command: Command, current: bytes | None, pending: Pending, vote: Vote) -> Vote:
    """A vote once it is known whether the table's indexes can hold what the item would become, and what they take."""
    if pending.check:
        return vote
    if pending.image is not None:
        try:
            outbox.check(pending.image, updating=command.kind == "update")
        except ApiError as error:
            return Vote("ValidationError", error.message, None, vote.size_before, vote.size_before)
    derived = outbox.indexes.derive(command.key, current, pending.image)
    return vote._replace(local_units=derived.local_units, global_units=derived.global_units)


def commit(machine: Machine, request: Finish, done: Done) -> None:
    """Apply what the transaction holds here and let go of it, and of the record of it. What it does not hold was
    committed before."""
    if not machine.admits(done):
        return
    current = machine.gather(request.keys, lambda: commit(machine, request, done))
    if current is None:
        return
    staged = False
    for key, image in zip(request.keys, current, strict=True):
        pending = _held(machine, key)
        if pending is not None and holds(pending, request.id, request.stamp):
            machine.stage(key, image, result(pending, image), pending.stamp)
            machine.hold(key, None)
            staged = True
    place = record_key(request.id)
    if cancels(_held(machine, place), request.id, request.stamp):
        machine.hold(place, None)
        staged = True
    _answer(machine, request, staged, done)


def cancel(machine: Machine, request: Finish, done: Done) -> None:
    """Let go of what the transaction holds here, by this attempt or an earlier one."""
    if not machine.admits(done):
        return
    staged = False
    for key in request.keys:
        if cancels(_held(machine, key), request.id, request.stamp):
            machine.hold(key, None)
            staged = True
    _answer(machine, request, staged, done)


def read(machine: Machine, keys: Sequence[bytes], done: Done) -> None:
    """Items as a read transaction finds them; answers ``[Seen, ...]``."""
    if not machine.admits(done):
        return
    current = machine.gather(keys, lambda: read(machine, keys, done))
    if current is None:
        return
    seen = [see(image, _held(machine, key), machine.deleted_at) for key, image in zip(keys, current, strict=True)]
    for key, one in zip(keys, seen, strict=True):
        if one.ongoing:
            machine.met(key)
    machine.after_proposals(keys, seen, done)


def _answer(machine: Machine, request: Finish, staged: bool, done: Done) -> None:
    if staged:
        machine.after_batch(lambda code: done(code, None if code else True))
    else:
        machine.after_proposals(request.keys, True, done)


def _held(machine: Machine, key: bytes) -> Pending | None:
    row = machine.held.get(key) if machine.held else None
    return unpack(row) if row is not None else None
