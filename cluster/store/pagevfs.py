"""SQLite's view of the disk: every page it reads was checked, on its way from the platter, against what was written.

A virtual file system for ``apsw`` over the ``PageFiles`` of a World. Three kinds of file exist, all others are refused
(there is no rollback journal and no temporary file):

* The *main* file. Each page carries in its last 8 bytes (SQLite's reserved bytes) a CRC32C over its contents and its
  own page number, and a fixed tag; so a flipped bit and a misplaced page are both found.
* The *-wal* file. SQLite checks its own frame checksums only when it opens the file, so the CRC of each frame's page is
  kept in memory from the moment it was written (or verified in recovery) and compared at every later read.
* Nothing else.

A failing page raises :class:`PageCorrupt` through the SQLite call that wanted it; no data of it is returned, ever.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from struct import Struct
from typing import Any, ClassVar
from weakref import WeakValueDictionary

import apsw
import google_crc32c

from cluster.node.world import DiskFailed, PageFile, PageFiles

PAGE_BYTES = 4096
RESERVED_BYTES = 8
CONTENT_BYTES = PAGE_BYTES - RESERVED_BYTES
TRAILER = Struct("<I4s")
TAG = b"bsp1"
FRAME_HEADER_BYTES = 24
WAL_HEADER_BYTES = 32
WAL_SUFFIX = "-wal"
HEADER = (b"SQLite format 3\0" + PAGE_BYTES.to_bytes(2, "big") + bytes((2, 2, RESERVED_BYTES, 64, 32, 32))).ljust(
    100, b"\0"
)
"""The constant part of a database header: page size, WAL mode, reserved bytes."""

_crc = google_crc32c.value
_extend = google_crc32c.extend


class ImageDamaged(Exception):
    """This replica's B-tree cannot be trusted any more; it is rebuilt from the log or from its peers."""


class PageCorrupt(ImageDamaged):
    """A page failed its checksum, or could not be read."""

    def __init__(self, page: int, file: str, why: str, offset: int | None = None) -> None:
        super().__init__(
            f"page {page} of {file} is corrupt: {why}. Rebuild this replica from the log or from its peers"
        )
        self.page = page
        """Page number from 1; 0 where the damage is not in one page."""
        self.file = file
        self.why = why
        self.offset = (page - 1) * PAGE_BYTES if offset is None and page else offset
        """Where in the file the bad page begins, where that is known."""


def page_trailer(page: int, content: bytes) -> bytes:
    """The last 8 bytes of a page: a CRC32C over its contents and its number, and the tag."""
    return TRAILER.pack(_extend(_crc(content), page.to_bytes(8, "little")), TAG)


def check_page(page: int, data: bytes, file: str) -> None:
    """Raise :class:`PageCorrupt` unless ``data`` is page ``page``, whole and unchanged."""
    if len(data) != PAGE_BYTES:
        raise PageCorrupt(page, file, f"the file ends within it or before it ({len(data)} of {PAGE_BYTES} bytes)")
    if data[CONTENT_BYTES:] != page_trailer(page, data[:CONTENT_BYTES]):
        raise PageCorrupt(page, file, "its checksum does not match its contents and place")


class Fault:
    """What the files beneath one connection share with whoever opened it."""

    __slots__ = ("error", "header_may_be_torn")

    def __init__(self) -> None:
        self.error: ImageDamaged | DiskFailed | None = None
        """The first failure, kept because SQLite reduces exceptions to error codes."""
        self.header_may_be_torn = False
        """True while opening after a checkpoint that was cut short: SQLite peeks at page 1 of the main file before it
        looks into the -wal, which has the whole of it. Whole pages are checked as ever."""

    def note(self, error: ImageDamaged | DiskFailed) -> apsw.Error:
        """Remember the first failure; returns what to raise into SQLite."""
        if self.error is None:
            self.error = error
        told: apsw.Error = apsw.IOError(str(error))
        told.extendedresult = apsw.SQLITE_IOERR_DATA  # type: ignore[attr-defined]
        return told


