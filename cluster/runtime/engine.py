"""Talking to a Docker engine on this machine: is one there, and the low-level client that everything here uses.

Importing ``docker`` takes up to 1.4 s, so whether an engine answers is found out with one plain HTTP request first.
"""

from __future__ import annotations

import http.client
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cluster.runtime.base import RuntimeFailed

LABEL = "blackstart.cluster"
OWNER = "blackstart.owner"
"""Label with the id of the user whose cluster it is: an engine has many users, and ``down --all`` means one's own."""

POOL = 40
WORKERS = 8
TIMEOUT_S = 180
DEFAULT_SOCKET = "/var/run/docker.sock"


def socket_path() -> str:
    """The engine's Unix socket. Raises :class:`RuntimeFailed` for an engine that is not on this machine."""
    url = os.environ.get("DOCKER_HOST") or f"unix://{DEFAULT_SOCKET}"
    scheme, _, path = url.partition("://")
    if scheme != "unix":
        raise RuntimeFailed(f"DOCKER_HOST={url}: nodes need loop devices of this machine; only unix:// engines will do")
    return path


def labels(cluster_id: str) -> dict[str, str]:
    """What everything bears that belongs to a cluster."""
    return {LABEL: cluster_id, OWNER: str(os.getuid())}


def missing() -> str | None:
    """Why no engine can be used, and what to do; None where one answers."""
    try:
        path = socket_path()
    except RuntimeFailed as failure:
        return str(failure)
    connection = http.client.HTTPConnection("localhost", timeout=5)
    connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.sock.settimeout(5)
    try:
        connection.sock.connect(path)
        connection.request("GET", "/_ping")
        status = connection.getresponse().status
    except FileNotFoundError:
        return f"no Docker engine at {path}; apt-get install -y docker.io, or use --runtime local as root"
    except PermissionError:
        return f"{path} may not be opened; join the docker group: sudo usermod -aG docker $USER, then log in again"
    except (OSError, http.client.HTTPException) as error:
        return f"the Docker engine at {path} does not answer ({error}); is it running? systemctl start docker"
    finally:
        connection.close()
    return None if status == 200 else f"the Docker engine at {path} answered {status} to a ping"


def connect() -> Any:
    """A low-level client. Raises :class:`RuntimeFailed` where there is no engine."""
    why = missing()
    if why is not None:
        raise RuntimeFailed(why)
    from cluster.runtime.dockerapi import Engine

    return Engine(base_url=f"unix://{socket_path()}", version="auto", timeout=TIMEOUT_S, num_pools=POOL)


def at_once(function: Any, items: Any) -> list[Any]:
    """``function`` of every item, in threads; the first failure is raised once all have ended."""
    listed = list(items)
    if not listed:
        return []
    with ThreadPoolExecutor(min(WORKERS, len(listed))) as pool:
        futures = [pool.submit(function, item) for item in listed]
    return [future.result() for future in futures]
