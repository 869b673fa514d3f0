"""A replica's items in a SQLite B-tree: a rebuildable image of the log that never serves a wrong byte.

:class:`Pool` holds a node's open connections, :class:`Replica` is one group's image. All methods block and are called
inside ``World.offload`` only; a replica may be used from several of its threads, calls are serialised by its lock.

What must hold, and where it is seen to:

* The applied position commits in the transaction of the writes it covers (:meth:`Replica.apply`).
* :meth:`Replica.checkpoint` returns a position only after the image was synced *and read back* from the disk at that
  position; the log may be trimmed below it and never above. Until then whatever a crash or damage takes from the image
  is still in the log, and :attr:`Replica.position` after opening says where to resume.
* Damage raises :class:`PageCorrupt` or :class:`ImageDamaged`, on that call and on every later one: the host discards
  the replica (:meth:`Replica.destroy`) and rebuilds it. Other replicas are not touched.
* An image gives way to another only once that one is whole (:meth:`Replica.beside`, :meth:`Replica.replace`).
* A checkpoint rewrites the main file in place. Were it cut short and the -wal then damaged, SQLite would silently serve
  a mixture of old and new pages; the label (:mod:`cluster.store.label`) refuses that.
"""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Concatenate, ParamSpec, TypeVar

import apsw

from cluster.node.world import DiskFailed, PageFiles
from cluster.store.digest import Digest, Digester
from cluster.store.image import BESIDE, POSITION, Image, image_names, remove_image, replace_image, settle
from cluster.store.pagevfs import ImageDamaged, PageCorrupt, PageVFS
from cluster.store.snapshot import Snapshot

CONNECTIONS_MAX = 128
SCAN_ITEMS_MAX = 10_000
NAME = re.compile(r"[A-Za-z0-9._-]{1,128}")

GET = "SELECT value FROM items WHERE key = ?"
GET_META = "SELECT value FROM meta WHERE name = ?"
PUT = "INSERT INTO items(key, value) VALUES(?, ?) ON CONFLICT(key) DO UPDATE SET value = excluded.value"
DELETE = "DELETE FROM items WHERE key = ?"
SCAN_FROM = "SELECT key, value FROM items WHERE key >= ? ORDER BY key LIMIT ?"
SCAN_AFTER = "SELECT key, value FROM items WHERE key > ? ORDER BY key LIMIT ?"
SCAN_FROM_TO = "SELECT key, value FROM items WHERE key >= ? AND key < ? ORDER BY key LIMIT ?"
SCAN_AFTER_TO = "SELECT key, value FROM items WHERE key > ? AND key < ? ORDER BY key LIMIT ?"
BELOW = " AND key < ?"
RANGE = f"SELECT key, value FROM items WHERE key >= ?{BELOW} ORDER BY key"
RANGE_BACK = f"{RANGE} DESC"
PUT_META = "INSERT INTO meta(name, value) VALUES(?, ?) ON CONFLICT(name) DO UPDATE SET value = excluded.value"
DELETE_META = "DELETE FROM meta WHERE name = ?"

Write = tuple[bytes, bytes | None]
"""(key, item image), or (key, None) to delete."""

P = ParamSpec("P")
R = TypeVar("R")


