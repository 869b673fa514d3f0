"""Marks of an index against a dumb oracle: one number per key."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cluster.core.marks import Marks

KEYS = [bytes((n,)) for n in range(8)]
edges = st.sampled_from([b"", *KEYS[1:]])
calls = st.lists(st.tuples(edges, edges, st.integers(1, 50)), max_size=12)


@given(calls)
def test_every_key_has_the_highest_mark_of_the_ranges_that_held_it(script: list[tuple[bytes, bytes, int]]) -> None:
    marks, stored = Marks(), {}
    oracle = dict.fromkeys(KEYS, 0)
    for start, end, mark in script:
        if end and end <= start:
            continue
        for key, value in marks.raise_to(start, end, mark):
            if value is None:
                del stored[key]
            else:
                stored[key] = value
        for key in KEYS:
            if start <= key and (not end or key < end):
                oracle[key] = max(oracle[key], mark)
        assert {key: marks.of(key) for key in KEYS} == oracle
        again = Marks(stored.items())
        assert {key: again.of(key) for key in KEYS} == oracle


def test_a_partition_that_stays_the_same_writes_one_row() -> None:
    marks = Marks()
    marks.raise_to(b"", b"m", 5)
    marks.raise_to(b"m", b"", 3)
    assert len(marks.raise_to(b"m", b"", 7)) == 1
    assert marks.raise_to(b"m", b"", 6) == []
