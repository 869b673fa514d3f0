"""``blackstart scrub``: read every disk, hold every replica against its peers and the archive, mend what differs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chaos.errors import ExitCode

if TYPE_CHECKING:
    from rich.console import Console

    from reports.rundir import CheckResult, Scrub

app = typer.Typer(add_completion=False)


@app.command()
def scrub(
    cluster: Annotated[str | None, typer.Option(help="Cluster id; by default the one that runs here.")] = None,
    heal: Annotated[bool, typer.Option(help="Rebuild replicas that differ from those that agree.")] = True,
    disks: Annotated[bool, typer.Option(help="Read every node's disk past its caches, too.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Scrub every partition of every table at one barrier each; exit code 1 where anything was found."""
    import msgspec

    from chaos.commands.fault import the_cluster
    from chaos.engine.scrub import reader_of
    from chaos.engine.scrub import scrub as run_scrub
    from chaos.engine.watch import EMPTY, WATCHED
    from chaos.show import console
    from cluster.control import Control

    it = the_cluster(cluster)
    out = console()
    told: list[dict[str, Any]] = []

    def tell(event: str, **fields: Any) -> None:
        told.append({"event": event} | fields)
        out.print(f"{event}: " + ", ".join(f"{k} {v}" for k, v in fields.items() if v not in (None, "")), markup=False)

    roles = {node.name: node.role for node in it.nodes.values() if node.role in WATCHED}
    reader = reader_of(it)
    with Control(it.peers, it.key, it.id) as control:
        done = run_scrub(it, control, EMPTY, roles, lambda: None, reader=reader, heal=heal, disks=disks, tell=tell)
    checks = judge(done)
    bad = sum(disk.bad for disk in done.disks)
    if as_json:
        body = {"schema": 1, "cluster": it.id, "scrub": msgspec.to_builtins(done), "events": told}
        body["checks"] = [msgspec.to_builtins(check) for check in checks]
        print(json.dumps(body))
    else:
        show(out, done, checks)
    if bad or any(check.result == "failed" for check in checks):
        raise typer.Exit(ExitCode.FAILED)
    if any(check.result == "unknown" for check in checks):
        raise typer.Exit(ExitCode.INCONCLUSIVE)


def judge(done: Scrub) -> list[CheckResult]:
    """The two checks of a run that a scrub is evidence for; both are idle where there is no table yet."""
    from reports.checkers import archive_agrees, replicas_agree

    if not done.groups:
        return []
    return [replicas_agree.check(done), archive_agrees.check(done, expected=done.archived)]


def show(out: Console, done: Scrub, checks: list[CheckResult]) -> None:
    """A line for each partition, then what was read and what was found."""
    for group in done.groups:
        said = {replica.digest for replica in group.replicas if replica.digest is not None}
        copy = group.reference
        archived = "no archive" if copy is None else "no copy" if copy.digest is None else f"{copy.segments} segments"
        equal = len(said) == 1 and (copy is None or copy.digest in {None, *said})
        state = group.error or ("equal" if equal else "DIFFERENT")
        items = max((replica.items for replica in group.replicas), default=0)
        out.print(
            f"{group.table}/{group.partition}  slot {group.slot}  {len(group.replicas)} replicas  {items} items  "
            f"{archived}  {state}",
            markup=False,
        )
    read, seconds = sum(disk.bytes for disk in done.disks), sum(disk.seconds for disk in done.disks)
    if done.disks:
        bad, silent = sum(d.bad for d in done.disks), [d.node for d in done.disks if d.error is not None]
        more = f"; no answer from {', '.join(silent)}" if silent else ""
        rate = f", {read / seconds / 1e6:.0f} MB/s" if seconds else ""
        out.print(f"disks: {read / 1e6:.1f} MB read past the caches{rate}, {bad} bad places{more}", markup=False)
    for check in checks:
        out.print(f"{check.name}: {check.result}: {check.why}", markup=False)
    if not done.groups:
        out.print("there is no table yet: nothing to compare")
