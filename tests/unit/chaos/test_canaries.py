"""Canaries in playbooks and in the engine: what is refused, what is told, and what ends a run."""

from __future__ import annotations

import re
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from canaries.board import Board
from chaos.commands.canaries import line, picture
from chaos.engine.canary import Canaries
from chaos.engine.watch import Watcher
from chaos.errors import InputError, Problem
from chaos.journal import boot_s
from chaos.live import State
from chaos.playbook import parse
from chaos.playbook.model import AlarmPromise, CanarySpec
from chaos.prepare import prepare
from reports.rundir import Probe

DESIGN = """\
version: 1
title: A zone loses power at peak
description: why we run it
tags: [power]
topology: small
seed: 42
load: {profile: mixed, rate: 600, users: 50, floor: 400}
canaries: {interval: 1s, window: 10s}
steady-state-hypothesis: {probes: [{name: available, query: availability, tolerance: ">= 0.999", mode: edge}]}
targets: {zone_b: {select: az=b, mode: all, on-empty: fail}}
safety: {max-duration: 10m, lease: 15s, budget: {az: 1, quorum-loss: none}, stop-conditions: []}
method:
  - {name: pull the plug, action: power-off, targets: zone_b, at: 20s, for: 30s, with: {unsynced: lose}}
  - {name: ask the on-call, action: human, prompt: "evacuate?", timeout: 2m}
expect:
  recovery: {writes: 5s, redundancy: 60s}
  data: {lost: 0}
  alarms: [{name: cfa-availability, within: 30s, clears-within: 60s}]
  quiet: [cfa-zone-a]
rollbacks: {strategy: always}
verify: {logical: all, scrub: full}
report: {before: 10s, after: 20s}
"""


def test_the_playbook_of_the_design_is_valid() -> None:
    playbook = parse(DESIGN, "design.yaml")
    assert playbook.canaries == CanarySpec(interval=1.0, window=10.0)
    assert playbook.expect.alarms == [AlarmPromise(name="cfa-availability", within=30.0, clears_within=60.0)]
    assert playbook.expect.quiet == ["cfa-zone-a"]


def test_canaries_are_there_unless_a_playbook_says_otherwise() -> None:
    bare = "title: x\ntargets: {z: {select: az=b}}\nmethod: [{action: power-off, targets: z, for: 5s}]\n"
    assert parse(bare, "x").canaries == CanarySpec(enabled=True, interval=1.0, window=10.0, timeout=1.5, threshold=0.9)
    assert not parse(bare + "canaries: {enabled: false}\n", "x").canaries.enabled


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ("window: 10s}", "window: 2s}", "canaries: a window of canaries holds at least three intervals"),
        ("interval: 1s", "interval: 10ms", "canaries.interval: a canary's interval lies between"),
        ("interval: 1s", "intervall: 1s", "canaries.intervall: unknown field; did you mean 'interval'?"),
        ("[cfa-zone-a]", "[zone-a]", "expect.quiet[0]: 'zone-a' is no alarm: the alarms are cfa-availability"),
        ("name: cfa-availability", "name: cfa-avail", "expect.alarms[0].name: 'cfa-avail' is no alarm"),
        ("[cfa-zone-a]", "[cfa-availability]", "expect.quiet[0]: cfa-availability is to fire by 'alarms'"),
        ("{interval: 1s", "{enabled: false, interval: 1s", "canaries.enabled: 'expect' is about alarms"),
    ],
)
def test_mistakes_about_canaries_are_named(old: str, new: str, wanted: str) -> None:
    with pytest.raises(Problem, match=re.escape(wanted)):
        parse(DESIGN.replace(old, new), "x")


def test_the_alarm_of_a_zone_that_is_not_there_is_refused(tmp_path: Path) -> None:
    playbook = tmp_path / "x.yaml"
    playbook.write_text(DESIGN.replace("cfa-zone-a", "cfa-zone-q"))
    with pytest.raises(InputError, match="there is no zone q"):
        prepare(str(playbook))


