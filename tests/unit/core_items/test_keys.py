"""Storage keys: order, separation, partitions, and which keys are refused."""

from __future__ import annotations

from base64 import b64encode
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.core import keys, numbers
from cluster.core.errors import ApiError
from cluster.core.keys import KeyAttribute, KeySchema
from cluster.core.side import SIDE

HASH_ONLY = KeySchema(KeyAttribute("pk", "S"), None)


def with_sort(kind: str) -> KeySchema:
    return KeySchema(KeyAttribute("pk", "S"), KeyAttribute("sk", kind))


def key_of(schema: KeySchema, pk: str, sk: str | None = None) -> bytes:
    item: dict[str, Any] = {"pk": {"S": pk}}
    if schema.sort is not None:
        item["sk"] = {schema.sort.type: sk}
    return keys.encode_key(schema, item)


@given(st.text(min_size=1), st.text(min_size=1), st.text(min_size=1), st.text(min_size=1))
def test_sort_strings_keep_utf8_order_within_a_hash_and_hashes_never_mix(a: str, b: str, p: str, q: str) -> None:
    schema = with_sort("S")
    assert (key_of(schema, p, a) < key_of(schema, p, b)) == (a.encode() < b.encode())
    assert (key_of(schema, p, a) == key_of(schema, q, b)) == ((p, a) == (q, b))
    prefix = keys.encode_hash("S", p)
    assert key_of(schema, q, b).startswith(prefix) == (p == q)


@given(st.binary(min_size=1), st.binary(min_size=1))
def test_sort_binaries_keep_unsigned_order(a: bytes, b: bytes) -> None:
    schema = with_sort("B")
    one, other = (key_of(schema, "p", b64encode(raw).decode()) for raw in (a, b))
    assert (one < other) == (a < b)
    assert (one == other) == (a == b)


@given(st.decimals(min_value=-(10**30), max_value=10**30, places=5), st.decimals(min_value=-50, max_value=50, places=3))
def test_sort_numbers_keep_numeric_order(a: Decimal, b: Decimal) -> None:
    schema = with_sort("N")
    one, other = (key_of(schema, "p", numbers.normalise(str(value))) for value in (a, b))
    assert (one < other) == (a < b)
    assert (one == other) == (a == b)


@given(
    st.one_of(
        st.tuples(st.just("S"), st.text(min_size=1)),
        st.tuples(st.just("B"), st.binary(min_size=1).map(lambda raw: b64encode(raw).decode())),
        st.tuples(st.just("N"), st.integers(-(10**37), 10**37).map(str)),
        st.tuples(st.just("N"), st.decimals(-1, 1, places=30).map(lambda n: numbers.normalise(str(n)))),
    ),
    st.text(min_size=1),
)
def test_a_key_tells_its_attributes(sort: tuple[str, str], pk: str) -> None:
    assert keys.decode_key(key_of(with_sort(sort[0]), pk, sort[1])) == [("S", pk), sort]


@given(st.binary(max_size=40))
def test_what_is_no_items_key_is_refused_or_told_and_nothing_else(key: bytes) -> None:
    try:
        told = keys.decode_key(key)
    except ValueError:
        return
    assert all(kind in ("S", "N", "B") for kind, _ in told)


@pytest.mark.parametrize("key", [b"", b"\0" * 16, SIDE + b"\x03clock", keys.encode_hash("S", "a")[:-1]])
def test_side_rows_and_ends_of_ranges_are_no_items_keys(key: bytes) -> None:
    with pytest.raises(ValueError, match=r"value|type|found"):
        keys.decode_key(key)


def test_types_are_part_of_the_hash() -> None:
    assert keys.encode_hash("S", "1") != keys.encode_hash("N", "1")
    assert keys.encode_hash("S", "AQ==")[:16] != keys.encode_hash("B", "AQ==")[:16]


@given(st.text(min_size=1))
def test_a_hash_prefix_is_the_hash_and_the_value(text: str) -> None:
    assert keys.encode_hash("S", text) == keys.hash_of(keys.hashed_value("S", text)) + keys.encode_value("S", text)


