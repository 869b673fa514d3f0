"""``blackstart explore``: thousands of simulated game days, each from one seed."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from chaos.explore.coverage import Coverage
    from chaos.explore.play import Outcome

app = typer.Typer(add_completion=False)
SHOWN_MAX = 12
SEEDS = 300


@app.command()
def explore(
    seeds: Annotated[int | None, typer.Option(min=1, help="How many seeds to play: 300, with --plants 2000.")] = None,
    start: Annotated[int, typer.Option(min=0, help="The first seed.")] = 0,
    plant: Annotated[
        str | None, typer.Option(help="With a planted bug; stops at the first seed that finds it.")
    ] = None,
    wanted: Annotated[
        list[str] | None, typer.Option("--with", metavar="FEATURE", help="A feature that every seed has; repeatable.")
    ] = None,
    plants: Annotated[
        bool, typer.Option("--plants", help="How soon each planted bug is found, as rows of docs/explore.md.")
    ] = False,
    shrink: Annotated[int | None, typer.Option(min=0, metavar="SEED", help="Reduce this failing seed.")] = None,
    replay: Annotated[Path | None, typer.Option(help="Play a scenario that --shrink saved.")] = None,
    out: Annotated[Path, typer.Option(help="Where --shrink puts what it found.")] = Path("runs/explore"),
    jobs: Annotated[int, typer.Option(min=0, help="Worker processes; 0: one for each core.")] = 0,
    keep_going: Annotated[bool, typer.Option("--keep-going", help="Do not stop at the first failing seed.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON on stdout.")] = False,
) -> None:
    """Explore the cluster in the simulator: random topologies, loads and faults, checked at every step."""
    from chaos.errors import InputError
    from chaos.explore.features import FEATURES
    from chaos.show import console

    if shrink is not None and replay is not None:
        raise InputError("--shrink and --replay exclude each other", hint="--replay plays what --shrink saved.")
    wanted = wanted or []
    if unknown := [name for name in wanted if name not in FEATURES]:
        raise InputError(f"there is no feature '{unknown[0]}'", hint=f"There are {', '.join(FEATURES)}.")
    people = console()
    if plants:
        raise typer.Exit(_survey(seeds, jobs, people, as_json=as_json))
    if shrink is not None:
        raise typer.Exit(_shrink(shrink, plant, wanted, out, people, as_json=as_json))
    if replay is not None:
        raise typer.Exit(_replay(replay, people, as_json=as_json))
    chosen = range(start, start + (seeds or SEEDS))
    raise typer.Exit(_swarm(chosen, plant, wanted, jobs, people, keep_going=keep_going, as_json=as_json))


def _swarm(
    seeds: range, plant: str | None, wanted: list[str], jobs: int, people: Console, *, keep_going: bool, as_json: bool
) -> int:
    from chaos.engine.records import commit
    from chaos.explore import swarm
    from chaos.explore.coverage import Coverage
    from chaos.explore.plants import planted

    if plant is not None:
        planted(plant)  # a misspelt name is said now, not by every worker
    jobs = jobs or swarm.cores()
    people.print(f"seeds {seeds.start} to {seeds.stop - 1}, commit {commit() or 'unknown'}, {jobs} processes"
                 + (f", planted bug {plant}" if plant else "") + (f", with {', '.join(wanted)}" if wanted else ""),
                 highlight=False)  # fmt: skip
    coverage, outcomes, began = Coverage(), [], time.monotonic()
    failing: list[Outcome] = []
    with _progress(people, len(seeds)) as advance:
        try:
            for outcome in swarm.explore(seeds, plant, jobs, lambda: bool(failing) and not keep_going, wanted):
                outcomes.append(outcome)
                coverage.add(outcome.seen, outcome.calls)
                if outcome.finding is not None:
                    failing.append(outcome)
                    _say_failure(outcome, _options(plant, wanted), people)
                advance(outcome, len(failing))
        except KeyboardInterrupt:
            people.print("[yellow]stopped by a person[/yellow]")
    failing.sort(key=lambda outcome: outcome.seed)
    wall = time.monotonic() - began
    summary = _summary(seeds, plant, wanted, outcomes, failing, coverage, wall)
    _say_summary(summary, coverage, people)
    if as_json:
        print(json.dumps(summary))
    if plant is not None:
        return 0 if failing else 1
    return 1 if failing else (0 if len(outcomes) == len(seeds) else 3)


def _survey(seeds: int | None, jobs: int, people: Console, *, as_json: bool) -> int:
    """Rows on stdout, as they are found; progress is for people."""
    from chaos.explore import swarm
    from chaos.explore.survey import SEEDS as ENOUGH
    from chaos.explore.survey import survey

    found = []
    with people.status("exploring with planted bugs"):
        for one in survey(seeds or ENOUGH, jobs or swarm.cores()):
            found.append(one)
            if not as_json:
                print(one.row(), flush=True)
    if as_json:
        rows = [{"plant": one.plant.name, "seed": one.seed, "property": one.prop} for one in found]
        print(json.dumps({"schema": 1, "plants": rows}))
    return 0 if all(one.seed is not None for one in found) else 1


class _Advance:
    """Moves the progress bar."""

    def __init__(self, bar: Any, task: Any) -> None:
        self._bar, self._task, self._virtual = bar, task, 0.0

    def __call__(self, outcome: Outcome, failed: int) -> None:
        self._virtual += outcome.virtual_s
        what = f"{self._virtual:,.0f} virtual seconds" + (f", [red]{failed} failed[/red]" if failed else "")
        self._bar.update(self._task, advance=1, what=what)


class _Progress:
    def __init__(self, people: Console, total: int) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("exploring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
                   TextColumn("{task.fields[what]}"))  # fmt: skip
        self._bar = Progress(*columns, console=people, transient=True)
        self._total = total

    def __enter__(self) -> _Advance:
        self._bar.__enter__()
        return _Advance(self._bar, self._bar.add_task("seeds", total=self._total, what=""))

    def __exit__(self, *error: Any) -> None:
        self._bar.__exit__(*error)


_progress = _Progress


def _options(plant: str | None, wanted: list[str]) -> str:
    """What a command needs besides a seed, so that the seed means the same again."""
    return (f" --plant {plant}" if plant else "") + "".join(f" --with {name}" for name in wanted)


def replay_command(seed: int, options: str) -> str:
    """What plays one seed again."""
    return f"blackstart explore --start {seed} --seeds 1 --jobs 1{options}"


def _say_failure(outcome: Outcome, options: str, people: Console) -> None:
    from rich.markup import escape

    finding = outcome.finding
    assert finding is not None
    people.print(f"[bold red]seed {outcome.seed}[/bold red] broke [bold]{finding.prop}[/bold] at {finding.at_s:.3f} s",
                 highlight=False)  # fmt: skip
    people.print(f"  {escape(finding.text)}", highlight=False, soft_wrap=True)
    people.print(f"  again:  {replay_command(outcome.seed, options)}", highlight=False, soft_wrap=True)
    smaller = f"blackstart explore --shrink {outcome.seed}{options}"
    people.print(f"  reduce: {smaller}", highlight=False, soft_wrap=True)


def _summary(
    seeds: range,
    plant: str | None,
    wanted: list[str],
    outcomes: list[Outcome],
    failing: list[Outcome],
    coverage: Coverage,
    wall: float,
) -> dict[str, Any]:
    import msgspec

    from chaos.engine.records import commit

    options = _options(plant, wanted)
    cpu = sum(outcome.cpu_s for outcome in outcomes)
    virtual = sum(outcome.virtual_s for outcome in outcomes)
    return {
        "schema": 1, "start": seeds.start, "seeds": len(seeds), "played": len(outcomes), "plant": plant,
        "with": wanted, "commit": commit(), "seconds": round(wall, 2), "cpu_s": round(cpu, 2),
        "virtual_s": round(virtual, 1),
        "seeds_per_minute": round(60 * len(outcomes) / wall, 1) if wall else None,
        "virtual_s_per_cpu_s": round(virtual / cpu, 1) if cpu else None,
        "operations": sum(outcome.operations for outcome in outcomes),
        "acknowledged_writes": sum(outcome.acknowledged for outcome in outcomes),
        "failures": [{"seed": o.seed, **msgspec.to_builtins(o.finding), "replay": replay_command(o.seed, options)}
                     for o in failing],
        "coverage": coverage.to_json(),
    }  # fmt: skip


def _say_summary(summary: dict[str, Any], coverage: Coverage, people: Console) -> None:
    from rich.table import Table

    style = "bold green" if bool(summary["failures"]) == (summary["plant"] is not None) else "bold red"
    people.print(
        f"[{style}]{summary['played']} seeds, {len(summary['failures'])} failed[/{style}]: {summary['virtual_s']:,.0f} "
        f"virtual seconds, {summary['operations']:,} operations, {summary['seeds_per_minute']} seeds a minute, "
        f"{summary['virtual_s_per_cpu_s']} virtual seconds for one of a core", highlight=False,
    )  # fmt: skip
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("met", "", "never met"):
        table.add_column(title, overflow="fold")
    never = coverage.never()
    for section, counts in sorted(coverage.seen.items()):
        met = ", ".join(f"{name} {count:,}" for name, count in counts.most_common(SHOWN_MAX))
        more = len(counts) - SHOWN_MAX
        table.add_row(
            section, met + (f" and {more} more" if more > 0 else ""), ", ".join(never.get(section, [])) or "-"
        )
    functions = summary["coverage"]["functions"]
    if functions is not None:
        missing = never["functions"]
        shown = ", ".join(missing[:SHOWN_MAX]) + (f" and {len(missing) - SHOWN_MAX} more: --json lists them"
                                                  if len(missing) > SHOWN_MAX else "")  # fmt: skip
        table.add_row("functions", f"{functions['entered']} of {functions['known']}", shown)
    people.print(table)


def _replay(path: Path, people: Console, *, as_json: bool) -> int:
    from chaos.errors import InputError
    from chaos.explore.plants import planted
    from chaos.explore.play import play
    from chaos.explore.scenario import from_yaml

    try:
        text = path.read_text()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    scenario = from_yaml(text, str(path))
    outcome = play(scenario, planted(scenario.plant) if scenario.plant else None)
    _say_outcome(outcome, people)
    if as_json:
        import msgspec

        print(msgspec.json.encode(outcome).decode())
    return 1 if outcome.finding is not None else 0


def _say_outcome(outcome: Outcome, people: Console) -> None:
    from rich.markup import escape

    if outcome.finding is None:
        people.print(f"[bold green]nothing found[/bold green] in {outcome.virtual_s:.1f} virtual seconds")
    else:
        finding = outcome.finding
        people.print(f"[bold red]{finding.prop}[/bold red] at {finding.at_s:.3f} s: {escape(finding.text)}",
                     highlight=False, soft_wrap=True)  # fmt: skip


def _shrink(seed: int, plant: str | None, wanted: list[str], out: Path, people: Console, *, as_json: bool) -> int:
    from chaos.errors import InputError
    from chaos.explore.picture import draw
    from chaos.explore.plants import planted, scenario_of
    from chaos.explore.scenario import to_yaml
    from chaos.explore.shrink import shrink as reduce

    module = planted(plant) if plant is not None else None
    with people.status("shrinking") as status:

        def told(text: str) -> None:
            status.update(f"shrinking: {text}")

        found = reduce(scenario_of(seed, plant, wanted), module, told)
    if found is None:
        raise InputError(f"seed {seed} does not fail", hint="Give a seed that explore reported, with its --plant.")
    scenario, finding = found.scenario, found.finding
    out.mkdir(parents=True, exist_ok=True)
    name = f"seed-{seed}" + (f"-{plant}" if plant else "")
    playbook, picture = out / f"{name}.yaml", out / f"{name}.svg"
    head = f"{finding.prop}: {finding.text}\nReplay: blackstart explore --replay {playbook}"
    playbook.write_text(to_yaml(scenario, head))
    picture.write_text(draw(scenario, module))
    people.print(
        f"{found.before} actions became {len(scenario.method)}, in {found.tries} tries; it fails the same way:"
    )
    people.print(
        f"  {finding.prop} at {finding.at_s:.3f} s: {finding.text}", highlight=False, markup=False, soft_wrap=True
    )
    people.print(
        f"playbook: {playbook}\npicture:  {picture}\nreplay:   blackstart explore --replay {playbook}", soft_wrap=True
    )
    if as_json:
        import msgspec

        body = {
            "schema": 1, "seed": seed, "plant": plant, "finding": msgspec.to_builtins(finding), "tries": found.tries,
            "actions": len(scenario.method), "playbook": str(playbook), "picture": str(picture),
        }  # fmt: skip
        print(json.dumps(body))
    return 0
