"""One open SQLite image: its files, its connection, the checkpoint that makes it durable, and how one replaces another.

:class:`Image` is what :class:`cluster.store.btree.Replica` opens lazily and closes when it rests. Nothing is locked.

An image that is to replace another is made *beside* it, an image like any other under a name of its own, and takes its
place in one step, :func:`replace_image`. A crash before that step leaves the old one as it was, a crash after it the
new one; :func:`settle` tells the two by the new one's label, and cleans up.
"""

from __future__ import annotations

import apsw
import google_crc32c

from cluster.node.world import PageFile, PageFiles
from cluster.store.files import Uncached
from cluster.store.label import LabelFile, Phase
from cluster.store.pagevfs import (
    PAGE_BYTES,
    RESERVED_BYTES,
    WAL_SUFFIX,
    Fault,
    ImageDamaged,
    PageCorrupt,
    PageVFS,
    check_page,
)

MAIN_SUFFIX = ".db"
LABEL_SUFFIX = ".label"
BESIDE = "~"
"""Behind an image's name: the one that is being made to replace it. No image's own name may contain this."""
CACHE_KIB = 2048
"""Page cache of one open connection."""
POSITION = "position"
REBUILD = "rebuild this replica from the log or from its peers"

# A table by rowid with an index on the key, not WITHOUT ROWID: there whole items sit in interior pages, the tree is
# deep, and a random insert wrote 13 KB of -wal where this one writes 4.
SCHEMA = """
CREATE TABLE items(key BLOB NOT NULL UNIQUE, value BLOB NOT NULL);
CREATE TABLE meta(name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES('position', 0);
"""


def image_names(files: PageFiles) -> list[str]:
    """Names of all images on the disk, damaged or not, sorted; of those made beside others, the others' only."""
    found = [
        name.removesuffix(suffix).removesuffix(BESIDE)
        for name in files.list()
        for suffix in (MAIN_SUFFIX, LABEL_SUFFIX)
        if name.endswith(suffix)
    ]
    return sorted(dict.fromkeys(found))


def remove_image(files: PageFiles, name: str) -> None:
    """Remove an image in whatever state it is; nothing happens where there is none.

    The label goes last: while it stands, no remnant is taken for a whole or a new image.
    """
    main = name + MAIN_SUFFIX
    for file in (main, main + WAL_SUFFIX, name + LABEL_SUFFIX):
        if files.exists(file):
            files.remove(file)


def replace_image(files: PageFiles, name: str) -> None:
    """Put the image beside ``name`` in its place. Both are closed, and the new one's checkpoint holds all of it.

    Giving its label the other's name is the step that decides: before it the new image is nothing, from then on the old
    one is. The label then stands beside a main file that is not its own, and :func:`settle` is what has to follow.
    """
    beside = name + BESIDE
    wal = beside + MAIN_SUFFIX + WAL_SUFFIX
    if files.exists(wal):
        files.remove(wal)
    files.rename(beside + LABEL_SUFFIX, name + LABEL_SUFFIX)
    settle(files, name)


def settle(files: PageFiles, name: str) -> None:
    """Finish a replacement of ``name`` that was decided, or remove what was made for one that was not. Neither of both
    may be open."""
    beside, main = name + BESIDE, name + MAIN_SUFFIX
    if files.exists(beside + LABEL_SUFFIX):  # made first, removed last: undecided
        remove_image(files, beside)
    elif files.exists(beside + MAIN_SUFFIX):
        if files.exists(main + WAL_SUFFIX):  # the old one's
            files.remove(main + WAL_SUFFIX)
        files.rename(beside + MAIN_SUFFIX, main)


def drop_cache(file: PageFile, offset: int = 0, length: int = 0) -> None:
    """See to it that the next read of a range comes from the disk, where there is a cache before it."""
    if isinstance(file, Uncached):
        file.drop_cache(offset, length)


