"""Who is right when replicas differ, and where they differ first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cluster.core.scrub import FirstDifference, first_leaf, first_row, judge
from cluster.store.digest import Digester, leaf_of, leaf_range


def test_a_majority_of_all_members_is_right() -> None:
    assert judge({"a": "x", "b": "x", "c": "x"}, 3) == ("x", ("a", "b", "c"), ())
    assert judge({"a": "x", "b": "y", "c": "x"}, 3) == ("x", ("a", "c"), ("b",))
    assert judge({"a": "x", "b": "x"}, 3) == ("x", ("a", "b"), ())


def test_without_a_majority_nobody_is_judged_and_all_are_named() -> None:
    assert judge({"a": "x", "b": "y"}, 3) == (None, (), ("a", "b"))
    assert judge({"a": "x", "b": "y", "c": "z"}, 3) == (None, (), ("a", "b", "c"))
    assert judge({"a": "x"}, 3) == (None, (), ())
    assert judge({}, 3) == (None, (), ())


def test_a_reference_is_right_even_against_all_three() -> None:
    assert judge({"a": "x", "b": "x", "c": "x"}, 3, "r") == ("r", (), ("a", "b", "c"))
    assert judge({"a": "x", "b": "y"}, 3, "y") == ("y", ("b",), ("a",))


rows = st.dictionaries(st.binary(min_size=2, max_size=4), st.binary(max_size=6), max_size=25)


@given(rows, rows)
def test_the_first_difference_is_found_through_the_tree_of_digests(
    right: dict[bytes, bytes], judged: dict[bytes, bytes]
) -> None:
    """The range found by digests alone is that of the first row that differs; equal rows have equal digests."""
    differs = sorted(key for key in right.keys() | judged.keys() if right.get(key) != judged.get(key))
    digests = [_digest(copy) for copy in (right, judged)]
    assert (digests[0].digest == digests[1].digest) == (not differs)
    leaf = first_leaf(digests[0].leaves, digests[1].leaves)
    if not differs:
        assert leaf is None
        return
    assert leaf == leaf_of(differs[0])
    start, end = leaf_range(leaf)
    assert start <= differs[0]
    assert not end or differs[0] < end
    watched = [_digest(copy, leaf).rows for copy in (right, judged)]
    first = first_row(watched[0], watched[1])
    what = "missing" if differs[0] not in judged else "extra" if differs[0] not in right else "different"
    assert first == FirstDifference(differs[0], what)


@given(rows, st.integers(1, 7))
def test_a_digest_does_not_depend_on_how_the_rows_come(copy: dict[bytes, bytes], size: int) -> None:
    ordered = sorted(copy.items())
    digester = Digester()
    for at in range(0, len(ordered), size):
        digester.add(ordered[at : at + size])
    assert digester.digest(7) == _digest(copy)


def _digest(copy: dict[bytes, bytes], watch: int | None = None):  # type: ignore[no-untyped-def]
    digester = Digester(watch)
    digester.add(sorted(copy.items()))
    return digester.digest(7)
