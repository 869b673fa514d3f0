"""The live page on a free port of loopback, in a thread of this process; and made-up runs to show on it."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from canaries.dashboard.server import server
from canaries.dashboard.source import Source

sys.path[:0] = [str(Path(__file__).parents[1] / "reports"), str(Path(__file__).parents[2] / "browser")]

import moments  # noqa: E402
from report_runs import FAULT, HEAL, Shape, make_run  # noqa: E402

__all__ = ["FAULT", "HEAL", "TOKEN", "Shape", "make_run", "moments", "served"]
TOKEN = "a-token-of-the-test"


@contextmanager
def served(source: Source) -> Iterator[str]:
    """The base URL, without a token."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    ready = threading.Event()
    running = server(source, TOKEN, ready.set)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    assert ready.wait(30)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        running.should_exit = True
        thread.join(10)
