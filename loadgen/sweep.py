"""The closing sweep: a strong read of every key, so that the history ends with what the database holds.

Every attempt is an operation of its own (``final``); a key that was not answered is read again until the limit. No
Locust here: the sweep is a closed loop that starts in a tenth of a second.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import gevent
from gevent.pool import Group

from loadgen.client import Client
from loadgen.config import LoadConfig
from loadgen.plan import Operation, sweep
from loadgen.session import NS, Caller
from reports.rundir.history import boot_ns

RETRY_PAUSE_S = 0.1


class Sweep(Caller):
    """Reads every key of its part once, with ``users`` reads in flight, for at most ``limit_s`` seconds."""

    def __init__(self, config: LoadConfig) -> None:
        super().__init__(config)
        workload = config.profile_.workload
        self._left = deque(sweep(config.table, config.key_count, config.part, config.parts, workload))
        self._reading = 0
        self.keys = len(self._left)
        self.answered = 0
        self.deadline_s = boot_ns() / NS + config.limit_s
        self.failure: OSError | None = None

    def stop(self) -> None:
        """Begin no further read."""
        self.deadline_s = 0.0

    def run(self) -> None:
        """Read until every key is answered or the limit is reached."""
        users = Group()
        for _ in range(min(self.config.users, max(1, self.keys))):
            users.spawn(self._user)
        users.join()
        self.take_window()

    def result(self) -> dict[str, Any]:
        """The last line of the stats file. ``missing`` keys had no answer within the limit."""
        return {
            "event": "finished",
            "boot": boot_ns() / NS,
            "keys": self.keys,
            "answered": self.answered,
            "missing": self.keys - self.answered,
            "error": str(self.failure) if self.failure else None,
            "totals": self.totals.line(),
        }

    def _expired(self) -> bool:
        return self.failure is not None or boot_ns() / NS >= self.deadline_s

    def _user(self) -> None:
        client = self.client()
        try:
            # A read under way elsewhere may yet fail and come back to the queue.
            while (self._left or self._reading) and not self._expired():
                if self._left:
                    self._read(client, self._left.popleft())
                else:
                    gevent.sleep(RETRY_PAUSE_S / 5)
        finally:
            client.close()

    def _read(self, client: Client, operation: Operation) -> None:
        self._reading += 1
        try:
            outcome, _ = self.perform(client, operation, None)
            if outcome.outcome == "ok":
                self.answered += 1
                return
            self._left.append(operation)
            gevent.sleep(RETRY_PAUSE_S)
        except OSError as error:
            self.failure = self.failure or error
        finally:
            self._reading -= 1
