"""Which scenario a seed means: the swarm that draws it.

Swarm testing (Groce et al., ISSTA 2012): each seed first draws *which* faults and features it may use and how hard, and
only then a schedule. A run in which everything happens all the time hardly ever gets into the deep states that a run
with only crashes, or only moves and slow disks, gets into at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from random import Random
from typing import Any, Final, NamedTuple

import msgspec

from chaos.explore import features
from chaos.explore.scenario import LEADER, NODES_MAX, OPS, Action, Scenario

CLOCK_ERROR_MAX: Final = 0.0045
"""How far a clock may run from true time, as a fraction: less than half of the drift that leases allow for."""


class Draw(NamedTuple):
    """What a fault's generator draws from."""

    rng: Random
    storage: list[str]
    admins: list[str]
    zones: dict[str, list[str]]

    @property
    def stateful(self) -> list[str]:
        return self.storage + self.admins

    def some(self) -> list[str]:
        """A node, a zone, a few nodes, everything with a disk, or whoever leads."""
        rng = self.rng
        kind = rng.randrange(10)
        if kind < 3:
            return [rng.choice(self.storage)]
        if kind < 6:
            return [LEADER]
        if kind == 6:
            return list(self.zones[rng.choice(sorted(self.zones))])
        if kind == 7:
            return list(self.stateful)
        return sorted(rng.sample(self.stateful, min(len(self.stateful), rng.randint(1, 3))))

    def one(self) -> list[str]:
        return [LEADER] if self.rng.random() < 0.4 else [self.rng.choice(self.stateful)]

    def lost(self) -> list[str]:
        """A node whose every replica has peers to come back from."""
        return [self.rng.choice(self.stateful if len(self.admins) > 1 else self.storage)]

    def seconds(self, shortest: float, longest: float) -> float:
        """Short times as often as long ones."""
        return round(float(shortest * (longest / shortest) ** self.rng.random()), 4)


def _power_off(draw: Draw) -> Action:
    lose = "lose" if draw.rng.random() < 0.8 else "keep"
    return Action("power-off", 0, draw.seconds(0.05, 5), draw.some(), {"unsynced": lose})


def _disk_loss(draw: Draw) -> Action:
    return Action("disk-loss", 0, draw.seconds(0.05, 2), draw.lost())


def _partition(draw: Draw) -> Action:
    rng = draw.rng
    targets = draw.one() if rng.random() < 0.6 else draw.some()
    options: dict[str, Any] = {"direction": rng.choice(["both", "both", "outbound", "inbound"])}
    if rng.random() < 0.5:
        options["from"] = "storage"  # clients still reach both sides
    elif rng.random() < 0.3:
        options["from"] = sorted(rng.sample(draw.stateful, rng.randint(1, len(draw.stateful) - 1)))
    return Action("partition", 0, draw.seconds(0.3, 6), targets, options)


def _links(draw: Draw) -> Action:
    rng = draw.rng
    options = {
        "delay_s": draw.seconds(0.001, 0.3), "jitter_s": draw.seconds(0.001, 0.3),
        "loss": rng.choice([0.0, 0.1, 0.4]), "duplicate": rng.choice([0.0, 0.05]), "reorder": rng.choice([0.0, 0.3]),
    }  # fmt: skip
    return Action("links", 0, draw.seconds(0.5, 6), draw.some(), options)


def _flapping(draw: Draw) -> Action:
    options = {"period_s": draw.seconds(0.1, 1.5), "direction": draw.rng.choice(["both", "outbound", "inbound"])}
    return Action("flapping", 0, draw.seconds(1, 6), draw.one(), options)


def _pause(draw: Draw) -> Action:
    return Action("pause", 0, draw.seconds(0.05, 5), draw.some())


def _clock_rate(draw: Draw) -> Action:
    error = draw.rng.choice([-1, 1]) * CLOCK_ERROR_MAX
    return Action("clock-rate", 0, draw.seconds(1, 8), draw.one(), {"error": error})


def _wall_jump(draw: Draw) -> Action:
    jump = round(draw.rng.choice([-1, 1]) * draw.seconds(0.1, 5000), 3)
    return Action("wall-jump", 0, 0.0, draw.one(), {"seconds": jump})


def _failed_fsync(draw: Draw) -> Action:
    return Action("fsync-failure", 0, draw.seconds(0.1, 3), draw.one())


def _slow_disk(draw: Draw) -> Action:
    slow = draw.seconds(0.01, 0.4)
    return Action("slow-disk", 0, draw.seconds(0.5, 6), draw.some(), {"sync_s": [slow / 2, slow]})


def _disk_error(draw: Draw) -> Action:
    return Action("disk-error", 0, draw.seconds(0.1, 3), draw.one(), {"op": draw.rng.choice(["read", "write"])})


def _full_disk(draw: Draw) -> Action:
    return Action("full-disk", 0, draw.seconds(0.1, 3), draw.one())


def _bit_rot(draw: Draw) -> Action:
    rng = draw.rng
    options = {
        "place": rng.choice(["btree", "log", "log"]),
        "mode": rng.choice(["bit-flip", "bit-flip", "chunk-copy", "old-chunk", "truncate"]),
        "count": rng.choice([1, 1, 3]),
        "then": rng.choice(["", "scrub", "restart", "restart"]),
        "seed": rng.randrange(1 << 30),
    }
    return Action("bit-rot", 0, draw.seconds(0.05, 1), draw.lost(), options)


