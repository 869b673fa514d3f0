"""The faults of playbooks in a simulation: the same capabilities as real nodes have, and the same proof of effect."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from chaos.errors import InputError
from chaos.faults.base import Effect, Spec
from cluster.node.process import Node
from cluster.sim.simulation import Simulation

STOP_S: Final = 0.5
"""A node that is asked to stop hands its leaderships over and marks its log within this time."""


class Injected(NamedTuple):
    """A fault that is in: what was done, how to see it, and how to end it."""

    detail: str
    verify: Callable[[], Effect]
    heal: Callable[[], None]


def canary_of(az: str) -> str:
    """Where a zone's canary stands in the simulated network; its load stands at ``client-<az>``."""
    return f"canary-{az}"


def power_off(sim: Simulation, spec: Spec, dark: Sequence[str] = ()) -> Injected:
    """The power of every target goes at once; what was not synced is gone or torn, unless it is to be kept.

    The zones ``dark`` have no node left: their canaries have no path for as long.
    """
    lose = spec.options.get("unsynced", "lose") == "lose"
    pending = sum(_unsynced(sim, name) for name in spec.targets)
    down = [name for name in spec.targets if sim.nodes[name].state in ("running", "paused")]
    for name in down:
        sim.crash(name, lose_unsynced=lose)
    canaries, everybody = [canary_of(az) for az in dark], sorted(sim.nodes)
    without = f"; no path for the canaries of zone {', '.join(dark)}" if dark else ""
    reconnect = sim.network.cut(canaries, everybody)

    def verify() -> Effect:
        through = [f"{one} to {name}" for one in canaries for name in everybody if not sim.network.is_cut(one, name)]
        if through:
            return Effect("mismatch", f"a canary of a dark zone has a path: {through[0]}")
        still = [name for name in down if sim.network.is_attached(name) or sim.nodes[name].state != "off"]
        left = sum(_unsynced(sim, name) for name in down) if lose else 0
        if still or left:
            return Effect("mismatch", f"{', '.join(still) or 'nobody'} still up, {left} unsynced bytes left")
        stake = f", {pending} unsynced bytes at stake" if lose else ""
        return Effect("confirmed", f"{len(down)} nodes dark{stake}{without}")

    def heal() -> None:
        reconnect()
        stagger = float(spec.options.get("boot-stagger", 0.0))
        for place, name in enumerate(down):
            sim.loop.call_later(stagger * place, lambda name=name: _boot(sim, name), context=sim.loop.harness)

    return Injected(f"{len(down)} nodes lost their power at the same instant{without}", verify, heal)


def _boot(sim: Simulation, name: str) -> None:
    if sim.nodes[name].state in ("off", "exited"):
        sim.restart(name)


def _unsynced(sim: Simulation, name: str) -> int:
    memory = sim.nodes[name].disk.memory
    contents: list[Any] = [*memory.log.contents.values(), *memory.pages.contents.values()]
    return sum(len(data) + zeros for content in contents for _, data, zeros in content.pending if data is not None)


def standing(name: str) -> tuple[str, ...]:
    """Who is meant by a name: of a zone's clients, its load and its canary."""
    az = name.removeprefix("client-")
    return (name,) if az == name else (name, canary_of(az))


def partition(sim: Simulation, spec: Spec) -> Injected:
    """Packets of each ordered pair are dropped, in silence."""
    if (how := spec.options.get("how", "drop")) != "drop":
        raise InputError(
            f"the simulator's partitions drop packets, they do not '{how}'",
            hint="Play it on docker or local, or leave 'how' out.",
        )
    pairs = sorted((a, b) for left, right in spec.pairs for a in standing(left) for b in standing(right))
    heals = [sim.network.cut([source], [target], one_way=True) for source, target in pairs]

    def verify() -> Effect:
        open_ = [pair for pair in pairs if not sim.network.is_cut(*pair)]
        if open_:
            return Effect("mismatch", f"{len(open_)} of {len(pairs)} pairs are not cut, {open_[0]} for one")
        return Effect("confirmed", f"{len(pairs)} of {len(pairs)} directed pairs are cut")

    def heal() -> None:
        for undo in heals:
            undo()

    return Injected(f"{len(pairs)} directed pairs cut", verify, heal)


async def _stop(sim: Simulation, name: str, node: Node) -> None:
    """What a node's program does at SIGTERM: stop, then end. Runs as the node's own."""
    await node.stop()
    if sim.nodes[name].state == "running":
        sim.crash(name, lose_unsynced=False)


def restart(sim: Simulation, spec: Spec, nodes: Mapping[str, Node]) -> Injected:
    """Every target stops in an orderly way, as by SIGTERM: leaders hand over, the log is marked."""
    lives = {}
    for name in spec.targets:
        life, world = sim.nodes[name].life, sim.nodes[name].world
        if sim.nodes[name].state == "running" and life is not None and world is not None:
            lives[name] = life
            stop = partial(world.spawn, _stop(sim, name, nodes[name]), "stop")
            sim.loop.call_soon(stop, context=life.context)
    began = sim.now
    sim.run_for(STOP_S)
    for name, life in lives.items():
        if not life.over:
            sim.crash(name, lose_unsynced=False)

    def verify() -> Effect:
        still = [name for name in spec.targets if sim.nodes[name].state != "off"]
        if still:
            return Effect("mismatch", f"{', '.join(still)} did not end")
        return Effect("confirmed", f"{', '.join(spec.targets)} stopped in an orderly way")

    def heal() -> None:
        for name in spec.targets:
            _boot(sim, name)

    return Injected(f"{len(lives)} nodes ended {sim.now - began:.2f} s after they were asked to", verify, heal)
