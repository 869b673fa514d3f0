"""Work that a node does now and then, all of it at the same moments.

A node that is asked nothing costs what its wake-ups cost. So whatever is done every so many seconds, and need not be
done at one moment rather than another, is done at whole multiples of its interval on the boot clock: what has the same
interval then takes one wake-up together, and what has a multiple of it none of its own.
"""

from __future__ import annotations

from cluster.node.world import World


def next_turn(now: float, interval_s: float) -> float:
    """The multiple of the interval nearest to one interval from ``now``: where a turn began a little late or, by a
    rounding, early, the next one is still an interval after it."""
    return (round(now / interval_s) + 1) * interval_s


async def until_next_turn(world: World, interval_s: float) -> None:
    """Sleep until the next turn: between half an interval and one and a half, and one after a turn."""
    now = world.now()
    await world.sleep(next_turn(now, interval_s) - now)
