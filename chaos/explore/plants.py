"""The planted bugs that exploring must find: those of game days, and those of the protocol that only it can show.

The latter are in ``tests/plants/explored.json``, modules beside it, in no wheel.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Final, NamedTuple

from chaos import plants
from chaos.errors import InputError, PlatformError
from chaos.explore import features
from chaos.explore.drawing import generate
from chaos.explore.play import PROPERTIES
from chaos.explore.scenario import Scenario
from chaos.explore.stage import Planted, load_plant
from cluster.sim.invariants import PROPERTIES as INVARIANTS

CATALOGUE: Final = "explored.json"
LOOKED_AT: Final = frozenset({*PROPERTIES, *INVARIANTS, "replicas_agree"})
"""What exploring can find broken. Plants that another check catches (of canaries, of rot that is served) are for game
days."""

NEEDS: Final = {check: (feature,) for feature, check in features.CHECKS.items()}
"""By the check that catches a plant of game days: the features without which a scenario cannot show it."""


class ExploredPlant(NamedTuple):
    """A planted bug: what it breaks, which property or check shows it, and the features that scenarios need for it."""

    name: str
    breaks: str
    caught_by: str
    needs: tuple[str, ...] = ()


def catalogue(directory: Path = plants.DIRECTORY) -> list[ExploredPlant]:
    """All of them by name; empty where this is an installation without tests. Raises :class:`PlatformError`."""
    path = directory / CATALOGUE
    if not path.is_file():
        return []
    try:
        entries = json.loads(path.read_text())["plants"]
        found = [
            ExploredPlant(entry["name"], entry["breaks"], entry["caught_by"], tuple(entry.get("needs", ())))
            for entry in entries
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise PlatformError(f"the catalogue of plants {path} cannot be read: {error!r}") from error
    known = [plant for plant in plants.catalogue(directory) if plant.caught_by in LOOKED_AT]
    found += [ExploredPlant(p.name, p.breaks, p.caught_by, NEEDS.get(p.caught_by, ())) for p in known]
    return sorted(found)


def scenario_of(seed: int, plant: str | None, wanted: Collection[str] = ()) -> Scenario:
    """The scenario of a seed, with the features that are wanted in it and those that a planted bug needs to be seen."""
    needs = next((known.needs for known in catalogue() if known.name == plant), ()) if plant is not None else ()
    return generate(seed, plant, {*wanted, *needs})


def planted(name: str, directory: Path = plants.DIRECTORY) -> Planted:
    """Load the plant of that name. Raises :class:`InputError` that names those there are."""
    names = [plant.name for plant in catalogue(directory)]
    if not names:
        raise InputError(
            "this installation has no planted bugs", hint="They are in tests/plants of a clone, and in no wheel."
        )
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"Did you mean '{near[0]}'?" if near else f"There are {', '.join(names)}."
        raise InputError(f"there is no planted bug '{name}'", hint=hint)
    return load_plant(name, directory)
