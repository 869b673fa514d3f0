"""``history/<writer>.log``: every operation of one client, invoked and completed, as it happened.

File format::

    magic   4 bytes  b"BSH1"
    frame*  u32 length (little endian), u32 CRC32C of the payload, payload (one MessagePack array)

Payloads::

    Invoke    [0, id, t_ns, intended_ns, op, table, key, value|nil, expect|nil, az, endpoint]
    Complete  [1, id, t_ns, outcome, status, error|nil, value|nil]
    End       [2, invoked, completed]                written by close(): the file is whole

* Times are ``CLOCK_BOOTTIME`` nanoseconds (one clock for all processes of a machine). ``intended_ns`` is when the open
  arrival schedule wanted the operation sent; latency counts from there.
* ``op``: ``put``, ``cput`` (conditional put), ``update``, ``delete``, ``get`` (strong), ``eget`` (eventual), ``final``
  (strong read of the closing sweep); ``twrite`` and ``tread``: a transaction, one operation with all its items, whose
  ``key`` is empty. Its ``value`` is JSON, a list of steps: ``["append", key, id]`` to a list; ``["r", key, ids|null]``,
  a list read, in a ``twrite`` as the condition that it is exactly so; ``["add", key, amount]`` to an account;
  ``["balance", key, first]``, an account read, with what it holds at first. A ``tread`` that succeeded completes with
  the same steps, with what was read in their third places.
* ``value`` of an Invoke is the unique id the operation writes (nil for reads and deletes).
* ``expect`` makes a write conditional, whatever its op: the id it expects as its predecessor, :data:`NO_ITEM` ("-") for
  "no item", :data:`ANY_ITEM` ("*") for "some item"; nil for an unconditional write.
* ``outcome``: ``ok``; ``fail`` = certainly did not happen (a failed condition, a refusal, a connection refused);
  ``unknown`` = may have happened (500, time-out, connection lost after sending).
* ``value`` of a Complete: for reads the id read, for writes the predecessor's id as the database returned it
  (``ALL_OLD``, on success *and* on a failed condition, which must carry the error :data:`CONDITION_FAILED`).
  nil = there was no item.

An Invoke is handed to the kernel before the request is sent, so it survives the death of the client. An Invoke without
a Complete stays open for ever: it may have happened. A torn last frame (the writer was killed inside ``write``) is
expected and dropped; any other damage is reported as a :class:`Problem`, never skipped in silence.
"""

from __future__ import annotations

import os
import struct
import sys
import time
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path

import google_crc32c
import msgspec

MAGIC = b"BSH1"
FRAME_HEADER = struct.Struct("<II")
FRAME_BYTES_MAX = 64 * 1024

READS = frozenset({"get", "eget", "final"})
WRITES = frozenset({"put", "cput", "update", "delete"})
TRANSACTIONS = frozenset({"twrite", "tread"})
CHANGES = WRITES | {"twrite"}
OUTCOMES = frozenset({"ok", "fail", "unknown"})

NO_ITEM = "-"
ANY_ITEM = "*"
CONDITION_FAILED = "ConditionalCheckFailedException"
CANCELLED = ("TransactionCanceledException", "TransactionConflictException")
"""Answers of a database that is well and under contention: nothing happened."""
NEVER_NS = sys.maxsize
"""The completion time of an operation that was never answered: it stays open to infinity."""

_crc = google_crc32c.value
_encode = msgspec.msgpack.Encoder().encode
_intern = sys.intern


def boot_ns() -> int:
    """Now on the clock all histories use: ``CLOCK_BOOTTIME`` in nanoseconds (it also runs while the machine sleeps)."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Operation(msgspec.Struct, frozen=True, gc=False):
    """One client operation with its answer. ``ended_ns`` is :data:`NEVER_NS` while the outcome is unknown.

    ``answered_ns`` is when the client gave up or got its answer (for latency), :data:`NEVER_NS` if there was none.
    ``observed`` is the id read, or the predecessor a write reported; it means something only if :attr:`observes`.
    """

    writer: str
    id: int
    op: str
    table: str
    key: str
    value: str | None
    expect: str | None
    az: str
    endpoint: str
    intended_ns: int
    invoked_ns: int
    ended_ns: int
    answered_ns: int
    outcome: str
    status: int
    error: str | None
    observed: str | None

    @property
    def name(self) -> str:
        """The operation's name in findings: ``<writer>#<id>``."""
        return f"{self.writer}#{self.id}"

    @property
    def is_write(self) -> bool:
        """Whether it is meant to change the item."""
        return self.op in WRITES

    @property
    def condition_failed(self) -> bool:
        """Whether the database answered that the condition did not hold: an observation, and a good answer."""
        return self.outcome == "fail" and self.error is not None and CONDITION_FAILED in self.error

    @property
    def cancelled(self) -> bool:
        """Whether a transaction stood in the way of this operation, or its condition did not hold."""
        return self.outcome == "fail" and self.error in CANCELLED

    @property
    def observes(self) -> bool:
        """Whether :attr:`observed` tells the item's state at the moment the operation took effect."""
        return self.outcome == "ok" or self.condition_failed