def test_hashes_order_keys_as_dynamodb_scans_show() -> None:
    """Orders and segments that DynamoDB was seen to return."""
    words = ["2", "8", "9", "1", "6", "hello", "0", "5", "4", "äáöü", "aardman", "7", "3", "zapf"]
    assert sorted(words, key=lambda word: keys.encode_hash("S", word)) == words
    numbers_seen = ["7", "999.9", "8", "3", "2", "-999.9", "9", "4", "-0.09", "6", "1", "0", "0.012345", "5"]
    assert sorted(numbers_seen, key=lambda text: keys.encode_hash("N", text)) == numbers_seen
    starts = [start for start, _ in keys.partition_bounds(1024)]
    assert [keys.locate(starts, keys.encode_hash("S", text)) for text in ("3635", "228", "1668", "3435")] == [
        0,
        0,
        0,
        1,
    ]
    assert [keys.locate(starts, keys.encode_hash("N", text)) for text in ("251", "2388")] == [0, 1023]


@given(st.binary(min_size=1, max_size=40), st.lists(st.binary(min_size=1, max_size=40), max_size=8))
def test_below_is_below_and_nothing_common_lies_between(key: bytes, others: list[bytes]) -> None:
    lower = keys.below(key)
    assert lower < key
    assert all(not lower < other < key for other in others if b"\xff\xff" not in other)


@given(st.integers(min_value=1, max_value=64), st.text(min_size=1))
def test_every_key_is_in_exactly_one_partition(partitions: int, pk: str) -> None:
    bounds = keys.partition_bounds(partitions)
    key = key_of(HASH_ONLY, pk)
    holders = [index for index, (start, end) in enumerate(bounds) if start <= key and (not end or key < end)]
    assert holders == [keys.locate([start for start, _ in bounds], key)]
    assert bounds[0][0] == b""
    assert bounds[-1][1] == b""
    assert all(left[1] == right[0] for left, right in pairwise(bounds))


def test_partitions_share_keys_evenly() -> None:
    starts = [start for start, _ in keys.partition_bounds(4)]
    counts = [0] * 4
    for number in range(4000):
        counts[keys.locate(starts, key_of(HASH_ONLY, f"key-{number}"))] += 1
    assert min(counts) > 900


@pytest.mark.parametrize("partitions", [0, keys.PARTITIONS_MAX + 1])
def test_an_impossible_number_of_partitions(partitions: int) -> None:
    with pytest.raises(ValueError, match="partitions"):
        keys.partition_bounds(partitions)


PREFIX = "One or more parameter values were invalid: "
EMPTY = "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty "


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"sk": {"N": "1"}}, PREFIX + "Missing the key pk in the item"),
        ({"pk": {"S": "a"}}, PREFIX + "Missing the key sk in the item"),
        ({"pk": {"N": "1"}, "sk": {"N": "1"}}, PREFIX + "Type mismatch for key pk expected: S actual: N"),
        ({"pk": {"S": ""}, "sk": {"N": "1"}}, EMPTY + "string value. Key: pk"),
        (
            {"pk": {"S": "é" * 1025}, "sk": {"N": "1"}},
            PREFIX + "Size of hashkey has exceeded the maximum size limit of2048 bytes",
        ),
    ],
)
def test_items_without_a_proper_key(item: dict[str, Any], message: str) -> None:
    with pytest.raises(ApiError) as refused:
        keys.check_item_key(with_sort("N"), item)
    assert refused.value.message == message


def test_sort_key_limits() -> None:
    schema = with_sort("B")
    keys.check_item_key(schema, {"pk": {"S": "a"}, "sk": {"B": b64encode(b"x" * 1024).decode()}})
    with pytest.raises(ApiError, match="Aggregated size of all range keys has exceeded the size limit of 1024 bytes"):
        keys.check_item_key(schema, {"pk": {"S": "a"}, "sk": {"B": b64encode(b"x" * 1025).decode()}})
    with pytest.raises(ApiError, match=r"empty binary value\. Key: sk"):
        keys.check_item_key(schema, {"pk": {"S": "a"}, "sk": {"B": ""}})


@pytest.mark.parametrize(
    "key",
    [
        {},
        {"pk": {"S": "a"}},
        {"pk": {"S": "a"}, "other": {"N": "1"}},
        {"pk": {"N": "1"}, "sk": {"N": "1"}},
        {"pk": {"S": "a"}, "sk": {"N": "1"}, "more": {"S": "x"}},
    ],
)
def test_lookups_must_give_exactly_the_key(key: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as refused:
        keys.check_lookup_key(with_sort("N"), key)
    assert refused.value.message == "The provided key element does not match the schema"
