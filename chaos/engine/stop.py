"""How a run is asked to end early: by a person, by a stop condition, or by trouble of our own."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

Ended = Literal["completed", "aborted", "interrupted", "error"]


class Stopped(Exception):
    """Raised in the phases that a request to stop cuts short."""


class StopRequest:
    """Set once; the first reason counts. ``hurry`` is set by a second Ctrl-C: what can be skipped is skipped."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self.ended: Ended = "completed"
        self.reason = ""
        self.hurry = threading.Event()

    def request(self, ended: Ended, reason: str) -> None:
        """Ask the run to end; everything is healed and a verdict is written all the same."""
        with self._lock:
            if not self._event.is_set():
                self.ended, self.reason = ended, reason
                self._event.set()

    @property
    def requested(self) -> bool:
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Sleep, but not past a request; whether there is one."""
        return self._event.wait(max(0.0, seconds))

    def check(self) -> None:
        """Raise :class:`Stopped` where the run was asked to end."""
        if self._event.is_set():
            raise Stopped(self.reason)

    def sleep(self, seconds: float) -> None:
        """Sleep; raise :class:`Stopped` as soon as the run is asked to end."""
        if self.wait(seconds):
            raise Stopped(self.reason)


@contextmanager
def signals(stop: StopRequest) -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP ask the run to end; a second one skips what is not healing or cleaning up."""

    def handler(number: int, frame: Any) -> None:
        if stop.requested:
            stop.hurry.set()
        stop.request("interrupted", f"a person stopped the run ({signal.Signals(number).name})")

    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
