"""Many seeds on all cores: every worker is a process that plays one seed after the other.

Results come back in whatever order; what is reported is in the order of seeds. A worker that dies takes one seed with
it, which is then a finding of its own: nothing is dropped in silence.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Final

from chaos.explore.coverage import EVERY, Calls
from chaos.explore.plants import planted, scenario_of
from chaos.explore.play import Finding, Outcome, play

CRASHED: Final = "explorer-crashed"
SEEDS_PER_COLLECTION: Final = 20


def explore_one(seed: int, plant: str | None = None, wanted: Collection[str] = ()) -> Outcome:
    """Play one seed, with the features ``wanted`` in it. An exception of our own becomes a finding, so that the
    other seeds go on."""
    calls = Calls() if plant is None and seed % EVERY == 0 else None
    try:
        return play(scenario_of(seed, plant, wanted), planted(plant) if plant is not None else None, calls=calls)
    except Exception as error:
        return broken(seed, f"{type(error).__name__}: {error}")
    finally:
        if seed % SEEDS_PER_COLLECTION == 0:
            gc.collect()


def broken(seed: int, text: str) -> Outcome:
    """The outcome of a seed whose exploration itself failed."""
    finding = Finding(CRASHED, text, 0.0)
    return Outcome(
        seed=seed, finding=finding, virtual_s=0.0, cpu_s=0.0, operations=0, acknowledged=0, fingerprint=0, seen={}
    )


def explore(
    seeds: range,
    plant: str | None,
    jobs: int,
    stop: Callable[[], bool] = lambda: False,
    wanted: Collection[str] = (),
) -> Iterator[Outcome]:
    """Play seeds and yield their outcomes as they come; no new ones are begun once ``stop`` says so."""
    if jobs == 1:
        for seed in seeds:
            if stop():
                return
            yield explore_one(seed, plant, wanted)
        return
    context = multiprocessing.get_context("forkserver")
    waiting = iter(seeds)
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_ignore_interrupts) as pool:
        running: dict[Future[Outcome], int] = {}
        while True:
            for seed in islice(waiting, 0 if stop() else 2 * jobs - len(running)):
                running[pool.submit(explore_one, seed, plant, wanted)] = seed
            if not running:
                return
            done, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in sorted(done, key=lambda f: running[f]):
                seed = running.pop(future)
                try:
                    yield future.result()
                except BrokenProcessPool as error:
                    yield broken(seed, f"the worker process died: {error}")
                    return


def _ignore_interrupts() -> None:
    """Ctrl-C is the parent's to handle: workers finish the seed they are at."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0))
