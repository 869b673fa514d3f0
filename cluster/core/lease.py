"""Leases between nodes: who supports whom, in which epoch, until when. One :class:`Liveness` per node, whatever its
groups.

Theory
------
X *supports* (Y, epoch) until a time on X's clock. Y asks for support in every heartbeat and stamps it with its own
clock; X, receiving it, supports for ``lease_s`` from then; Y, receiving the answer, counts ``lease_s * (1 - drift)``
from the moment it *sent* the request. A message takes no negative time, and ``drift`` bounds how much faster one
clock of the cluster can run than another, so Y always stops counting before X stops supporting. (CockroachDB's store
liveness; the argument is that of Gray and Cheriton, "Leases", 1989, section 2.)

* Support that has lapsed is never given again *in that epoch*: X answers that it is withdrawn, and Y moves to a higher
  epoch towards X. Epochs belong to a pair of nodes. Their high bits are Y's incarnation, so they rise across restarts
  with nothing persisted but the incarnation.
* X forgets in a restart whom it supported. Until ``quiet_until`` its groups make no promises, by when everything it had
  granted has lapsed; and since its incarnation is part of every answer, a leader knows that what members on X
  confirmed in an earlier life no longer binds them (:mod:`cluster.core.leadership`, which builds the leader's lease
  on this).

Nothing here knows of groups, and the cost is per pair of nodes: one message each way an interval, whose second half
answers the other's last request. Nodes *beat together*: one that hears a peer's heartbeat while its own are due within
half an interval sends them now, and the next ones wait a moment longer than usual for a peer to begin again. So all
nodes that share groups soon beat at the pace of whichever of them is first, an idle node is woken once an interval and
not once for each peer, and a request is answered at once. (Mirollo and Strogatz, "Synchronization of pulse-coupled
biological oscillators", 1990, is why this settles.) Heartbeats are never closer than half an interval.

The driver's duties
-------------------
* ``incarnation`` is larger in each life of the node than in all before it (it is persisted before the node starts).
* ``options`` are the same on all nodes, and change only with all of them stopped.
* ``now`` never decreases between calls, and is the boot clock (it counts suspends).
* After :meth:`tick` and :meth:`step` carry out the returned effects; call :meth:`tick` at ``wake_at``, not much later.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from cluster.core.effects import LivenessEffects
from cluster.core.failures import Misuse
from cluster.core.messages import Heartbeat

PROMPT_SHARE = 0.5
"""Of an interval: heartbeats due within it go out with a peer's."""
PATIENCE_SHARE = 0.125
"""Of an interval: how much longer than one a node waits whose last heartbeats went out with a peer's."""
EPOCHS_PER_LIFE = 1 << 24
"""Epochs towards one peer in one life of a node: more than one a second for half a year."""


@dataclass(frozen=True, slots=True)
class LeaseOptions:
    """Seconds, but for ``drift``: how much faster than another a clock of the cluster may run, as a fraction."""

    lease_s: float = 1.5
    renewal_s: float = 0.3
    drift: float = 0.01

    def __post_init__(self) -> None:
        if not 0 <= self.drift < 0.5:
            raise Misuse(f"drift must be at least 0 and below 0.5, not {self.drift}")
        if not 0 < self.renewal_s * 3 <= self.lease_s:
            raise Misuse(f"lease_s ({self.lease_s}) must be at least three times renewal_s ({self.renewal_s})")


@dataclass(frozen=True, slots=True)
class Granted:
    """Support that a peer, in its life ``incarnation``, gives this node in ``epoch`` until ``until`` (this node's
    clock)."""

    epoch: int
    incarnation: int
    until: float


class LeaseView(Protocol):
    """What a group needs to know about nodes; :class:`Liveness` is one."""

    node: str
    incarnation: int
    quiet_until: float

    def supporting(self, peer: str, epoch: int, now: float) -> bool:
        """Does this node support (``peer``, ``epoch``)? Once False it stays so."""
        ...

    def support_epoch(self, peer: str, now: float) -> int:
        """The epoch in which this node supports ``peer``; 0: in none."""
        ...

    def granted(self, peer: str, now: float) -> Granted | None:
        """The support that ``peer`` gives this node, unless it is over."""
        ...


@dataclass(slots=True)
class _Given:
    """What this node, as supporter, gives one peer."""

    epoch: int = 0
    until: float = 0.0
    supporting: bool = False
    request_sent_at: float = 0.0
    unanswered: bool = False


