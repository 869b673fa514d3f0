"""Key distributions: bounds, shape, and the same keys from the same seed."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from loadgen.distributions import Hot, Uniform, Zipfian, make


@pytest.mark.parametrize("name", ["uniform", "zipfian", "hot"])
@pytest.mark.parametrize("keys", [1, 2, 3, 1000])
def test_choices_stay_within_the_keys_and_follow_the_seed(name: str, keys: int) -> None:
    distribution = make(name, keys)
    first = [distribution.choose(rng) for rng in [Random(5)] for _ in range(2000)]
    again = [distribution.choose(rng) for rng in [Random(5)] for _ in range(2000)]
    assert first == again
    assert all(0 <= key < keys for key in first)


def test_zipfian_ranks_fall_as_their_exponent_says() -> None:
    rng, zipf = Random(1), Zipfian(1000)
    counts = Counter(zipf.choose(rng) for _ in range(200_000))
    total = sum((i + 1) ** -0.99 for i in range(1000))
    for rank in (0, 1, 9, 99):
        expected = 200_000 * (rank + 1) ** -0.99 / total
        assert counts[rank] == pytest.approx(expected, rel=0.15)


def test_hot_keys_get_their_share_and_the_others_the_rest() -> None:
    rng, hot = Random(1), Hot(1000, share=0.9, fraction=0.01)
    keys = [hot.choose(rng) for _ in range(50_000)]
    assert sum(key < 10 for key in keys) / len(keys) == pytest.approx(0.9, abs=0.01)
    assert len(set(keys)) > 900


def test_uniform_touches_every_key_alike() -> None:
    rng, uniform = Random(1), Uniform(10)
    counts = Counter(uniform.choose(rng) for _ in range(50_000))
    assert min(counts.values()) > 4500
    assert len(counts) == 10


def test_a_wrong_name_or_number_is_refused_with_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"there are hot, uniform, zipfian"):
        make("zipf", 10)
    with pytest.raises(ValueError, match="keys must be between 1"):
        make("uniform", 0)
