"""The configuration of one canary process."""

from __future__ import annotations

from pathlib import Path

import msgspec

from loadgen.address import Timeouts

EXIT_OK, EXIT_CONFIG, EXIT_FAILED = 0, 2, 4
OWNER = ".owner"
"""Whose canaries may write into a directory: with another name in it, those who find that out end."""


class ConfigError(ValueError):
    """The configuration cannot be used; the message says which field and what it should be."""


class Endpoint(msgspec.Struct, frozen=True):
    """A router: its zone and its URL."""

    az: str
    url: str


class CanaryConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``<az>.json``. ``name`` begins the canary's keys and must be unique in the table; times are in seconds.

    ``timeout_s`` bounds connecting and answering, each. ``keep_bytes`` is how much of the record is kept, at least half
    of it and at most all; 0 keeps everything. ``offset`` is where the canary begins among the
    endpoints.
    """

    az: str
    name: str
    endpoints: tuple[Endpoint, ...]
    access_key: str
    secret_key_file: str
    region: str
    table: str
    record: str
    interval_s: float = 1.0
    timeout_s: float = 1.5
    offset: int = 0
    item_bytes: int = 256
    indexed: bool = False
    """The table has indexes, and a sort key, as the load's has in some profiles."""
    keep_bytes: int = 0
    owner: str = ""
    """What the file ``.owner`` beside the record says as long as this canary is wanted; empty: nobody looks."""

    def __post_init__(self) -> None:
        rules = [
            (not self.endpoints, "endpoints: at least one is needed"),
            (not self.name, "name: must not be empty"),
            (not 0.05 <= self.interval_s <= 3600, "interval_s: 0.05 to 3600"),
            (not 0.05 <= self.timeout_s <= 60, "timeout_s: 0.05 to 60"),
            (self.offset < 0, "offset: 0 or more"),
            (self.keep_bytes < 0, "keep_bytes: 0 or more"),
        ]
        problems = [text for wrong, text in rules if wrong]
        if problems:
            raise ConfigError("canary configuration: " + "; ".join(problems))

    @property
    def timeouts(self) -> Timeouts:
        return Timeouts(self.timeout_s, self.timeout_s)

    def secret(self) -> str:
        """The secret key, from its file."""
        try:
            return Path(self.secret_key_file).read_text().strip()
        except OSError as error:
            raise ConfigError(f"canary configuration: secret_key_file: {error}") from error


def load(path: str | Path) -> CanaryConfig:
    """Read and check a configuration file. Raises :class:`ConfigError`."""
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=CanaryConfig)
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigError(f"canary configuration {path}: {error}") from error
