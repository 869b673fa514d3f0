"""A leader's side of transactions: what is held, what that keeps out, and what is left of it when a leader falls."""

from __future__ import annotations

from typing import Any

from test_machine import BALLOT, Leader, put

from cluster.core.commands import Command
from cluster.core.items import image_body, image_stamp, pack_image
from cluster.core.keys import KeyAttribute, KeySchema
from cluster.core.shape import IndexShape, Shape
from cluster.core.side import TXN, rest
from cluster.core.transactions import ONGOING, Finish, Prepare, Seen, Vote
from cluster.node import payload
from cluster.node.transacting import cancel, commit, prepare, read

STAMP = int(Leader().wall * 1e6) + 5_000_000
"""Later than whatever the leader wrote before."""


class Held(Leader):
    """A leader whose entries' rows of transactions are applied as a replica does."""

    def prepare(self, *commands: Command, id_: str = "T", stamp: int = STAMP) -> list[Any]:
        answers: list[Any] = []
        request = Prepare(id_, stamp, commands)
        prepare(self.machine, request, [c.key for c in commands], lambda code, votes: answers.append((code, votes)))
        return answers

    def finish(self, act: Any, *keys: bytes, id_: str = "T", stamp: int = STAMP) -> list[Any]:
        answers: list[Any] = []
        act(self.machine, Finish(id_, stamp, keys), lambda code, done: answers.append((code, done)))
        return answers

    def read(self, *keys: bytes) -> list[Seen]:
        answers: list[Any] = []
        read(self.machine, keys, lambda code, seen: answers.append(seen))
        return answers[0] if answers else []

    def settle(self) -> list[payload.Write]:
        writes = self.propose()
        self.apply(writes)
        self.commit(writes)
        return writes

    def apply(self, writes: list[payload.Write]) -> None:
        for key, row in writes:
            if key.startswith(TXN):
                self.machine.held_applied(rest(key), row)


def test_what_is_prepared_is_applied_under_its_timestamp_once_committed() -> None:
    leader = Held()
    answers = leader.prepare(put(b"a", "new"), Command("delete", "t", b"b"))
    assert answers == [], "a vote waits until it is durable"
    leader.settle()
    assert [code for code, _ in answers] == [""]
    assert [vote.code for vote in answers[0][1]] == ["", ""]
    assert leader.finish(commit, b"a", b"b") == []
    written = dict(leader.settle())
    assert image_stamp(written[b"a"] or b"") == STAMP
    assert image_body(written[b"a"] or b"") == b'{"v":{"S":"new"}}'
    assert written[TXN + b"a"] is None
    assert leader.machine.held == {}
    assert leader.machine.deleted_at == STAMP
    assert leader.finish(commit, b"a", b"b") == [("", True)], "once more changes nothing"


def test_plain_writes_of_a_held_item_are_turned_away_and_plain_reads_are_not() -> None:
    leader = Held()
    met: list[bytes] = []
    leader.machine.met = met.append
    leader.prepare(put(b"a"))
    leader.settle()
    leader.do(put(b"a"), put(b"b"), Command("get", "t", b"a", consistent=True))
    leader.settle()
    errors = [(outcome.error, outcome.message) for _, outcome in leader.answers if outcome is not None]
    assert errors == [("TransactionConflictException", ONGOING), (None, ""), (None, "")]
    assert met == [b"a"]


def test_a_read_transaction_is_told_of_it_and_of_stamps() -> None:
    leader = Held()
    leader.do(put(b"b"))
    leader.prepare(put(b"a"))
    leader.settle()
    held, other, missing = leader.read(b"a", b"b", b"c")
    assert held.ongoing
    assert other.stamp == image_stamp(other.image or b"")
    assert missing == Seen(None, 0)


def test_a_cancelled_transaction_lets_go_and_nothing_was_written() -> None:
    leader = Held()
    leader.prepare(put(b"a"))
    leader.settle()
    leader.finish(cancel, b"a")
    assert leader.settle() == [(TXN + b"a", None)]
    assert leader.machine.held == {}


def test_a_batch_that_was_refused_held_nothing() -> None:
    leader = Held()
    answers = leader.prepare(put(b"a"))
    assert set(leader.machine.held) == {b"a"}
    leader.machine.refused()
    assert leader.machine.held == {}
    assert answers == [("not-leader", None)]


def test_the_next_leader_finds_what_was_prepared_in_the_rows() -> None:
    first = Held()
    first.prepare(put(b"a", "new"))
    writes = first.propose()
    second = Held()
    second.slot = first.slot
    second.machine.proposed(second.slot, BALLOT)  # an empty entry of its own, for the slot's sake
    for key, image in writes:
        second.rows.apply(1, key, image)
    second.apply(writes)
    assert set(second.machine.held) == {b"a"}
    third = Held()
    third.machine.held_found({key: row for key, row in writes if row is not None and key.startswith(TXN)})
    for leader in (second, third):
        leader.finish(commit, b"a")
        assert image_stamp(dict(leader.settle())[b"a"] or b"") == STAMP


def test_a_vote_that_comes_twice_holds_once() -> None:
    leader = Held()
    leader.prepare(put(b"a"))
    leader.settle()
    assert leader.prepare(put(b"a")) == [("", [Vote(size_after=1)])]
    assert not leader.machine.batch_due


def test_a_vote_tells_what_the_indexes_will_take() -> None:
    """Asked again it says the same; a condition alone changes no index."""
    leader = Held()
    key = KeySchema(KeyAttribute("pk", "S"), KeyAttribute("sk", "S"))
    of = (KeyAttribute("v", "S"),)
    local = IndexShape("near", "", 0, (key.hash,), of)
    leader.machine.reshape(Shape(1, "t", key, (local,), (IndexShape("far", "1", 0, of, ()),)))

    def item(name: str, v: str) -> Command:
        text = f'{{"pk":{{"S":"{name}"}},"sk":{{"S":"s"}},"v":{{"S":"{v}"}}}}'
        return Command("put", "t", name.encode(), image=pack_image(1, text.encode()))

    for _ in range(2):
        answers = leader.prepare(item("a", "one"), Command("check", "t", b"b"))
        leader.settle()
        ((_, (put_vote, check_vote)),) = answers
        assert (put_vote.local_units, put_vote.global_units) == ({"near": 1.0}, {"far": 1.0})
        assert (check_vote.local_units, check_vote.global_units) == (None, None)
    leader.finish(commit, b"a", b"b")
    leader.settle()
    ((_, (moved,)),) = _settled(leader, leader.prepare(item("a", "two"), id_="U", stamp=STAMP + 1))
    assert (moved.local_units, moved.global_units) == ({"near": 2.0}, {"far": 2.0})
    leader.finish(commit, b"a", id_="U", stamp=STAMP + 1)
    leader.settle()
    ((_, (gone,)),) = _settled(leader, leader.prepare(Command("delete", "t", b"a"), id_="V", stamp=STAMP + 2))
    assert (gone.local_units, gone.global_units) == ({"near": 1.0}, {"far": 1.0})


def _settled(leader: Held, answers: list[Any]) -> list[Any]:
    leader.settle()
    return answers


def test_a_deposed_leader_keeps_what_was_applied_and_forgets_what_was_only_proposed() -> None:
    leader = Held()
    leader.prepare(put(b"a"))
    leader.settle()
    leader.prepare(put(b"b"), id_="U")
    leader.machine.deposed()
    assert set(leader.machine.held) == {b"a"}
