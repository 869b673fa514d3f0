"""``python -m canaries.driver --config a.json``: one zone's canary.

A life: read the configuration, write ``{"event": "ready"}`` to its record, try a round each interval until SIGTERM,
let what is in flight end, write ``{"event": "finished"}``, exit. A round never waits for another, so a dead router,
which costs a timeout for each of its probes, delays nobody; each probe is recorded the moment its answer is known.

Exit codes: 0 done, 2 the configuration cannot be used, 4 a probe could not be recorded.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import os
import signal
import sys
import time
from pathlib import Path

import gevent
from gevent.event import Event
from gevent.pool import Group

from canaries.config import EXIT_CONFIG, EXIT_FAILED, EXIT_OK, OWNER, CanaryConfig, ConfigError, load
from canaries.plan import STEPS, Judged, Round, Rounds
from loadgen.address import Address
from loadgen.client import Client, MaybeSent, NotSent, signers_for
from loadgen.plan import Operation
from loadgen.translate import API, Outcome, body_of, outcome_of
from reports.rundir.probes import Probe, ProbeLog


def boot_s() -> float:
    """Seconds on the boot clock, which all containers of a machine share."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Canary:
    """The rounds of one zone on the wire."""

    def __init__(self, config: CanaryConfig, record: ProbeLog) -> None:
        self.config = config
        self.record = record
        self.rounds = Rounds(config.name, config.table, len(config.endpoints), config.offset)
        self.sent = 0
        self.good = 0
        self.failure: OSError | None = None
        self._addresses = tuple(Address.of(endpoint.url) for endpoint in config.endpoints)
        self._signers = signers_for(self._addresses, config.access_key, config.secret(), config.region)
        self._idle: list[Client] = []
        self._stopped = Event()
        self._running = Group()

    def stop(self) -> None:
        """Begin no further round."""
        self._stopped.set()

    def run(self) -> None:
        """Rounds until stopped or until one could not be recorded; what is in flight may end."""
        interval_s = self.config.interval_s
        # Turns are counted on the boot clock, which all canaries of a machine share: every endpoint is tried in every
        # interval, by one canary after the other.
        turn = math.ceil(boot_s() / interval_s)
        while not self._stopped.wait(max(0.0, turn * interval_s - boot_s())) and self._wanted():
            self._running.spawn(self._round, self.rounds.begin(turn))
            # Starved of the processor for longer than an interval: go on from now, never in a burst.
            turn = max(turn + 1, math.floor(boot_s() / interval_s))
        self._running.join(timeout=self.config.timeouts.attempt_s + 0.5)

    def _wanted(self) -> bool:
        """Whether whoever started this canary, and was killed since, has no successor with canaries of its own."""
        if not self.config.owner:
            return True
        try:
            return (Path(self.config.record).parent / OWNER).read_text() == self.config.owner
        except OSError:
            return False

    def _round(self, current: Round) -> None:
        client = self._idle.pop() if self._idle else Client(self._addresses, self._signers, self.config.timeouts)
        try:
            for op in STEPS:
                self._probe(client, current, current.operation(op))
                if self._stopped.is_set():
                    break
        except OSError as error:
            # A canary whose probes leave no record must not go on.
            self.failure = self.failure or error
            self.stop()
        finally:
            self.rounds.end(current)
            self._idle.append(client)

    def _probe(self, client: Client, current: Round, operation: Operation) -> None:
        """One attempt: sent, judged, recorded."""
        endpoint = self.config.endpoints[current.endpoint]
        began_s = boot_s()
        outcome = self._attempt(client, current.endpoint, operation)
        took_ms = (boot_s() - began_s) * 1000
        judged = self.judge(current, operation, outcome)
        probe = Probe(
            boot=round(began_s, 4),
            az=self.config.az,
            endpoint=endpoint.url,
            endpoint_az=endpoint.az,
            op=operation.op,  # type: ignore[arg-type]
            key=operation.key,
            outcome=judged.outcome,  # type: ignore[arg-type]
            ms=round(took_ms, 2),
            status=judged.status,
            error=judged.error,
        )
        self.sent += 1
        self.good += probe.good
        self.record.append(probe)

    def judge(self, current: Round, operation: Operation, outcome: Outcome) -> Judged:
        """What an answer is worth, by what the canary knows of the key."""
        return current.key.judge(operation, outcome)

    def _attempt(self, client: Client, endpoint: int, operation: Operation) -> Outcome:
        item_bytes = self.config.item_bytes
        try:
            response = client.call(
                endpoint, API[operation.op], body_of(operation, item_bytes, indexed=self.config.indexed)
            )
        except NotSent as error:
            return Outcome("fail", 0, str(error), None)
        except MaybeSent as error:
            return Outcome("unknown", 0, str(error), None)
        return outcome_of(operation, response.status, response.body, item_bytes)


def install(plant: Path, canary: Canary) -> None:
    """Load a planted bug, a file that lies outside the packages. Raises :class:`ConfigError`."""
    spec = importlib.util.spec_from_file_location(plant.stem, plant)
    if spec is None or spec.loader is None or not plant.exists():
        raise ConfigError(f"--plant {plant}: there is no such planted bug")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.install_canary(canary)


def run(config: CanaryConfig, plant: Path | None = None) -> int:
    """One canary to its end; the exit code."""
    record = ProbeLog(config.record, config.keep_bytes)
    canary = Canary(config, record)
    if plant is not None:
        install(plant, canary)
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, canary.stop)
    record.append({"event": "ready", "boot": boot_s(), "pid": os.getpid(), "az": config.az})
    canary.run()
    if canary.failure is not None:
        print(f"canary: a probe could not be recorded: {canary.failure}", file=sys.stderr)
        return EXIT_FAILED
    cpu = os.times()
    spent_s = round(cpu.user + cpu.system, 3)
    record.append({"event": "finished", "boot": boot_s(), "sent": canary.sent, "good": canary.good, "cpu_s": spent_s})
    record.close()
    return EXIT_OK


def main(argv: list[str] | None = None) -> int:
    """The exit code of one canary."""
    parser = argparse.ArgumentParser(prog="python -m canaries.driver", description="One zone's canary.")
    parser.add_argument("--config", required=True, metavar="FILE", help="see canaries/config.py")
    parser.add_argument("--plant", type=Path, metavar="FILE", help="a planted bug, to see that it is caught")
    arguments = parser.parse_args(argv)
    try:
        return run(load(arguments.config), arguments.plant)
    except (ConfigError, ValueError) as error:
        print(f"canary: {error}", file=sys.stderr)
        return EXIT_CONFIG


if __name__ == "__main__":
    # Leave without unwinding greenlets: everything is written with plain writes.
    code = main()
    sys.stderr.flush()
    os._exit(code)
