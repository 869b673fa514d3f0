"""One operation on one item: built by a router, decided by the leader of the item's group, answered by the router.

The router does everything that needs no item: it checks the request, encodes the key and the new image, and sends a
:class:`Command` (a NamedTuple of plain values: msgspec packs it as an array). The leader calls :func:`evaluate` with
the item's image in *proposed* state (what it will be once everything already proposed is committed) and gets a
:class:`Decision`: what to propose, if anything, and the :class:`Outcome` to send once what it rests on is committed
and the lease still holds. Pure: no clock, no I/O, the same answer on every machine.

An *image* is what is stored (see :mod:`cluster.core.items`); an unconditional put, delete or get decodes none.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from cluster.core.errors import ApiError, invalid
from cluster.core.expressions import conditions, legacy, projections, updates
from cluster.core.expressions.legacy import AttributeUpdate, Expected
from cluster.core.items import (
    ITEM_BYTES_MAX,
    Codec,
    Item,
    image_body,
    image_size,
    item_size,
    pack_image,
    shown_image,
)

CONDITION_FAILED = "The conditional request failed"
ITEM_TOO_LARGE = "Item size to update has exceeded the maximum allowed size"

_ALL_OLD = "ALL_OLD"


class Clause(NamedTuple):
    """An expression as the caller wrote it, with the placeholders it uses: parsed (and cached by text) where it
    runs."""

    text: str
    names: dict[str, str] | None
    values: dict[str, Any] | None


class Command(NamedTuple):
    """What a router asks of a leader. ``kind`` is ``put``, ``update``, ``delete`` or ``get``; in a transaction also
    ``check``, which is nothing but its condition."""

    kind: str
    table: str
    key: bytes
    image: bytes | None = None
    """put: the item to store."""
    key_image: bytes | None = None
    """update: the JSON of the key attributes, from which a missing item is made."""
    condition: Clause | None = None
    update: Clause | None = None
    projection: Clause | None = None
    """get: which attributes to return. Applied by the router, so that a leader decodes nothing."""
    returns: str = "NONE"
    """NONE, ALL_OLD, UPDATED_OLD, ALL_NEW or UPDATED_NEW."""
    on_failure: str = "NONE"
    """ALL_OLD: a failed condition answers with the item as it is."""
    consistent: bool = False
    """get: only the leader's committed state, under its lease, will do."""
    capacity: str = "NONE"
    """ReturnConsumedCapacity: NONE, TOTAL or INDEXES."""
    expected: Expected | None = None
    """A condition from before there were expressions."""
    attribute_updates: tuple[AttributeUpdate, ...] = ()
    """update: the same."""
    collection: bytes | None = None
    """ItemCollectionMetrics as they are to be answered, where they are."""


class Outcome(NamedTuple):
    """What the leader tells the router. Sizes are DynamoDB's item sizes in bytes, 0 for an absent item."""

    attributes: bytes | None = None
    """JSON of the item or attributes to return; None: nothing to return."""
    error: str | None = None
    """DynamoDB's short name of the failure, or None."""
    message: str = ""
    size_before: int = 0
    size_after: int = 0
    local_units: dict[str, float] | None = None
    global_units: dict[str, float] | None = None
    """Write units that the table's indexes took, by name."""


class Decision(NamedTuple):
    """What a command does to an item: ``write`` says whether ``image`` (None: no item) is to be proposed."""

    write: bool
    image: bytes | None
    outcome: Outcome


def evaluate(command: Command, current: bytes | None, codec: Codec) -> Decision:
    """Decide a command over the item's image in proposed state (None: no such item). Never raises for any command
    that a router built: failures of the request are in the outcome."""
    before = image_size(current) if current is not None else 0
    kind = command.kind
    if kind == "get":
        return Decision(False, current, Outcome(shown_image(current), size_before=before, size_after=before))
    item: Item | None = None
    if command.condition is not None or kind == "update" or command.expected is not None:
        item = codec.decode(image_body(current)) if current is not None else None
    try:
        if command.condition is not None and not conditions.holds(command.condition, item):
            return _condition_failed(command, current, before)
        if command.expected is not None and not legacy.holds(command.expected, item):
            return _condition_failed(command, current, before)
        if kind == "update":
            return _update(command, current, item, before, codec)
    except ApiError as error:
        return Decision(False, current, Outcome(None, error.kind, error.message, before, before))
    if kind == "check":
        return Decision(False, current, Outcome(None, size_before=before, size_after=before))
    old = shown_image(current) if command.returns == _ALL_OLD else None
    if kind == "delete":
        return Decision(current is not None, None, Outcome(old, size_before=before))
    image = command.image
    after = image_size(image) if image is not None else 0
    return Decision(True, image, Outcome(old, size_before=before, size_after=after))


def _condition_failed(command: Command, current: bytes | None, before: int) -> Decision:
    shown = shown_image(current) if command.on_failure == _ALL_OLD else None
    outcome = Outcome(shown, "ConditionalCheckFailedException", CONDITION_FAILED, before, before)
    return Decision(False, current, outcome)


def _update(command: Command, current: bytes | None, item: Item | None, before: int, codec: Codec) -> Decision:
    assert command.key_image is not None, "a router gives every update its key"
    base = item if item is not None else codec.decode(command.key_image)
    touched: updates.Touched | None = None
    after = base
    if command.update is not None:
        after, touched = updates.apply(command.update, base, exists=item is not None)
    elif command.attribute_updates:
        after = legacy.apply(command.attribute_updates, base)
        touched = [(update.name,) for update in command.attribute_updates]
    if item is None and touched and after == base:
        return Decision(False, None, Outcome())  # what only takes away makes no item of its key
    size = item_size(after)
    if size > ITEM_BYTES_MAX:
        raise invalid(ITEM_TOO_LARGE)
    image = pack_image(size, codec.encode(after))
    shown: bytes | None = None
    if command.returns == _ALL_OLD:
        shown = shown_image(current)
    elif command.returns == "ALL_NEW":
        shown = image_body(image)
    elif command.returns != "NONE" and touched is not None:
        source = after if command.returns == "UPDATED_NEW" else item
        part = projections.pick(touched, source) if source is not None else None
        shown = codec.encode(part) if part else None
    return Decision(True, image, Outcome(shown, size_before=before, size_after=size))
