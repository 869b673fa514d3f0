"""Bugs in node leases that storms rarely meet, each shown by the few steps that it takes."""

from __future__ import annotations

import planted_bugs

from cluster.core.lease import LeaseOptions, Liveness

OPTIONS = LeaseOptions()


def revived() -> bool:
    """Whether a heartbeat that comes after the lapse brings the dead epoch back to life."""
    x, y = Liveness("x", 1, OPTIONS, 0.0), Liveness("y", 1, OPTIONS, 0.0)
    y.set_peers(["x"])
    request = y.tick(0.0).sends[0][1]
    x.step("y", request, 0.0)
    assert x.supporting("y", request.epoch, 1.0)
    assert not x.supporting("y", request.epoch, 2.0)
    x.step("y", request, 2.0)
    return x.supporting("y", request.epoch, 2.0)


def test_lapsed_support_stays_lapsed_and_the_planted_bug_revives_it() -> None:
    assert not revived()
    with planted_bugs.PLANTS["revive_lapsed_support"]():
        assert revived()
