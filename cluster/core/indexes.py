"""Secondary indexes: what one write of an item does to each of them, decided by the leader of the item's group.

:class:`Indexes` is made once from a group's shape. :meth:`Indexes.derive` takes an item's image before and after a
write and says which rows change. An item is in an index if it has all of the index's key attributes, of the right
types, neither empty nor too long (an index is *sparse*); what stands there is the item's projection, with the stamp of
the write.

A *local* index's rows are rows of the item's own group, in the same log entry as the item, so that reading them is
as consistent as reading it. They share the item's hash prefix and sort behind the collection's items::

    hash prefix of the item | 80 | the index's number | its sort value | the item's sort value

A *global* index's rows live in groups of its own, under the index's key and, because several items may share that, the
item's own key behind it, in the order in which DynamoDB shows items that share an index key::

    hash and encodings of the index's hash values | encodings of its sort values | hash of the item's key, and that key

They are changed asynchronously: the changes go with the write into the group's outbox, and from there to the index
(:mod:`cluster.node.propagate`). Pure: no clock, no I/O.
"""

from __future__ import annotations

from binascii import a2b_base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from cluster.core.errors import ApiError, invalid
from cluster.core.items import Codec, Item, image_body, image_size, image_stamp, item_size, pack_image, stamped
from cluster.core.keys import (
    HASH_KEY_BYTES_MAX,
    SORT_KEY_BYTES_MAX,
    KeyAttribute,
    KeySchema,
    encode_hash,
    encode_value,
    hash_of,
    hashed_value,
    key_too_long,
)
from cluster.core.shape import IndexShape, Shape

LOCAL = b"\x80"
"""Behind the hash prefix: a local index's rows follow. An item's sort value begins with 01 to 03 there."""

WRITE_UNIT_BYTES = 1024


class Change(NamedTuple):
    """One row of a global index to be written or, with no image, removed."""

    target: str
    """The index's id."""
    key: bytes
    image: bytes | None


class Derived(NamedTuple):
    """What a write does to its table's indexes."""

    rows: list[tuple[bytes, bytes | None]]
    """Of local indexes, to be written with the item."""
    changes: list[Change]
    """Of global indexes, to be sent there."""
    local_units: dict[str, float]
    global_units: dict[str, float]
    """Write units by index: none where the index need not change, one a KB begun for each row written or removed."""


class Entry(NamedTuple):
    """An item's place and content in one index."""

    key: bytes
    image: bytes


class IndexKeys(Protocol):
    """What of an index its keys depend on; :class:`~cluster.core.shape.IndexShape` is one."""

    @property
    def name(self) -> str: ...

    @property
    def hash(self) -> tuple[KeyAttribute, ...]: ...

    @property
    def sort(self) -> tuple[KeyAttribute, ...]: ...


class _Plan(NamedTuple):
    """An index and what of it needs no item."""

    shape: IndexShape
    local: bool
    names: tuple[str, ...]
    """The attributes it projects; empty: all."""


