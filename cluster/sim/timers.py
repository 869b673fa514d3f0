"""What is to come, in order of time: a heap of the next moments, and unsorted slots of everything after them.

A message arrives within a millisecond and a call that is answered cancels its time limit of seconds. In one heap each
message would be sorted in among hundreds of limits; here a limit waits in the slot of its time, and most are cancelled
by the time that the slot is sorted.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Final, Generic, TypeVar

T = TypeVar("T")

SLOTS_PER_S: Final = 16.0
"""A power of two, so that no rounding puts a time into one slot and compares it with another."""
_FOREVER_S: Final = 1e15
_SCAN_MIN: Final = 4096


class Timers(Generic[T]):
    """Entries are ``(when, sequence, what)``: of one time the lower sequence comes first. ``is_dead`` tells whether one
    is not wanted any more.

    ``near`` is the heap of all entries before ``until``. Who puts a new entry in compares for himself, since that is
    done for every message: ``heappush(near, entry)`` if it is before ``until``, else :meth:`put_later`.
    """

    __slots__ = ("_is_dead", "_later", "_slots", "_waiting", "_waiting_max", "near", "until")

    def __init__(self, is_dead: Callable[[T], bool]) -> None:
        self.near: list[tuple[float, int, T]] = []
        self.until = 0.0
        self._is_dead = is_dead
        self._slots: dict[int, list[tuple[float, int, T]]] = {}
        self._later: list[int] = []
        """A heap of the slots that there are."""
        self._waiting = 0
        self._waiting_max = _SCAN_MIN

    def put(self, entry: tuple[float, int, T]) -> None:
        """Put in an entry, whenever it is."""
        if entry[0] < self.until:
            heappush(self.near, entry)
        else:
            self.put_later(entry)

    def put_later(self, entry: tuple[float, int, T]) -> None:
        """Put in an entry that is not before ``until``."""
        number = int(min(entry[0], _FOREVER_S) * SLOTS_PER_S)
        slot = self._slots.get(number)
        if slot is None:
            slot = self._slots[number] = []
            heappush(self._later, number)
        slot.append(entry)
        self._waiting += 1
        if self._waiting > self._waiting_max:
            self._drop_dead()

    def advance(self) -> bool:
        """Take the next slot with anything in it into ``near``, which must be empty; tells whether there was one."""
        while self._later and not self.near:
            number = heappop(self._later)
            slot = self._slots.pop(number)
            self._waiting -= len(slot)
            self.near += slot
            self.until = (number + 1) / SLOTS_PER_S
        heapify(self.near)
        return bool(self.near)

    def retreat(self, now: float) -> None:
        """No time passes for a while: a slot that is wholly ahead waits again, and what comes before it on its own."""
        if self.until - 1 / SLOTS_PER_S > now:
            entries = self.near[:]
            self.near.clear()
            self.until = 0.0
            for entry in entries:
                self.put_later(entry)

    def clear(self) -> None:
        self.near.clear()
        self._slots.clear()
        self._later.clear()
        self._waiting = 0

    def _drop_dead(self) -> None:
        """Limits of calls that were answered in time would pile up where they are long."""
        for slot in self._slots.values():
            slot[:] = [entry for entry in slot if not self._is_dead(entry[2])]
        self._waiting = sum(map(len, self._slots.values()))
        self._waiting_max = max(_SCAN_MIN, 2 * self._waiting)
