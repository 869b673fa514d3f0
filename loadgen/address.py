"""Where endpoints are, and how long to wait for them."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Bounds of one attempt, in seconds."""

    connect_s: float = 1.0
    answer_s: float = 3.0

    @property
    def attempt_s(self) -> float:
        return self.connect_s + self.answer_s


@dataclass(frozen=True, slots=True)
class Address:
    """Where an endpoint URL leads, resolved once so that no operation waits for a name server."""

    url: str
    ip: str
    port: int
    host_header: str
    family: int

    @classmethod
    def of(cls, url: str) -> Address:
        """Parse and resolve ``http://host[:port]``; :class:`ValueError` says what is wrong with it."""
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"endpoint {url!r}: expected http://HOST:PORT (the cluster's routers speak plain HTTP)")
        port = parts.port or 80
        try:
            family, _, _, _, address = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)[0]
        except OSError as error:
            raise ValueError(f"endpoint {url!r}: cannot resolve {parts.hostname}: {error}") from error
        host = parts.hostname if port == 80 else f"{parts.hostname}:{port}"
        return cls(url, str(address[0]), port, host, int(family))
