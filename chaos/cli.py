"""``blackstart``: the command line.

Commands are registered by name and imported only when called, because some of what they need is slow to import (docker
1.4 s, locust 4 s on the reference machine); ``blackstart --help`` imports none of them. A command module offers a Typer
application under the attribute named in :data:`COMMANDS`; with one command in it that command is the whole thing
(``blackstart doctor``), with several they are subcommands (``blackstart cluster up``).

Exit codes are :class:`chaos.errors.ExitCode`. An exception with an integer ``exit_code`` is printed as one clean error;
anything else is a defect of ours: exit code 4, and the traceback with ``BLACKSTART_DEBUG=1``.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO, cast

import typer
from typer.core import TyperCommand, TyperGroup

from chaos.errors import ExitCode, InputError, PlatformError
from chaos.unheard import WhileHeard


class Registered(NamedTuple):
    """Where a command lives: ``module:attribute``, and its line in ``--help``."""

    module: str
    attribute: str
    help: str


COMMANDS: dict[str, Registered] = {
    "run": Registered("chaos.commands.run", "app", "Play a game day from a playbook and write its report."),
    "plan": Registered("chaos.commands.plan", "app", "Print what a playbook would do, touching nothing."),
    "recheck": Registered("chaos.commands.report", "recheck_app", "Judge a stored run again with today's checkers."),
    "report": Registered("chaos.commands.report", "app", "Render the report of a run; compare two runs."),
    "cluster": Registered("chaos.commands.cluster", "app", "Start, inspect and stop a cluster."),
    "fault": Registered("chaos.commands.fault", "app", "List, inject and heal faults on a running cluster."),
    "load": Registered("chaos.commands.load", "app", "Drive load at a cluster."),
    "scrub": Registered("chaos.commands.scrub", "app", "Hold every replica against its peers and the archive; mend."),
    "explore": Registered("chaos.commands.explore", "app", "Play thousands of simulated game days, each from a seed."),
    "canaries": Registered("chaos.commands.canaries", "app", "Watch a cluster from every zone; raise alarms."),
    "dashboard": Registered("chaos.commands.dashboard", "app", "A live page over a run or over canaries, read-only."),
    "plants": Registered("chaos.commands.plants", "app", "The planted bugs, and which check catches each."),
    "schema": Registered("chaos.commands.schema", "app", "Print the JSON Schema of playbooks, for editors."),
    "doctor": Registered("chaos.commands.doctor", "app", "Look for what this machine is missing."),
}


class LazyGroup(TyperGroup):
    """A group whose commands are imported when they are called, not when they are listed."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name, registered in COMMANDS.items():
            self.commands[name] = TyperCommand(name=name, help=registered.help, callback=None)

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, placeholder, rest = super().resolve_command(ctx, args)
        if placeholder is None or name is None:
            return name, placeholder, rest
        return name, load_command(name), rest


def load_command(name: str) -> Any:
    """Import the command ``name`` and return its click command. Raises :class:`PlatformError` where it cannot be."""
    registered = COMMANDS[name]
    try:
        module = importlib.import_module(registered.module)
        application = getattr(module, registered.attribute)
    except ModuleNotFoundError as error:
        ours = (error.name or "").split(".")[0] in {"chaos", "cluster", "loadgen", "reports", "canaries"}
        hint = None if ours else "Install the missing part: pip install 'blackstart[control,load]'"
        raise PlatformError(f"the command '{name}' cannot be loaded: {error}", hint=hint) from error
    command = typer.main.get_command(application)
    command.name = name
    return command


app = typer.Typer(
    cls=LazyGroup,
    name="blackstart",
    help="Game days for a DynamoDB-architecture database: pull the plug, and prove what survived.",
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def root(ctx: typer.Context) -> None:
    """Game days for a DynamoDB-architecture database: pull the plug, and prove what survived."""
    if ctx.invoked_subcommand is None:
        listing = "\n".join(f"  {name:<10}{registered.help}" for name, registered in COMMANDS.items())
        typer.echo(f"{ctx.get_usage()}\n\n{listing}", err=True)
        raise typer.Exit(ExitCode.INPUT)


def check_our_packages() -> None:
    """Refuse to run when another distribution's ``cluster`` package shadows ours."""
    home = Path(__file__).resolve().parents[1]
    spec = importlib.util.find_spec("cluster")
    origin = spec.origin if spec is not None and spec.origin else None
    if origin is None or Path(origin).resolve().parents[1] != home:
        raise PlatformError(
            f"the Python package 'cluster' found at {origin} is not Blackstart's (expected beside {home}/chaos)",
            hint="Use an environment of its own: make gameday creates .venv/; .venv/bin/blackstart works from there.",
        )


NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""What the machine says where it is no defect of ours that a file cannot be written."""


def print_error(message: str) -> None:
    """One error, on stderr, so that stdout stays one JSON object or nothing."""
    colour = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    head = "\x1b[1;31merror:\x1b[0m" if colour else "error:"
    print(f"{head} {message}", file=sys.stderr, flush=True)


def explain(error: BaseException) -> int:
    """Print ``error`` as the user should see it and return the exit code."""
    code = getattr(error, "exit_code", None)
    if isinstance(code, int):
        format_message = getattr(error, "format_message", None)
        text = format_message() if callable(format_message) else str(error)
        usage = getattr(error, "ctx", None)
        # Without a text: a group that was called without a command, and its help was the answer.
        if usage is not None and text:
            print(usage.get_usage(), file=sys.stderr)
        if text:
            print_error(text)
        # A click error means wrong usage whatever code click gives it (a missing file is 1 there).
        return int(ExitCode.INPUT) if callable(format_message) else int(code)
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        print_error(f"nothing more can be written{f' to {error.filename}' if error.filename else ''}: {error.strerror}")
        return int(ExitCode.PLATFORM)
    if os.environ.get("BLACKSTART_DEBUG"):
        traceback.print_exception(error, file=sys.stderr)
    frame = traceback.extract_tb(error.__traceback__)[-1] if error.__traceback__ else None
    place = f" ({os.path.relpath(frame.filename)}:{frame.lineno})" if frame else ""
    print_error(f"Blackstart itself failed: {type(error).__name__}: {error}{place}")
    print("This is a defect of the platform, not a finding. BLACKSTART_DEBUG=1 shows the traceback.", file=sys.stderr)
    return int(ExitCode.PLATFORM)


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    with contextlib.redirect_stderr(cast(TextIO, WhileHeard(sys.stderr))):
        return _run(argv)


def _run(argv: Sequence[str] | None) -> int:
    try:
        check_our_packages()
        result = app(args=argv, prog_name="blackstart", standalone_mode=False)
    except KeyboardInterrupt:
        print_error("interrupted")
        return int(ExitCode.INCONCLUSIVE)
    except BrokenPipeError:
        # The reader of our output left (`blackstart plan | head`): nothing to report, and nowhere to report it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(ExitCode.PASSED)
    except Exception as error:
        if type(error).__name__ == "Abort":
            return int(ExitCode.INCONCLUSIVE)
        return explain(error)
    return int(result) if isinstance(result, int) else int(ExitCode.PASSED)


def main() -> None:
    """The console script."""
    sys.exit(run())


__all__ = ["COMMANDS", "InputError", "app", "main", "run"]

if __name__ == "__main__":
    main()
