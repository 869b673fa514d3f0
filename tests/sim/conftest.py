"""Every simulation that a test makes is closed when the test is over, whoever made it and however the test ended.

One keeps some megabytes: disks, databases, tasks that wait for ever. A worker that plays a hundred would keep them all.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from cluster.sim import simulation


@pytest.fixture(autouse=True)
def closed_simulations(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[weakref.ref[simulation.Simulation]]]:
    """The simulations that the test has made so far; weakly, so that a test may see whether one is let go of."""
    made: list[weakref.ref[simulation.Simulation]] = []
    begin = simulation.Simulation.__init__

    def noted(self: simulation.Simulation, *args: Any, **named: Any) -> None:
        begin(self, *args, **named)
        made.append(weakref.ref(self))

    monkeypatch.setattr(simulation.Simulation, "__init__", noted)
    yield made
    _close(made)
    gc.collect()


def _close(made: list[weakref.ref[simulation.Simulation]]) -> None:
    for each in made:
        if (left := each()) is not None:
            left.close()  # once more does no harm where the test has done it
