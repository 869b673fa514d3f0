"""``blackstart run``: play a game day."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from chaos.engine.game import GameDay
    from chaos.explore.scenario import Scenario
    from chaos.simulated.day import SimulatedDay
    from reports.rundir import Verdict

app = typer.Typer(add_completion=False)


@app.command()
def run(
    playbook: Annotated[
        str,
        typer.Argument(
            help="A playbook file, the name of one that comes with Blackstart, or what explore --shrink saved."
        ),
    ],
    runtime: Annotated[str | None, typer.Option(help="docker, local or simulated.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Instead of the playbook's seed.")] = None,
    out: Annotated[Path, typer.Option(help="Where the run's directory goes.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print verdict.json on stdout.")] = False,
    dry: Annotated[bool, typer.Option("--dry", help="Print the plan and stop: nothing is touched.")] = False,
    plant: Annotated[str | None, typer.Option(help="Run with a planted bug; blackstart plants lists them.")] = None,
    no_human: Annotated[bool, typer.Option("--no-human", help="Ask nobody anything.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the cluster up at the end.")] = False,
) -> None:
    """Play a game day: deploy, load, break, heal, verify, and write a report that proves what survived."""
    from chaos.errors import InputError
    from chaos.plants import find_plant
    from chaos.prepare import prepare
    from chaos.show import console, show_plan

    if runtime not in (None, "docker", "local", "simulated"):
        raise InputError(f"there is no runtime '{runtime}'", hint="The runtimes are docker, local and simulated.")
    if (scenario := scenario_of(playbook)) is not None:
        raise typer.Exit(run_scenario(scenario, runtime, seed, plant, out, dry=dry, as_json=as_json))
    planted = find_plant(plant) if plant is not None else None
    prepared = prepare(playbook, seed=seed)
    people = console()
    show_plan(prepared, people)
    if planted is not None:
        people.print(f"  [yellow]planted bug[/yellow] {planted.name}: {planted.breaks}")
    if dry:
        return
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file", hint="Give a directory; it is made where it does not exist.")
    from chaos.engine.game import GameDay, Options
    from chaos.engine.stop import StopRequest, signals
    from chaos.live import Display

    stop = StopRequest()
    with signals(stop), Display(prepared, people) as display:
        options = Options(
            runtime=runtime,
            out=out,
            plant=None if planted is None else planted.name,
            plant_path=None if planted is None else planted.path,
            keep=keep,
            ask=None if no_human else display.ask,
        )
        game: GameDay | SimulatedDay
        if runtime == "simulated":
            from chaos.simulated.day import SimulatedDay

            game = SimulatedDay(prepared, options, stop, display.take)
        else:
            game = GameDay(prepared, options, stop, display.take, display.progress)
        verdict = game.play()
    finish(game, verdict, as_json=as_json)


def scenario_of(name: str) -> tuple[Path, Scenario] | None:
    """The scenario of ``blackstart explore`` in a file of this name; None where it is a playbook, or nothing yet."""
    path = Path(name)
    if not path.is_file() or "\nexplore:" not in f"\n{path.read_text(errors='replace')}":
        return None
    from chaos.explore.recorded import scenario_in

    scenario = scenario_in(path)
    return None if scenario is None else (path, scenario)


def run_scenario(
    found: tuple[Path, Scenario],
    runtime: str | None,
    seed: int | None,
    plant: str | None,
    out: Path,
    *,
    dry: bool,
    as_json: bool,
) -> int:
    """Play a scenario that exploring found, which only the simulator can; its exit code."""
    from chaos.errors import InputError
    from chaos.explore.plants import planted
    from chaos.explore.recorded import play_recorded, with_options
    from chaos.explore.scenario import to_yaml
    from chaos.show import console, show_verdict

    path, scenario = found
    if runtime not in (None, "simulated"):
        raise InputError(
            f"{path} is a scenario of blackstart explore, and --runtime {runtime} cannot play it",
            hint="Leave --runtime out: its times are too fine for anything but the simulator.",
        )
    scenario = with_options(scenario, seed, plant)
    people = console()
    people.print(to_yaml(scenario), highlight=False, markup=False)
    if dry:
        return 0
    module = planted(scenario.plant) if scenario.plant else None
    run, verdict = play_recorded(scenario, module, path.stem, out)
    show_verdict(verdict, run.report, people)
    if as_json:
        print(run.verdict.read_text().rstrip())
    return int(verdict.exit_code)


def finish(game: GameDay | SimulatedDay, verdict: Verdict, *, as_json: bool) -> None:
    """Say what came out of it, and leave with its exit code."""
    from rich.markup import escape

    from chaos.errors import ExitCode
    from chaos.show import console, show_verdict

    people = console()
    show_verdict(verdict, game.run.report, people)
    if as_json:
        print(game.run.verdict.read_text().rstrip())
    if game.failure is not None:
        people.print(f"[red]error:[/red] {escape(str(game.failure))}", soft_wrap=True)
        if verdict.verdict != "failed":
            raise typer.Exit(ExitCode.PLATFORM)
    raise typer.Exit(verdict.exit_code)
