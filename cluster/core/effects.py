"""What the pure machines ask their driver to do. The driver's duties are in :mod:`cluster.core.group` and ``lease``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from cluster.core.config import Member
from cluster.core.messages import Entry, Heartbeat, Message, Record


class Send(NamedTuple):
    """Send ``message`` to ``to`` once everything persisted up to sequence number ``after`` is durable (0: at once).

    The same message object may appear in several sends, so that a driver may encode it once.
    """

    to: Member
    message: Message
    after: int


@dataclass(slots=True)
class Effects:
    """What one :meth:`Group.take` hands over.

    ``persist``    records with their sequence numbers, in order; the numbers rise by one within a life of the group.
    ``sends``      messages, in order.
    ``committed``  entries decided since the last take, in slot order without gaps, of every kind.
    ``wake_at``    when to call :meth:`Group.wake`, in the caller's clock; None: nothing to wait for. Replaces the
    last one.
    ``changed``    role, leader, ballot or configuration changed since the last take.
    ``needs_snapshot``  members whose next entry was trimmed here: send them the state, see
    :meth:`Group.snapshot_point`.
    ``missing``    members whose node said that it does not have them: they must be replaced under a new id.
    """

    persist: list[tuple[int, Record]] = field(default_factory=list)
    sends: list[Send] = field(default_factory=list)
    committed: list[Entry] = field(default_factory=list)
    wake_at: float | None = None
    changed: bool = False
    needs_snapshot: tuple[Member, ...] = ()
    missing: tuple[Member, ...] = ()


@dataclass(slots=True)
class LivenessEffects:
    """What :class:`cluster.core.lease.Liveness` asks for.

    ``sends``     (node, message) pairs; losing them only costs time.
    ``lapsed``    nodes that this one has stopped supporting: call ``Group.peer_lapsed`` on the groups shared with them.
    ``regained``  nodes that it supports in a new epoch: ``Group.peer_regained``.
    ``changed``   nodes whose support for this one began, ended, or changed epoch or incarnation:
    ``Group.support_changed``.
    ``wake_at``   when to call ``Liveness.tick``.
    """

    sends: list[tuple[str, Heartbeat]] = field(default_factory=list)
    lapsed: list[str] = field(default_factory=list)
    regained: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    wake_at: float | None = None
