"""``blackstart cluster up | status | down``: a cluster to work with, outside a game day."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chaos.errors import InputError, PlatformError

if TYPE_CHECKING:
    from rich.console import Console

    from cluster.control import Control
    from cluster.runtime import Cluster

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Start, inspect and stop a cluster.")

SERVING_TIMEOUT_S = 60.0
CALL_TIMEOUT_S = 2.0
WORKERS = 12

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
ClusterId = Annotated[
    str | None, typer.Argument(metavar="[CLUSTER]", help="The cluster's id; not needed for one alone.")
]

SNIPPET = """\
import boto3
dynamodb = boto3.resource("dynamodb", endpoint_url="{url}", region_name="{region}",
                          aws_access_key_id="{access_key}", aws_secret_access_key="{secret_key}")
table = dynamodb.create_table(TableName="hello", BillingMode="PAY_PER_REQUEST",
                              KeySchema=[{{"AttributeName": "pk", "KeyType": "HASH"}}],
                              AttributeDefinitions=[{{"AttributeName": "pk", "AttributeType": "S"}}])
table.wait_until_exists()
table.put_item(Item={{"pk": "black", "start": 1}})
print(table.get_item(Key={{"pk": "black"}}, ConsistentRead=True)["Item"])
"""


@app.command()
def up(
    topology: Annotated[str, typer.Option(help="A shipped topology, or a file.")] = "small",
    runtime: Annotated[str | None, typer.Option(help="docker or local; by default docker where it answers.")] = None,
    plant: Annotated[str | None, typer.Option(help="Start with this planted bug (see 'blackstart plants').")] = None,
    as_json: AsJson = False,
) -> None:
    """Start a cluster, wait until it serves, and print how to reach it."""
    from chaos.show import console
    from cluster import runtime as runtimes
    from cluster.topology import load

    out = console()
    chosen = load(topology)
    if runtime is not None and runtime not in runtimes.KINDS:
        raise InputError(f"there is no runtime '{runtime}'", hint=f"The runtimes are {' and '.join(runtimes.KINDS)}.")
    kind = runtimes.choose(runtime)
    plant_path = directory_of_plant(plant)
    begun = time.monotonic()
    with out.status(f"starting {chosen.name} on {kind.kind}") as status:

        def progress(what: str, done: int, total: int) -> None:
            status.update(f"{what}" + (f" {done}/{total}" if total > 1 else ""))

        made = kind.up(chosen, plant=plant, plant_path=plant_path, progress=progress)
        try:
            status.update("waiting until it serves")
            wait_serving(made)
        except KeyboardInterrupt:
            status.update("taking it down again")
            made.down()
            raise
    seconds = time.monotonic() - begun
    if as_json:
        print(json.dumps(described(made)))
        return
    out.print(f"[bold green]{made.id}[/] serves after {seconds:.1f} s on {made.kind}: {len(made.nodes)} nodes")
    for az, url in sorted(made.endpoints.items()):
        out.print(f"  zone {az}  {url}")
    out.print("\n[dim]Paste into Python (pip install boto3):[/dim]")
    url = next(iter(made.endpoints.values()))
    text = SNIPPET.format(url=url, region=made.region, access_key=made.access_key, secret_key=made.secret_key)
    out.print(text, markup=False, highlight=False, soft_wrap=True)
    out.print(f"[dim]blackstart cluster status {made.id}    blackstart cluster down {made.id}[/dim]")


def directory_of_plant(name: str | None) -> Path | None:
    """Where the planted bug of that name lives. Raises :class:`InputError` for one that does not exist."""
    if name is None:
        return None
    from chaos.plants import find_plant

    return find_plant(name).path


def described(made: Cluster) -> dict[str, Any]:
    """What ``cluster up --json`` prints."""
    return {
        "schema": 1,
        "cluster": made.id,
        "runtime": made.kind,
        "endpoints": [url for _, url in sorted(made.endpoints.items())],
        "access_key": made.access_key,
        "secret_key": made.secret_key,
        "region": made.region,
    }


def wait_serving(made: Cluster, timeout_s: float = SERVING_TIMEOUT_S) -> None:
    """Until every zone's router answers ListTables, which takes the whole control plane. Raises on a timeout."""
    deadline = time.monotonic() + timeout_s
    for az, url in sorted(made.endpoints.items()):
        while (problem := refused(made, url)) is not None:
            if time.monotonic() > deadline:
                raise PlatformError(
                    f"zone {az} at {url} does not serve after {timeout_s:g} s: {problem}",
                    hint=f"It is still up, for you to look: blackstart cluster status {made.id}; "
                    f"the nodes' own words are in {made.state_dir}/events; blackstart cluster down {made.id}.",
                )
            time.sleep(0.1)


