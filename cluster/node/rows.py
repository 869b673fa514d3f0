"""A replica's applied rows: what is in memory, in front of what is in the B-tree.

Applied writes go into the newest *generation*, a plain dict. A generation is sealed at a log position and then
written to the B-tree in one transaction, with that position in it; the log stays the authority, so nothing is lost if
memory is. Behind the generations stands a bounded cache of clean rows (absent ones too, since most conditional puts
ask for one). Everything here runs on the event loop and touches no disk; :meth:`Rows.load` is handed what was read.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

ROW_OVERHEAD_BYTES = 120


class Miss:
    """The answer when only the B-tree knows."""


MISS = Miss()


@dataclass(slots=True)
class Generation:
    """Writes of consecutive log positions, the last being ``upto`` once sealed."""

    upto: int = 0
    sealed: bool = False
    barrier: bool = False
    """Sealed by a scrub barrier: the B-tree is digested at exactly ``upto``, before the next generation is written."""
    rows: dict[bytes, bytes | None] = field(default_factory=dict)
    _order: list[bytes] = field(default_factory=list)

    def order(self) -> list[bytes]:
        """The keys in order. Made when it is asked for: rows are only ever added, so what is not in it yet are the last
        ones in the dict, and writing costs nothing."""
        missing = len(self.rows) - len(self._order)
        if missing:
            self._order += islice(reversed(self.rows), missing)
            self._order.sort()
        return self._order

    def between(self, start: bytes, end: bytes, reverse: bool) -> Iterator[tuple[bytes, bytes | None]]:
        """Its rows with ``start <= key < end`` (``b""``: no end), in order. Nothing may be written meanwhile."""
        order = self.order()
        places = range(bisect_left(order, start), bisect_left(order, end) if end else len(order))
        return ((order[at], self.rows[order[at]]) for at in (reversed(places) if reverse else places))


class Rows:
    """The rows of one replica that are in memory."""

    def __init__(self, cache_bytes: int) -> None:
        self.cache_bytes_max = cache_bytes
        self._cache_bytes = 0
        self._cache: dict[bytes, bytes | None] = {}
        self._generations: list[Generation] = [Generation()]
        self._loading: dict[bytes, bool] = {}  # key -> still trustworthy when the read comes back

    @property
    def dirty(self) -> int:
        """Rows not yet in the B-tree."""
        return sum(len(g.rows) for g in self._generations)

    @property
    def newest_rows(self) -> int:
        """Rows in the generation that is still open."""
        return len(self._generations[-1].rows)

    def get(self, key: bytes) -> bytes | Miss | None:
        """The row's image, None where it is known to be absent, :data:`MISS` where the B-tree must be asked."""
        for generation in reversed(self._generations):
            if key in generation.rows:
                return generation.rows[key]
        return self._cache.get(key, MISS)

    def layers(self, start: bytes, end: bytes, reverse: bool) -> list[Iterator[tuple[bytes, bytes | None]]]:
        """What is in front of the B-tree in a range of keys, newest first."""
        return [g.between(start, end, reverse) for g in reversed(self._generations) if g.rows]

    def apply(self, position: int, key: bytes, image: bytes | None) -> None:
        newest = self._generations[-1]
        newest.upto = position
        newest.rows[key] = image

    def advance(self, position: int) -> None:
        """A position that writes nothing was applied."""
        self._generations[-1].upto = position

    def seal(self, *, barrier: bool = False) -> None:
        """Close the newest generation at its position, if it has one, and open the next."""
        newest = self._generations[-1]
        if newest.rows or barrier:
            newest.sealed = True
            newest.barrier = barrier
            self._generations.append(Generation(upto=newest.upto))

    def oldest_sealed(self) -> Generation | None:
        """What is to be written to the B-tree next."""
        first = self._generations[0]
        return first if first.sealed else None

    def written(self, generation: Generation) -> None:
        """The oldest generation is in the B-tree: its rows become clean."""
        assert generation is self._generations[0]
        self._generations.pop(0)
        for key, image in generation.rows.items():
            if key in self._loading:
                self._loading[key] = False
            self._remember(key, image)

    def will_load(self, key: bytes) -> bool:
        """Note that ``key`` is about to be read; False if that is already under way."""
        if key in self._loading:
            return False
        self._loading[key] = True
        return True

    def load(self, key: bytes, image: bytes | None) -> None:
        """Take a row read from the B-tree, unless a newer one was written to it while the read was under way."""
        if self._loading.pop(key) and key not in self._cache:
            self._remember(key, image)

    def abandon_load(self, key: bytes) -> None:
        self._loading.pop(key, None)

    def covered(self, position: int) -> None:
        """The B-tree was replaced by an image at ``position``: what is older is in it, what is newer stays to be
        written.

        A generation that ends later may be written as a whole: it holds the last value of each of its rows, and for
        those last written at or before ``position`` that is what the image holds too.
        """
        self._generations = [g for g in self._generations if not g.sealed or g.upto > position]
        self._cache.clear()
        self._cache_bytes = 0
        self._loading = dict.fromkeys(self._loading, False)

    def clear(self, position: int) -> None:
        """Forget everything: the B-tree was replaced by a snapshot at ``position``."""
        self._generations = [Generation(upto=position)]
        self._cache.clear()
        self._cache_bytes = 0
        self._loading = dict.fromkeys(self._loading, False)

    def _remember(self, key: bytes, image: bytes | None) -> None:
        cache = self._cache
        if key in cache:
            self._cache_bytes -= _weight(key, cache.pop(key))
        cache[key] = image  # newest last; the first is the next to go
        self._cache_bytes += _weight(key, image)
        while self._cache_bytes > self.cache_bytes_max and len(cache) > 1:
            oldest = next(iter(cache))
            self._cache_bytes -= _weight(oldest, cache.pop(oldest))


def _weight(key: bytes, image: bytes | None) -> int:
    return len(key) + (len(image) if image else 0) + ROW_OVERHEAD_BYTES