class Problem(msgspec.Struct, frozen=True):
    """Damage in a history file: what, where, and thereby how much evidence is missing."""

    file: str
    offset: int
    what: str

    def __str__(self) -> str:
        return f"{self.file}: byte {self.offset}: {self.what}"


class HistoryWriter:
    """Appends one client's operations. Not for threads; greenlets are fine (no method yields).

    ``path`` must not exist: one file is one writer's life, and ids start at 1 in each.
    Every call makes one ``write`` system call before it returns; nothing is buffered. After an :class:`OSError` (a full
    disk) the writer is dead and every further call raises: operations that cannot be recorded must not be sent.

    With ``gather`` that many bytes are written at once: for a simulation, whose clients and nodes are one process, so
    that none of them outlives another.
    """

    def __init__(self, path: str | os.PathLike[str], writer: str, *, gather: int = 0) -> None:
        self.path = Path(path)
        self.writer = writer
        self._last_id = 0
        self._completed = 0
        self._gather = gather
        self._gathered = bytearray()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._write(MAGIC)

    def invoke(
        self,
        op: str,
        table: str,
        key: str,
        value: str | None = None,
        expect: str | None = None,
        *,
        az: str = "",
        endpoint: str = "",
        intended_ns: int | None = None,
        t_ns: int | None = None,
    ) -> int:
        """Record that ``op`` is about to be sent and return its id. Call before the first byte leaves."""
        now = boot_ns() if t_ns is None else t_ns
        self._last_id += 1
        intended = now if intended_ns is None else intended_ns
        self._frame((0, self._last_id, now, intended, op, table, key, value, expect, az, endpoint))
        return self._last_id

    def complete(
        self,
        id: int,
        outcome: str,
        *,
        status: int = 0,
        error: str | None = None,
        value: str | None = None,
        t_ns: int | None = None,
    ) -> None:
        """Record the answer to operation ``id``: call once, right after the last byte arrived or hope was given up."""
        if outcome not in OUTCOMES:
            raise ValueError(f"outcome {outcome!r}: use one of {', '.join(sorted(OUTCOMES))}")
        self._completed += 1
        self._frame((1, id, boot_ns() if t_ns is None else t_ns, outcome, status, error, value))

    def close(self) -> None:
        """Write the end record and close the file; idempotent."""
        if self._fd >= 0:
            self._gather = min(self._gather, 1)  # the last frame goes with all that was gathered
            self._frame((2, self._last_id, self._completed))
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> HistoryWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _frame(self, record: tuple[object, ...]) -> None:
        payload = _encode(record)
        if len(payload) > FRAME_BYTES_MAX:
            raise ValueError(f"history record of {len(payload)} bytes: keys and value ids must stay under 64 KiB")
        self._write(FRAME_HEADER.pack(len(payload), _crc(payload)) + payload)

    def _write(self, data: bytes | bytearray) -> None:
        if self._gather:
            self._gathered += data
            if len(self._gathered) < self._gather and self._fd >= 0:
                return
            data, self._gathered = self._gathered, bytearray()
        if self._fd < 0:
            raise OSError(f"history {self.path} is closed, or an earlier write to it failed")
        try:
            written = os.write(self._fd, data)
            while written < len(data):
                written += os.write(self._fd, data[written:])
        except OSError:
            broken, self._fd = self._fd, -1
            os.close(broken)
            raise


class _Invoke(msgspec.Struct, tag=0, array_like=True, gc=False, frozen=True):
    id: int
    t_ns: int
    intended_ns: int
    op: str
    table: str
    key: str
    value: str | None
    expect: str | None
    az: str
    endpoint: str


class _Complete(msgspec.Struct, tag=1, array_like=True, gc=False, frozen=True):
    id: int
    t_ns: int
    outcome: str
    status: int
    error: str | None
    value: str | None


class _End(msgspec.Struct, tag=2, array_like=True, gc=False, frozen=True):
    invoked: int
    completed: int


_Record = _Invoke | _Complete | _End
_decode = msgspec.msgpack.Decoder(_Record).decode


