"""What only some seeds have, beside puts and gets of one table: transactions, secondary indexes, an archive, and
transactions on the items of the plain load (*pairs*).

A feature widens a scenario that was drawn without it, by a stream of randomness of its own: a seed that has none is
played as if there were none, and a feature that is forced on (a planted bug may need it) is the one that the seed would
have drawn. It brings its load, and the faults that mean something to nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from random import Random
from typing import Any, Final

import msgspec

from chaos.explore.scenario import ARCHIVE, LEADER, Action, Scenario

WIDE: Final = 0.4
"""The share of seeds that may have features; each of these has one in two of them."""

ACTIONS_MAX: Final = 4
"""Actions that one feature adds to the schedule."""


def widen(scenario: Scenario, wanted: Collection[str] = ()) -> Scenario:
    """The scenario with the features that its seed draws, and those that are wanted in any case."""
    rng = Random(f"{scenario.seed}/explore/features")
    wide = rng.random() < WIDE
    chosen = {*wanted, *[name for name in FEATURES if rng.random() < 0.5 and wide]}
    chosen |= {RESTS_ON[name] for name in chosen & RESTS_ON.keys()}
    for name, feature in FEATURES.items():
        if name in chosen:
            scenario = feature(scenario, Random(f"{scenario.seed}/explore/{name}"))
    return scenario


RESTS_ON: Final = {"pairs": "transactions"}
"""A feature that another one brings along."""

CHECKS: Final = {"transactions": "transactions", "indexes": "indexes", "archive": "archive_agrees"}
"""The check of its own that judges a feature. Pairs are judged by those of the plain load."""


def of(scenario: Scenario) -> list[str]:
    """The features that a scenario has."""
    there = {
        "transactions": scenario.transactions, "indexes": scenario.indexed, "archive": scenario.archive,
        "pairs": scenario.pairs,
    }  # fmt: skip
    return [name for name in FEATURES if there[name]]


def _transactions(scenario: Scenario, rng: Random) -> Scenario:
    """Transactions over two or more partitions, and coordinators that die, pause or are cut off in the middle."""
    load = {"twrite": round(rng.uniform(0.2, 0.8), 3), "tread": round(rng.uniform(0.1, 0.6), 3)}
    widened = msgspec.structs.replace(
        scenario,
        transactions=rng.choice(["bank", "list-append", "list-append"]),
        partitions=max(2, scenario.partitions),
        ops=scenario.ops | load,
    )
    routers = [name for name, _, _, _ in widened.client_nodes()]
    return _with_actions(widened, rng, lambda: _on_router(rng, routers))


def _on_router(rng: Random, routers: list[str]) -> Action:
    targets = list(routers) if rng.random() < 0.15 else [rng.choice(routers)]
    kind = rng.randrange(8)
    if kind < 4:
        return Action("midway-off", 0, _seconds(rng, 0.5, 6), targets, {"messages": rng.randint(1, 20)})
    if kind < 6:
        return Action("power-off", 0, _seconds(rng, 0.05, 5), targets, {"unsynced": "lose"})
    if kind == 6:
        return Action("pause", 0, _seconds(rng, 0.5, 8), targets)
    others: dict[str, Any] = {"from": "storage"} if rng.random() < 0.7 else {}
    direction = rng.choice(["both", "outbound", "inbound"])
    return Action("partition", 0, _seconds(rng, 0.3, 6), targets, {"direction": direction} | others)


def _indexes(scenario: Scenario, rng: Random) -> Scenario:
    """Local and global indexes from the beginning, and some that are added or dropped under load."""
    # Each global index has as many partitions as its table: more than two would make a seed slow.
    widened = msgspec.structs.replace(scenario, indexed=True, partitions=min(2, scenario.partitions))
    return _with_actions(widened, rng, lambda: _on_indexes(rng))


def _on_indexes(rng: Random) -> Action:
    kind = rng.randrange(6)
    if kind < 2:
        return Action("add-index", 0)
    if kind == 2:
        return Action("drop-index", 0, 0.0, [], {"index": rng.choice(["by-group", "by-value", "later", "later"])})
    # Whoever has changes on their way loses the lead, or its power.
    if kind < 5:
        return Action("transfer", 0, 0.0, [LEADER], {"of": rng.randrange(12)})
    return Action("power-off", 0, _seconds(rng, 0.05, 3), [LEADER], {"unsynced": "lose", "of": rng.randrange(12)})


def _archive(scenario: Scenario, rng: Random) -> Scenario:
    """An archive that is cut off, slow or dark for a while."""
    names = [name for name, role, _, _ in scenario.nodes() if role == "storage"]
    return _with_actions(msgspec.structs.replace(scenario, archive=True), rng, lambda: _on_archive(rng, names))


def _on_archive(rng: Random, storage: list[str]) -> Action:
    kind, length = rng.randrange(4), _seconds(rng, 0.5, 8)
    if kind == 0:
        return Action("power-off", 0, length, [ARCHIVE], {"unsynced": "lose"})
    if kind == 1:
        slow = {"delay_s": _seconds(rng, 0.05, 1.5), "jitter_s": _seconds(rng, 0.01, 1), "loss": 0.0}
        return Action("links", 0, length, [ARCHIVE], slow)
    # Objects go there on streams that keep their order; what is cut is heard of by nobody.
    options: dict[str, Any] = {"direction": rng.choice(["both", "outbound", "inbound"])}
    if kind == 2:
        options["from"] = sorted(rng.sample(storage, rng.randint(1, len(storage) - 1)))
    return Action("partition", 0, length, [ARCHIVE], options)


def _pairs(scenario: Scenario, rng: Random) -> Scenario:
    """Transactions on the very items that are written and read without them, with all that befalls transactions."""
    return msgspec.structs.replace(scenario, pairs=round(rng.uniform(0.1, 0.6), 3), keys=max(2, scenario.keys))


def _with_actions(scenario: Scenario, rng: Random, draw: Callable[[], Action]) -> Scenario:
    """The schedule with some more actions, in the order of time."""
    more = [
        msgspec.structs.replace(draw(), at=round(rng.uniform(0.3, scenario.safety_s), 3))
        for _ in range(rng.randint(1, ACTIONS_MAX))
    ]
    return msgspec.structs.replace(scenario, method=sorted([*scenario.method, *more], key=lambda action: action.at))


def _seconds(rng: Random, shortest: float, longest: float) -> float:
    """Short times as often as long ones."""
    return round(float(shortest * (longest / shortest) ** rng.random()), 4)


FEATURES: Final[dict[str, Callable[[Scenario, Random], Scenario]]] = {
    "transactions": _transactions,
    "indexes": _indexes,
    "archive": _archive,
    "pairs": _pairs,
}
"""By name, what each makes of a scenario."""