class Indexes:
    """The indexes of one table, as writes maintain them."""

    def __init__(self, shape: Shape, codec: Codec) -> None:
        self.key = shape.key
        self._codec = codec
        self._plans = [_Plan(one, True, projected_names(one, shape.key)) for one in shape.locals]
        self._plans += [_Plan(one, False, projected_names(one, shape.key)) for one in shape.globals]
        # AWS names the first index by name, of those that refuse a value.
        self._checked = sorted((plan.shape for plan in self._plans), key=lambda one: one.name)

    def check(self, image: bytes, *, updating: bool) -> None:
        """Raise ``ValidationException`` for an item with a value that an index cannot hold as its key; ``updating``
        says that an update expression made it, which AWS words differently."""
        check_index_keys(self._checked, self._codec.decode(image_body(image)), updating=updating)

    def derive(self, key: bytes, before: bytes | None, after: bytes | None) -> Derived:
        """What a write of the item at ``key`` changes; :meth:`check` has seen to it that the indexes can hold it."""
        old = self._codec.decode(image_body(before)) if before is not None else None
        new = self._codec.decode(image_body(after)) if after is not None else None
        derived = Derived([], [], {}, {})
        for plan in self._plans:
            self._derive(plan, key, (before, old), (after, new), derived)
        return derived

    def backfill(self, index: str, key: bytes, image: bytes) -> list[Change]:
        """The change that brings an item that was there before into one global index; none if it does not belong."""
        item = self._codec.decode(image_body(image))
        plan = next((p for p in self._plans if p.shape.id == index and not p.local), None)
        entry = self._entry(plan, key, image, item) if plan is not None else None
        return [Change(index, *entry)] if entry is not None else []

    def _derive(
        self,
        plan: _Plan,
        key: bytes,
        before: tuple[bytes | None, Item | None],
        after: tuple[bytes | None, Item | None],
        derived: Derived,
    ) -> None:
        old, new = self._entry(plan, key, *before), self._entry(plan, key, *after)
        charged = derived.local_units if plan.local else derived.global_units
        if old is not None and new is not None and old.key == new.key:
            if image_body(old.image) == image_body(new.image):
                return
            charged[plan.shape.name] = max(_units(old), _units(new))
            self._put(plan, new.key, new.image, derived)
            return
        units = 0.0
        for entry, image in ((old, None), (new, new.image if new is not None else None)):
            if entry is not None:
                units += _units(entry)
                self._put(plan, entry.key, image, derived)
        if units:
            charged[plan.shape.name] = units

    def _put(self, plan: _Plan, key: bytes, image: bytes | None, derived: Derived) -> None:
        if plan.local:
            derived.rows.append((key, image))
        else:
            derived.changes.append(Change(plan.shape.id, key, image))

    def _entry(self, plan: _Plan, key: bytes, image: bytes | None, item: Item | None) -> Entry | None:
        if image is None or item is None:
            return None
        place = local_key if plan.local else global_key
        row = place(plan.shape, self.key, key, item)
        if row is None:
            return None
        return Entry(row, image if not plan.names else self._projected(plan.names, image, item))

    def _projected(self, names: Sequence[str], image: bytes, item: Item) -> bytes:
        part = {name: item[name] for name in names if name in item}
        return stamped(pack_image(item_size(part), self._codec.encode(part)), image_stamp(image))


def projected_names(index: IndexShape, key: KeySchema) -> tuple[str, ...]:
    """The attributes an index projects, keys first; empty for all."""
    if index.projection == "ALL":
        return ()
    names = [*key.names, *(attribute.name for attribute in index.hash + index.sort)]
    if index.projection == "INCLUDE":
        names += index.include
    return tuple(dict.fromkeys(names))


# --- keys ---


def collection_prefix(key: KeySchema, item: Mapping[str, Any]) -> bytes:
    """The part of storage keys that all items with this item's hash value share."""
    return encode_hash(key.hash.type, item[key.hash.name][key.hash.type])


def local_prefix(collection: bytes, number: int) -> bytes:
    """What the keys of a local index's rows begin with, in one item collection."""
    return collection + LOCAL + bytes((number,))


def index_hash(index: IndexKeys, values: Mapping[str, Any]) -> bytes:
    """The part of a global index's keys that its hash attributes decide; ``values`` has all of them."""
    return hash_of(_hashed(index.hash, values)) + _encoded(index.hash, values)


def _hashed(attributes: Iterable[KeyAttribute], values: Mapping[str, Any]) -> bytes:
    return b"".join(hashed_value(a.type, values[a.name][a.type]) for a in attributes)


def _encoded(attributes: Iterable[KeyAttribute], values: Mapping[str, Any]) -> bytes:
    return b"".join(encode_value(a.type, values[a.name][a.type]) for a in attributes)


def global_key(index: IndexKeys, schema: KeySchema, key: bytes, item: Mapping[str, Any]) -> bytes | None:
    """Where the item with this storage key stands in a global index; None: nowhere."""
    if not belongs(index, item):
        return None
    own = [schema.hash] if schema.sort is None else [schema.hash, schema.sort]
    return index_hash(index, item) + _encoded(index.sort, item) + hash_of(_hashed(own, item)) + key


