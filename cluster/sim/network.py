"""The simulated network: datagrams between named nodes, late, lost, doubled and out of order as one seed decides.

Each direction of each pair has its own state. Messages of one direction arrive in the order they were sent, as over one
TCP connection, unless the profile reorders; a cut swallows what is sent and what is under way, without a word to either
side.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from typing import Final, NamedTuple

import google_crc32c

from cluster.sim.loop import Life, NodeEnded, SimLoop

_stamp = struct.Struct(">d").pack
_extend = google_crc32c.extend
_DUPLICATE_DELAY_S: Final = 0.01


class LinkProfile(NamedTuple):
    """How one direction between two nodes behaves. Times in seconds, the rest probabilities of one message."""

    delay_s: float = 0.0003
    jitter_s: float = 0.0005
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    reorder_s: float = 0.02
    """A message that is reordered comes up to this much later, overtaken by others."""


@dataclass(slots=True)
class NetworkCounters:
    """Totals since the beginning."""

    sent: int = 0
    delivered: int = 0
    lost: int = 0
    cut: int = 0
    duplicated: int = 0
    unreachable: int = 0
    """Messages for a node that was not running."""


class Endpoint:
    """A name that messages can be sent to, while its life lasts."""

    __slots__ = ("deliver", "life", "name")

    def __init__(self, name: str, life: Life | None, deliver: Callable[[str, bytes], None]) -> None:
        self.name = name
        self.life = life
        self.deliver = deliver


class _Link:
    __slots__ = ("cuts", "last_arrival", "name", "profile", "source", "target")

    def __init__(self, source: str, target: str) -> None:
        self.source = source
        self.target = target
        self.name = f"{source}>{target}>".encode()
        self.profile: LinkProfile | None = None
        self.cuts = 0
        self.last_arrival = 0.0


class SimNetwork:
    """All links. ``default`` is the profile of every link that has none of its own."""

    def __init__(self, loop: SimLoop, rng: Random) -> None:
        self._loop = loop
        self._rng = rng
        self._endpoints: dict[str, Endpoint] = {}
        self._links: dict[tuple[str, str], _Link] = {}
        self.default = LinkProfile()
        self.counters = NetworkCounters()
        self.fingerprint = 0
        """A checksum over every message delivered: when, from whom, to whom, what."""
        self.watch: Callable[[float, str, str, bytes], None] | None = None
        """Called for every message delivered: true time, sender, receiver, payload."""
        self._arrival = self._arrive

    def attach(self, endpoint: Endpoint) -> None:
        """Messages to this name go here from now on."""
        self._endpoints[endpoint.name] = endpoint

    def detach(self, name: str) -> None:
        self._endpoints.pop(name, None)

    def is_attached(self, name: str) -> bool:
        """Whether a running node answers to this name."""
        return name in self._endpoints

    def _link(self, source: str, target: str) -> _Link:
        link = self._links.get((source, target))
        if link is None:
            link = self._links[(source, target)] = _Link(source, target)
        return link

    def shape(self, source: str, target: str, profile: LinkProfile | None) -> None:
        """Give one direction a profile of its own; None gives it back the default."""
        self._link(source, target).profile = profile

    def cut(self, sources: Iterable[str], targets: Iterable[str], *, one_way: bool = False) -> Callable[[], None]:
        """Cut every source from every target; returns what heals exactly this cut. Cuts may overlap."""
        left, right = list(sources), list(targets)
        pairs = [(a, b) for a in left for b in right if a != b]
        if not one_way:
            pairs += [(b, a) for a in left for b in right if a != b]
        links = [self._link(a, b) for a, b in dict.fromkeys(pairs)]
        for link in links:
            link.cuts += 1

        def heal() -> None:
            for link in links:
                link.cuts = max(0, link.cuts - 1)
            links.clear()

        return heal

    def heal_all(self) -> None:
        """Take back every cut and every profile of single links."""
        for link in self._links.values():
            link.cuts = 0
            link.profile = None

    def is_cut(self, source: str, target: str) -> bool:
        link = self._links.get((source, target))
        return link is not None and link.cuts > 0

    def delay(self, source: str, target: str) -> float | None:
        """Seconds until something sent now arrives, in order; None where the link is cut. For byte streams."""
        link = self._link(source, target)
        if link.cuts:
            return None
        profile, now = link.profile or self.default, self._loop.now_s
        arrival = max(now + profile.delay_s + self._rng.random() * profile.jitter_s, link.last_arrival)
        link.last_arrival = arrival
        return arrival - now

    def send(self, source: str, target: str, payload: bytes) -> None:
        """Send one message. To oneself nothing is ever lost or late."""
        counters, loop, rng = self.counters, self._loop, self._rng
        counters.sent += 1
        link = self._links.get((source, target)) or self._link(source, target)
        if source == target:
            loop.call_soon(self._arrive, link, payload, context=loop.harness)
            return
        if link.cuts:
            counters.cut += 1
            return
        delay_s, jitter_s, loss, duplicate, reorder, reorder_s = link.profile or self.default
        if loss and rng.random() < loss:
            counters.lost += 1
            return
        arrival = loop.now_s + delay_s + rng.random() * jitter_s
        if reorder and rng.random() < reorder:
            arrival += rng.random() * reorder_s
        else:
            if arrival < link.last_arrival:
                arrival = link.last_arrival
            link.last_arrival = arrival
        loop.post(arrival, (self._arrival, link, payload), loop.harness)
        if duplicate and rng.random() < duplicate:
            counters.duplicated += 1
            again = arrival + rng.random() * _DUPLICATE_DELAY_S
            loop.post(again, (self._arrive, link, payload), loop.harness)

    def _arrive(self, link: _Link, payload: bytes) -> None:
        endpoint = self._endpoints.get(link.target)
        if link.cuts:
            self.counters.cut += 1
        elif endpoint is None:
            self.counters.unreachable += 1
        else:
            self.counters.delivered += 1
            loop = self._loop
            self.fingerprint = _extend(self.fingerprint, _stamp(loop.now_s) + link.name + payload)
            if self.watch is not None:
                self.watch(loop.now_s, link.source, link.target, payload)
            life = endpoint.life
            if life is None:
                endpoint.deliver(link.source, payload)
            elif life.halted:
                loop.hold_back(life, endpoint.deliver, link.source, payload)
            else:  # in the node's own context: what it starts is the node's, what escapes its bug
                try:
                    life.context.run(endpoint.deliver, link.source, payload)
                except NodeEnded:
                    return
                except Exception as error:
                    loop.on_error(life, error)
