"""What a node is told at start: who it is, who its peers are, where its data lives.

The deployment writes it as JSON; nothing in it changes during a node's life.
"""

from __future__ import annotations

import msgspec


class Peer(msgspec.Struct, frozen=True):
    """A node of the cluster, as every node knows it."""

    name: str
    role: str
    az: str
    rack: str
    address: str


class Timing(msgspec.Struct, frozen=True):
    """The lease between nodes (seconds) and the bound on how far two boot clocks drift apart (a fraction)."""

    lease_s: float = 1.5
    renewal_s: float = 0.3
    drift: float = 0.01


class Identity(msgspec.Struct, frozen=True):
    """The one customer of a test cluster. Only identity nodes are told the secret."""

    access_key: str
    secret_key: str

    def __repr__(self) -> str:
        return f"Identity(access_key={self.access_key!r}, secret_key=<hidden>)"


class Archive(msgspec.Struct, frozen=True):
    """Where committed log goes (storage nodes), or what the object store is to be (the archive's own node).

    ``hold_bytes``: log that this node keeps beyond its usual tail while the archive cannot take it; then it is let go
    of, and the archive has a hole.
    """

    url: str
    access_key: str = ""
    secret_key: str = ""
    hold_bytes: int = 32 << 20

    def __repr__(self) -> str:
        return f"Archive(url={self.url!r}, access_key={self.access_key!r}, secret_key=<hidden>)"


class Scrub(msgspec.Struct, frozen=True):
    """The scrub in the background: bytes read from the disk a second, and seconds between comparisons of a group."""

    bytes_per_s: int = 0
    every_s: float = 60.0


class NodeConfig(msgspec.Struct, frozen=True):
    """``node.json``. ``key`` is the cluster's own key in hex; it authenticates nodes to each other."""

    cluster: str
    region: str
    name: str
    role: str
    az: str
    rack: str
    listen: str
    data: str
    events: str
    key: str
    peers: list[Peer]
    identity: Identity | None = None
    timing: Timing = Timing()
    archive: Archive | None = None
    scrub: Scrub = Scrub()
    plant: str | None = None
    plant_path: str | None = None
    schema: int = 1

    def peer(self, name: str) -> Peer | None:
        """The peer of that name, or None for a name that is not of this cluster."""
        return next((p for p in self.peers if p.name == name), None)

    def of_role(self, role: str, *, near: str | None = None) -> list[Peer]:
        """Peers of a role in name order; those in zone ``near`` first."""
        found = sorted((p for p in self.peers if p.role == role), key=lambda p: p.name)
        return sorted(found, key=lambda p: p.az != near) if near else found


def load(text: bytes) -> NodeConfig:
    """Parse ``node.json``; raises ``ValueError`` that names the field which is wrong."""
    try:
        config = msgspec.json.decode(text, type=NodeConfig)
    except msgspec.MsgspecError as error:
        raise ValueError(f"node configuration: {error}") from error
    if config.schema != 1:
        raise ValueError(f"node configuration: schema {config.schema} is not 1; this image is older or newer than it")
    if len(bytes.fromhex(config.key)) != 32:
        raise ValueError("node configuration: key must be 32 bytes in hex")
    return config