def test_the_display_keeps_the_alarms_that_are_on() -> None:
    state = State()
    for t, name, what in ((1, "x", "fired"), (2, "y", "fired"), (3, "x", "cleared")):
        state.take({"t": t, "event": "alarm", "name": name, "state": what})
    assert state.alarms == ["y"]
    assert state.last[-1].endswith("alarm x cleared")


def probe(second: float, good: bool, az: str = "a") -> Probe:
    return Probe(boot=second, az="a", endpoint="u", endpoint_az=az, op="get", key="k",
                 outcome="ok" if good else "fail", ms=1.0)  # fmt: skip


class Birds:
    """A flock that says what it is told to."""

    zones = ("a",)
    grace_s = 0.0

    def __init__(self) -> None:
        self.bad = True
        self.dead: str | None = None
        self.finished = {"a": {"sent": 5, "good": 4, "cpu_s": 0.1}}

    def probes(self) -> list[Probe]:
        return [probe(boot_s(), not self.bad)]

    def died(self) -> str | None:
        return self.dead

    def stop(self) -> list[str]:
        return []

    def kill(self) -> None:
        pass


def canaries_with(birds: Any) -> tuple[Canaries, list[dict[str, Any]]]:
    told: list[dict[str, Any]] = []
    spec = CanarySpec(interval=0.1, window=0.3)
    nobody: Any = None
    it = Canaries(birds, nobody, spec, lambda event, **fields: told.append({"event": event, **fields}))
    return it, told


def wait_for(what: Any) -> None:
    deadline = time.monotonic() + 20.0
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_alarms_are_told_while_they_happen_and_the_run_waits_for_them_to_clear() -> None:
    birds = Birds()
    it, told = canaries_with(birds)
    it.start()
    try:
        wait_for(lambda: any(e["event"] == "alarm" and e["state"] == "fired" for e in told))
        birds.bad = False
        it.await_clear([AlarmPromise(name="cfa-availability", clears_within=15.0)], boot_s(), lambda: None)
        assert [e["name"] for e in told if e.get("state") == "cleared"].count("cfa-availability") == 1
        assert it.stop() == []
    finally:
        it.close()
    fired = next(e for e in told if e["event"] == "alarm")
    assert (fired["name"], fired["az"], fired["threshold"]) == ("cfa-availability", None, 0.9)
    assert told[-1] == {"event": "canary", "az": "a", "sent": 5, "good": 4, "cpu_s": 0.1}


def test_a_canary_that_dies_or_cannot_be_read_is_said_until_the_end_is_asked_for() -> None:
    birds = Birds()
    it, _ = canaries_with(birds)
    birds.dead = "the canary of zone a ended by itself"
    assert it.died() == birds.dead
    birds.dead = None

    def broken() -> list[Probe]:
        raise OSError("gone")

    birds.probes = broken  # type: ignore[method-assign]
    it.start()
    wait_for(lambda: it.died() is not None)
    assert "alarms failed: OSError: gone" in str(it.died())
    birds.probes = list  # type: ignore[method-assign]
    it.stop()
    assert it.died() is None


def test_a_watcher_that_never_started_can_be_closed() -> None:
    cluster: Any = SimpleNamespace(nodes={"x": SimpleNamespace(name="x", role="storage", az="a")})
    Watcher(cluster, SimpleNamespace(call=lambda *_: {}), lambda *_, **__: None).close()


def test_the_live_display_never_shows_silence_as_zero() -> None:
    board = Board(("a", "b"), 0.0, window_s=10.0, grace_s=0.0, threshold=0.9)
    board.take(probe(1.0, good=True))
    board.take(probe(2.0, good=False))
    board.tick(10.0)
    assert board.last is not None
    assert line(board.last, board.zones) == "region 50.00 %  zone a 50.00 %  zone b no data  2 probes"
    assert picture(board).row_count == 3
