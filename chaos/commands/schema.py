"""``blackstart schema``: the JSON Schema of playbooks."""

from __future__ import annotations

import json

import typer

app = typer.Typer(add_completion=False)


@app.command()
def schema() -> None:
    """Print the JSON Schema of playbooks; editors complete and check with it."""
    from chaos.playbook import json_schema

    print(json.dumps(json_schema(), indent=2))
