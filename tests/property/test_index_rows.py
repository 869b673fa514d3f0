"""Secondary indexes against a dumb oracle: whatever is written, each index holds what going through all items says."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.core.errors import ApiError
from cluster.core.indexes import Indexes, index_hash, local_prefix
from cluster.core.items import image_body, image_stamp, item_size, pack_image, stamped
from cluster.core.keys import KeyAttribute, KeySchema, encode_hash, encode_key, hash_of, hashed_value, local_number
from cluster.core.shape import IndexShape, Shape
from cluster.wire.json import CODEC

KEY = KeySchema(KeyAttribute("pk", "S"), KeyAttribute("sk", "N"))
A, B, C = KeyAttribute("a", "S"), KeyAttribute("b", "N"), KeyAttribute("c", "S")
LOCALS = (
    IndexShape("l-all", "", 0, (KEY.hash,), (A,)),
    IndexShape("l-keys", "", 1, (KEY.hash,), (B,), "KEYS_ONLY"),
)
GLOBALS = (
    IndexShape("g-all", "1", 0, (A,), ()),
    IndexShape("g-include", "2", 0, (A,), (B,), "INCLUDE", ("x", "c")),
    IndexShape("g-keys", "3", 0, (B,), (), "KEYS_ONLY"),
    IndexShape("g-multi", "4", 0, (A, C), (B, KeyAttribute("x", "S"))),
)
SHAPE = Shape(1, "t", KEY, LOCALS, GLOBALS)
INDEXES = Indexes(SHAPE, CODEC)

texts = st.sampled_from(["", "u", "v", "w\0", "w"])
numbers = st.sampled_from(["0", "-1", "2.5", "10"])
values = st.one_of(
    st.builds(lambda t: {"S": t}, texts), st.builds(lambda n: {"N": n}, numbers), st.just({"BOOL": True})
)
attributes = st.dictionaries(st.sampled_from(["a", "b", "c", "x", "y"]), values, max_size=5)
keys = st.tuples(st.sampled_from(["p", "q"]), numbers)
writes = st.lists(st.tuples(keys, st.one_of(st.none(), attributes)), max_size=25)


def fits(index: IndexShape, item: dict[str, Any]) -> bool:
    """Whether a write of this item is allowed by an index."""
    return all(a.name not in item or item[a.name].get(a.type, "") != "" for a in index.keys)


def shown(index: IndexShape, item: dict[str, Any]) -> dict[str, Any] | None:
    """What should stand in the index for an item."""
    if any(a.name not in item for a in index.keys):
        return None
    if index.projection == "ALL":
        return item
    wanted = {"pk", "sk", *(a.name for a in index.keys), *index.include}
    return {name: value for name, value in item.items() if name in wanted}


def image_of(item: dict[str, Any], stamp: int) -> bytes:
    return stamped(pack_image(item_size(item), CODEC.encode(item)), stamp)


@given(writes)
@settings(max_examples=300)
def test_an_index_holds_what_the_items_say(script: list[Any]) -> None:
    items: dict[bytes, dict[str, Any]] = {}
    images: dict[bytes, bytes] = {}
    rows: dict[str, dict[bytes, bytes]] = {index.id: {} for index in GLOBALS} | {"local": {}}
    for stamp, ((pk, sk), rest) in enumerate(script, start=1):
        item = None if rest is None else {"pk": {"S": pk}, "sk": {"N": sk}, **rest}
        key = encode_key(KEY, {"pk": {"S": pk}, "sk": {"N": sk}})
        after = image_of(item, stamp) if item is not None else None
        allowed = item is None or all(fits(index, item) for index in LOCALS + GLOBALS)
        if not allowed:
            with pytest.raises(ApiError):
                INDEXES.check(after or b"", updating=False)
            continue
        if after is not None:
            INDEXES.check(after, updating=False)
        derived = INDEXES.derive(key, images.get(key), after)
        for row, image in derived.rows:
            put(rows["local"], row, image)
        for change in derived.changes:
            put(rows[change.target], change.key, change.image)
        put(items, key, item)
        put(images, key, after)
    for index in GLOBALS:
        assert bodies(rows[index.id]) == bodies_of(index, items)
    for index in LOCALS:
        mine = {k: v for k, v in rows["local"].items() if number_of(k) == index.number}
        assert bodies(mine) == bodies_of(index, items)
        for row in mine:
            collection = encode_hash("S", "p" if row.startswith(encode_hash("S", "p")) else "q")
            assert row.startswith(local_prefix(collection, index.number))
            assert local_number(row) == index.number
            assert all(local_number(key) == -1 for key in items)
            assert all(row > key for key in items if key.startswith(collection))


def put(rows: dict[bytes, Any], key: bytes, value: Any) -> None:
    if value is None:
        rows.pop(key, None)
    else:
        rows[key] = value


def number_of(row: bytes) -> int:
    prefix = encode_hash("S", "p")
    return row[len(prefix) + 1]


def bodies(rows: dict[bytes, bytes]) -> list[str]:
    return sorted(json.dumps(json.loads(image_body(image)), sort_keys=True) for image in rows.values())


def bodies_of(index: IndexShape, items: dict[bytes, dict[str, Any]]) -> list[str]:
    found = [shown(index, item) for item in items.values()]
    return sorted(json.dumps(one, sort_keys=True) for one in found if one is not None)


@given(st.lists(attributes, max_size=12))
@settings(max_examples=150)
def test_rows_stand_in_the_order_of_the_index_key(rests: list[dict[str, Any]]) -> None:
    index = GLOBALS[1]
    only = Indexes(SHAPE._replace(globals=(index,), locals=()), CODEC)
    rows: list[tuple[bytes, tuple[Any, ...]]] = []
    for number, rest in enumerate(rests):
        item = {"pk": {"S": "p"}, "sk": {"N": str(number)}, **rest}
        if not fits(index, item) or shown(index, item) is None:
            continue
        key = encode_key(KEY, item)
        (change,) = only.derive(key, None, image_of(item, 1)).changes
        assert change.key.startswith(index_hash(index, item))
        ties = hash_of(hashed_value("S", "p") + hashed_value("N", str(number)))
        rows.append((change.key, (index_hash(index, item), Decimal(item["b"]["N"]), ties, key)))
    assert [place for _, place in sorted(rows)] == sorted(place for _, place in rows)


def test_a_write_that_changes_nothing_an_index_shows_leaves_it_alone() -> None:
    key = encode_key(KEY, {"pk": {"S": "p"}, "sk": {"N": "1"}})
    before = {"pk": {"S": "p"}, "sk": {"N": "1"}, "a": {"S": "u"}, "b": {"N": "2"}, "x": {"S": "1"}}
    after = {**before, "y": {"S": "new"}}
    derived = INDEXES.derive(key, image_of(before, 1), image_of(after, 2))
    assert set(derived.local_units) == {"l-all"}
    assert set(derived.global_units) == {"g-all"}
    assert [image_stamp(c.image) for c in derived.changes if c.image is not None] == [2]


def test_units_count_what_enters_leaves_moves_and_stays() -> None:
    key = encode_key(KEY, {"pk": {"S": "p"}, "sk": {"N": "1"}})
    base = {"pk": {"S": "p"}, "sk": {"N": "1"}}
    only = Indexes(SHAPE._replace(globals=GLOBALS[:1], locals=()), CODEC)

    def units(before: dict[str, Any] | None, after: dict[str, Any] | None) -> float:
        images = [image_of(item, 1) if item is not None else None for item in (before, after)]
        return only.derive(key, *images).global_units.get("g-all", 0.0)

    large = {"S": "z" * 1500}
    assert units(None, {**base, "a": {"S": "u"}}) == 1
    assert units({**base, "a": {"S": "u"}}, {**base, "a": {"S": "v"}}) == 2
    assert units({**base, "a": {"S": "u"}}, None) == 1
    assert units({**base, "a": {"S": "u"}}, {**base, "a": {"S": "u"}, "y": large}) == 2
    assert units({**base, "a": {"S": "u"}}, {**base, "a": {"S": "u"}}) == 0
    assert units({**base, "y": large}, base) == 0


@pytest.mark.parametrize(
    ("rest", "updating", "message"),
    [
        ({"a": {"N": "1"}}, False, "One or more parameter values were invalid: Type mismatch for Index Key a Expected: S Actual: N IndexName: g-all"),  # noqa: E501
        ({"a": {"N": "1"}}, True, "The update expression attempted to update the secondary index key to unsupported type"),  # noqa: E501
        ({"a": {"S": ""}}, False, "One or more parameter values are not valid. A value specified for a secondary index key is not supported. The AttributeValue for a key attribute cannot contain an empty string value. IndexName: g-all, IndexKey: a"),  # noqa: E501
        ({"a": {"S": "z" * 2049}}, False, "One or more parameter values were invalid: Size of hashkey has exceeded the maximum size limit of2048 bytes"),  # noqa: E501
        ({"a": {"S": "z" * 2049}}, True, "The update expression attempted to update the secondary index key beyond allowed size limits"),  # noqa: E501
        ({"x": {"S": "z" * 1025}}, False, "One or more parameter values were invalid: Aggregated size of all range keys has exceeded the size limit of 1024 bytes"),  # noqa: E501
    ],
)  # fmt: skip
def test_a_value_that_an_index_cannot_hold_is_refused(rest: dict[str, Any], updating: bool, message: str) -> None:
    item = {"pk": {"S": "p"}, "sk": {"N": "1"}, **rest}
    indexes = Indexes(SHAPE._replace(locals=()), CODEC)
    with pytest.raises(ApiError) as refused:
        indexes.check(image_of(item, 1), updating=updating)
    assert refused.value.message == message


def test_an_item_older_than_the_index_with_an_impossible_key_is_not_in_it() -> None:
    item = {"pk": {"S": "p"}, "sk": {"N": "1"}, "a": {"N": "1"}}
    key = encode_key(KEY, item)
    assert INDEXES.backfill("1", key, image_of(item, 1)) == []
    assert INDEXES.derive(key, image_of(item, 1), None).changes == []
