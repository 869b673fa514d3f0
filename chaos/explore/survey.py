"""How soon each planted bug is found: what the table of ``docs/explore.md`` begins with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from chaos.explore.plants import ExploredPlant, catalogue
from chaos.explore.swarm import explore

SEEDS: Final = 2000
"""A plant that so many seeds do not find is not found."""


class Found(NamedTuple):
    """A planted bug, the first seed that finds it, and what that one breaks; None where no seed does."""

    plant: ExploredPlant
    seed: int | None
    prop: str | None

    def row(self) -> str:
        """The beginning of its row in the table: seeds are counted, so the first one is 1."""
        seeds = self.seed + 1 if self.seed is not None else "not found"
        return f"| {self.plant.name} | {seeds} | {self.prop or ''} |"


def survey(seeds: int, jobs: int) -> Iterator[Found]:
    """Explore with each planted bug in turn, from seed 0 to the first that finds it or to so many seeds."""
    for plant in catalogue():
        first: dict[int, str] = {}
        for outcome in explore(range(seeds), plant.name, jobs, lambda: bool(first)):  # noqa: B023
            if outcome.finding is not None:
                first[outcome.seed] = outcome.finding.prop
        # Seeds are begun in their order, and those that were under way are waited for: the least is the first.
        seed = min(first, default=None)
        yield Found(plant, seed, first[seed] if seed is not None else None)
