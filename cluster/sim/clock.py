"""The clocks of a simulated node: a boot clock that drifts, a wall clock that drifts with it and jumps."""

from __future__ import annotations

from typing import Protocol


class TrueTime(Protocol):
    """Where true time is read; an attribute, since clocks are read more often than anything else."""

    now_s: float


class SimClock:
    """Maps true time to what one node believes. Rates are relative to true time; 1.0 is exact.

    The boot clock never goes back and never steps back; it may leap ahead, as it does over a suspended machine. It
    starts anew with the machine, so that a time read from it means nothing after a power cycle.
    """

    __slots__ = ("_base_boot", "_base_true", "_rate", "_true", "_wall_offset")

    def __init__(self, true_time: TrueTime, *, boot_s: float, wall_s: float, rate: float = 1.0) -> None:
        self._true = true_time
        self._base_true = true_time.now_s
        self._base_boot = boot_s
        self._rate = rate
        self._wall_offset = wall_s - boot_s

    @property
    def rate(self) -> float:
        return self._rate

    def boot(self) -> float:
        return self._base_boot + (self._true.now_s - self._base_true) * self._rate

    def wall(self) -> float:
        return self.boot() + self._wall_offset

    def true_time_of(self, boot_s: float) -> float:
        """The true time at which the boot clock will show ``boot_s``, if nobody touches it."""
        return self._base_true + (boot_s - self._base_boot) / self._rate

    def set_rate(self, rate: float) -> None:
        """Run faster or slower from now on."""
        if rate <= 0:
            raise ValueError(f"a clock's rate must be positive, not {rate}")
        self._rebase(self.boot())
        self._rate = rate

    def leap_boot(self, seconds: float) -> None:
        """Move the boot clock ahead, the wall clock with it."""
        if seconds < 0:
            raise ValueError("a boot clock never goes back")
        self._rebase(self.boot() + seconds)

    def jump_wall(self, seconds: float) -> None:
        """Step the wall clock, either way."""
        self._wall_offset += seconds

    def reboot(self, boot_s: float) -> None:
        """The machine starts anew: the boot clock counts from its beginning, the wall clock stays right."""
        wall = self.wall()
        self._rebase(boot_s)
        self._wall_offset = wall - boot_s

    def _rebase(self, boot_s: float) -> None:
        self._base_boot = boot_s
        self._base_true = self._true.now_s