class _File:
    """What both kinds of file share: no locks (one process, one connection), and failures noted."""

    def __init__(self, name: str, file: PageFile, fault: Fault) -> None:
        self.name = name
        self.file = file
        self.fault = fault

    def xWrite(self, data: bytes, offset: int) -> None:
        raise NotImplementedError

    def xTruncate(self, size: int) -> None:
        try:
            self.file.truncate(size)
        except DiskFailed as error:
            raise self.fault.note(error) from error

    def xSync(self, flags: int) -> None:
        try:
            self.file.sync()
        except DiskFailed as error:
            raise self.fault.note(error) from error

    def xFileSize(self) -> int:
        return self.file.size()

    def xClose(self) -> None:
        self.file.close()

    def xLock(self, level: int) -> None:
        pass

    def xUnlock(self, level: int) -> None:
        pass

    def xCheckReservedLock(self) -> bool:
        return False

    def xFileControl(self, op: int, pointer: int) -> bool:
        return False

    def xSectorSize(self) -> int:
        return 4096

    def xDeviceCharacteristics(self) -> int:
        return 0

    def _read(self, page: int, offset: int, length: int) -> bytes:
        try:
            return self.file.read(offset, length)
        except DiskFailed as error:
            raise self.fault.note(PageCorrupt(page, self.name, str(error))) from error

    def _write(self, offset: int, data: bytes) -> None:
        try:
            self.file.write(offset, data)
        except DiskFailed as error:
            raise self.fault.note(error) from error


class MainFile(_File):
    """The database file: whole pages, each with its trailer."""

    def __init__(self, name: str, file: PageFile, fault: Fault) -> None:
        super().__init__(name, file, fault)
        self.written: dict[int, bytes] = {}
        """Trailers of pages written since the last checkpoint was verified, by page number."""

    def xRead(self, length: int, offset: int) -> bytes:
        page, within = divmod(offset, PAGE_BYTES)
        page += 1
        data = self.read_page(page)
        if not data and page == 1:
            return b""  # a new file; that it should not be empty is the label's to know
        try:
            check_page(page, data, self.name)
        except PageCorrupt as error:
            if self.fault.header_may_be_torn and page == 1 and length < PAGE_BYTES:
                return HEADER[within : within + length]
            raise self.fault.note(error) from error
        return data if length == PAGE_BYTES else data[within : within + length]

    def read_page(self, page: int) -> bytes:
        """A page as the disk has it, unchecked; shorter at the end of the file."""
        return self._read(page, (page - 1) * PAGE_BYTES, PAGE_BYTES)

    def xWrite(self, data: bytes, offset: int) -> None:
        page, within = divmod(offset, PAGE_BYTES)
        if within or len(data) != PAGE_BYTES:
            raise self.fault.note(ImageDamaged(f"{self.name}: a write of {len(data)} bytes at {offset} is no page"))
        content = data[:CONTENT_BYTES]
        trailer = page_trailer(page + 1, content)
        self.written[page + 1] = trailer
        self._write(offset, content + trailer)


class WalFile(_File):
    """SQLite's -wal file: frames of a 24-byte header and a page, whose CRCs live in memory."""

    def __init__(self, name: str, file: PageFile, fault: Fault) -> None:
        super().__init__(name, file, fault)
        self.checks: dict[int, int] = {}
        """CRC of the page stored at each offset."""

    def xRead(self, length: int, offset: int) -> bytes:
        data = self._read(0, offset, length)
        if length == PAGE_BYTES:
            if self.checks.get(offset) != _crc(data):
                raise self.fault.note(self._changed(offset))
        elif length == PAGE_BYTES + FRAME_HEADER_BYTES:
            # Recovery: SQLite verifies this frame itself; what it accepts must never change afterwards.
            self.checks[offset + FRAME_HEADER_BYTES] = _crc(data[FRAME_HEADER_BYTES:])
        return data

    def xWrite(self, data: bytes, offset: int) -> None:
        if len(data) == PAGE_BYTES:
            self.checks[offset] = _crc(data)
        self._write(offset, data)

    def scrub(self, offsets: Iterable[int]) -> list[PageCorrupt]:
        """The frames at these offsets that are not what was written, read from the file anew."""
        return [self._changed(at) for at in offsets if _crc(self._read(0, at, PAGE_BYTES)) != self.checks.get(at)]

    def _changed(self, offset: int) -> PageCorrupt:
        return PageCorrupt(0, self.name, f"a page in it at offset {offset} is not what was written", offset)

    def xTruncate(self, size: int) -> None:
        self.checks = {offset: check for offset, check in self.checks.items() if offset < size}
        super().xTruncate(size)


