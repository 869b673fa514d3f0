"""The controller's way to :mod:`cluster.runtime.hostops`: in-process where it is root, else through a socket."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from pathlib import Path
from typing import Any, Protocol

from cluster.runtime import hostops

SOCKET = "host.sock"
ANSWER_TIMEOUT_S = 60.0


class HostError(Exception):
    """A privileged operation failed on the host."""

    exit_code = 4

    def __init__(self, operation: str, reason: str) -> None:
        super().__init__(f"{operation}: {reason}")
        self.operation = operation
        self.reason = reason


class Host(Protocol):
    """Privileged operations on the machine under the nodes; thread-safe."""

    def call(self, operation: str, /, **args: Any) -> Any:
        """Carry out one of :data:`cluster.runtime.hostops.OPS`. Raises :class:`HostError`."""
        ...

    def close(self) -> None:
        """Let go of the connection; whatever was done stays done."""
        ...


class DirectHost:
    """For root: the operations are function calls."""

    def call(self, operation: str, /, **args: Any) -> Any:
        try:
            return hostops.OPS[operation](**args)
        except (hostops.OpFailed, OSError) as error:
            raise HostError(operation, str(error)) from error

    def close(self) -> None:
        return


class SocketHost:
    """For everyone else: a helper container listens on a Unix socket in the cluster's state directory.

    Any number of processes and threads may use it at once; each thread has a connection of its own.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._own = threading.local()

    def call(self, operation: str, /, **args: Any) -> Any:
        request = json.dumps({"op": operation, "args": args}, default=str).encode() + b"\n"
        try:
            reader = self._connection(ANSWER_TIMEOUT_S + float(args.get("timeout_s", 0.0)))
            reader.write(request)
            reader.flush()
            line = reader.readline()
        except OSError as error:
            self.close()
            raise HostError(operation, f"the helper at {self.path} does not answer: {error}") from error
        if not line.endswith(b"\n"):
            self.close()
            raise HostError(operation, f"the helper at {self.path} has gone; the operation may have been carried out")
        answer = json.loads(line)
        if "error" in answer:
            raise HostError(operation, answer["error"])
        return answer["ok"]

    def _connection(self, timeout_s: float) -> Any:
        if getattr(self._own, "stream", None) is None:
            connection = connect_unix(self.path)
            self._own.socket = connection
            self._own.stream = connection.makefile("rwb")
        self._own.socket.settimeout(timeout_s)
        return self._own.stream

    def close(self) -> None:
        """Closes the calling thread's connection."""
        for name in ("stream", "socket"):
            held = getattr(self._own, name, None)
            setattr(self._own, name, None)
            if held is not None:
                with contextlib.suppress(OSError):
                    held.close()


def connect_unix(path: Path) -> socket.socket:
    """Connect to a Unix socket whatever the length of its path (the kernel's own limit is 107 bytes)."""
    directory = os.open(path.parent, os.O_PATH | os.O_CLOEXEC)
    try:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(f"/proc/self/fd/{directory}/{path.name}")
        except OSError:
            connection.close()
            raise
    finally:
        os.close(directory)
    return connection


def is_root() -> bool:
    """Whether privileged operations can be done in this process. ``BLACKSTART_HELPER=1`` says no, for tests."""
    return os.geteuid() == 0 and os.environ.get("BLACKSTART_HELPER") != "1"
