"""``blackstart load``: drive recorded load at a running cluster, or at any DynamoDB endpoint."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chaos.errors import ExitCode, InputError, PlatformError

if TYPE_CHECKING:
    from loadgen.fleet import Credentials, Fleet, Launcher, Zone
    from loadgen.table import Admin

app = typer.Typer(add_completion=False)
DRAIN_LIMIT_S = 15.0
READY_LIMIT_S = 90.0


@app.command()
def load(
    cluster: Annotated[str | None, typer.Option(help="Cluster id; by default the one that runs here.")] = None,
    endpoint: Annotated[list[str] | None, typer.Option(help="Any DynamoDB endpoint instead, repeatable.")] = None,
    profile: Annotated[str, typer.Option(help="Mix of operations; --profile list shows them.")] = "mixed",
    rate: Annotated[float, typer.Option(min=0, help="Operations offered per second, over all zones.")] = 300.0,
    users: Annotated[int, typer.Option(min=1, help="Most requests in flight, over all zones.")] = 60,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="How long; by default until Ctrl-C.")] = None,
    keys: Annotated[int | None, typer.Option(min=1, help="Keys in use; by default the profile's.")] = None,
    item_bytes: Annotated[int | None, typer.Option(help="Item size; by default the profile's.")] = None,
    table: Annotated[str, typer.Option(help="Table to use; created where missing.")] = "blackstart-load",
    workers: Annotated[int, typer.Option(min=0, help="Processes a zone, by Locust's distributed mode.")] = 0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same operations and arrivals.")] = 1,
    out: Annotated[Path, typer.Option(help="Where histories and statistics go.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Drive load at a cluster from every zone, record every operation, show what comes back."""
    from loadgen.fleet import Fleet
    from loadgen.profiles import profile_named
    from loadgen.table import Admin

    if profile == "list":
        _list_profiles()
        return
    try:
        chosen = profile_named(profile)
    except ValueError as error:
        raise InputError(str(error)) from error
    shared: dict[str, Any] = {"profile": profile, "rate": rate, "users": users, "table": table, "workers": workers}
    shared |= {"seed": seed, "keys": keys or chosen.keys, "item_bytes": item_bytes or chosen.item_bytes}
    _check(shared)
    zones, credentials, launcher, reach = _target(cluster, endpoint)
    try:
        admin = Admin(reach, credentials.access_key, credentials.secret_key, credentials.region)
    except ValueError as error:
        raise InputError(str(error)) from error
    run = (out / time.strftime("%Y%m%dT%H%M%SZ-load", time.gmtime())).resolve()
    try:
        run.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"cannot make {run}: {error.strerror}", hint="Choose another place with --out.") from error
    finished, interrupted = _drive(Fleet(run, zones, credentials, shared), launcher, admin, seconds)
    _summary(run, finished, as_json)
    if interrupted:
        raise typer.Exit(ExitCode.INCONCLUSIVE)


def _check(shared: dict[str, Any]) -> None:
    """Let the driver's own rules refuse wrong numbers before anything is started."""
    from loadgen.config import ConfigError, LoadConfig

    try:
        LoadConfig(
            az="a",
            endpoints=("http://x",),
            access_key="x",
            secret_key="x",
            region="x",
            history="x",
            stats="x",
            control="x",
            **shared,
        )
    except ConfigError as error:
        raise InputError(str(error)) from error


def _list_profiles() -> None:
    from loadgen.profiles import PROFILES

    for name, profile in sorted(PROFILES.items()):
        print(f"{name:12} {profile.about}")


def _target(cluster: str | None, endpoints: list[str] | None) -> tuple[list[Zone], Credentials, Launcher, list[str]]:
    """Zones, credentials, who starts drivers, and the endpoints by which this process itself reaches the target."""
    from loadgen.fleet import Credentials, Zone, on_this_host

    if cluster is not None and endpoints:
        raise InputError("give --cluster or --endpoint, not both")
    if not endpoints and cluster is None:
        # A flag over AWS_ENDPOINT_URL_DYNAMODB over AWS_ENDPOINT_URL, as the SDKs have it.
        named = os.environ.get("AWS_ENDPOINT_URL_DYNAMODB") or os.environ.get("AWS_ENDPOINT_URL")
        endpoints = [named] if named else None
    if endpoints:
        access, secret = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
        if not access or not secret:
            raise InputError(
                "an endpoint needs credentials",
                hint="Set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION.",
            )
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
        return [Zone("host", tuple(endpoints))], Credentials(access, secret, region), on_this_host, endpoints
    return _cluster_target(cluster)