def read_records(data: bytes, file: str, problems: list[Problem]) -> Iterator[_Record]:
    """The records of one file's bytes, in order; damage ends the stream and is added to ``problems``."""
    if data[:4] != MAGIC:
        if data:
            problems.append(Problem(file, 0, "does not begin with BSH1: not a history file, or its start is damaged"))
        return
    position, size = 4, len(data)
    unpack = FRAME_HEADER.unpack_from
    while position + 8 <= size:
        length, crc = unpack(data, position)
        end = position + 8 + length
        if end > size or not 0 < length <= FRAME_BYTES_MAX:
            break
        payload = data[position + 8 : end]
        if _crc(payload) != crc:
            problems.append(Problem(file, position, f"checksum differs; {size - position} bytes not read"))
            return
        try:
            record = _decode(payload)
        except msgspec.DecodeError as error:
            what = f"not a history record ({error}); {size - position} bytes not read"
            problems.append(Problem(file, position, what))
            return
        yield record
        position = end
    if position < size and not _is_torn_tail(data, position):
        problems.append(Problem(file, position, f"broken frame; {size - position} bytes not read"))


def _is_torn_tail(data: bytes, position: int) -> bool:
    """Whether what follows ``position`` is the beginning of one frame and nothing more.

    A flipped bit in a length field would otherwise pass for a torn tail and hide everything after it, so look for
    proof of the contrary: a checksum that fits the bytes that are there, or a whole frame further on.
    """
    rest = len(data) - position
    if rest < 8:
        return True
    length, crc = FRAME_HEADER.unpack_from(data, position)
    if length > FRAME_BYTES_MAX or length <= rest - 8 or _crc(data[position + 8 :]) == crc:
        return False
    return not any(_whole_frame_at(data, start) for start in range(position + 9, len(data) - 8))


def _whole_frame_at(data: bytes, position: int) -> bool:
    length, crc = FRAME_HEADER.unpack_from(data, position)
    end = position + 8 + length
    return length > 0 and end <= len(data) and bool(_crc(data[position + 8 : end]) == crc)


def read_history(path: str | os.PathLike[str]) -> tuple[list[Operation], list[Problem]]:
    """Read one ``.log`` file, or all in a directory: operations in order of invocation, and the damage found.

    Raises :class:`OSError` if the path cannot be read. An operation without an answer comes out as ``unknown``.
    """
    where = Path(path)
    files = sorted(where.glob("*.log")) if where.is_dir() else [where]
    operations: list[Operation] = []
    problems: list[Problem] = []
    for file in files:
        operations.extend(_read_file(file, problems))
    operations.sort(key=attrgetter("invoked_ns"))
    return operations, problems


def _read_file(file: Path, problems: list[Problem]) -> list[Operation]:
    writer = _intern(file.stem)
    pending: dict[int, _Invoke] = {}
    operations: list[Operation] = []
    shared = {}.setdefault  # type: ignore[var-annotated]  # a million operations share a few tables, zones, keys
    invoked = completed = 0
    for record in read_records(file.read_bytes(), file.name, problems):
        if isinstance(record, _Invoke):
            invoked += 1
            pending[record.id] = record
        elif isinstance(record, _Complete):
            completed += 1
            start = pending.pop(record.id, None)
            if start is None:
                what = f"answer to operation {record.id}, which was never invoked or already answered"
                problems.append(Problem(file.name, 0, what))
                continue
            op, table, key = start.op, start.table, start.key
            az, endpoint, outcome = start.az, start.endpoint, record.outcome
            operations.append(
                Operation(
                    writer,
                    start.id,
                    shared(op, op),
                    shared(table, table),
                    shared(key, key),
                    start.value,
                    start.expect,
                    shared(az, az),
                    shared(endpoint, endpoint),
                    start.intended_ns,
                    start.t_ns,
                    NEVER_NS if outcome == "unknown" else record.t_ns,
                    record.t_ns,
                    shared(outcome, outcome),
                    record.status,
                    record.error,
                    record.value,
                )
            )
        elif (record.invoked, record.completed) != (invoked, completed):
            problems.append(Problem(file.name, 0, f"ends with {record}, but {invoked} and {completed} were read"))
    operations.extend(
        Operation(
            writer,
            start.id,
            start.op,
            start.table,
            start.key,
            start.value,
            start.expect,
            start.az,
            start.endpoint,
            start.intended_ns,
            start.t_ns,
            NEVER_NS,
            NEVER_NS,
            "unknown",
            0,
            None,
            None,
        )
        for start in pending.values()
    )
    return operations
