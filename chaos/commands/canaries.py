"""``blackstart canaries``: run canaries against a running cluster and show availability live, until Ctrl-C."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chaos.errors import InputError, PlatformError
from chaos.journal import boot_s

if TYPE_CHECKING:
    from rich.table import Table

    from canaries.alarms import Change
    from canaries.availability import Window
    from canaries.board import Board
    from canaries.fleet import Flock
    from canaries.series import Series
    from chaos.engine.vigil import Vigil
    from cluster.runtime.base import Cluster
    from reports.rundir import RunDir

app = typer.Typer(add_completion=False)
TABLE_LIMIT_S = 60.0
READY_LIMIT_S = 60.0
LOOK_S = 0.25
OF = 3
"""Windows that an alarm looks back upon."""
CHANGES_MAX = 1000


@app.command()
def canaries(
    cluster: Annotated[str | None, typer.Option(help="Cluster id; by default the one that runs here.")] = None,
    interval: Annotated[str, typer.Option(help="Between a canary's rounds; each goes to the next endpoint.")] = "1s",
    window: Annotated[str, typer.Option(help="Over which availability is counted.")] = "10s",
    timeout: Annotated[str, typer.Option(help="To connect, and again to answer, for each probe.")] = "1.5s",
    threshold: Annotated[float, typer.Option(help="Availability below which a window is bad.")] = 0.9,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="How long; by default until Ctrl-C.")] = None,
    table: Annotated[str, typer.Option(help="Table to use; created where missing.")] = "blackstart-canaries",
    out: Annotated[Path, typer.Option(help="Where every probe and alarm is recorded.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout at the end.")] = False,
) -> None:
    """Watch a cluster from every zone through every router, and raise alarms."""
    from pydantic import ValidationError

    from canaries.fleet import CanaryFailed
    from canaries.series import Series
    from chaos.engine.vigil import Vigil
    from chaos.playbook.model import CanarySpec

    try:
        # Validated as a playbook's field is: the same words, the same bounds.
        asked = {"interval": interval, "window": window, "timeout": timeout, "threshold": threshold}
        spec = CanarySpec.model_validate(asked)
    except ValidationError as error:
        raise InputError("; ".join(describe(e) for e in error.errors())) from None
    target = attached(cluster)
    make_table(target, table)
    vigil = Vigil(target, out)
    series = Series(vigil.run.canaries / "series.sqlite")
    flock = flock_on(target, vigil.run, table, spec.interval, spec.timeout)
    ended = "error"
    try:
        flock.launch(partial(target.client, canary=True))
        flock.await_ready(READY_LIMIT_S)
        vigil.watch()
        watch = Watch(flock, vigil, series, spec.window, spec.threshold)
        watch.until(None if seconds is None else boot_s() + seconds)
        problems = flock.stop()
        watch.look()
        ended = "completed"
    except CanaryFailed as error:
        raise PlatformError(str(error), hint=f"What was recorded is in {vigil.run.path}.") from error
    finally:
        flock.kill()
        vigil.close(ended)
        series.close()
    summary(vigil.run.path, flock, watch, as_json)
    if problems:
        raise PlatformError("; ".join(problems))


def describe(error: Mapping[str, Any]) -> str:
    """A mistake in an option as a person wants to read it."""
    option = "--" + str(error["loc"][0]) if error["loc"] else "--window"
    return f"{option}: {str(error['msg']).removeprefix('Value error, ')}"


def attached(cluster_id: str | None) -> Cluster:
    """The cluster that is meant. Raises :class:`InputError`."""
    from cluster import runtime

    if cluster_id is None:
        known = sorted(runtime.list_clusters())
        if len(known) != 1:
            found = f"there are {len(known)}: {', '.join(known)}" if known else "none runs here"
            hint = "Start one with `blackstart cluster up`, or name it with --cluster."
            raise InputError(f"which cluster? {found}", hint=hint)
        cluster_id = known[0]
    try:
        return runtime.attach(cluster_id)
    except runtime.NoSuchCluster as error:
        raise InputError(str(error), hint="`blackstart cluster status` lists them.") from error


def make_table(target: Cluster, table: str) -> None:
    """The canaries' own table, so that they need no load to be there."""
    from loadgen.table import Admin, TableFailed, ensure_table

    admin = Admin(list(target.endpoints.values()), target.access_key, target.secret_key, target.region)
    try:
        ensure_table(admin, table, limit_s=TABLE_LIMIT_S)
    except TableFailed as error:
        raise PlatformError(f"the canaries' table could not be made: {error}") from error


def flock_on(target: Cluster, run: RunDir, table: str, interval_s: float, timeout_s: float) -> Flock:
    """One canary a zone of the cluster."""
    from canaries.fleet import Flock
    from chaos.engine.vigil import KEEP_BYTES
    from loadgen.fleet import Credentials

    zones = sorted(target.endpoints)
    return Flock(
        run.canaries,
        run.path,
        zones,
        {az: target.zone_endpoints(az)[0] for az in zones},
        Credentials(target.access_key, target.secret_key, target.region),
        table=table,
        interval_s=interval_s,
        timeout_s=timeout_s,
        keep_bytes=KEEP_BYTES,
    )