def refused(made: Cluster, url: str) -> str | None:
    """Why ListTables is not answered there, or None where it is."""
    import http.client
    from urllib.parse import urlsplit

    from cluster.wire.sigv4 import sign

    host = urlsplit(url).netloc
    headers = {
        "host": host,
        "content-type": "application/x-amz-json-1.0",
        "x-amz-target": "DynamoDB_20120810.ListTables",
    }
    keys = {"access_key": made.access_key, "secret_key": made.secret_key, "region": made.region}
    signed = sign("POST", "/", headers, b"{}", now=time.time(), **keys)
    connection = http.client.HTTPConnection(host, timeout=CALL_TIMEOUT_S)
    try:
        connection.request("POST", "/", body=b"{}", headers=signed)
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        connection.close()
    return None if answer.status == 200 else f"{answer.status} {text[:200]}"


@app.command()
def status(cluster: ClusterId = None, as_json: AsJson = False) -> None:
    """Show zones, racks, nodes and who leads what. Exit code 1 when a node is off."""
    from chaos.show import console
    from cluster.control import Control
    from cluster.runtime import attach

    made = attach(only(cluster))
    with Control(made.peers, made.key, made.id) as control:
        rows = list(node_rows(made, control))
    down = [row["name"] for row in rows if not row["answers"]]
    if as_json:
        print(json.dumps({**described(made), "nodes": rows}))
    else:
        show_status(console(), made, rows)
    if down:
        raise typer.Exit(1)


def node_rows(made: Cluster, control: Control) -> Iterator[dict[str, Any]]:
    """One record for each node, in zone and rack order; those that do not answer say why."""
    from cluster.control import ControlError

    def ask(name: str) -> dict[str, Any] | str:
        if made.nodes[name].pid() is None:
            return "off"
        if made.nodes[name].role == "archive":
            return ask_archive(made, name)
        try:
            answer: dict[str, Any] = control.call(name, "status", {}, timeout_s=CALL_TIMEOUT_S)
            return answer
        except ControlError as error:
            return str(error)

    with ThreadPoolExecutor(WORKERS) as pool:
        answers = dict(zip(made.nodes, pool.map(ask, made.nodes), strict=True))
    for node in made.nodes.values():
        answer = answers[node.name]
        row = {"name": node.name, "role": node.role, "az": node.az, "rack": node.rack, "address": node.address}
        if isinstance(answer, str):
            yield {**row, "pid": node.pid(), "answers": False, "problem": answer, "replicas": [], "leads": 0}
            continue
        replicas = answer.get("replicas", [])
        leads = sum(1 for replica in replicas if replica.get("leader"))
        figures = {key: answer.get(key) for key in ("uptime_s", "rss_bytes", "cpu_s", "incarnation")}
        yield {**row, "pid": node.pid(), "answers": True, **figures, "replicas": replicas, "leads": leads}


