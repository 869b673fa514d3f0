"""Time in a simulated game day, and its event log: nothing of the machine that it runs on gets into either."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

from cluster.sim.simulation import EPOCH_S, Simulation

START_BOOT_S: Final = 1000.0
"""What the boot clock of the simulated host shows when the run begins; reports subtract it."""

_encode = msgspec.json.Encoder(enc_hook=str).encode


class HostClock:
    """The clock of the imaginary machine that controller and clients share: true time."""

    def __init__(self, sim: Simulation) -> None:
        self._loop = sim.loop

    def boot_s(self) -> float:
        return START_BOOT_S + self._loop.now_s

    def boot_ns(self) -> int:
        return round((START_BOOT_S + self._loop.now_s) * 1e9)


class VirtualLog:
    """Writes ``events.jsonl`` as :class:`reports.rundir.EventLog` does, at virtual times."""

    def __init__(self, path: Path, sim: Simulation) -> None:
        self._file = path.open("xb")
        self._sim = sim

    def append(self, event: str, **fields: Any) -> dict[str, Any]:
        """Write one event that happens now; returns it as written."""
        now = self._sim.now
        times = {"t": round(now, 6), "boot": round(START_BOOT_S + now, 6), "wall": round(EPOCH_S + now, 6)}
        line = times | {"event": event} | fields
        self._file.write(_encode(line) + b"\n")
        self._file.flush()
        return line

    def close(self) -> None:
        self._file.close()
