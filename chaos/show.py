"""What a person reads on the terminal about a plan; on stderr, so that stdout stays machine-readable."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from chaos.playbook.units import format_duration

if TYPE_CHECKING:
    from pathlib import Path

    from chaos.plan import Planned
    from chaos.playbook.model import CanarySpec
    from chaos.prepare import Prepared
    from reports.rundir import Verdict


def console() -> Console:
    """The console for people."""
    return Console(stderr=True, highlight=False)


def show_plan(prepared: Prepared, to: Console | None = None) -> None:
    """Print everything that a run of this playbook would do."""
    out = to or console()
    plan, playbook = prepared.plan, prepared.playbook
    out.print(f"[bold]{escape(plan.title)}[/bold]  [dim]{escape(str(prepared.path))}[/dim]")
    if playbook.description:
        out.print(escape(" ".join(playbook.description.split())), style="dim")
    load, budget = playbook.load, playbook.safety.budget
    zones = ", ".join(sorted({node.az for node in plan.nodes if node.az}))
    members = sum(1 for node in plan.nodes if node.role != "client")
    facts = [
        ("seed", str(prepared.seed)),
        ("topology", f"{prepared.topology.name}: {members} nodes in zones {zones}"),
        (
            "load",
            f"{load.profile}, {load.rate:g} operations/s offered (invalid below {load.floor:g}), "
            f"at most {load.users} in flight, {load.keys} keys of {load.item_bytes} bytes",
        ),
        ("canaries", canary_text(playbook.canaries)),
        (
            "budget",
            f"{budget.az} zone{'s' if budget.az != 1 else ''}; groups losing quorum: {budget.quorum_loss}; "
            f"losing all copies: {budget.total_loss}" + ("; UNSAFE: not enforced" if playbook.safety.unsafe else ""),
        ),
        (
            "time",
            f"{format_duration(plan.before_s)} before, {format_duration(plan.method_s)} of method, "
            f"{format_duration(plan.after_s)} after; at most {format_duration(playbook.safety.max_duration)} in all",
        ),
        ("lease", f"{format_duration(playbook.safety.lease)}: faults outlive a dead controller by no more"),
    ]
    for name, text in facts:
        out.print(f"  [cyan]{name:>9}[/cyan]  {escape(text)}")
    table = Table(show_edge=False, pad_edge=False, header_style="bold", box=None, padding=(0, 2))
    for column in ("from", "to", "action", "targets", "undone by"):
        table.add_column(column)
    for action in plan.actions:
        table.add_row(*(escape(cell) for cell in action_cells(action)))
    out.print()
    out.print(table)
    for warning in prepared.warnings:
        out.print(f"[yellow]warning:[/yellow] {escape(warning)}")


def canary_text(spec: CanarySpec) -> str:
    """What watches the run."""
    if not spec.enabled:
        return "none"
    return (
        f"one in every zone, a round each {format_duration(spec.interval)} through the routers in turn; alarm below "
        f"{spec.threshold:.0%} in 2 of 3 windows of {format_duration(spec.window)}"
    )


def action_cells(action: Planned) -> tuple[str, str, str, str, str]:
    """One row of the plan's table."""
    options = ", ".join(
        f"{key}={', '.join(value) if isinstance(value, list) else value}"
        for key, value in action.options.items()
        if value not in (None, 0.0)
    )
    if action.kind == "human":
        who, options = "a person", str(action.options["prompt"])
    elif action.late:
        who = f"{action.target_set} (decided at injection)"
    else:
        who = ", ".join(action.targets) or "nobody (on-empty: skip)"
    what = f"{action.name}\n{action.kind} {options}".rstrip()
    return format_duration(action.start_s), format_duration(action.end_s), what, who, action.undo


def show_verdict(verdict: Verdict, report: Path, people: Console) -> None:
    """What came out of a run, and where to read more."""
    style = {"passed": "bold green", "failed": "bold red"}.get(verdict.verdict, "bold yellow")
    people.print(f"[{style}]{verdict.verdict.upper()}[/{style}]  {escape(verdict.why[0] if verdict.why else '')}")
    for sentence in verdict.why[1:]:
        people.print(f"  {escape(sentence)}", highlight=False)
    people.print(f"report: {escape(str(report))}", soft_wrap=True)
