"""``blackstart report`` and ``blackstart recheck``: stored runs, read again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from reports.rundir import Verdict

app = typer.Typer(add_completion=False)
recheck_app = typer.Typer(add_completion=False)

COLOURS = {
    "passed": "green",
    "failed": "red",
    "ok": "green",
    "unknown": "yellow",
    "skipped": "dim",
    "better": "green",
    "worse": "red",
    "same": "dim",
}


@app.command()
def report(
    arguments: Annotated[
        list[str], typer.Argument(metavar="RUN | compare A B", help="A run directory; or 'compare' and two of them.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict, or the comparison, on stdout.")] = False,
) -> None:
    """Draw the report of a run again from what it stored, or compare two runs. Nothing is judged anew."""
    from chaos.errors import InputError

    if arguments[0] == "compare":
        if len(arguments) != 3:
            raise InputError("compare takes two run directories: blackstart report compare A B")
        _compare(arguments[1], arguments[2], as_json)
    elif len(arguments) == 1:
        _draw(arguments[0], as_json)
    else:
        raise InputError("give one run directory, or 'compare' and two: blackstart report RUN | compare A B")


@recheck_app.command()
def recheck(
    run: Annotated[str, typer.Argument(help="A run directory, as `blackstart run` prints it.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the new verdict on stdout.")] = False,
    write: Annotated[bool, typer.Option("--write", help="Replace the stored verdict, report and junit.xml.")] = False,
) -> None:
    """Judge a stored run again, offline, with today's checkers. The exit code is the new verdict's."""
    import msgspec

    from chaos.show import console
    from reports.conclude import publish
    from reports.judge import gather, judge
    from reports.rundir import RunDir

    out = console()
    directory = RunDir.open(run)
    began = time.perf_counter()
    with out.status("reading the history and running the checkers"):
        evidence = gather(directory)
        verdict = judge(evidence)
    before = directory.read_verdict()
    show_verdict(verdict)
    took = time.perf_counter() - began
    out.print(f"[dim]{len(evidence.history.operations):,} operations judged in {took:.1f} s[/dim]")
    if before is not None and before.verdict != verdict.verdict:
        out.print(f"[yellow]the stored verdict was '{before.verdict}'[/yellow]")
    if write:
        directory.write_verdict(verdict)
        publish(evidence, verdict)
        out.print(f"written to {directory.path}")
    if as_json:
        print(msgspec.json.encode(verdict).decode())
    raise typer.Exit(verdict.exit_code)


def show_verdict(verdict: Verdict) -> None:
    """Print a verdict for a person, on stderr."""
    from rich.markup import escape
    from rich.table import Table

    from chaos.show import console

    out = console()
    colour = COLOURS.get(verdict.verdict, "yellow")
    out.print(f"[bold {colour}]{verdict.verdict.upper()}[/]  {escape(verdict.why[0] if verdict.why else '')}")
    told = {f"{check.name}: {check.why}" for check in verdict.checks}  # the table has them
    told |= {f"{promise.name}: {promise.why}" for promise in verdict.expect}
    for reason in verdict.why[1:]:
        if reason not in told:
            out.print(f"  {escape(reason)}")
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("check", "result", "looked at", "why"):
        table.add_column(title, justify="right" if title == "looked at" else "left")
    for check in verdict.checks:
        table.add_row(
            check.name,
            f"[{COLOURS.get(check.result, 'red')}]{check.result}[/]",
            f"{check.looked_at:,}",
            escape(check.why),
        )
    for promise in verdict.expect:
        why = promise.why if promise.result == "unknown" else f"{promise.measured} ({promise.expected})"
        table.add_row(
            escape(promise.name), f"[{COLOURS.get(promise.result, 'red')}]{promise.result}[/]", "", escape(why)
        )
    out.print(table)


def _draw(path: str, as_json: bool) -> None:
    import msgspec

    from chaos.show import console
    from reports.conclude import publish, stored_verdict
    from reports.judge import gather
    from reports.rundir import RunDir

    run = RunDir.open(path)
    verdict = stored_verdict(run)
    publish(gather(run), verdict)
    console().print(f"{run.report}")
    if as_json:
        print(msgspec.json.encode(verdict).decode())


def _compare(path_a: str, path_b: str, as_json: bool) -> None:
    import msgspec
    from rich.markup import escape
    from rich.table import Table

    from chaos.show import console
    from reports.conclude import stored_verdict
    from reports.render.compare import compare, differences
    from reports.rundir import RunDir

    a, b = (RunDir.open(path) for path in (path_a, path_b))
    one, two = stored_verdict(a), stored_verdict(b)
    rows, notes = compare(one, two), differences(one, two)
    out = console()
    table = Table("", f"A {escape(a.path.name)}", f"B {escape(b.path.name)}", "", box=None, padding=(0, 2, 0, 0))
    for row in rows:
        table.add_row(row.name, row.a, row.b, f"[{COLOURS.get(row.trend, 'dim')}]{row.trend}[/]")
    out.print(table)
    for note in notes:
        out.print(f"[yellow]different {escape(note)}[/yellow]")
    if as_json:
        print(
            msgspec.json.encode(
                {
                    "schema": 1,
                    "a": str(a.path),
                    "b": str(b.path),
                    "different": notes,
                    "rows": [row._asdict() for row in rows],
                }
            ).decode()
        )