class PageVFS(apsw.VFS):
    """The VFS of one node's page files. Register it by creating it; :meth:`unregister` when the node is gone."""

    _count = 0
    _registered: ClassVar[WeakValueDictionary[str, PageVFS]] = WeakValueDictionary()
    """By name, for :func:`close_all`."""

    def __init__(self, files: PageFiles) -> None:
        PageVFS._count += 1
        self.vfs_name = f"blackstart-{PageVFS._count}"
        self._files = files
        self.faults: dict[str, Fault] = {}
        """By main file name, while a connection to it is open."""
        self._opened: dict[str, MainFile | WalFile] = {}
        super().__init__(self.vfs_name, base=None)
        PageVFS._registered[self.vfs_name] = self

    def is_over(self, files: PageFiles) -> bool:
        """Whether these are its files."""
        return self._files is files

    def main(self, name: str) -> MainFile:
        """The main file called ``name`` of an open connection."""
        file = self._opened[name]
        assert isinstance(file, MainFile)
        return file

    def wal(self, main: str) -> WalFile:
        """The -wal beside ``main`` of an open connection."""
        file = self._opened[main + WAL_SUFFIX]
        assert isinstance(file, WalFile)
        return file

    def closed(self, main: str) -> None:
        """The connection to ``main`` is gone."""
        self.faults.pop(main, None)
        self._opened.pop(main, None)
        self._opened.pop(main + WAL_SUFFIX, None)

    def xOpen(self, name: Any, flags: list[int]) -> MainFile | WalFile:  # type: ignore[override]  # apsw asks for the methods only
        wanted = flags[0]
        filename = name.filename() if isinstance(name, apsw.URIFilename) else name
        if filename is None or not wanted & (apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_WAL):
            raise apsw.CantOpenError(f"{filename}: only a main file and its -wal exist here")
        is_wal = bool(wanted & apsw.SQLITE_OPEN_WAL)
        fault = self.faults[filename.removesuffix(WAL_SUFFIX) if is_wal else filename]
        try:
            file = self._files.open(filename, create=True)
        except DiskFailed as error:
            raise fault.note(error) from error
        made = WalFile(filename, file, fault) if is_wal else MainFile(filename, file, fault)
        self._opened[filename] = made
        flags[1] = wanted
        return made

    def xDelete(self, name: str, sync_directory: bool) -> None:
        self._files.remove(name)

    def xAccess(self, name: str, flags: int) -> bool:
        return self._files.exists(name)

    def xFullPathname(self, name: str) -> str:
        return name

    def xRandomness(self, count: int) -> bytes:
        return bytes(count)

    def xSleep(self, microseconds: int) -> int:
        return microseconds

    def xCurrentTimeInt64(self) -> int:
        return 0

    def xCurrentTime(self) -> float:
        return 0.0

    def xGetLastError(self) -> tuple[int, str]:
        return 0, ""


def close_all(files: PageFiles) -> None:
    """Close every connection over ``files`` as it is, without a checkpoint, and unregister their VFSes.

    For files whose nodes ended without closing their pools, as simulated nodes do. An open connection holds its files
    out of the garbage collector's sight: whatever can be reached from both lives for ever. Raises nothing.
    """
    ended = {name: vfs for name, vfs in PageVFS._registered.items() if vfs.is_over(files)}
    for connection in apsw.connections():
        if connection.open_vfs in ended:
            with suppress(apsw.Error):
                connection.close(force=True)
    for vfs in ended.values():
        vfs.unregister()
