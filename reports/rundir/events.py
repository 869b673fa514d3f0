"""``events.jsonl``: the one timeline of a run, a JSON object a line.

Every line has ``t`` (seconds since the run began, a float), ``boot`` (boot-clock seconds), ``wall`` (Unix seconds) and
``event``. The events readers rely on, and their further fields:

========== =====================================================================================================
run        state: begin | end; at the end: ended: completed | aborted | interrupted | error, reason: str
phase      phase: resolve | preflight | deploy | warm-up | steady-before | method | steady-after | rollback |
           quiesce | verify | tear-down | leftovers | report, state: begin | end
fault      name, fault_kind, targets: [node], state: injecting | injected | confirmed | not-confirmed | mismatch |
           healing | healed | skipped | refused | failed, and detail: str (what the confirmation saw); at injected,
           no_path: [az], where canaries have no path until it heals
corruption id, node, file, state: injected | found | repaired | gone, and detail (one line of the ledger as it changes)
redundancy full: bool, groups: int, below: int (groups with fewer than three durable voters)
leader     group, node (new leader or null), previous (node or null)
node       node, state: up | down | ready | ..., and detail
load       az, second and the fields of a line of ``load/<az>.jsonl``
probe      name, query, value, ok: bool, mode: edge | continuous | during, when: before | during | after
canaries   state: begin | end; at the begin what alarms are judged by: begin_boot, window_s, grace_s, threshold, zones
window     begin_boot, end_boot, sent, region, zones: {az: availability, or null where nothing was sent}
alarm      name, state: fired | cleared, az (or null: the region), threshold, shares: [availability of the last
           windows], window_end_boot: the end of the window that made it fire or clear
note       text: for the reader of the timeline
========== =====================================================================================================

Unknown events and fields are kept and shown, never refused: the vocabulary grows.
"""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any

import msgspec

Event = dict[str, Any]
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Event).decode


class EventLog:
    """Appends events; each is one ``write`` in append mode, so threads and processes may share the file.

    ``start_boot_s`` is the boot-clock second at which the run began (``t`` = 0); :class:`reports.rundir.RunDir` fills
    it in. ``append`` returns the event as written, so that live displays need not read it back.
    """

    def __init__(self, path: str | os.PathLike[str], start_boot_s: float) -> None:
        self.path = Path(path)
        self.start_boot_s = start_boot_s
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        size = os.fstat(self._fd).st_size
        if size and os.pread(self._fd, 1, size - 1) != b"\n":
            os.write(self._fd, b"\n")  # a predecessor was killed in the middle of a line

    def append(self, event: str, *, boot_s: float | None = None, wall_s: float | None = None, **fields: Any) -> Event:
        """Write one event that happened now, or at ``boot_s`` on the boot clock.

        A simulated run gives ``wall_s``, too, so that nothing of this machine's clocks is in its events.
        """
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        boot = now if boot_s is None else boot_s
        line: Event = {
            "t": round(boot - self.start_boot_s, 6),
            "boot": round(boot, 6),
            "wall": round(time.time() - (now - boot) if wall_s is None else wall_s, 6),
            "event": event,
            **fields,
        }
        data = _encode(line) + b"\n"
        if os.write(self._fd, data) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        return line

    def close(self) -> None:
        """Close the file; idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> EventLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_events(path: str | os.PathLike[str]) -> tuple[list[Event], list[str]]:
    """All events by time, and a sentence for each line that could not be read (a torn last line is one of them).

    A missing file is an empty timeline.
    """
    where = Path(path)
    if not where.exists():
        return [], []
    events: list[Event] = []
    problems: list[str] = []
    for number, line in enumerate(where.read_bytes().split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            events.append(_decode(line))
        except msgspec.DecodeError as error:
            problems.append(f"{where.name} line {number}: {error}")
    events.sort(key=_time_of)
    return events, problems


def _time_of(event: Event) -> float:
    t = event.get("t", event.get("boot", 0.0))
    return float(t) if isinstance(t, int | float) else 0.0