def local_key(index: IndexShape, schema: KeySchema, key: bytes, item: Mapping[str, Any]) -> bytes | None:
    """Where the item with this storage key stands in a local index; None: nowhere."""
    if not belongs(index, item):
        return None
    collection = collection_prefix(schema, item)
    return local_prefix(collection, index.number) + _encoded(index.sort, item) + key[len(collection) :]


# --- what an index can hold ---


def belongs(index: IndexKeys, item: Mapping[str, Any]) -> bool:
    """Whether an item has a place in an index. One with a value that the index cannot hold has none: it can only be
    older than the index, as writes that bring such a value are refused."""
    return all(
        _refusal(index, attribute, item, sparse=True) is None for attribute in index.hash + index.sort
    ) and _fits(index, item)


def check_index_keys(indexes: Sequence[IndexKeys], item: Mapping[str, Any], *, updating: bool = False) -> None:
    """Refuse an item with a value that one of the indexes (in the order in which they are to be named) cannot hold."""
    for index in indexes:
        for attribute in index.hash + index.sort:
            refusal = _refusal(index, attribute, item, sparse=False, updating=updating)
            if refusal is not None:
                raise refusal
        if not _fits(index, item):
            raise _too_long(index, item, updating)


def check_index_types(indexes: Sequence[IndexKeys], types: Mapping[str, str]) -> None:
    """Refuse what is to have a type that one of the indexes cannot hold: attributes' names, with their types."""
    for index in indexes:
        for attribute in index.hash + index.sort:
            actual = types.get(attribute.name, attribute.type)
            if actual != attribute.type:
                raise _wrong_type(index, attribute, actual)


def _wrong_type(index: IndexKeys, attribute: KeyAttribute, actual: str) -> ApiError:
    return invalid(
        f"One or more parameter values were invalid: Type mismatch for Index Key {attribute.name} "
        f"Expected: {attribute.type} Actual: {actual} IndexName: {index.name}"
    )


def _refusal(
    index: IndexKeys, attribute: KeyAttribute, item: Mapping[str, Any], *, sparse: bool, updating: bool = False
) -> ApiError | None:
    """Why a value is no key; a missing one is a reason only where ``sparse`` asks whether the item is in the index."""
    value = item.get(attribute.name)
    if value is None:
        return invalid("missing") if sparse else None
    text = value.get(attribute.type)
    if text is None:
        if updating:
            return invalid("The update expression attempted to update the secondary index key to unsupported type")
        return _wrong_type(index, attribute, next(iter(value)))
    if text == "":
        what = "binary" if attribute.type == "B" else "string"
        if updating:
            return invalid(
                "One or more parameter values are not valid. The update expression attempted to update a secondary "
                "index key to a value that is not supported. The AttributeValue for a key attribute cannot contain an "
                f"empty {what} value."
            )
        return invalid(
            "One or more parameter values are not valid. A value specified for a secondary index key is not supported. "
            f"The AttributeValue for a key attribute cannot contain an empty {what} value. IndexName: {index.name}, "
            f"IndexKey: {attribute.name}"
        )
    return None


def _fits(index: IndexKeys, item: Mapping[str, Any]) -> bool:
    """Whether the key values that are there keep to the size limits; several together are as one."""
    return _bytes(index.hash, item) <= HASH_KEY_BYTES_MAX and _bytes(index.sort, item) <= SORT_KEY_BYTES_MAX


def _bytes(attributes: Sequence[KeyAttribute], item: Mapping[str, Any]) -> int:
    total = 0
    for attribute in attributes:
        text = (item.get(attribute.name) or {}).get(attribute.type)
        if text is not None and attribute.type != "N":
            total += len(text.encode()) if attribute.type == "S" else len(a2b_base64(text))
    return total


def _too_long(index: IndexKeys, item: Mapping[str, Any], updating: bool) -> ApiError:
    if updating:
        return invalid("The update expression attempted to update the secondary index key beyond allowed size limits")
    return key_too_long("hash" if _bytes(index.hash, item) > HASH_KEY_BYTES_MAX else "range")


def _units(entry: Entry) -> float:
    return float(max(1, -(-image_size(entry.image) // WRITE_UNIT_BYTES)))
