"""Support between nodes: what the supporter gives always outlasts what the supported counts on."""

from __future__ import annotations

import pytest

from cluster.core.failures import Misuse
from cluster.core.lease import LeaseOptions, Liveness

OPTIONS = LeaseOptions(lease_s=1.5, renewal_s=0.3, drift=0.01)


def pair(incarnation: int = 1) -> tuple[Liveness, Liveness]:
    x, y = Liveness("x", incarnation, OPTIONS, 0.0), Liveness("y", incarnation, OPTIONS, 0.0)
    x.set_peers(["x", "y"])
    y.set_peers(["x", "y"])
    return x, y


def exchange(x: Liveness, y: Liveness, now: float) -> None:
    """Both send what is due, and answer until nobody has anything more to say."""
    wire = [("x", peer, m) for peer, m in x.tick(now).sends] + [("y", peer, m) for peer, m in y.tick(now).sends]
    for _ in range(8):
        answers = []
        for sender, to, message in wire:
            receiver = x if to == "x" else y
            answers += [(to, peer, m) for peer, m in receiver.step(sender, message, now).sends]
        wire = answers
    assert not wire, "they never stop talking"


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
        for one, other, name in ((x, y, "x"), (y, x, "y")):
            for _, message in one.tick(now).sends:
                sent += 1
                other.step(name, message, now)
        if step > 2:
            assert x.granted("y", now)
            assert y.granted("x", now)
    assert sent <= 200


@pytest.mark.parametrize("bad", [{"drift": -0.1}, {"drift": 0.6}, {"renewal_s": 1.0}, {"renewal_s": 0.0}])
def test_options_that_cannot_work_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(Misuse):
        LeaseOptions(**bad)
