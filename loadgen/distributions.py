"""Which key the next operation touches. Pure and seeded by the caller's ``random.Random``."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from random import Random
from typing import Protocol

ZIPF_EXPONENT = 0.99
"""YCSB's constant, so that skew means here what readers of YCSB figures expect."""

KEYS_MAX = 2_000_000
"""A Zipfian table of this many keys takes 64 MB; more keys than that need another generator."""


class Distribution(Protocol):
    """Chooses key indices in ``[0, keys)``."""

    keys: int

    def choose(self, rng: Random) -> int: ...


def _check_keys(keys: int) -> None:
    if not 1 <= keys <= KEYS_MAX:
        raise ValueError(f"keys must be between 1 and {KEYS_MAX}, not {keys}")


class Uniform:
    """Every key is as likely as any other."""

    __slots__ = ("keys",)

    def __init__(self, keys: int) -> None:
        _check_keys(keys)
        self.keys = keys

    def choose(self, rng: Random) -> int:
        # int(random() * n) is a third of the cost of randrange; its bias at n < 2**21 is below 2**-32.
        return int(rng.random() * self.keys)


class Zipfian:
    """Key ``i`` is chosen with a probability proportional to ``1 / (i + 1) ** exponent``: key 0 is the hottest."""

    __slots__ = ("_cumulative", "_total", "exponent", "keys")

    def __init__(self, keys: int, exponent: float = ZIPF_EXPONENT) -> None:
        _check_keys(keys)
        if not 0 < exponent < 10:
            raise ValueError(f"a Zipfian exponent lies between 0 and 10, not {exponent}")
        self.keys = keys
        self.exponent = exponent
        self._cumulative = list(accumulate((i + 1) ** -exponent for i in range(keys)))
        self._total = self._cumulative[-1]

    def choose(self, rng: Random) -> int:
        return min(bisect_left(self._cumulative, rng.random() * self._total), self.keys - 1)


class Hot:
    """``share`` of the operations go to the first ``fraction`` of the keys (at least one), the rest anywhere else."""

    __slots__ = ("_hot", "keys", "share")

    def __init__(self, keys: int, share: float = 0.9, fraction: float = 0.01) -> None:
        _check_keys(keys)
        if not (0 <= share <= 1 and 0 < fraction <= 1):
            raise ValueError(f"share and fraction lie between 0 and 1, not {share} and {fraction}")
        self.keys = keys
        self.share = share
        self._hot = max(1, int(keys * fraction))

    def choose(self, rng: Random) -> int:
        if self._hot == self.keys or rng.random() < self.share:
            return int(rng.random() * self._hot)
        return self._hot + int(rng.random() * (self.keys - self._hot))


DISTRIBUTIONS: dict[str, type[Uniform] | type[Zipfian] | type[Hot]] = {
    "uniform": Uniform,
    "zipfian": Zipfian,
    "hot": Hot,
}


def make(name: str, keys: int) -> Distribution:
    """The distribution called ``name`` over ``keys`` keys; :class:`ValueError` names the ones there are."""
    try:
        kind = DISTRIBUTIONS[name]
    except KeyError:
        raise ValueError(f"no distribution {name!r}; there are {', '.join(sorted(DISTRIBUTIONS))}") from None
    return kind(keys)
