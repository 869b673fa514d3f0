"""Locust runs the users; what they do is :meth:`loadgen.session.Session.user`.

Importing this module imports Locust (a second of CPU), so only the load driver does, and early.
"""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("LOCUST_SKIP_URLLIB3_PATCH", "1")  # we do not use urllib3; its import costs 60 ms

from locust import User, constant, task
from locust.env import Environment
from locust.exception import StopUser

from loadgen.plan import Operation
from loadgen.session import Session
from loadgen.translate import Outcome


class OperationFailed(Exception):
    """For Locust's failure table: the error name of an operation that failed or stayed unknown."""


class BlackstartUser(User):
    """One of the users that carry out a session's arrivals; how many there are bounds what is in flight.

    The whole stream is one task: Locust's own loop around every operation would cost as much as the operation.
    """

    wait_time = constant(0)

    @task
    def operations(self) -> None:
        session: Session = self.environment.blackstart_session
        session.user()
        raise StopUser


def environment_for(session: Session | None) -> Any:
    """A Locust environment whose users work for ``session`` (None in a master, which runs no users)."""
    environment: Any = Environment(user_classes=[BlackstartUser], reset_stats=False)
    environment.blackstart_session = session
    if session is not None:
        session.on_complete = _reporter(environment)
        environment.events.user_error.add_listener(_breakdown(session))
    return environment


def _breakdown(session: Session) -> Any:
    """Locust logs an exception in a user and goes on; the operation stays open, and the run must learn of it."""

    def listen(user_instance: Any, exception: BaseException, tb: Any, **_: Any) -> None:
        session.defect = session.defect or f"a user broke down: {type(exception).__name__}: {exception}"

    return listen


def _reporter(environment: Any) -> Any:
    """Feeds Locust's statistics (which its distributed mode adds up) and whoever listens to its request event."""
    fire = environment.events.request.fire
    errors: dict[str, OperationFailed] = {}

    def report(operation: Operation, outcome: Outcome, latency_ns: int) -> None:
        exception = None
        if outcome.outcome != "ok" and not outcome.unmet:
            name = outcome.error or outcome.outcome
            exception = errors.setdefault(name, OperationFailed(name))
        fire(
            request_type="dynamodb",
            name=operation.op,
            response_time=latency_ns / 1e6,
            response_length=0,
            exception=exception,
            context={},
        )

    return report
