"""In which order did an item's fragments come? Exact, and near-linear where every answer is known.

A fragment X can come before Y only if no operation of X was invoked after one of Y had ended, that is if
``X.last_start <= Y.first_end``. So X is *eligible* to come next when that holds for all the mandatory fragments that
remain. (Gibbons and Korach's zones, "Testing shared memories", 1997, with whole fragments in the place of clusters.)

A fragment that starts from and leaves "no item" may be placed as soon as it is eligible and the state is "no item":
in any valid order it could be moved to the front, since it returns the state it found and delays nobody. Choices
remain only for fragments of unknown origin, optional operations and those that leave an item; they are searched depth
first with a memory of failed positions, within a budget of steps. Exhaustion is no verdict.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from reports.checkers.chains import ANYTHING, Fragment, holds
from reports.rundir.history import ANY_ITEM, NEVER_NS

STEPS_MAX = 200_000


class Clash(NamedTuple):
    """Neither of two fragments can come before the other."""

    fragment: Fragment
    against: Fragment


class NeverEnded(NamedTuple):
    """Two fragments leave an item, and nothing known or unknown can have removed the first one's."""

    fragment: Fragment
    against: Fragment


class Stuck(NamedTuple):
    """The search found no order; in the one that came furthest, ``fragment`` was next to end and did not fit."""

    state: str | None
    fragment: Fragment


Impossible = Clash | NeverEnded | Stuck


class Exhausted(NamedTuple):
    """The search gave up after ``steps``."""

    steps: int


def arrange(fragments: Sequence[Fragment], steps_max: int = STEPS_MAX) -> Impossible | Exhausted | None:
    """None if some order explains all mandatory fragments, else what stands against it."""
    if len(fragments) == 1:
        return None if _suits(fragments[0].needs, None) or fragments[0].optional else Stuck(None, fragments[0])
    mandatory = [fragment for fragment in fragments if not fragment.optional]
    clash = _clash(mandatory) or _too_many_ends(fragments, mandatory)
    return clash or _Search(fragments, steps_max).run()


def _suits(needs: str, state: str | None) -> bool:
    return needs == ANYTHING or holds(needs, state)


def _clash(mandatory: list[Fragment]) -> Clash | None:
    """Two fragments neither of which can come before the other, found by sorting: the usual way to be wrong."""
    forward = sorted((f for f in mandatory if f.first_end < f.last_start), key=_first_end)
    for left, right in pairwise(forward):
        if right.first_end < left.last_start:
            return Clash(right, left)
    if not forward:
        return None
    starts = [fragment.first_end for fragment in forward]
    for fragment in mandatory:
        if fragment.last_start <= fragment.first_end:
            place = bisect_left(starts, fragment.last_start) - 1
            if place >= 0 and fragment.first_end < forward[place].last_start:
                return Clash(fragment, forward[place])
    return None


def _too_many_ends(fragments: Sequence[Fragment], mandatory: list[Fragment]) -> NeverEnded | None:
    """All but the last of the values without a known successor need something unknown to have ended them."""
    ends = [fragment for fragment in mandatory if fragment.leaves is not None]
    enders = sum(1 for fragment in fragments if fragment.optional or fragment.needs in (ANYTHING, ANY_ITEM))
    if len(ends) - 1 > enders:
        ends.sort(key=_first_end)
        return NeverEnded(ends[-1], ends[0])
    return None


def _first_end(fragment: Fragment) -> int:
    return fragment.first_end


class _Search:
    """Depth-first over the choices; fragments are bits of ``used``."""

    def __init__(self, fragments: Sequence[Fragment], steps_max: int) -> None:
        self.fragments = sorted(fragments, key=lambda f: (f.optional, f.first_end))
        self.steps_left = self.steps_max = steps_max
        self.mandatory = sum(1 for fragment in fragments if not fragment.optional)
        neutral = [f.needs == "-" and f.leaves is None and not f.optional for f in self.fragments]
        self.neutral = neutral
        self.neutral_by_start = sorted(
            (i for i, n in enumerate(neutral) if n), key=lambda i: self.fragments[i].last_start
        )
        self.special = [i for i, n in enumerate(neutral) if not n]
        self.failed: set[tuple[int, str | None]] = set()
        self.best: tuple[int, str | None, int] = (-1, None, 0)

    def run(self) -> Stuck | Exhausted | None:
        stack: list[tuple[int, str | None, int, int, int]] = [(0, None, 0, 0, 0)]
        while stack:
            used, state, placed, low, low_neutral = stack.pop()
            if state is None:
                used, placed, low, low_neutral = self._place_neutral(used, placed, low, low_neutral)
            if placed == self.mandatory:
                return None
            if (used, state) in self.failed:
                continue
            self.failed.add((used, state))
            low, first, second = self._earliest_ends(used, low)
            if placed > self.best[0]:
                self.best = (placed, state, low)
            for index in self._choices(used, state, first, second, low):
                fragment = self.fragments[index]
                stack.append((used | 1 << index, fragment.leaves, placed + (not fragment.optional), low, low_neutral))
            self.steps_left -= 1
            if self.steps_left <= 0:
                return Exhausted(self.steps_max)
        _, state, low = self.best
        return Stuck(state, self.fragments[low])

    def _earliest_ends(self, used: int, low: int) -> tuple[int, int, int]:
        """Index of the unused mandatory fragment that ends first, its end, and the next one's end."""
        fragments, count = self.fragments, self.mandatory
        while low < count and used >> low & 1:
            low += 1
        first = fragments[low].first_end if low < count else NEVER_NS
        following = low + 1
        while following < count and used >> following & 1:
            following += 1
        return low, first, fragments[following].first_end if following < count else NEVER_NS

    def _place_neutral(self, used: int, placed: int, low: int, low_neutral: int) -> tuple[int, int, int, int]:
        """Place every eligible fragment that starts from and leaves no item."""
        order, fragments = self.neutral_by_start, self.fragments
        while True:
            low, first, second = self._earliest_ends(used, low)
            while low_neutral < len(order) and used >> order[low_neutral] & 1:
                low_neutral += 1
            if low_neutral == len(order):
                return used, placed, low, low_neutral
            index = order[low_neutral]
            if fragments[index].last_start > (second if index == low else first):
                index = low
                if not self.neutral[index] or fragments[index].last_start > second:
                    return used, placed, low, low_neutral
            used |= 1 << index
            placed += 1

    def _choices(self, used: int, state: str | None, first: int, second: int, low: int) -> list[int]:
        """Eligible fragments of the other kinds, the least promising first (they are taken from the end)."""
        choices: list[int] = []
        spare: int | None = None
        for index in self.special:
            fragment = self.fragments[index]
            if used >> index & 1 or not _suits(fragment.needs, state):
                continue
            if fragment.last_start > (second if index == low else first):
                continue
            if fragment.optional and fragment.leaves is None and fragment.needs == ANY_ITEM:
                # unconditional deletes differ only in when they began: the earliest serves as well as any
                if spare is None or fragment.last_start < self.fragments[spare].last_start:
                    spare = index
            else:
                choices.append(index)
        choices.reverse()
        return choices if spare is None else [spare, *choices]
