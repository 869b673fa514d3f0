"""Which items have expired, and what the command that removes them leaves alone."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.core.commands import evaluate
from cluster.core.expiry import TOO_OLD_S, expiry_of, removal
from cluster.core.items import item_size, pack_image
from cluster.wire.json import CODEC, encode

NOW = 1_800_000_000.5


@pytest.mark.parametrize(
    ("value", "expired"),
    [
        ({"N": "1800000000"}, True),
        ({"N": "1800000000.5"}, True),
        ({"N": "1800000001"}, False),
        ({"N": str(int(NOW) - TOO_OLD_S + 1)}, True),
        ({"N": str(int(NOW) - TOO_OLD_S - 1)}, False),
        ({"N": "0"}, False),
        ({"N": "-1"}, False),
        ({"S": "1800000000"}, False),
        ({"NS": ["1800000000"]}, False),
        ({"M": {"ttl": {"N": "1800000000"}}}, False),
        (None, False),
    ],
)
def test_what_has_expired(value: dict[str, Any] | None, expired: bool) -> None:
    item = {"pk": {"S": "a"}, **({"ttl": value} if value is not None else {})}
    assert (expiry_of(item, "ttl", NOW) is not None) is expired


@pytest.mark.parametrize(
    ("now_stored", "goes"),
    [
        ({"ttl": {"N": "1800000000"}}, True),
        ({"ttl": {"N": "1900000000"}}, False),
        ({"ttl": {"S": "1800000000"}}, False),
        ({}, False),
        (None, False),
    ],
)
def test_an_item_changed_meanwhile_stays(now_stored: dict[str, Any] | None, goes: bool) -> None:
    command = removal("things", b"key", "ttl", "1800000000")
    image = None
    if now_stored is not None:
        item = {"pk": {"S": "a"}, **now_stored}
        image = pack_image(item_size(item), encode(item))
    decision = evaluate(command, image, CODEC)
    assert decision.write is goes
    if goes:
        assert decision.image is None


def test_names_with_dots_are_names() -> None:
    item = {"a.b": {"N": "1800000000"}}
    image = pack_image(item_size(item), encode(item))
    assert evaluate(removal("t", b"k", "a.b", "1800000000"), image, CODEC).write
