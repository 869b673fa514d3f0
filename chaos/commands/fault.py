"""``blackstart fault``: break one thing on a running cluster by hand, see what is broken, undo it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from chaos.faults.base import Spec
    from chaos.playbook import Playbook
    from cluster.runtime.base import Cluster

app = typer.Typer(add_completion=False, no_args_is_help=False, help="List, inject and heal faults by hand.")
ClusterOption = Annotated[str | None, typer.Option("--cluster", help="Cluster id; by default the one that runs here.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


@app.callback()
def group() -> None:
    """List, inject and heal faults on a running cluster."""


def the_cluster(cluster_id: str | None) -> Cluster:
    """The cluster asked for, or the only one there is. Raises :class:`chaos.errors.InputError`."""
    from chaos.errors import InputError
    from cluster.runtime import attach, list_clusters

    if cluster_id is not None:
        return attach(cluster_id)
    found = sorted(list_clusters())
    if len(found) != 1:
        there = f"there are {len(found)}: {', '.join(found)}" if found else "none runs here"
        raise InputError(f"which cluster? {there}", hint="Name it with --cluster, or start one: blackstart cluster up.")
    return attach(found[0])


@app.command("list")
def list_faults(cluster: ClusterOption = None, as_json: JsonOption = False) -> None:
    """What kinds of fault there are, whether this machine has what they need, and what is in at the moment."""
    from chaos.faults import FAULTS
    from chaos.faults.availability import KINDS, missing
    from chaos.journal import Journal, boot_s
    from chaos.show import console
    from cluster.runtime import list_clusters
    from cluster.runtime.base import NoSuchCluster

    ids = [cluster] if cluster is not None else sorted(list_clusters())
    entries = []
    for one in ids:
        try:
            entries += Journal(the_cluster(one).state_dir).entries()
        except NoSuchCluster:
            if cluster is not None:
                raise  # else it is one that goes, or comes, at this moment
    now = boot_s()
    if as_json:
        active = [
            {"id": e.id, "cluster": e.cluster, "kind": e.kind, "name": e.name, "targets": list(e.targets),
             "expires_in_s": round(e.expires_boot_s - now, 1)}
            for e in entries
        ]  # fmt: skip
        available = {kind: {"about": it.about, "missing": missing(kind)} for kind, it in sorted(KINDS.items())}
        print(json.dumps({"schema": 1, "kinds": sorted(FAULTS), "available": available, "active": active}))
        return
    out = console()
    for kind, it in sorted(KINDS.items()):
        why = missing(kind)
        out.print(f"{'ok  ' if why is None else 'MISS'}  {kind:17} {it.about}" + (f" ({why})" if why else ""))
    for e in entries:
        left = max(0.0, e.expires_boot_s - now)
        out.print(f"{e.cluster}  {e.id}  {e.kind}  {', '.join(e.targets)}  lifts itself in {left:.0f}s", markup=False)
    if not entries:
        out.print("no fault is in")


@app.command()
def heal(cluster: ClusterOption = None, as_json: JsonOption = False) -> None:
    """Undo every fault that the journal knows of; idempotent, also after the controller was killed."""
    from chaos.errors import PlatformError
    from chaos.healing import drop_tables, heal_all
    from chaos.journal import Journal
    from chaos.show import console

    it = the_cluster(cluster)
    done = heal_all(it, Journal(it.state_dir))
    stuck = [one for one in done if one.error is not None]
    if not stuck:
        drop_tables(it)
    if as_json:
        result = [{"id": h.entry.id, "kind": h.entry.kind, "name": h.entry.name, "error": h.error} for h in done]
        print(json.dumps({"schema": 1, "cluster": it.id, "healed": result}))
    else:
        out = console()
        for h in done:
            out.print(f"{h.entry.kind} '{h.entry.name}': {h.error or 'undone'}", markup=False)
        if not done:
            out.print(f"cluster {it.id}: no fault is in")
    if stuck:
        raise PlatformError(
            f"{len(stuck)} faults could not be undone; run it again, or: blackstart cluster down {it.id}"
        )


@app.command()
def inject(
    kind: Annotated[str, typer.Argument(help="power-off, partition, restart or bit-rot.")],
    select: Annotated[list[str], typer.Option(help="Who: az=b, rack=b1, role=storage, node=storage-a1. Repeatable.")],
    mode: Annotated[str, typer.Option(help="all, one, count(2), random(2), leader-of(TABLE).")] = "all",
    lasting: Annotated[str, typer.Option("--for", help="How long, such as 30s; then it lifts itself.")] = "30s",
    options: Annotated[str, typer.Option("--with", help="The fault's options as YAML, such as '{how: reset}'.")] = "{}",
    seed: Annotated[int, typer.Option(min=0, help="For random choices.")] = 1,
    unsafe: Annotated[bool, typer.Option("--unsafe", help="Beyond one zone, or beyond a lost quorum.")] = False,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Inject one fault; the reaper lifts it when its time is over, whether or not anybody watches."""
    playbook = one_action_playbook(kind, select, mode, lasting, options, unsafe=unsafe)
    it = the_cluster(cluster)
    effect = inject_now(it, playbook, seed)
    if as_json:
        print(json.dumps({"schema": 1, "cluster": it.id, **effect}))
        return
    from chaos.show import console

    out = console()
    out.print(f"{effect['state']}: {effect['detail']}", markup=False)
    if kind == "bit-rot":
        out.print("It is never undone: the database has to find and mend it.")
    else:
        after = lasting if lasting[-1:].isalpha() else f"{lasting} s"
        out.print(f"It lifts itself after {after}; sooner: blackstart fault heal --cluster {it.id}", markup=False)