class Image:
    """An open image. ``position`` is what it holds, ``checkpointed`` what it durably holds in its main file."""

    def __init__(self, files: PageFiles, vfs: PageVFS, name: str) -> None:
        """Open or create. Raises :class:`ImageDamaged` and ``DiskFailed``."""
        self.name = name
        self.position = 0
        self.checkpointed = 0
        self.fault = Fault()
        self._files = files
        self._vfs = vfs
        self._main_name = name + MAIN_SUFFIX
        self._connection: apsw.Connection | None = None
        self._label = LabelFile(files.open(name + LABEL_SUFFIX, create=True))
        try:
            self._open()
        except apsw.Error as error:
            self.close()
            cause = self.explain(error)
            if cause is error:
                cause = ImageDamaged(f"{name} cannot be opened: {error}: {REBUILD}")
            raise cause from error
        except BaseException:
            self.close()
            raise

    def explain(self, error: apsw.Error) -> Exception:
        """What really happened beneath SQLite; ``error`` itself where that was no fault of the disk's."""
        if self.fault.error is not None:
            return self.fault.error
        if isinstance(error, apsw.CorruptError | apsw.NotADBError):
            return ImageDamaged(f"{self.name}: {error}: {REBUILD}")
        return error

    def _open(self) -> None:
        phase = self._examine()
        self.fault.header_may_be_torn = phase is Phase.CHECKPOINTING
        self._vfs.faults[self._main_name] = self.fault
        self.connection = self._connect(phase)
        self.cursor = self.connection.cursor()
        label = self._label.label
        assert label is not None
        self._wal = self._vfs.wal(self._main_name)
        ((self.position,),) = self.cursor.execute("SELECT value FROM meta WHERE name = ?", (POSITION,))
        if self.position < label.position:
            raise ImageDamaged(
                f"{self.name} is at position {self.position} but was durable at {label.position}: {REBUILD}"
            )
        self.checkpointed = label.position if phase is Phase.LIVE else -1
        if phase is not Phase.LIVE:
            self.checkpoint()
            self.fault.header_may_be_torn = False

    def _examine(self) -> Phase:
        """Hold the files against the label, before SQLite sees them."""
        main = self._main_name
        label = self._label.load()
        exists = self._files.exists(main)
        if label is None and exists:
            raise ImageDamaged(f"{self.name} has no readable label: {REBUILD}")
        if label is None or label.phase is Phase.CREATING:
            self._label.write(Phase.CREATING, 0)
            for file in (main, main + WAL_SUFFIX):
                if self._files.exists(file):
                    self._files.remove(file)
            return Phase.CREATING
        if not exists:
            raise ImageDamaged(f"{main} is missing: {REBUILD}")
        if label.phase is Phase.CHECKPOINTING:
            self._verify_wal(label.wal_bytes, label.wal_check)
        return label.phase

    def _verify_wal(self, size: int, check: int) -> None:
        """A checkpoint was cut short: only this very -wal makes the main file whole."""
        name = self._main_name + WAL_SUFFIX
        data = b""
        if self._files.exists(name):
            file = self._files.open(name, create=False)
            data = file.read(0, size)
            file.close()
        if len(data) != size or google_crc32c.value(data) != check:
            raise ImageDamaged(f"{name} is damaged and a checkpoint from it was cut short: {REBUILD}")

    def _connect(self, phase: Phase) -> apsw.Connection:
        new = phase is Phase.CREATING
        flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
        self._connection = connection = apsw.Connection(self._main_name, flags=flags, vfs=self._vfs.vfs_name)
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        self._main = self._vfs.main(self._main_name)
        if new:
            connection.pragma("page_size", PAGE_BYTES)
            connection.reserve_bytes("main", RESERVED_BYTES)
        connection.pragma("locking_mode", "EXCLUSIVE")
        # No rollback journal, ever: not even for the one page that the change to WAL mode writes.
        connection.pragma("journal_mode", "MEMORY" if new else "WAL")
        mode = connection.pragma("journal_mode", "WAL")
        if mode != "wal":
            raise ImageDamaged(f"{self.name} cannot be opened in WAL mode (it says {mode}): {REBUILD}")
        connection.pragma("synchronous", "NORMAL")
        connection.pragma("wal_autocheckpoint", 0)
        connection.pragma("mmap_size", 0)
        connection.pragma("temp_store", "MEMORY")
        connection.pragma("cache_size", -CACHE_KIB)
        connection.pragma("cell_size_check", 1)
        if new:
            with connection:
                connection.execute(SCHEMA)
        return connection

    @property
    def wal_bytes(self) -> int:
        """What the next checkpoint has to copy, roughly."""
        return self._wal.xFileSize()

    @property
    def main_bytes(self) -> int:
        return self._main.xFileSize()

    def checkpoint(self) -> int:
        """Make the image durable and prove it by reading it back; returns the position the log may be trimmed to.

        The order is the point. The -wal is synced. The label says durably which -wal makes the image whole (a new image
        stays "creating" instead: cut short, it is made again). SQLite copies the frames and syncs the main file. Every
        page written is read back from the disk. The label says the image is whole at its new position. Only then the
        -wal is emptied.
        """
        size = self._wal.xFileSize()
        if self.position == self.checkpointed and size == 0:
            return self.checkpointed
        position = self.position
        self._wal.xSync(0)
        assert self._label.label is not None
        if self._label.label.phase is not Phase.CREATING:
            check: int = google_crc32c.value(self._wal.file.read(0, size))
            self._label.write(Phase.CHECKPOINTING, position, wal_bytes=size, wal_check=check)
        frames, copied = self.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_FULL)
        if frames != copied:
            raise ImageDamaged(f"{self.name}: a checkpoint copied {copied} of {frames} frames: {REBUILD}")
        self._read_back()
        self._label.write(Phase.LIVE, position)
        self.checkpointed = position
        self.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        return position

    def _read_back(self) -> None:
        """Compare every page that the checkpoint wrote with what the disk has."""
        main = self._main
        drop_cache(main.file)
        for page, trailer in main.written.items():
            data = main.read_page(page)
            check_page(page, data, main.name)
            if data[-RESERVED_BYTES:] != trailer:
                raise PageCorrupt(page, main.name, "the disk kept its older contents")
        main.written.clear()

    def scrub(self, start: int = 0, count: int | None = None) -> tuple[list[PageCorrupt], int | None]:
        """Read pages of the main file, then of the -wal, from the disk and past the cache; the corrupt ones.

        ``start`` and ``count`` number the pages of both files in that order; also returned is where to go on, or None
        at the end. Between two calls pages may come and go: a page missed by one round is seen by the next.
        """
        main, wal = self._main, self._wal
        pages = -(-main.xFileSize() // PAGE_BYTES)
        frames = sorted(wal.checks)
        total = pages + len(frames)
        stop = total if count is None else min(start + count, total)
        corrupt = []
        if start < pages:
            drop_cache(main.file, start * PAGE_BYTES, (min(stop, pages) - start) * PAGE_BYTES)
        for page in range(start + 1, min(stop, pages) + 1):
            try:
                check_page(page, main.read_page(page), main.name)
            except PageCorrupt as error:
                corrupt.append(error)
        if offsets := frames[max(0, start - pages) : max(0, stop - pages)]:
            drop_cache(wal.file, offsets[0], offsets[-1] + PAGE_BYTES - offsets[0])
            corrupt += wal.scrub(offsets)
        return corrupt, None if stop >= total else stop

    def close(self) -> None:
        """Close everything as it is, without a checkpoint. May be called twice."""
        if self._connection is not None:
            self._connection.close(True)
            self._connection = None
        self._label.close()
        self._vfs.closed(self._main_name)
