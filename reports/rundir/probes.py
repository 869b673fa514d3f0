"""``canaries/<az>.jsonl``: every probe of one zone's canary, a JSON object a line, written when its answer is known.

Lines with an ``event`` (``ready``, ``finished``) are the driver's own life and no probes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import msgspec


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt at one operation. ``boot`` is when it was sent (boot-clock seconds), ``ms`` how long it took.

    ``endpoint_az`` is the zone of the router it was pinned to, ``az`` the canary's own. ``outcome``: ``ok``; ``fail``:
    certainly did not happen; ``unknown``: may have happened; ``wrong``: answered, with what cannot be.
    """

    boot: float
    az: str
    endpoint: str
    endpoint_az: str
    op: Literal["put", "get", "eget", "update", "delete"]
    key: str
    outcome: Literal["ok", "fail", "unknown", "wrong"]
    ms: float
    status: int = 0
    error: str | None = None

    @property
    def good(self) -> bool:
        """Whether the answer came and was right; anything else counts against availability."""
        return self.outcome == "ok"


_encode = msgspec.json.Encoder().encode
_probe = msgspec.json.Decoder(Probe).decode
_any = msgspec.json.Decoder(dict[str, Any]).decode


class ProbeLog:
    """Appends to one canary's file, each line one ``write``: what was written survives the process.

    With ``keep_bytes`` the file is moved aside to ``<az>.1.jsonl``, in the place of what lay there, when it has half as
    many: canaries that are left running all week fill no disk. A game day keeps all, because it is evidence.
    """

    def __init__(self, path: str | os.PathLike[str], keep_bytes: int = 0) -> None:
        self.path = Path(path)
        self.keep_bytes = keep_bytes
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._open()

    def _open(self) -> None:
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._size = os.fstat(self._fd).st_size
        if self._size and os.pread(self._fd, 1, self._size - 1) != b"\n":
            os.write(self._fd, b"\n")  # a predecessor was killed in the middle of a line

    def append(self, line: Probe | dict[str, Any]) -> None:
        """Write a probe, or an event of the driver. Raises :class:`OSError`."""
        data = _encode(line) + b"\n"
        if self.keep_bytes and self._size and self._size + len(data) > self.keep_bytes // 2:
            self.path.rename(self.path.with_suffix(".1" + self.path.suffix))
            self.close()
            self._open()
        os.write(self._fd, data)
        self._size += len(data)

    def close(self) -> None:
        """Close the file; idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def parse_probe(line: bytes) -> Probe | dict[str, Any]:
    """One line: a probe, or an event of the driver. Raises :class:`msgspec.DecodeError`."""
    try:
        return _probe(line)
    except msgspec.ValidationError:
        event = _any(line)
        if "event" not in event:
            raise
        return event


def read_probes(directory: str | os.PathLike[str]) -> tuple[list[Probe], list[str]]:
    """All probes of a run in the order they were sent, and a sentence for each line that could not be read.

    A run without canaries has none.
    """
    probes: list[Probe] = []
    problems: list[str] = []
    for file in sorted(Path(directory).glob("*.jsonl")):
        for number, line in enumerate(file.read_bytes().split(b"\n"), 1):
            if not line.strip():
                continue
            try:
                entry = parse_probe(line)
            except msgspec.DecodeError as error:
                problems.append(f"canaries/{file.name} line {number}: {error}")
                continue
            if isinstance(entry, Probe):
                probes.append(entry)
    probes.sort(key=lambda probe: probe.boot)
    return probes, problems
