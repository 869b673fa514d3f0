"""Errors a user is meant to read.

Any exception, of any layer, that carries an integer ``exit_code`` is an *expected* error: the command line prints its
text without a traceback and leaves with that code. Lower layers set the attribute; they need not import this module.

Two families, as elsewhere in the project: what the caller did wrong (:class:`InputError`) and what the platform or the
machine failed to do (:class:`PlatformError`).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum


class ExitCode(IntEnum):
    """What ``blackstart`` tells the shell."""

    PASSED = 0
    FAILED = 1
    INPUT = 2
    INCONCLUSIVE = 3
    """Aborted, interrupted or invalid: the run proved nothing."""
    PLATFORM = 4


class BlackstartError(Exception):
    """An error whose text tells the user what to do about it."""

    exit_code: int = ExitCode.PLATFORM

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n{self.hint}"


class InputError(BlackstartError):
    """A flag, file, target or request of the user's cannot be used."""

    exit_code = ExitCode.INPUT


class Deviation(BlackstartError):
    """What the run needed of the system was not so: it is ended, and says nothing about the database."""

    exit_code = ExitCode.INCONCLUSIVE


class PlatformError(BlackstartError):
    """The platform failed: the run says nothing about the database."""

    exit_code = ExitCode.PLATFORM


class Problem(InputError):
    """Several things wrong with one file, all reported at once."""

    def __init__(self, file: str, problems: Sequence[str], *, hint: str | None = None) -> None:
        count = len(problems)
        head = f"{file}: {count} problem{'s' if count != 1 else ''}"
        super().__init__("\n".join([head, *problems]), hint=hint)
        self.problems = tuple(problems)