def _move(draw: Draw) -> Action:
    return Action("move", 0, 0.0, [], {"of": draw.rng.randrange(3), "pick": draw.rng.randrange(6)})


def _transfer(draw: Draw) -> Action:
    return Action("transfer", 0, 0.0, [LEADER], {"of": draw.rng.randrange(3)})


def _blink(draw: Draw) -> Action:
    """Followers lose power for a moment while their leader is cut off from them: what they backed must bind them."""
    return Action("blink", 0, draw.seconds(0.05, 0.8), [LEADER], {"cut_s": draw.seconds(1, 6)})


DRAWN: Final[dict[str, Callable[[Draw], Action]]] = {
    "power-off": _power_off,
    "disk-loss": _disk_loss,
    "partition": _partition,
    "links": _links,
    "flapping": _flapping,
    "pause": _pause,
    "clock-rate": _clock_rate,
    "wall-jump": _wall_jump,
    "fsync-failure": _failed_fsync,
    "slow-disk": _slow_disk,
    "disk-error": _disk_error,
    "full-disk": _full_disk,
    "bit-rot": _bit_rot,
    "move": _move,
    "transfer": _transfer,
    "blink": _blink,
}
"""The kinds of fault that any seed can draw; some features have kinds of their own."""

ACTIONS_MAX: Final = 9


def generate(seed: int, plant: str | None = None, wanted: Collection[str] = ()) -> Scenario:
    """The scenario of a seed. A plant changes nothing in it, so that a seed means the same weather for all of them; but
    the features ``wanted`` (:mod:`chaos.explore.features`) are there even where the seed would not have drawn them."""
    return features.widen(_narrow(seed, plant), wanted)


def _narrow(seed: int, plant: str | None) -> Scenario:
    """The scenario without any of the features that only some seeds have."""
    rng = Random(f"{seed}/explore")
    admins = rng.choice([1, 1, 3])
    storage = rng.randint(3, NODES_MAX - 1 - admins if admins == 3 else 6)
    calm = Scenario(seed=seed, storage=storage, admins=admins)
    zones: dict[str, list[str]] = {}
    for name, role, zone, _ in calm.nodes():
        if role != "memds":
            zones.setdefault(zone, []).append(name)
    draw = Draw(
        rng,
        [name for name, role, _, _ in calm.nodes() if role == "storage"],
        [name for name, role, _, _ in calm.nodes() if role == "autoadmin"],
        zones,
    )
    safety = round(rng.uniform(5, 12), 3)
    lease, renewal = rng.choice([(1.5, 0.3), (1.5, 0.3), (0.9, 0.2), (3.0, 0.5)])
    method = schedule(draw, safety)
    wild = rng.random() < 0.5
    dark = rng.choice(["", "b", "c"])
    return msgspec.structs.replace(
        calm,
        plant=plant,
        clients=rng.randint(1, 3),
        partitions=rng.randint(1, 3),
        rate=round(rng.uniform(8, 30), 1),
        keys=rng.choice([2, 4, 8, 16]),
        ops=operations(rng),
        lease_s=lease,
        renewal_s=renewal,
        delay_s=draw.seconds(0.0001, 0.03),
        jitter_s=draw.seconds(0.0001, 0.03),
        loss=rng.choice([0.0, 0.005, 0.03]) if wild else 0.0,
        duplicate=rng.choice([0.0, 0.02]) if wild else 0.0,
        reorder=rng.choice([0.0, 0.05]) if wild else 0.0,
        sync_s=[0.0005, draw.seconds(0.001, 0.03)],
        stall=rng.choice([0.0, 0.002, 0.05]),
        small_limits=rng.random() < 0.35,
        safety_s=safety,
        method=method,
        # A disk that is being replaced leaves no quorum to spare.
        dark="" if any(a.action in ("disk-loss", "bit-rot", "move") for a in method) else dark,
    )


def operations(rng: Random) -> dict[str, float]:
    """The mix of a load: some kinds of operation are left out, but there are always writes and strong reads."""
    kept = {op: share for op, share in OPS.items() if op in ("put", "get") or rng.random() < 0.7}
    return {op: round(share * rng.uniform(0.3, 2), 3) for op, share in kept.items()}


def schedule(draw: Draw, safety_s: float) -> list[Action]:
    """Actions in the order of time, of the few kinds that this seed may use."""
    rng = draw.rng
    kinds = [kind for kind in DRAWN if rng.random() < 0.35 and (kind != "move" or len(draw.storage) > 3)] or [
        rng.choice(list(DRAWN))
    ]
    actions = []
    for _ in range(rng.randint(1, ACTIONS_MAX)):
        action = DRAWN[rng.choice(kinds)](draw)
        at = round(rng.uniform(0.3, safety_s), 3)
        options = action.with_
        if action.targets == [LEADER] and "of" not in options:
            options = options | {"of": rng.randrange(3)}
        actions.append(msgspec.structs.replace(action, at=at, with_=options))
    return sorted(actions, key=lambda a: a.at)
