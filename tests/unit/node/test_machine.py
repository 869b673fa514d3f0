"""The leader's machine: what enters a batch, and with which stamp."""

from __future__ import annotations

from collections.abc import Callable

from cluster.core.ballot import Ballot
from cluster.core.commands import Command, Outcome
from cluster.core.items import image_body, image_stamp, pack_image
from cluster.core.side import CLOCK
from cluster.node import payload
from cluster.node.machine import Machine
from cluster.node.rows import Rows
from cluster.wire.json import CODEC

BALLOT = Ballot(1, 1)
START = 1_790_000_000.0


class Leader:
    """A machine with its rows, whose entries commit when told to."""

    def __init__(self, rows: Rows | None = None) -> None:
        self.rows = rows or Rows(1 << 20)
        self.wall = START
        self.slot = 0
        self.machine = Machine(self.rows, CODEC, lambda: True, self._load, lambda: self.wall)
        self.answers: list[tuple[str, Outcome | None]] = []

    def _load(self, key: bytes, then: Callable[[], None]) -> None:
        self.rows.will_load(key)
        self.rows.load(key, None)
        then()

    def do(self, *commands: Command) -> None:
        for command in commands:
            self.machine.execute(command, lambda code, outcome: self.answers.append((code, outcome)))

    def propose(self) -> list[payload.Write]:
        body = payload.decode(self.machine.take_batch(0))
        self.slot += 1
        self.machine.proposed(self.slot, BALLOT)
        return body.writes

    def commit(self, writes: list[payload.Write]) -> None:
        for key, image in writes:
            self.rows.apply(self.slot, key, image)
        if writes and writes[-1][0] == CLOCK and writes[-1][1]:
            self.machine.observe(int.from_bytes(writes[-1][1], "big"))
        self.machine.committed(self.slot, BALLOT)


def put(key: bytes, text: str = "x") -> Command:
    return Command("put", "t", key, image=pack_image(1, b'{"v":{"S":"%s"}}' % text.encode()))


def stamps(writes: list[payload.Write]) -> list[int]:
    return [image_stamp(image) for key, image in writes if image is not None and key != CLOCK]


def test_every_write_is_stamped_with_the_leaders_time_and_the_entry_carries_the_last_one() -> None:
    leader = Leader()
    leader.do(put(b"a"), put(b"b"))
    writes = leader.propose()
    first, second = stamps(writes)
    assert first == int(START * 1e6)
    assert second == first + 1, "two writes of one instant still differ"
    assert writes[-1] == (CLOCK, second.to_bytes(8, "big"))
    assert image_body(writes[0][1] or b"") == b'{"v":{"S":"x"}}'


def test_stamps_rise_when_the_wall_clock_steps_back() -> None:
    leader = Leader()
    leader.do(put(b"a"))
    (before,) = stamps(leader.propose())
    leader.wall -= 3600
    leader.do(put(b"a"))
    (after,) = stamps(leader.propose())
    assert after == before + 1


def test_the_next_leader_starts_above_every_stamp_applied_whatever_its_own_clock_says() -> None:
    first = Leader()
    first.do(put(b"a"))
    writes = first.propose()
    second = Leader()
    second.wall -= 3600
    second.commit(writes)
    second.do(put(b"a"))
    assert stamps(second.propose()) > stamps(writes)


def test_a_deletion_is_remembered_by_its_stamp_and_by_the_next_leader_at_least_as_late() -> None:
    leader = Leader()
    leader.do(put(b"a"))
    leader.commit(leader.propose())
    assert leader.machine.deleted_at == 0
    leader.wall += 1
    leader.do(Command("delete", "t", b"a"))
    writes = leader.propose()
    assert leader.machine.deleted_at == int(leader.wall * 1e6)
    leader.commit(writes)
    other = Leader()
    other.commit(writes)
    assert other.machine.deleted_at >= leader.machine.deleted_at


def test_a_deposed_leader_trusts_no_missing_item_older_than_what_it_gave_out() -> None:
    leader = Leader()
    leader.do(put(b"a"))
    leader.propose()
    leader.machine.deposed()
    assert leader.machine.deleted_at == leader.machine.clock == int(START * 1e6)
    assert [code for code, _ in leader.answers] == ["unknown"]


def test_a_batch_without_items_has_no_stamp() -> None:
    leader = Leader()
    leader.machine.write([(b"row", b"as it is")], lambda code: None)
    assert leader.propose() == [(b"row", b"as it is")]