class Liveness:
    """The node's side of all its leases, as supporter and as supported. Implements :class:`LeaseView`."""

    def __init__(self, node: str, incarnation: int, options: LeaseOptions, now: float, *, fresh: bool = False) -> None:
        """``fresh``: no replica on this node was ever part of a group (its disk is new), so there is nothing that an
        earlier life could have granted and that would have to be waited out."""
        if not 0 < incarnation < 1 << 38:
            raise Misuse(f"an incarnation is a positive number below 2**38, not {incarnation}")
        self.node = node
        self.incarnation = incarnation
        self.options = options
        self.quiet_until = now if fresh else now + options.lease_s * (1 + options.drift)
        self._now = now
        self._peers: tuple[str, ...] = ()
        self._given: dict[str, _Given] = {}
        self._granted: dict[str, Granted] = {}
        self._epochs: dict[str, int] = {}
        self._next_beat = now

    # --- as supporter -------------------------------------------------------------------------------------------------

    def supporting(self, peer: str, epoch: int, now: float) -> bool:
        """Does this node support (``peer``, ``epoch``)? Once False it stays so, for heartbeats that come too late
        change nothing and a heartbeat in time would have been processed already: ``now`` never decreases."""
        if peer == self.node:
            return True
        given = self._given.get(peer)
        return given is not None and given.epoch == epoch and self._advance(now) < given.until

    def support_epoch(self, peer: str, now: float) -> int:
        """The epoch in which this node supports ``peer``; 0: in none."""
        given = self._given.get(peer)
        return given.epoch if given is not None and self._advance(now) < given.until else 0

    # --- as supported -------------------------------------------------------------------------------------------------

    def granted(self, peer: str, now: float) -> Granted | None:
        """The support that ``peer`` gives this node, unless it is over."""
        granted = self._granted.get(peer)
        return granted if granted is not None and self._advance(now) < granted.until else None

    # --- events -------------------------------------------------------------------------------------------------------

    def set_peers(self, peers: Iterable[str]) -> None:
        """The nodes that share a group with this one. Support given to others runs out by itself, and is honoured."""
        wanted = tuple(sorted(set(peers) - {self.node}))
        if any(peer not in self._peers for peer in wanted):
            self._next_beat = min(self._next_beat, self._now)  # a new group should not wait for its first lease
        self._peers = wanted

    def tick(self, now: float) -> LivenessEffects:
        """Notice what has lapsed, and send heartbeats where they are due."""
        now = self._advance(now)
        out = LivenessEffects()
        self._notice_lapses(now, out)
        if now >= self._next_beat:
            self._beat(now, self.options.renewal_s, out)
        out.wake_at = self._wake_at()
        return out

    def step(self, peer: str, message: Heartbeat, now: float) -> LivenessEffects:
        """Take a heartbeat from the node ``peer``."""
        now = self._advance(now)
        out = LivenessEffects()
        self._notice_lapses(now, out)
        urgent = self._take_request(peer, message, now, out)
        urgent = self._take_answer(peer, message, now, out) or urgent
        renewal_s = self.options.renewal_s
        if peer in self._peers and self._next_beat - now <= PROMPT_SHARE * renewal_s:
            self._beat(now, (1 + PATIENCE_SHARE) * renewal_s, out)
        elif urgent:
            out.sends.append((peer, self._heartbeat(peer, now)))
        out.wake_at = self._wake_at()
        return out

    # --- the machinery ------------------------------------------------------------------------------------------------

    def _advance(self, now: float) -> float:
        """The latest time seen: a caller whose clock seems to run backwards must not revive lapsed support."""
        if now > self._now:
            self._now = now
        return self._now

    def _beat(self, now: float, pause_s: float, out: LivenessEffects) -> None:
        """Heartbeats to every peer, and the next ones after a pause."""
        self._next_beat = now + pause_s
        for peer in self._peers:
            out.sends.append((peer, self._heartbeat(peer, now)))

    def _heartbeat(self, peer: str, now: float) -> Heartbeat:
        epoch = self._epochs.setdefault(peer, self.incarnation * EPOCHS_PER_LIFE + 1)
        given = self._given.get(peer)
        if given is None or not given.unanswered:
            return Heartbeat(self.incarnation, epoch, now, 0, 0.0, 0.0)
        given.unanswered = False
        granted_s = self.options.lease_s if now < given.until else 0.0
        return Heartbeat(self.incarnation, epoch, now, given.epoch, given.request_sent_at, granted_s)

    def _take_request(self, peer: str, message: Heartbeat, now: float, out: LivenessEffects) -> bool:
        """Support the sender where that is allowed. True where the answer should not wait for the next heartbeat."""
        given = self._given.setdefault(peer, _Given())
        if message.epoch < max(given.epoch, 1):
            return False  # an old request, or one from an earlier life
        given.unanswered = True
        if message.epoch > given.epoch:
            given.epoch, given.until, given.supporting = message.epoch, now + self.options.lease_s, True
            given.request_sent_at = message.sent_at
            out.regained.append(peer)
            return True
        if now >= given.until:
            return True  # lapsed: never again in this epoch, and the sender had better know at once
        given.until = now + self.options.lease_s
        given.request_sent_at = max(given.request_sent_at, message.sent_at)
        return False

    def _take_answer(self, peer: str, message: Heartbeat, now: float, out: LivenessEffects) -> bool:
        """Count the support that the sender gives. True where this node moved to a new epoch and should ask again."""
        if message.granted_epoch == 0 or message.granted_epoch != self._epochs.get(peer):
            return False
        before = self._granted.get(peer)
        if before is not None and message.incarnation < before.incarnation:
            return False
        if message.granted_s <= 0:
            self._epochs[peer] = message.granted_epoch + 1
            return True
        seconds = min(message.granted_s, self.options.lease_s) * (1 - self.options.drift)
        until = message.echo_at + seconds
        if until <= now:
            return False
        after = Granted(message.granted_epoch, message.incarnation, until)
        if before is not None and (before.epoch, before.incarnation) == (after.epoch, after.incarnation):
            if after.until > before.until:
                self._granted[peer] = after
            return False
        self._granted[peer] = after
        out.changed.append(peer)
        return False

    def _notice_lapses(self, now: float, out: LivenessEffects) -> None:
        for peer, given in self._given.items():
            if given.supporting and now >= given.until:
                given.supporting = False
                out.lapsed.append(peer)
        for peer in [peer for peer, granted in self._granted.items() if now >= granted.until]:
            del self._granted[peer]
            out.changed.append(peer)

    def _wake_at(self) -> float:
        wake_at = self._next_beat
        for given in self._given.values():
            if given.supporting and given.until < wake_at:
                wake_at = given.until
        for granted in self._granted.values():
            if granted.until < wake_at:
                wake_at = granted.until
        return wake_at