def _locked(method: Callable[Concatenate[Replica, P], R]) -> Callable[Concatenate[Replica, P], R]:
    """Serialise calls, refuse a dead replica, and name failures after what really happened beneath SQLite."""

    @functools.wraps(method)
    def call(self: Replica, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self._lock:
            if self._dead is not None:
                raise self._dead
            try:
                return method(self, *args, **kwargs)
            except (apsw.Error, ImageDamaged, DiskFailed) as error:
                raise self._failed(error) from error

    return call


class Pool:
    """The open connections of one node; the least recently used idle one makes room for another.

    An open connection costs some 200 KiB, three descriptors and a few milliseconds to open again.
    """

    def __init__(self, files: PageFiles, *, connections_max: int = CONNECTIONS_MAX) -> None:
        self.files = files
        self.vfs = PageVFS(files)
        self.clock = 0
        """Calls so far; a replica notes it, so that the least recently used is known."""
        self._connections_max = connections_max
        self._open: dict[str, Replica] = {}
        self._lock = threading.Lock()

    @property
    def connections(self) -> int:
        """Connections open now. Above the limit only while more replicas than that are in use at one moment."""
        return len(self._open)

    def names(self) -> list[str]:
        """Names of all images on the disk, open or not, damaged or not."""
        return image_names(self.files)

    def close(self) -> None:
        """Checkpoint and close every connection; the pool ends. Raises what a checkpoint raises."""
        for replica in list(self._open.values()):
            replica.close()
        self.vfs.unregister()

    def entering(self, replica: Replica) -> None:
        """``replica`` is about to open a connection: refuse a second one to the same image, which would corrupt it."""
        with self._lock:
            if self._open.get(replica.name, replica) is not replica:
                raise ValueError(f"image {replica.name} is open already: close or destroy that replica first")

    def entered(self, replica: Replica) -> None:
        """``replica`` opened a connection; make room if there are too many. Never waits for a busy replica."""
        with self._lock:
            self._open[replica.name] = replica
            excess = len(self._open) - self._connections_max
            idle = sorted(self._open.values(), key=lambda one: one.used) if excess > 0 else []
        for victim in idle:
            if excess <= 0:
                break
            if victim is not replica and victim.rest():
                excess -= 1

    def left(self, replica: Replica) -> None:
        """``replica`` has no open connection any more."""
        with self._lock:
            if self._open.get(replica.name) is replica:
                del self._open[replica.name]


class Replica:
    """One group's items. Made by :meth:`open`; see the module's docstring for what it guarantees."""

    def __init__(self, pool: Pool, name: str) -> None:
        """Use :meth:`open`."""
        if NAME.fullmatch(name) is None:
            raise ValueError(f"an image's name is 1 to 128 letters, digits, '.', '_' and '-': not {name!r}")
        self.name = name
        self.used = 0
        """The pool's clock at the last call."""
        self._pool = pool
        self._lock = threading.RLock()
        self._image: Image | None = None
        self._position = 0
        self._checkpointed = 0
        self._dead: Exception | None = None
        self._ended = False
        """It has no files any more."""
        self._snapshots: list[Snapshot] = []

    @classmethod
    def open(cls, pool: Pool, name: str) -> Replica:
        """Open the image, creating it where it does not exist, and learn its position. A replacement that a crash cut
        short is settled first.

        Raises :class:`ImageDamaged` where it is not whole (:meth:`discard` it and rebuild) and :class:`DiskFailed`.
        """
        replica = cls(pool, name)
        settle(pool.files, name)
        replica.check()
        return replica

    @classmethod
    def beside(cls, pool: Pool, name: str) -> Replica:
        """An empty image to be filled and then to :meth:`replace` the one called ``name``, which is used meanwhile. One
        at a time; :meth:`destroy` it where it is not wanted after all. Raises what :meth:`open` raises."""
        replica = cls(pool, name)
        settle(pool.files, name)
        replica.name = name + BESIDE
        replica.check()
        return replica

    @classmethod
    def discard(cls, pool: Pool, name: str) -> None:
        """Remove the image called ``name``, and any beside it, in whatever state they are; nothing happens where there
        is none."""
        settle(pool.files, name)
        remove_image(pool.files, name)

    # --- reading ---

    @property
    def position(self) -> int:
        """The last applied position; after opening, where the log must resume (it holds everything above)."""
        return self._position

    @property
    def checkpointed(self) -> int:
        """The position of the last finished checkpoint: the log may be trimmed up to here."""
        return self._checkpointed

    @_locked
    def check(self) -> int:
        """Open the connection if it rests; returns :attr:`position`."""
        self._session()
        return self._position

    @_locked
    def get(self, key: bytes) -> bytes | None:
        """The item image stored under ``key``."""
        return _only(self._session().cursor.execute(GET, (key,)))

    @_locked
    def get_many(self, keys: Iterable[bytes]) -> list[bytes | None]:
        """The images under ``keys``, in their order, as of one position."""
        execute = self._session().cursor.execute
        return [_only(execute(GET, (key,))) for key in keys]

    @_locked
    def meta(self, name: str) -> bytes | None:
        """A value stored beside the items by :meth:`apply`."""
        return _only(self._session().cursor.execute("SELECT value FROM meta WHERE name = ?", (name,)))

    @_locked
    def scan(
        self, start: bytes = b"", end: bytes | None = None, after: bytes | None = None, limit: int = SCAN_ITEMS_MAX
    ) -> list[tuple[bytes, bytes]]:
        """Up to ``limit`` items in key order with start <= key < end, and key > ``after`` where that is given."""
        return self._scan(start, end, after, limit)

    def _scan(self, start: bytes, end: bytes | None, after: bytes | None, limit: int) -> list[tuple[bytes, bytes]]:
        if not 0 < limit <= SCAN_ITEMS_MAX:
            raise ValueError(f"a scan returns 1 to {SCAN_ITEMS_MAX} items, not {limit}")
        execute = self._session().cursor.execute
        if after is not None and after >= start:
            rows = execute(SCAN_AFTER, (after, limit)) if end is None else execute(SCAN_AFTER_TO, (after, end, limit))
        else:
            rows = execute(SCAN_FROM, (start, limit)) if end is None else execute(SCAN_FROM_TO, (start, end, limit))
        return list(rows)

    @_locked
    def read_range(
        self, start: bytes, end: bytes, reverse: bool, rows_max: int, bytes_max: int
    ) -> tuple[list[tuple[bytes, bytes]], bool]:
        """Rows with start <= key < end (``b""``: no end), in key order or backwards, until there are ``rows_max`` rows
        or ``bytes_max`` bytes; and whether these are all."""
        rows: list[tuple[bytes, bytes]] = []
        size = 0
        text = RANGE_BACK if reverse else RANGE
        # A cursor of its own, closed before the call ends: a statement left in the middle would block checkpoints.
        cursor = self._session().connection.cursor()
        try:
            for row in cursor.execute(text if end else text.replace(BELOW, ""), (start, end) if end else (start,)):
                rows.append(row)
                size += len(row[1])
                if len(rows) >= rows_max or size >= bytes_max:
                    return rows, False
            return rows, True
        finally:
            cursor.close(True)

    def digest(self, watch: int | None = None) -> Digest:
        """Count, bytes and checksums of all items in key order, at the position when it was called.

        Writes go on meanwhile; it reads through a snapshot of its own. ``watch`` is a leaf whose rows are wanted, too.
        """
        digester = Digester(watch)
        with self.snapshot() as snapshot:
            while rows := snapshot.read():
                digester.add(rows)
        return digester.digest(snapshot.position)

    @_locked
    def snapshot(self) -> Snapshot:
        """A reader of all items as of now, for a learner or a digest, that later writes do not disturb. Close it."""
        self._session()
        snapshot = Snapshot(self._position, self._snapshot_rows, self._snapshot_closed)
        self._snapshots.append(snapshot)
        return snapshot

    @_locked
    def _snapshot_rows(self, snapshot: Snapshot, limit: int) -> list[tuple[bytes, bytes]]:
        return snapshot.advance(self._scan(b"", None, snapshot.cursor, limit), limit)

    def _snapshot_closed(self, snapshot: Snapshot) -> None:
        with self._lock:
            if snapshot in self._snapshots:
                self._snapshots.remove(snapshot)

    # --- writing ---

    @_locked
    def apply(self, position: int, writes: Iterable[Write], meta: Mapping[str, bytes | None] | None = None) -> None:
        """Apply writes in order and set the position, in one transaction; not durable before a checkpoint.

        ``meta`` stores (or with None deletes) named values beside the items. ``position`` must not go back; it
        may stay, which serves loading a learner: rows first, the position with the last of them.
        """
        if position < self._position:
            raise ValueError(f"{self.name} is at position {self._position}, it cannot go back to {position}")
        if meta is not None and POSITION in meta:
            raise ValueError(f"the meta name {POSITION!r} is the store's own")
        image = self._session()
        final = dict(writes)  # of several writes to a key the last one counts
        if self._snapshots:
            self._preserve(final, image.cursor)
        puts = [write for write in final.items() if write[1] is not None]
        with image.connection:
            cursor = image.cursor
            if puts:
                cursor.executemany(PUT, puts)
            if len(puts) < len(final):
                cursor.executemany(DELETE, [(key,) for key, value in final.items() if value is None])
            for name, value in (meta or {}).items():
                if value is None:
                    cursor.execute(DELETE_META, (name,))
                else:
                    cursor.execute(PUT_META, (name, value))
            cursor.execute(PUT_META, (POSITION, position))
        self._position = image.position = position

    def _preserve(self, writes: Mapping[bytes, bytes | None], cursor: apsw.Cursor) -> None:
        """Show open snapshots the values that are about to be overwritten."""
        for key in writes:
            wanting = [snapshot for snapshot in self._snapshots if snapshot.wants(key)]
            if wanting:
                old = _only(cursor.execute(GET, (key,)))
                for snapshot in wanting:
                    snapshot.preserve(key, old)

    @_locked
    def checkpoint(self) -> int:
        """Make the image durable and prove it by reading it back; returns the position the log may be trimmed to."""
        image = self._session()
        self._checkpointed = image.checkpoint()
        return self._checkpointed

    @_locked
    def scrub(self) -> list[PageCorrupt]:
        """Read every page of the image from the disk, past the cache; returns the corrupt ones, without dying of them.

        A checkpoint comes first, so that the disk has everything. A stale page whose checksum is right is found by
        comparing digests between replicas, not here.
        """
        self.checkpoint()
        return self._session().scrub()[0]

    @_locked
    def scrub_some(self, start: int, count: int) -> tuple[list[PageCorrupt], int | None]:
        """Read ``count`` pages from the disk, past the cache, beginning with number ``start`` of this replica's files:
        the corrupt ones, and where to go on (None at the end). Writes nothing."""
        return self._session().scrub(start, count)

    @property
    def wal_bytes(self) -> int:
        """What the next checkpoint has to copy; the host checkpoints when this or the log grows too long."""
        image = self._image
        return 0 if image is None else image.wal_bytes

    @_locked
    def bytes_on_disk(self) -> int:
        """Size of the main file and its -wal."""
        image = self._session()
        return image.main_bytes + image.wal_bytes

    # --- life cycle ---

    def rest(self) -> bool:
        """Close the connection unless somebody is using the replica; True if it did. The next call opens it again."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            if self._image is None or self._snapshots or self._dead is not None:
                return False
            self.close()
            return True
        except (apsw.Error, ImageDamaged, DiskFailed):
            return False  # the replica is dead now, and its own user is told at the next call
        finally:
            self._lock.release()

    @_locked
    def close(self) -> None:
        """Checkpoint and close the connection; a later call opens it again."""
        if self._image is not None:
            self.checkpoint()
            self._disconnect()

    def destroy(self) -> None:
        """Close without a checkpoint and remove the files, in whatever state they are. The replica ends; where it has
        already, nothing happens: another one may have its name by now."""
        with self._lock:
            if not self._ended:
                self._end("was destroyed")
                remove_image(self._pool.files, self.name)

    def replace(self, old: Replica) -> Replica:
        """Take the place of ``old``, beside which this one was made: all of it or, where that fails, nothing. Both end;
        what is returned is the new image under the old one's name. Raises what a checkpoint raises."""
        if self.name != old.name + BESIDE:
            raise ValueError(f"{self.name} was not made to replace {old.name}")
        with self._lock, old._lock:
            position = self.checkpoint()
            old._end("was replaced")
            self._end(f"is {old.name} now")
            replace_image(self._pool.files, old.name)
        replica = Replica(self._pool, old.name)
        replica._position = replica._checkpointed = position
        return replica

    def _end(self, how: str) -> None:
        self._disconnect()
        self._ended = True
        self._dead = ImageDamaged(f"{self.name} {how}")

    def _session(self) -> Image:
        pool = self._pool
        pool.clock = self.used = pool.clock + 1
        image = self._image
        return self._connect() if image is None else image

    def _connect(self) -> Image:
        self._pool.entering(self)
        image = self._image = Image(self._pool.files, self._pool.vfs, self.name)
        if image.position < self._position:
            raise ImageDamaged(f"{self.name} came back at position {image.position}, it was at {self._position}")
        self._position = image.position
        self._checkpointed = image.checkpointed
        self._pool.entered(self)
        return image

    def _disconnect(self) -> None:
        image, self._image = self._image, None
        if image is not None:
            image.close()
            self._pool.left(self)

    def _failed(self, error: Exception) -> Exception:
        """The replica dies of ``error`` (unless that is our own misuse of SQLite); returns what to raise."""
        if self._dead is not None:
            return self._dead
        cause: Exception = error
        if isinstance(error, apsw.Error):
            cause = error if self._image is None else self._image.explain(error)
            if cause is error:
                return error
        self._dead = cause
        self._disconnect()
        return cause


def _only(rows: apsw.Cursor) -> bytes | None:
    """The one value of at most one row. Reading to the end is the point: a statement that has not come to its end still
    reads, and a checkpoint that finds it there fails as locked."""
    found: list[tuple[Any, ...]] = rows.fetchall()
    return bytes(found[0][0]) if found else None
