"""``blackstart plants``: the planted bugs, and which check catches each."""

from __future__ import annotations

import json
from typing import Annotated

import typer

app = typer.Typer(add_completion=False)


@app.command()
def plants(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False) -> None:
    """List the planted bugs: what each breaks, which check catches it, and in which playbook."""
    from rich.table import Table

    from chaos.plants import catalogue
    from chaos.show import console

    found = catalogue()
    if as_json:
        print(json.dumps({"schema": 1, "plants": [plant.to_json() for plant in found]}, indent=1))
        return
    out = console()
    if not found:
        out.print("This installation has no planted bugs; they are in tests/plants of a clone, and in no wheel.")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2), header_style="bold")
    # Names are for copying: only the sentence folds where the terminal is narrow.
    table.add_column("plant", no_wrap=True)
    table.add_column("breaks")
    table.add_column("caught by", no_wrap=True)
    for plant in found:
        table.add_row(plant.name, plant.breaks, plant.caught_by)
    out.print(table)
    one = found[0]
    out.print("\n[dim]Each in the playbook and with the seed that --json names, for example[/dim]")
    out.print(f"blackstart run {one.playbook} --plant {one.name} --seed {one.seed}", soft_wrap=True)
