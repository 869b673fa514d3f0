"""The catalogue of planted bugs: ``tests/plants/plants.json``, and a module for each beside it.

Plants prove that a game day is able to fail. They live outside the packages and never get into a wheel: what is not
there cannot be switched on. A plant's module has ``install(node)``, which the node calls once before it starts.
"""

from __future__ import annotations

import difflib
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from chaos.errors import InputError, PlatformError

DIRECTORY = Path(__file__).resolve().parents[1] / "tests" / "plants"
CATALOGUE = "plants.json"
FIELDS = ("name", "breaks", "caught_by", "playbook", "seed")


class Plant(NamedTuple):
    """A planted bug: what it breaks, which check catches it, and in which playbook with which seed."""

    name: str
    breaks: str
    caught_by: str
    playbook: str
    seed: int
    path: Path
    """The directory that nodes find the plant's module in."""

    def to_json(self) -> dict[str, Any]:
        """As ``blackstart plants --json`` prints it."""
        return {field: getattr(self, field) for field in FIELDS}


def catalogue(directory: Path = DIRECTORY) -> list[Plant]:
    """All plants by name; empty where this is an installation without tests. Raises :class:`PlatformError`."""
    path = directory / CATALOGUE
    if not path.is_file():
        return []
    try:
        entries = json.loads(path.read_text())["plants"]
        plants = [Plant(**{field: entry[field] for field in FIELDS}, path=directory) for entry in entries]
    except (ValueError, KeyError, TypeError) as error:
        raise PlatformError(f"the catalogue of plants {path} cannot be read: {error!r}") from error
    return sorted(plants, key=lambda plant: plant.name)


def find_plant(name: str, directory: Path = DIRECTORY) -> Plant:
    """The plant of that name. Raises :class:`InputError` that names those there are."""
    plants = {plant.name: plant for plant in catalogue(directory)}
    if not plants:
        raise InputError(
            "this installation has no planted bugs", hint="They are in tests/plants of a clone, and in no wheel."
        )
    if name not in plants:
        near = difflib.get_close_matches(name, plants, n=1)
        hint = f"Did you mean '{near[0]}'?" if near else f"There are {', '.join(plants)}."
        raise InputError(f"there is no planted bug '{name}'", hint=hint)
    return plants[name]


def file_of(name: str) -> str:
    """The file of a planted bug's module."""
    return name.replace("-", "_") + ".py"


def module_of(name: str, directory: Path) -> ModuleType:
    """Load a planted bug into this process, for what it does to the controller. Raises :class:`InputError`."""
    path = directory / file_of(name)
    spec = importlib.util.spec_from_file_location(f"plant_{path.stem}", path)
    if spec is None or spec.loader is None or not path.exists():
        raise InputError(f"the planted bug '{name}' has no module {path}")
    if str(directory) not in sys.path:
        sys.path.insert(0, str(directory))  # as a node does: plants may share code
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
