"""What replication raises. ``Misuse`` and its kin are the caller's; ``ProtocolBroken`` means that a safety rule was
broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cluster.core.config import Member


class NotLeader(Exception):
    """This replica may not propose. Nothing was proposed, so the request may be sent to ``leader`` where that is
    known."""

    def __init__(self, leader: Member | None) -> None:
        hint = f"try {leader.node}" if leader else "none is known; ask again in a moment"
        super().__init__(f"not the leader: {hint}")
        self.leader = leader


class Busy(Exception):
    """Too much is proposed and not yet committed. Nothing was proposed; answer 'throttled' or wait for commits."""


class ChangeRefused(Exception):
    """A change of membership that is wrong or comes too early. Nothing was proposed; the text says what to do."""


class Misuse(Exception):
    """The caller broke a duty named in :mod:`cluster.core.group`."""


class BrokenHistory(Exception):
    """Replayed records do not form a log. The replica must be restored as amnesiac: it may have forgotten votes."""


class ProtocolBroken(AssertionError):
    """An invariant of the protocol does not hold. The node must stop: going on could turn a bug into lost data."""
