"""Support between nodes: what the supporter gives always outlasts what the supported counts on."""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import pairwise

import pytest

from cluster.core.failures import Misuse
from cluster.core.lease import LeaseOptions, Liveness
from cluster.core.messages import Heartbeat

OPTIONS = LeaseOptions(lease_s=1.5, renewal_s=0.3, drift=0.01)


def pair(incarnation: int = 1) -> tuple[Liveness, Liveness]:
    x, y = Liveness("x", incarnation, OPTIONS, 0.0), Liveness("y", incarnation, OPTIONS, 0.0)
    x.set_peers(["x", "y"])
    y.set_peers(["x", "y"])
    return x, y


def exchange(x: Liveness, y: Liveness, now: float) -> int:
    """Both send what is due, and answer until nobody has anything more to say; how many messages that were."""
    count = 0
    wire = [("x", peer, m) for peer, m in x.tick(now).sends] + [("y", peer, m) for peer, m in y.tick(now).sends]
    for _ in range(8):
        count += len(wire)
        answers = []
        for sender, to, message in wire:
            receiver = x if to == "x" else y
            answers += [(to, peer, m) for peer, m in receiver.step(sender, message, now).sends]
        wire = answers
    assert not wire, "they never stop talking"
    return count


def test_support_begins_with_the_first_exchange() -> None:
    x, y = pair()
    exchange(x, y, 0.0)
    granted = y.granted("x", 0.0)
    assert granted is not None
    assert granted.incarnation == 1
    assert x.supporting("y", granted.epoch, 0.0)


def test_the_supported_stops_counting_before_the_supporter_stops_supporting() -> None:
    x, y = pair()
    request = y.tick(0.0).sends[0][1]
    answer = x.step("y", request, 0.4).sends[0][1]  # the request took 0.4 s
    y.step("x", answer, 0.5)
    granted = y.granted("x", 0.5)
    assert granted is not None
    assert granted.until == pytest.approx(1.5 * 0.99)  # counted from the sending
    assert x.supporting("y", granted.epoch, 1.89)
    assert not x.supporting("y", granted.epoch, 1.9)


def test_lapsed_support_is_never_given_again_in_that_epoch() -> None:
    x, y = pair()
    exchange(x, y, 0.0)
    before = y.granted("x", 0.0)
    assert before is not None
    lapse = x.tick(1.6)
    assert lapse.lapsed == ["y"]
    exchange(x, y, 1.7)
    after = y.granted("x", 1.7)
    assert after is not None
    assert after.epoch > before.epoch
    assert not x.supporting("y", before.epoch, 1.7)
    assert x.supporting("y", after.epoch, 1.7)


def test_a_late_heartbeat_of_a_dead_epoch_changes_nothing() -> None:
    x, y = pair()
    late = y.tick(0.0).sends[0][1]
    exchange(x, y, 0.3)
    x.tick(2.0)
    x.step("y", late, 2.0)
    assert x.support_epoch("y", 2.0) == 0


def test_a_clock_that_runs_backwards_revives_nothing() -> None:
    x, y = pair()
    exchange(x, y, 0.0)
    epoch = x.support_epoch("y", 0.0)
    assert not x.supporting("y", epoch, 5.0)
    assert not x.supporting("y", epoch, 0.1)


def test_a_restarted_supporter_shows_its_new_incarnation_and_is_quiet() -> None:
    x, y = pair()
    exchange(x, y, 0.0)
    x = Liveness("x", 2, OPTIONS, 0.1)
    x.set_peers(["y"])
    assert x.quiet_until == pytest.approx(0.1 + 1.5 * 1.01)
    exchange(x, y, 0.4)
    granted = y.granted("x", 0.4)
    assert granted is not None
    assert granted.incarnation == 2


def test_a_new_disk_owes_nothing() -> None:
    assert Liveness("x", 7, OPTIONS, 3.0, fresh=True).quiet_until == 3.0


