"""``blackstart dashboard``: the live page over a run directory, on loopback, for whoever has the URL."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
from pathlib import Path
from typing import Annotated

import typer

from chaos.errors import InputError, PlatformError

app = typer.Typer(add_completion=False)
PORT = 8765
LATEST = "latest"


@app.command()
def dashboard(
    run: Annotated[str, typer.Argument(metavar="[RUN]", help="A run directory; by default the latest.")] = LATEST,
    cluster: Annotated[str | None, typer.Option(help="Only runs and canaries on this cluster.")] = None,
    runs: Annotated[Path, typer.Option(help="Where runs are looked for.")] = Path("runs"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of loopback; 0 takes a free one.")] = PORT,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object with the URL on stdout.")] = False,
) -> None:
    """Show a game day, or canaries, live in a browser: zones, faults, availability, alarms. It changes nothing."""
    from canaries.dashboard.server import server
    from canaries.dashboard.source import Source

    if run != LATEST and cluster is not None:
        raise InputError("give a run or --cluster, not both")
    named = None if run == LATEST else existing(Path(run))
    listener = bound(port)
    token = kept_token()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/?token={token}"
    page = server(Source(runs, named, cluster), token, lambda: announce(url, named or runs, as_json))
    # The server hands on the signal that ended it; to be asked to end is no failure.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        page.run(sockets=[listener])


def existing(path: Path) -> Path:
    """The run directory that was named. Raises :class:`InputError`."""
    if not path.is_dir():
        raise InputError(f"{path} is not a directory", hint="Give a run directory, as `blackstart run` prints it.")
    if not (path / "events.jsonl").exists() and not (path / "plan.json").exists():
        raise InputError(f"{path} has no events.jsonl: it is no run directory", hint="--runs DIR follows what comes.")
    return path


def bound(port: int) -> socket.socket:
    """A listening socket on loopback. Raises :class:`InputError` where the port is taken."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        listener.close()
        raise InputError(f"port {port} of 127.0.0.1: {error.strerror}", hint="--port 0 takes a free one.") from error
    listener.listen(64)
    return listener


def kept_token() -> str:
    """This user's token, made once: a page that is open on a wall goes on when the dashboard is started again."""
    from cluster.runtime.state import home, write_private

    path = home() / "dashboard-token"
    try:
        if (token := path.read_text().strip()) and not os.stat(path).st_mode & 0o077:
            return token
    except OSError:
        pass
    token = secrets.token_urlsafe(24)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_private(path, token.encode())
    except OSError as error:
        raise PlatformError(f"the dashboard's token cannot be kept in {path}: {error.strerror}") from error
    return token


def announce(url: str, what: Path, as_json: bool) -> None:
    """Print where the page is; the URL carries the token."""
    from chaos.show import console

    console().print(f"live page over {what}, read-only, until Ctrl-C:", highlight=False)
    console().print(url, highlight=False, soft_wrap=True)
    if as_json:
        print(json.dumps({"schema": 1, "url": url, "watching": str(what)}), flush=True)