def ask_archive(made: Cluster, name: str) -> dict[str, Any] | str:
    """The archive is no node of ours: it is asked what it is for, and the kernel for the rest."""
    import os

    from chaos.engine.scrub import reader_of
    from cluster.node.world import ObjectFailed

    reader, process = reader_of(made), made.nodes[name].process()
    if reader is None or process is None:
        return "off"
    try:
        reader.list_now(made.id)
        pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
        boot_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    except (ObjectFailed, OSError) as error:
        return str(error)
    uptime_s = boot_s - process.started / os.sysconf("SC_CLK_TCK")
    return {"uptime_s": uptime_s, "rss_bytes": pages * os.sysconf("SC_PAGE_SIZE")}


def show_status(out: Console, made: Cluster, rows: list[dict[str, Any]]) -> None:
    """The table for people."""
    from rich.table import Table

    out.print(f"[bold]{made.id}[/] on {made.kind}, region {made.region}, {made.subnet}")
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    for column in ("zone", "rack", "node", "address", "state", "up", "memory", "groups", "leads"):
        right = column in {"up", "memory", "groups", "leads"}
        table.add_column(column, justify="right" if right else "left", no_wrap=True)
    before = ("", "")
    for row in rows:
        place = (row["az"], row["rack"])
        zone, rack = (row["az"] if place[0] != before[0] else "", row["rack"] if place != before else "")
        before = place
        if row["answers"]:
            memory = f"{(row['rss_bytes'] or 0) / (1 << 20):.0f} MiB"
            groups = str(len(row["replicas"])) if row["replicas"] else ""
            cells = ["[green]up[/]", f"{row['uptime_s'] or 0:.0f} s", memory, groups, str(row["leads"] or "")]
        else:
            cells = ["[red]off[/]" if row["problem"] == "off" else "[yellow]silent[/]", "", "", "", ""]
        table.add_row(zone, rack, row["name"], row["address"], *cells)
    out.print(table)
    for az, url in sorted(made.endpoints.items()):
        out.print(f"zone {az}  {url}", highlight=False)
    out.print(who_leads(rows), highlight=False)


def who_leads(rows: list[dict[str, Any]]) -> str:
    """A line for each replication group, by table: which it is, and which node leads it."""
    from rich.markup import escape

    leaders = {r["group"]: row["name"] for row in rows for r in row["replicas"] if r.get("leader")}
    tables = {r["group"]: str(r.get("table") or "") for row in rows for r in row["replicas"]}
    lines = []
    for name, table in sorted(tables.items(), key=lambda each: (each[1], each[0])):
        of = "" if table in ("", name) else f"  of {escape(table)}"
        lines.append(f"{name}{of}  led by {leaders[name]}" if name in leaders else f"{name}{of}  [red]has no leader[/]")
    return "\n".join(lines)


@app.command()
def down(
    cluster: ClusterId = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Take down every cluster of yours on this machine.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Remove a cluster and everything it made on this machine, also after its controller was killed."""
    from chaos.show import console
    from cluster import runtime as runtimes

    out = console()
    if everything and cluster is not None:
        raise InputError("give a cluster or --all, not both")
    ids = sorted(runtimes.list_clusters()) if everything else [only(cluster)]
    for cluster_id in ids:
        runtimes.remove(cluster_id)
        out.print(f"{cluster_id} is gone")
    if as_json:
        print(json.dumps({"schema": 1, "removed": ids}))
    elif not ids:
        out.print("there is no cluster here")


def only(cluster: str | None) -> str:
    """The cluster that is meant: the one named, or the only one there is. Raises :class:`InputError` otherwise."""
    from cluster import runtime as runtimes

    known = runtimes.list_clusters()
    if cluster is not None:
        if cluster not in known:
            raise InputError(f"there is no cluster {cluster} here", hint=f"There are: {', '.join(known) or 'none'}.")
        return cluster
    if len(known) != 1:
        what = f"there are several clusters: {', '.join(sorted(known))}" if known else "there is no cluster here"
        raise InputError(what, hint="Name one of them." if known else "blackstart cluster up starts one.")
    return next(iter(known))
