"""Play the game days that CI asks for, compare each verdict with what it must be, print where the minutes went.

``.ci/gamedays.py [--runtime docker] [--runtime local] [--all] [--times N] [--only NAME]``:
0 if each verdict is as it must be.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
BLACKSTART = ROOT / ".venv" / "bin" / "blackstart"
LIMIT_S = 600

EVERYWHERE = ("az-power-off", "region-power-off", "leader-partition")
"""Played on every runtime."""

IN_TURN = (
    "rack-power-off",
    "random-power-off",
    "bit-rot",
    "rolling-restart",
    "archive-outage",
    "minority-partition",
    "one-way-cut",
    "indexed-az-power-off",
    "bank-under-partition",
    "list-append-random-faults",
)
"""Played on the runtimes in turn, unless all are asked for (``--all``): CI has 90 minutes."""


class Game(NamedTuple):
    """One run and what it must end in: a verdict, and for a planted bug the check that has to fail."""

    playbook: str
    runtime: str
    seed: int | None = None
    plant: str | None = None
    caught_by: str | None = None

    @property
    def name(self) -> str:
        return f"{self.playbook.removeprefix('playbooks/').removesuffix('.yaml')}" + (
            f" with {self.plant}" if self.plant else ""
        )


def games(runtimes: list[str], times: int, everything: bool) -> list[Game]:
    """The playbooks on their runtimes, then every planted bug on one of them."""
    found = [
        Game(f"playbooks/{playbook}.yaml", runtime)
        for _ in range(times)
        for at, runtime in enumerate(runtimes)
        for playbook in (*EVERYWHERE, *(IN_TURN if everything else IN_TURN[at :: len(runtimes)]))
    ]
    listed = subprocess.run([BLACKSTART, "plants", "--json"], cwd=ROOT, check=True, capture_output=True, text=True)
    # Where a plant is played does not matter to what it breaks; local is the quicker one.
    runtime = "local" if "local" in runtimes else runtimes[0]
    for plant in json.loads(listed.stdout)["plants"]:
        where = plant.get("runtime", runtime)
        found.append(Game(plant["playbook"], where, plant["seed"], plant["name"], plant["caught_by"]))
    return found


def play(game: Game) -> tuple[str, list[str], float]:
    """The verdict, what is wrong with it (nothing, one hopes), and how long it took."""
    command = [str(BLACKSTART), "run", game.playbook, "--runtime", game.runtime, "--json", "--no-human"]
    command += ["--seed", str(game.seed)] if game.seed is not None else []
    command += ["--plant", game.plant] if game.plant else []
    began = time.monotonic()
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        return "timed out", [f"did not end within {LIMIT_S} s"], LIMIT_S
    seconds = time.monotonic() - began
    try:
        verdict: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        return f"exit {done.returncode}", [done.stderr[-3000:]], seconds
    return verdict["verdict"], faults(game, verdict, done), seconds


def faults(game: Game, verdict: dict[str, Any], done: subprocess.CompletedProcess[str]) -> list[str]:
    """What is wrong with a verdict."""
    checks = {check["name"]: check for check in verdict["checks"]}
    if game.plant is None:
        if verdict["verdict"] == "passed" and done.returncode == 0:
            return []
        return [*verdict["why"], *(f"{n}: {c['result']}: {c['why']}" for n, c in checks.items() if c["result"] != "ok")]
    caught = checks.get(game.caught_by or "", {})
    wrong = []
    if verdict["verdict"] != "failed" or done.returncode != 1:
        wrong.append(f"must fail with exit code 1: {verdict['verdict']}, exit code {done.returncode}")
    if caught.get("result") != "failed" or not caught.get("findings"):
        wrong.append(f"{game.caught_by} must name what it found; it is {caught.get('result')}: {caught.get('why')}")
    return wrong + ([] if not wrong else list(verdict["why"]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runtime", action="append", choices=["docker", "local"])
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--all", action="store_true", help="every playbook on every runtime")
    parser.add_argument("--only", help="play only games whose name contains this")
    arguments = parser.parse_args()
    rows = []
    bad = 0
    for game in games(arguments.runtime or ["docker", "local"], arguments.times, arguments.all):
        if arguments.only and arguments.only not in game.name:
            continue
        verdict, wrong, seconds = play(game)
        bad += bool(wrong)
        rows.append((game, verdict, wrong, seconds))
        mark = "ok  " if not wrong else "BAD "
        print(f"{mark} {seconds:6.1f} s  {game.runtime:7} {verdict:10} {game.name}", flush=True)
        for line in wrong:
            print(f"       {line}", flush=True)
    total = sum(seconds for *_, seconds in rows)
    print(f"{len(rows)} game days in {total / 60:.1f} minutes, {bad} not as they must be")
    print(f"{len(rows) - bad} passed, {bad} failed")
    return 1 if bad or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
