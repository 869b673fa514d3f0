"""A failing scenario made small: fewer actions, shorter, on a smaller cluster, in calm weather.

Delta debugging (Zeller and Hildebrandt, 2002) over the actions, then one simplification after the other, each kept only
if the scenario still breaks the same property. Since a scenario decides everything, each try is one run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import msgspec

from chaos.explore.play import Finding, play
from chaos.explore.scenario import Action, Scenario
from chaos.explore.stage import Planted

TRIES_MAX: Final = 400

CALM: Final[tuple[dict[str, Any], ...]] = (
    {"dark": ""}, {"small_limits": False}, {"loss": 0.0}, {"duplicate": 0.0}, {"reorder": 0.0}, {"stall": 0.0},
    {"partitions": 1}, {"clients": 1}, {"admins": 1}, {"storage": 3}, {"keys": 2}, {"keys": 1},
    {"delay_s": 0.0003, "jitter_s": 0.0005}, {"sync_s": [0.0005, 0.002]}, {"lease_s": 1.5, "renewal_s": 0.3},
    {"ops": {"put": 1.0, "get": 1.0}}, {"ops": {"put": 1.0}}, {"rate": 5.0}, {"rate": 2.0},
)  # fmt: skip
"""Simplifications, from what matters least."""


class Shrunk(NamedTuple):
    """What is left of a scenario, what it still breaks, and what it took."""

    scenario: Scenario
    finding: Finding
    before: int
    """Actions that there were."""
    tries: int


class _Search:
    def __init__(self, planted: Planted | None, told: Callable[[str], None], tries_max: int) -> None:
        self._planted = planted
        self.tries_max = tries_max
        self._told = told
        self.tries = 0
        self.best: Scenario
        self.finding: Finding

    def first(self, scenario: Scenario) -> bool:
        """Whether it fails at all; what it breaks is what must stay broken."""
        finding = self._play(scenario)
        if finding is None:
            return False
        self.best, self.finding = scenario, finding
        return True

    def keep(self, scenario: Scenario) -> bool:
        """Try something simpler, and go on from it if it breaks the same property."""
        if scenario == self.best or self.tries >= self.tries_max:
            return False
        finding = self._play(scenario)
        if finding is None or finding.prop != self.finding.prop:
            return False
        self.best, self.finding = scenario, finding
        return True

    def _play(self, scenario: Scenario) -> Finding | None:
        self.tries += 1
        if self.tries > 1:
            self._told(f"try {self.tries}, {len(self.best.method)} actions, {self.finding.prop}")
        return play(scenario, self._planted).finding


def shrink(
    scenario: Scenario, planted: Planted | None, told: Callable[[str], None], tries_max: int = TRIES_MAX
) -> Shrunk | None:
    """Reduce a scenario in at most ``tries_max`` runs; None if it does not fail. ``told`` hears how far it is."""
    search = _Search(planted, told, tries_max)
    before = len(scenario.method)
    if not search.first(scenario):
        return None
    changed = True
    while changed and search.tries < tries_max:
        changed = _fewer_actions(search)
        for plainer in _plainer(search):
            changed = search.keep(plainer) or changed
        for calmer in _calmer(search):
            changed = search.keep(calmer) or changed
        for simpler in _shorter(search):
            changed = search.keep(simpler) or changed
    end = search.finding.at_s  # of the whole run, so the deployment is in it: time to spare
    search.keep(msgspec.structs.replace(search.best, safety_s=round(min(search.best.safety_s, end), 2)))
    title = f"Seed {scenario.seed}, reduced: {search.finding.prop}"
    best = msgspec.structs.replace(search.best, title=title, fails=search.finding.prop)
    return Shrunk(best, search.finding, before, search.tries)


def _fewer_actions(search: _Search) -> bool:
    """Leave out halves, quarters and single actions for as long as that works."""
    size, changed = max(1, len(search.best.method) // 2), False
    while size >= 1:
        at = 0
        while at < len(search.best.method):
            method = search.best.method
            if search.keep(msgspec.structs.replace(search.best, method=method[:at] + method[at + size :])):
                changed = True
            else:
                at += size
        size //= 2
    return changed


def _plainer(search: _Search) -> Iterator[Scenario]:
    """Without the features that are not needed, or with nothing but them."""
    if search.best.pairs:
        yield msgspec.structs.replace(search.best, pairs=0.0)
    if search.best.transactions and not search.best.pairs:  # which only routers can send
        yield msgspec.structs.replace(search.best, transactions="", ops={"put": 1.0, "get": 1.0})
    if search.best.indexed:
        yield msgspec.structs.replace(search.best, indexed=False)
    if search.best.archive:
        yield msgspec.structs.replace(search.best, archive=False)
    for ops in ({"twrite": 1.0, "tread": 1.0}, {"twrite": 1.0}):
        if search.best.transactions and not search.best.pairs and ops.keys() < search.best.ops.keys():
            yield msgspec.structs.replace(search.best, ops=ops)


def _calmer(search: _Search) -> Iterator[Scenario]:
    """Each simplification, proposed from the best so far, but none that a simpler one has overtaken: going back to two
    keys from one would be kept as a change every time round, and the search would only end with its tries."""
    for at, calm in enumerate(CALM):
        simpler = [later for later in CALM[at + 1 :] if later.keys() == calm.keys()]
        if not any(msgspec.structs.replace(search.best, **later) == search.best for later in simpler):
            yield msgspec.structs.replace(search.best, **calm)


def _shorter(search: _Search) -> Iterator[Scenario]:
    """Each action for half as long, at fewer nodes, or at a rounder time; each proposed from the best so far."""
    for at in range(len(search.best.method)):
        for change in (_half, _fewer_targets, _rounder):
            if at < len(search.best.method):
                method = list(search.best.method)
                method[at] = change(method[at])
                yield msgspec.structs.replace(search.best, method=method)


def _half(action: Action) -> Action:
    return msgspec.structs.replace(action, for_=round(action.for_ / 2, 2)) if action.for_ > 0.1 else action


def _fewer_targets(action: Action) -> Action:
    return msgspec.structs.replace(action, targets=action.targets[:-1]) if len(action.targets) > 1 else action


def _rounder(action: Action) -> Action:
    return msgspec.structs.replace(action, at=round(action.at, 1), for_=round(action.for_, 1) or action.for_)