class Watch:
    """Reads what the canaries record, judges it, stores it and shows it."""

    def __init__(self, flock: Flock, vigil: Vigil, series: Series, window_s: float, threshold: float) -> None:
        from rich.console import Console

        from canaries.board import Board

        self.flock = flock
        self.vigil = vigil
        self.series = series
        self.board = Board(
            flock.zones,
            boot_s(),
            window_s=window_s,
            grace_s=flock.grace_s,
            threshold=threshold,
            judged=self._keep,
        )
        # Alarms go on where earlier canaries in this directory stopped; windows long past argue for nothing.
        recent = [w for w in series.last(OF, window_s) if w.end_s > time.time() - (OF + 1) * window_s]
        self.board.resume(recent, vigil.firing)
        vigil.emit("canaries", state="begin", **self.board.described())
        self.console = Console(stderr=True)
        self.changes: deque[Change] = deque(maxlen=CHANGES_MAX)
        self.probes = 0
        self.good = 0
        self._shown: Window | None = None

    def until(self, end_s: float | None) -> None:
        """Show what comes until the boot-clock second, a canary's end, or Ctrl-C. Raises ``CanaryFailed``."""
        import signal

        from rich.live import Live

        from canaries.fleet import CanaryFailed

        # A service manager's way of ending it is as good as Ctrl-C, which a script's background jobs are made deaf to.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.default_int_handler)

        self.console.print(f"canaries in zone {', '.join(self.flock.zones)}; Ctrl-C ends", highlight=False)
        live = Live(console=self.console, auto_refresh=False) if self.console.is_terminal else None
        try:
            if live is not None:
                live.start()
            while end_s is None or boot_s() < end_s:
                time.sleep(LOOK_S)
                self.look()
                if live is not None:
                    live.update(picture(self.board), refresh=True)
                if died := self.flock.died():
                    raise CanaryFailed(died)
        except KeyboardInterrupt:
            pass
        finally:
            if live is not None:
                live.stop()

    def look(self) -> None:
        """Take in what was recorded since the last look."""
        for probe in self.flock.probes():
            self.probes += 1
            self.good += probe.good
            self.board.take(probe)
        from canaries.board import alarm_of

        self.vigil.look()
        for change in self.board.tick(boot_s()):
            self.changes.append(change)
            self.vigil.emit("alarm", **alarm_of(change, self.board.threshold))
            style = "bold red" if change.state == "fired" else "green"
            self.console.print(f"{clock()} alarm {change.name} {change.state}", style=style, highlight=False)
        if self.board.last is not self._shown and self.board.last is not None:
            self._shown = self.board.last
            if not self.console.is_terminal:
                self.console.print(f"{clock()} {line(self._shown, self.board.zones)}", highlight=False, soft_wrap=True)

    def _keep(self, window: Window) -> None:
        from chaos.engine.vigil import wall_of

        self.series.add(window, wall_of(window.end_s))


def clock() -> str:
    """The wall clock, for a person who compares it with another display."""
    return time.strftime("%H:%M:%S")


def shown(share: float | None) -> str:
    """A share in percent; no data is not zero."""
    from reports.wording import percent

    return "no data" if share is None else percent(share)


def line(window: Window, zones: Iterable[str]) -> str:
    """One window in one line."""
    parts = [f"region {shown(window.overall())}", *(f"zone {zone} {shown(window.of_zone(zone))}" for zone in zones)]
    return "  ".join([*parts, f"{window.sent} probes"])


def picture(board: Board) -> Table:
    """The newest window as a table: whose canary sees what through whose router."""
    from rich.table import Table

    table = Table(title=f"availability, {board.windows.length_s:g} s windows", title_justify="left")
    table.add_column("")
    for zone in board.zones:
        table.add_column(f"router {zone}", justify="right")
    table.add_column("all", justify="right")
    window = board.last
    if window is None:
        return table
    for canary in board.zones:
        cells = [window.through(canary, zone) for zone in board.zones]
        table.add_row(f"canary {canary}", *(coloured(share) for share in cells), coloured(window.of_canary(canary)))
    table.add_section()
    ends = [coloured(window.of_zone(zone)) for zone in board.zones]
    table.add_row("zone", *ends, coloured(window.overall()), style="bold")
    table.caption = "alarms: " + (", ".join(board.firing()) or "none")
    return table


def coloured(share: float | None) -> str:
    style = "dim" if share is None else "green" if share >= 1 else "yellow" if share >= 0.9 else "red"
    return f"[{style}]{shown(share)}[/{style}]"


def summary(run: Path, flock: Flock, watch: Watch, as_json: bool) -> None:
    """What it came to, at the end."""
    share = watch.good / watch.probes if watch.probes else None
    cpu: Mapping[str, float] = {az: end["cpu_s"] for az, end in sorted(flock.finished.items())}
    if as_json:
        changes = [{"name": c.name, "state": c.state, "az": c.zone} for c in watch.changes]
        result = {"schema": 1, "run": str(run), "probes": watch.probes, "good": watch.good, "availability": share}
        print(json.dumps({**result, "alarms": changes, "cpu_s": cpu}))
        return
    print(f"{watch.probes} probes, {shown(share)} good; every one is recorded in {run}", file=sys.stderr)
