"""Replication under random storms; and proof that the storms find what they should: planted bugs, each caught."""

from __future__ import annotations

import planted_bugs
import pytest
import simulator
from simulator import Stuck, Violation, Weather

from cluster.core.failures import BrokenHistory, ProtocolBroken

SEEDS_PER_CASE = 4
BUGS = (Violation, ProtocolBroken, BrokenHistory)


@pytest.mark.parametrize("first", range(0, 40, SEEDS_PER_CASE))
def test_storms(first: int) -> None:
    """Every invariant at every step, and recovery once the weather is fine; the weather itself comes from the seed."""
    for seed in range(first, first + SEEDS_PER_CASE):
        world = simulator.run(seed)
        assert world.checker.acked > 0, f"seed {seed} proves nothing: no write was ever decided"


def test_a_seed_replays_to_the_bit() -> None:
    first, second = simulator.run(7), simulator.run(7)
    assert first.checker.chosen == second.checker.chosen
    assert first.count == second.count


HURRIED = Weather(
    nodes=3, loss=0.1, delay_s=0.02, fsync_s=0.02, partitions=0.7, stalls=0.3, nudges=4.0, moves=0.0, disk_losses=0.0,
    crashes=0.4, seconds=12.0, proposals=8.0,
)  # fmt: skip
MOVING = Weather(
    nodes=6, loss=0.15, delay_s=0.02, fsync_s=0.1, partitions=3.0, stalls=0.0, nudges=1.0, moves=6.0, disk_losses=0.0,
    crashes=0.3, seconds=12.0, proposals=20.0,
)  # fmt: skip
SLOW_DISKS = Weather(
    nodes=3, loss=0.0, delay_s=0.002, fsync_s=0.3, partitions=0.0, stalls=0.0, nudges=0.5, moves=0.2, disk_losses=0.0,
    crashes=1.0, seconds=12.0, proposals=20.0,
)  # fmt: skip
ROUGH = Weather(
    nodes=5, loss=0.1, delay_s=0.02, fsync_s=0.02, partitions=1.0, stalls=0.3, nudges=4.0, moves=0.3, disk_losses=0.0,
    crashes=0.6, seconds=12.0, proposals=20.0,
)  # fmt: skip
CASES = {
    "forget_promises": HURRIED,
    "ignore_leases": HURRIED,
    "speak_before_durable": HURRIED,
    "minority_elects": HURRIED,
    "commit_before_durable": SLOW_DISKS,
    "change_without_joint": MOVING,
    "longest_log_wins": ROUGH,
}
STORMS = 120
"""In which a bug must show. The rarest, a change of membership in one step, does in one storm of twenty."""


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_storms_find_a_planted_bug(name: str) -> None:
    """The same weather without the bug is survived (test below); with it, some seed of a few must show it."""
    with planted_bugs.PLANTS[name]():
        for seed in range(STORMS):
            try:
                simulator.run(seed, CASES[name])
            except Stuck:
                continue
            except BUGS:
                return
    pytest.fail(f"{STORMS} storms did not find {name}")


@pytest.mark.parametrize("weather", [HURRIED, MOVING, SLOW_DISKS], ids=["hurried", "moving", "slow disks"])
def test_the_weather_of_the_planted_bugs_is_survived_without_them(weather: Weather) -> None:
    for seed in range(4):
        simulator.run(seed, weather)