def test_one_message_each_way_an_interval_and_support_holds() -> None:
    x, y = pair()
    sent = 0
    for step in range(1, 101):
        now = step * 0.3
        sent += exchange(x, y, now)
        if step > 2:
            assert x.granted("y", now)
            assert y.granted("x", now)
    assert sent <= 200


class Wire:
    """Nodes whose clocks run apart, and heartbeats that take a moment; ``beats`` is who sent to everybody when, and
    if of its own accord."""

    def __init__(self, phases: dict[str, float], rates: dict[str, float], delay_s: float = 0.002) -> None:
        self.nodes = {name: Liveness(name, 1, OPTIONS, 0.0) for name in phases}
        self.rates = rates
        self.delay_s = delay_s
        self.beats: list[tuple[float, str, bool]] = []
        self.messages = 0
        self._queue: list[tuple[float, int, str, str, Heartbeat | None]] = []
        self._count = 0
        for name, phase in phases.items():
            self.nodes[name].set_peers(phases)
            self._put(phase, name, "", None)

    def _put(self, at: float, to: str, sender: str, message: Heartbeat | None) -> None:
        self._count += 1
        heappush(self._queue, (at, self._count, to, sender, message))

    def run(self, until: float) -> None:
        """Carry everything out that is due before ``until``."""
        while self._queue[0][0] < until:
            at, _, to, sender, message = heappop(self._queue)
            node = self.nodes.get(to)
            if node is None:
                continue
            now = at * self.rates[to]
            out = node.tick(now) if message is None else node.step(sender, message, now)
            if len(out.sends) == len(node._peers):
                self.beats.append((at, to, message is None))
            for peer, heartbeat in out.sends:
                self.messages += 1
                self._put(at + self.delay_s, peer, to, heartbeat)
            if out.wake_at is not None:  # a wake-up too many is a tick without consequences
                self._put(max(at + 1e-6, out.wake_at / self.rates[to]), to, "", None)


PHASES = {"a": 0.0, "b": 0.11, "c": 0.17, "d": 0.26}
RATES = {"a": 1.0, "b": 1.004, "c": 0.997, "d": 0.999}


def test_nodes_come_to_beat_together() -> None:
    wire = Wire(PHASES, RATES)
    wire.run(2.9)
    wire.beats.clear()
    wire.messages = 0
    wire.run(5.9)
    rounds = round(3.0 / OPTIONS.renewal_s)
    assert wire.messages <= (rounds + 1) * 4 * 3, "more than one message each way an interval"
    alone = [at for at, _, by_itself in wire.beats if by_itself]
    assert len(alone) <= rounds + 1, "one node begins each interval, and the others go with it"
    assert all(min(abs(at - first) for first in alone) <= 2 * wire.delay_s for at, _, _ in wire.beats)


def test_when_the_node_that_begins_is_gone_another_begins() -> None:
    wire = Wire(PHASES, RATES)
    wire.run(6.0)
    (first,) = {name for at, name, by_itself in wire.beats if by_itself and at > 3.0}
    del wire.nodes[first]
    wire.beats.clear()
    wire.run(8.0)
    times = [6.0 - OPTIONS.renewal_s, *(at for at, _, _ in wire.beats)]
    assert max(later - earlier for earlier, later in pairwise(times)) < 2 * OPTIONS.renewal_s
    for name, node in wire.nodes.items():
        for peer in wire.nodes:
            assert peer == name or node.granted(peer, 8.0 * RATES[name]) is not None
        assert node.granted(first, 8.0 * RATES[name]) is None


def test_heartbeats_are_never_closer_than_half_an_interval_to_the_last() -> None:
    x, y = pair()
    exchange(x, y, 0.0)
    sent = 0
    for step in range(1, 1000):
        message = y._heartbeat("x", step * 0.01)
        sent += len(x.step("y", message, step * 0.01).sends)
    assert sent <= 10.0 / (OPTIONS.renewal_s / 2) + 1


@pytest.mark.parametrize("bad", [{"drift": -0.1}, {"drift": 0.6}, {"renewal_s": 1.0}, {"renewal_s": 0.0}])
def test_options_that_cannot_work_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(Misuse):
        LeaseOptions(**bad)
