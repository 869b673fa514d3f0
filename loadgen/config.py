"""The configuration of one load driver, and the control file that starts and stops it.

Times are seconds on the boot clock (``CLOCK_BOOTTIME``), which all containers of a machine share.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from loadgen.address import Timeouts
from loadgen.arrivals import RATE_MAX, Shape
from loadgen.distributions import KEYS_MAX
from loadgen.profiles import ITEM_BYTES_MAX, ITEM_BYTES_MIN, Profile, profile_named

USERS_MAX = 5000
CONTROL_POLL_S = 0.1
"""How often the control file is read, in seconds."""


class ConfigError(ValueError):
    """The configuration cannot be used; the message says which field and what it should be."""


class LoadConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``load.json``. Only the first block is needed; the rest has defaults."""

    az: str
    endpoints: tuple[str, ...]
    access_key: str
    region: str
    table: str
    history: str
    stats: str

    secret_key: str | None = None
    secret_key_file: str | None = None
    profile: str = "mixed"
    rate: float = 100.0
    shape: tuple[tuple[float, float], ...] | None = None  # points (seconds, operations/s) in place of rate
    arrivals: Literal["poisson", "even"] = "poisson"
    users: int = 50
    keys: int | None = None  # None: the profile's
    item_bytes: int | None = None
    seed: int = 1
    control: str | None = None
    start_boot_s: float | None = None
    stop_boot_s: float | None = None
    connect_timeout_s: float = 1.0
    answer_timeout_s: float = 3.0
    patience_s: float = 0.5
    workers: int = 0

    mode: Literal["load", "sweep"] = "load"
    part: int = 0
    parts: int = 1
    limit_s: float = 60.0

    def __post_init__(self) -> None:
        problems = [text for wrong, text in self._rules() if wrong]
        if problems:
            raise ConfigError("load configuration: " + "; ".join(problems))

    def _rules(self) -> list[tuple[bool, str]]:
        return [
            (not self.endpoints, "endpoints: at least one URL is needed"),
            (not (self.secret_key or self.secret_key_file), "secret_key or secret_key_file: one is needed"),
            (not 0 <= self.rate <= RATE_MAX, f"rate: 0 to {RATE_MAX:.0f} operations a second"),
            (not 1 <= self.users <= USERS_MAX, f"users: 1 to {USERS_MAX}"),
            (self.keys is not None and not 1 <= self.keys <= KEYS_MAX, f"keys: 1 to {KEYS_MAX}"),
            (
                self.item_bytes is not None and not ITEM_BYTES_MIN <= self.item_bytes <= ITEM_BYTES_MAX,
                f"item_bytes: {ITEM_BYTES_MIN} to {ITEM_BYTES_MAX}",
            ),
            (not 0 < self.connect_timeout_s <= 60, "connect_timeout_s: more than 0, at most 60"),
            (not 0 < self.answer_timeout_s <= 60, "answer_timeout_s: more than 0, at most 60"),
            (not 0 <= self.patience_s <= 60, "patience_s: 0 to 60"),
            (not 0 <= self.workers <= 64, "workers: 0 to 64"),
            (not 0 <= self.part < self.parts, "part: from 0, less than parts"),
            (not 0 < self.limit_s <= 3600, "limit_s: more than 0, at most 3600"),
            (
                self.mode == "load" and self.start_boot_s is None and self.control is None,
                "start_boot_s or control: one is needed",
            ),
        ]

    @property
    def profile_(self) -> Profile:
        return profile_named(self.profile)

    @property
    def writer(self) -> str:
        """The stem of the history file, which may not exist yet: so no two writers of a run share values."""
        return Path(self.history).stem

    @property
    def key_count(self) -> int:
        return self.keys or self.profile_.keys

    @property
    def item_size(self) -> int:
        return self.item_bytes or self.profile_.item_bytes

    @property
    def offered_shape(self) -> Shape:
        return Shape(self.shape) if self.shape else Shape.constant(self.rate)

    @property
    def timeouts(self) -> Timeouts:
        return Timeouts(self.connect_timeout_s, self.answer_timeout_s)

    def secret(self) -> str:
        """The secret key, read from its file where it is kept in one."""
        if self.secret_key:
            return self.secret_key
        assert self.secret_key_file is not None
        try:
            return Path(self.secret_key_file).read_text().strip()
        except OSError as error:
            raise ConfigError(f"load configuration: secret_key_file: {error}") from error

    def worker(self, index: int) -> LoadConfig:
        """The share of worker ``index`` of ``workers``: its own writer and history, a part of the rate and users."""
        history = Path(self.history)
        users = self.users // self.workers + (1 if index < self.users % self.workers else 0)
        return msgspec.structs.replace(
            self,
            history=str(history.with_name(f"{history.stem}-{index}{history.suffix}")),
            rate=self.rate / self.workers,
            shape=self.offered_shape.scaled(1 / self.workers).points if self.shape else None,
            users=max(1, users),
        )


class Control(msgspec.Struct, frozen=True):
    """The polled control file; unknown fields are the engine's own business."""

    start_boot_s: float | None = None
    stop_boot_s: float | None = None


def load(path: str | Path) -> LoadConfig:
    """Read and check a configuration file. Raises :class:`ConfigError`."""
    try:
        config = msgspec.json.decode(Path(path).read_bytes(), type=LoadConfig)
        _ = config.profile_, config.offered_shape
    except OSError as error:
        raise ConfigError(f"load configuration: {error}") from error
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"load configuration {path}: {error}") from error
    return config


def read_control(path: str | None) -> Control:
    """What the control file says now. A file that is missing or half-written says nothing yet."""
    if path is None:
        return Control()
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=Control)
    except (OSError, msgspec.MsgspecError):
        return Control()
