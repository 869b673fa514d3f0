"""Side rows keep out of the items' way, and items out of theirs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.core import side
from cluster.core.keys import encode_value


@pytest.mark.parametrize(("kind", "value"), [("S", ""), ("S", "\0"), ("B", ""), ("B", "AAAA"), ("N", "0"), ("N", "-1")])
def test_no_item_sorts_among_side_rows_whatever_its_md5(kind: str, value: str) -> None:
    worst = b"\0" * 16 + encode_value(kind, value)
    assert not side.is_side(worst)
    assert worst < side.SIDE
    assert b"\0" * 15 + b"\x01" + encode_value(kind, value) >= side.END


@given(st.sampled_from([side.OUTBOX, side.TXN, side.META]), st.binary(max_size=40))
def test_a_family_is_one_range_and_all_families_lie_below_the_end(family: bytes, rest: bytes) -> None:
    key = family + rest
    start, end = side.bounds(family)
    assert start <= key < end <= side.END
    assert side.is_side(key)
    assert side.rest(key) == rest
    others = [other for other in (side.OUTBOX, side.TXN, side.META) if other != family]
    assert not any(low <= key < high for low, high in map(side.bounds, others))
