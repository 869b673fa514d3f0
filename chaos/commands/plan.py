"""``blackstart plan``: what a playbook would do, touching nothing."""

from __future__ import annotations

import json
from typing import Annotated

import typer

app = typer.Typer(add_completion=False)


@app.command()
def plan(
    playbook: Annotated[str, typer.Argument(help="A playbook file, or the name of one that comes with Blackstart.")],
    seed: Annotated[int | None, typer.Option(min=0, help="Instead of the playbook's seed.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print plan.json on stdout.")] = False,
) -> None:
    """Resolve a playbook: targets, times, what each fault does and how it is undone. Nothing is touched."""
    from chaos.prepare import prepare
    from chaos.show import show_plan

    prepared = prepare(playbook, seed=seed)
    if as_json:
        print(json.dumps(prepared.plan.to_json(), indent=2))
    else:
        show_plan(prepared)
