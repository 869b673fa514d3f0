"""Where index changes are sent to: none overtakes an earlier one of the same group, whatever the map knows."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.core.routing import Route
from cluster.node.outbox import Sent
from cluster.node.propagate import Sender
from cluster.node.routes import MapUnavailable


def sent(position: int, key: bytes, image: bytes | None = b"i") -> Sent:
    return Sent(position, b"item", key, image)


class Map:
    """A table's routes as far as they are known: one group for each first letter."""

    def __init__(self, *known: bytes) -> None:
        self.known = known

    def route(self, key: bytes) -> Route | None:
        return SimpleNamespace(group=key[:1].decode()) if key in self.known else None  # type: ignore[return-value]

    async def fetch_route(self, table: Map, key: bytes) -> Route | None:
        raise MapUnavailable("index")


async def send(window: list[Sent], *known: bytes, away: str = "") -> tuple[list[Sent], list[list[Sent]]]:
    """Send a window; what was not acknowledged, and what was handed to groups. Group ``away`` does not answer."""
    handed: list[list[Sent]] = []

    async def ask(route: Route, part: list[Sent]) -> bool:
        handed.append(part)
        return route.group != away

    table = Map(*known)
    sender: Any = object.__new__(Sender)
    sender._routes, sender._ask = table, ask
    return await Sender._send(sender, table, window, False), handed  # type: ignore[arg-type]


MOVED = [sent(1, b"a1"), sent(2, b"a1", None), sent(2, b"a2"), sent(3, b"a2", None)]


@pytest.mark.parametrize(("known", "number"), [([b"a1"], 1), ([b"a2"], 0), ([b"a1", b"a2"], 4), ([], 0)])
def test_nothing_of_a_write_is_sent_before_all_of_it_can_be(known: list[bytes], number: int) -> None:
    """Explored seed 10: the new row of an item was sent, and its old one, of which no route was known, came later: the
    index took it for one that it had already had."""
    left, handed = asyncio.run(send(MOVED, *known))
    assert [one for part in handed for one in part] == MOVED[:number]
    assert left == MOVED[number:]


def test_what_a_group_did_not_acknowledge_is_left_in_order() -> None:
    window = [sent(1, b"a1"), sent(2, b"b1"), sent(3, b"a2"), sent(4, b"b2")]
    left, handed = asyncio.run(send(window, b"a1", b"a2", b"b1", b"b2", away="b"))
    assert len(handed) == 2
    assert left == [window[1], window[3]]


@pytest.mark.parametrize("ended", [False, True])
def test_a_window_that_was_sent_before_leading_anew_counts_for_nothing_then(ended: bool) -> None:
    """Explored seed 3618: its acknowledgement took the first changes of the new life's lane along, and they were never
    sent: an item stood in an index twice."""

    async def deliver() -> bool:
        outbox = SimpleNamespace(life=1, lanes={"index": SimpleNamespace(index=None)})

        async def send(table: object, window: list[Sent], fresh: bool) -> list[Sent]:
            outbox.life += ended  # deposed, and elected again, before the answer came
            return []

        async def table(index: object) -> object:
            return object()

        sender: Any = object.__new__(Sender)
        sender.outbox, sender._life, sender._send, sender._table = outbox, 1, send, table
        return await Sender._deliver(sender, "index", MOVED)

    assert asyncio.run(deliver()) is not ended