def one_action_playbook(
    kind: str, select: list[str], mode: str, lasting: str, options: str, *, unsafe: bool
) -> Playbook:
    """The same checks, and the same words, as for a playbook. Raises :class:`chaos.errors.InputError`."""
    from chaos.errors import InputError, Problem
    from chaos.faults import FAULTS
    from chaos.faults.availability import KINDS
    from chaos.playbook import parse

    if kind not in FAULTS:
        what = "is a series, for playbooks" if kind in KINDS else "is none"
        raise InputError(f"of the faults to inject by hand, '{kind}' {what}", hint=f"There are {', '.join(FAULTS)}.")
    lasting = lasting if re.fullmatch(r"[0-9.]+", lasting) else json.dumps(lasting)
    text = "\n".join([
        "title: by hand",
        f"targets: {{who: {{select: {json.dumps(select)}, mode: {json.dumps(mode)}}}}}",
        f"safety: {{lease: {lasting}, max-duration: 7h, unsafe: {str(unsafe).lower()}}}",
        "method:",
        f"  - {{action: {json.dumps(kind)}, targets: who{duration(kind, lasting)}{extras(options)}}}",
    ])  # fmt: skip
    try:
        return parse(text, "command line")
    except Problem as problem:
        raise InputError("\n".join(dict.fromkeys(map(in_flags, problem.problems)))) from None


FLAGS = {
    "targets.who.select": "--select",
    "targets.who.mode": "--mode",
    "safety.lease": "--for",
    "method[0].for": "--for",
    "method[0].with": "--with",
}
"""What stands in the playbook of :func:`one_action_playbook`, and the flag it comes from."""


def in_flags(problem: str) -> str:
    """A mistake in a playbook that nobody wrote, as one in the flags that it was made of."""
    text = re.sub(r"^line \d+: ", "", problem)
    for place, flag in FLAGS.items():
        if text.startswith(place):
            # ".cut: unknown field" is about the option of that name, "[0]: ..." about one of the flag's values.
            rest = re.sub(r"^\[\d+\]", "", text.removeprefix(place))
            return f"{flag} {rest[1:]}" if rest.startswith(".") else f"{flag}{rest}"
    return f"--with: {text}"  # the only one that is YAML of the user's own


def duration(kind: str, lasting: str) -> str:
    """How long it lasts, in the playbook's words; damage to disks is never undone."""
    return "" if kind == "bit-rot" else f", for: {lasting}"


def extras(options: str) -> str:
    """The options, where there are any: a restart knows none."""
    return "" if options.strip() in ("", "{}") else f", with: {options}"


def inject_now(it: Cluster, playbook: Playbook, seed: int) -> dict[str, Any]:
    """Resolve, guard, journal, inject and verify one fault whose lease is its whole length."""
    from chaos import reaper
    from chaos.engine.inject import Method
    from chaos.engine.stop import StopRequest
    from chaos.engine.watch import Watcher
    from chaos.faults import fault_of
    from chaos.faults.base import node_refs
    from chaos.plan import make_plan
    from cluster.control import Control

    plan = make_plan(playbook, node_refs(it), seed)
    with Control(it.peers, it.key, it.id) as control:
        watcher = Watcher(it, control, lambda *_, **__: None)
        watcher.poll()
        watcher.poll()
        method = Method(it, playbook, plan, watcher, lambda *_, **__: None, StopRequest(), None)
        method.preflight()
        action = plan.actions[0]._replace(number=0)
        spec: Spec
        reaper.start(it.id, it.state_dir)
        with method.journal.lock("by-hand"):
            entry, spec = method.inject_one(action, entry_id=method.free_id())
        state = fault_of(entry.kind).verify(it, entry, spec)
        watcher.close()
    return {"id": entry.id, "targets": list(entry.targets), "state": state.state, "detail": state.detail}