def _cluster_target(cluster_id: str | None) -> tuple[list[Zone], Credentials, Launcher, list[str]]:
    from cluster import runtime
    from loadgen.fleet import Credentials, Zone

    if cluster_id is None:
        known = sorted(runtime.list_clusters())
        if len(known) != 1:
            found = f"there are {len(known)}: {', '.join(known)}" if known else "none runs here"
            raise InputError(
                f"which cluster? {found}", hint="Start one with `blackstart cluster up`, or name it with --cluster."
            )
        cluster_id = known[0]
    try:
        target = runtime.attach(cluster_id)
    except runtime.NoSuchCluster as error:
        raise InputError(str(error), hint="`blackstart cluster status` lists them.") from error
    zones = [Zone(az, tuple(target.zone_endpoints(az))) for az in sorted(target.endpoints)]
    credentials = Credentials(target.access_key, target.secret_key, target.region)
    return zones, credentials, target.client, [url for _, url in sorted(target.endpoints.items())]


def _drive(
    fleet: Fleet, launcher: Launcher, admin: Admin, seconds: float | None
) -> tuple[dict[str, dict[str, Any]], bool]:
    """Make the table, start the drivers, watch, stop. Last lines by zone, and whether it ended before its time."""
    from loadgen.fleet import FleetFailed
    from loadgen.table import TableFailed, ensure_table

    interrupted = False
    try:
        fleet.launch(launcher)
        ensure_table(admin, fleet.load["table"], profile=fleet.load["profile"])
        fleet.await_ready(READY_LIMIT_S)
        start = fleet.begin()
        if seconds is not None:
            fleet.stop(start + seconds)
        try:
            _watch(fleet)
        except KeyboardInterrupt:
            interrupted = seconds is not None
            fleet.stop()
        return fleet.wait(DRAIN_LIMIT_S), interrupted
    except (FleetFailed, TableFailed) as error:
        raise PlatformError(f"load: {error}", hint=f"What was recorded is in {fleet.run}.") from error
    finally:
        fleet.kill()


def _watch(fleet: Fleet) -> None:
    """One line a second on stderr, all zones added up, until the drivers have ended."""
    from rich.console import Console

    console = Console(stderr=True)
    console.print(f"load: {fleet.load['rate']:g} operations/s from zone {', '.join(zone.az for zone in fleet.zones)}")
    pending: dict[int, list[dict[str, Any]]] = {}
    while fleet.running():
        for _, line in fleet.seconds():
            lines = pending.setdefault(line["second"], [])
            lines.append(line)
            if len(lines) == len(fleet.zones):
                console.print(_shown(line["second"], pending.pop(line["second"])), highlight=False, soft_wrap=True)
        time.sleep(0.1)


def _shown(second: int, lines: list[dict[str, Any]]) -> str:
    def total(name: str) -> int:
        return sum(line[name] for line in lines)

    failed = total("failed") - total("unmet")
    slowest = max((line["p99_ms"] or 0.0 for line in lines), default=0.0)
    trouble = failed + total("unknown") + total("skipped")
    text = (
        f"{second:5d} s  offered {total('offered'):6d}  ok {total('ok'):6d}  unmet {total('unmet'):5d}  "
        f"failed {failed:5d}  unknown {total('unknown'):5d}  skipped {total('skipped'):5d}  p99 {slowest:8.1f} ms"
    )
    return f"[yellow]{text}[/yellow]" if trouble else text


def _summary(run: Path, finished: dict[str, dict[str, Any]], as_json: bool) -> None:
    names = ("offered", "sent", "skipped", "ok", "unmet", "failed", "unknown")
    totals = {name: sum(line["totals"][name] for line in finished.values()) for name in names}
    if as_json:
        print(
            json.dumps(
                {"schema": 1, "run": str(run), **totals, "by_az": {az: line["totals"] for az, line in finished.items()}}
            )
        )
        return
    totals["failed"] -= totals["unmet"]
    print(", ".join(f"{name} {totals[name]}" for name in names), file=sys.stderr)
    if totals["unmet"]:
        print("unmet: refused rightly, as a condition did not hold or a transaction was in the way", file=sys.stderr)
    print(f"histories and statistics: {run}", file=sys.stderr)
