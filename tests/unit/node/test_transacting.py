"""A leader's side of transactions: what is held, what that keeps out, and what is left of it when a leader falls."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from test_machine import BALLOT, Leader, put

from cluster.core.commands import Clause, Command
from cluster.core.items import image_body, image_stamp, pack_image
from cluster.core.keys import KeyAttribute, KeySchema
from cluster.core.shape import IndexShape, Shape
from cluster.core.side import TXN, rest
from cluster.core.transactions import CONFLICT, LATE, ONGOING, Finish, Prepare, Seen, Vote, record_key
from cluster.node import payload
from cluster.node.machine import OVERLOADED
from cluster.node.transacting import cancel, commit, prepare, read, settle, whole

STAMP = int(Leader().wall * 1e6) + 5_000_000
"""Later than whatever the leader wrote before."""


class Held(Leader):
    """A leader whose entries' rows of transactions are applied as a replica does."""

    def prepare(self, *commands: Command, id_: str = "T", stamp: int = STAMP) -> list[Any]:
        answers: list[Any] = []
        request = Prepare(id_, stamp, commands)
        prepare(self.machine, request, [c.key for c in commands], lambda code, votes: answers.append((code, votes)))
        return answers

    def whole(self, *commands: Command, id_: str = "T", stamp: int = STAMP) -> list[Any]:
        answers: list[Any] = []
        request = Prepare(id_, stamp, commands)
        whole(self.machine, request, [c.key for c in commands], lambda code, votes: answers.append((code, votes)))
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


# --- transactions of one group ---


def test_a_transaction_of_one_group_is_carried_out_in_one_entry_with_a_record_of_it() -> None:
    leader = Held()
    leader.do(put(b"b", "old"))
    leader.settle()
    answers = leader.whole(put(b"a", "new"), Command("check", "t", b"b"), Command("delete", "t", b"c"))
    assert answers == [], "the votes wait until it is durable"
    written = dict(leader.settle())
    ((code, votes),) = answers
    assert (code, [vote.code for vote in votes]) == ("", ["", "", ""])
    assert image_body(written[b"a"] or b"") == b'{"v":{"S":"new"}}'
    assert image_body(written[b"b"] or b"") == b'{"v":{"S":"old"}}'
    assert [image_stamp(written[key] or b"") for key in (b"a", b"b")] == [STAMP, STAMP], "what was checked as well"
    assert written[TXN + record_key("T")]
    leader.do(put(b"a", "later"))
    leader.settle()
    assert [outcome.error for _, outcome in leader.answers if outcome] == [None, None], "nothing is held"
    leader.finish(commit, b"a", b"b", b"c")
    assert leader.settle() == [(TXN + record_key("T"), None)], "the ledger knows"
    assert leader.machine.held == {}


def test_one_that_nobody_can_ask_for_leaves_no_record() -> None:
    leader = Held()
    leader.whole(put(b"a"), id_="")
    assert not any(key.startswith(TXN) for key, _ in leader.settle())


def test_a_transaction_of_one_group_happens_as_a_whole_or_not_at_all() -> None:
    leader = Held()
    met: list[bytes] = []
    leader.machine.met = met.append
    leader.prepare(put(b"b"), id_="U")
    leader.settle()
    exists = Clause("attribute_exists(v)", None, None)
    answers = leader.whole(put(b"a"), put(b"b"), Command("check", "t", b"c", condition=exists))
    ((_, votes),) = answers
    assert [vote.code for vote in votes] == ["", CONFLICT, "ConditionalCheckFailed"]
    assert not leader.machine.batch_due
    assert met == [b"b"]


def test_what_was_carried_out_is_not_done_again_with_or_without_the_record() -> None:
    leader = Held()
    leader.whole(put(b"a"))
    leader.settle()
    assert leader.whole(put(b"a"), stamp=STAMP + 9) == [("", [Vote()])]
    leader.finish(commit, b"a")
    leader.settle()
    ((_, (vote,)),) = leader.whole(put(b"a"))
    assert vote.code == LATE, "its item is stamped"
    assert not leader.machine.batch_due


def test_a_record_survives_a_change_of_leaders() -> None:
    first = Held()
    first.whole(put(b"a"))
    rows = {key: row for key, row in first.settle() if row is not None and key.startswith(TXN)}
    first.machine.deposed()
    second = Held()
    second.machine.held_found(rows)
    for leader in (first, second):
        assert leader.finish(settle, b"a") == [("", True)]


def test_who_asks_in_vain_makes_sure_that_it_never_happens() -> None:
    for item in (None, put(b"b")):  # whether it is there or not
        leader = Held()
        if item is not None:
            leader.do(item)
            leader.settle()
        answers = leader.finish(settle, b"b", b"c")
        assert answers == [], "nobody is told before it is durable"
        leader.settle()
        assert answers == [("", False)]
        leader.finish(settle, b"b", b"c")
        assert leader.machine.batch_due == (item is None), "of what is there it is known that it is too late"
        leader.settle()
        ((_, votes),) = leader.whole(put(b"a"), put(b"b"), put(b"c"))
        assert LATE in {vote.code for vote in votes}
        leader.whole(put(b"b"), put(b"c"), stamp=STAMP + 1)
        assert leader.machine.batch_due, "another attempt may"


def test_a_deletion_that_never_happened_bars_nothing() -> None:
    """The next leader has not heard of it, and would take what comes late."""
    leader = Held()
    leader.do(put(b"x"))
    leader.settle()
    leader.wall += 60
    leader.do(Command("delete", "t", b"x"))
    leader.machine.refused()
    assert leader.machine.deleted_at > STAMP
    assert leader.finish(settle, b"a") == [], "it waits for an entry of its own"
    other = Held()
    other.commit(leader.propose())
    ((_, (vote,)),) = other.whole(put(b"a"))
    assert vote.code == LATE


def test_an_item_in_others_hands_is_left_alone_by_who_asks() -> None:
    leader = Held()
    leader.prepare(put(b"a"), id_="U", stamp=STAMP - 1)
    leader.settle()
    assert leader.finish(settle, b"a") == [(OVERLOADED, None)]
    leader.finish(settle, b"a", b"b")
    written = leader.settle()
    assert b"a" not in dict(written)
    leader.finish(commit, b"a", id_="U", stamp=STAMP - 1)
    assert image_stamp(dict(leader.settle())[b"a"] or b"") == STAMP - 1


ADD = Command(
    "update", "t", b"a", key_image=b'{"pk":{"S":"a"}}', update=Clause("ADD n :one", None, {":one": {"N": "1"}})
)


@settings(max_examples=300)
@given(st.integers(0, 10**9))
def test_whatever_is_late_doubled_or_taken_over_a_token_counts_once(seed: int) -> None:
    """One token, asked with again and again; recovery managers that take over at any moment; messages that come late,
    twice or never; plain writes and deletions in between."""
    rng = Random(seed)
    leader = Held()
    row: dict[str, Any] = {"state": "", "stamp": 0}
    sent: list[int] = []

    def begin() -> None:
        row.update(state="PREPARING", stamp=STAMP + len(sent))
        sent.append(row["stamp"])

    def arrive(stamp: int) -> None:
        """An attempt reaches the leader, and its answer the coordinator, perhaps."""
        answers = leader.whole(ADD, Command("check", "t", b"b"), stamp=stamp)
        leader.settle()
        codes = {vote.code for vote in answers[0][1]}
        if (row["state"], row["stamp"]) == ("PREPARING", stamp) and rng.random() < 0.7:
            if LATE in codes:
                begin()
            else:
                row["state"] = "COMMITTING"

    def take_over() -> None:
        if row["state"] == "PREPARING":
            answers = leader.finish(settle, b"a", b"b", stamp=row["stamp"])
            leader.settle()
            row["state"] = "COMMITTING" if answers == [("", True)] else "CANCELLED"
        if row["state"] == "COMMITTING":
            leader.finish(commit, b"a", b"b", stamp=row["stamp"])
            leader.settle()
            row["state"] = "COMPLETED"

    for _ in range(rng.randint(1, 25)):
        draw = rng.random()
        if draw < 0.3 and row["state"] in ("", "CANCELLED"):
            begin()
        elif draw < 0.6 and sent:
            arrive(rng.choice(sent))
        elif draw < 0.8:
            take_over()
        else:
            leader.do(put(b"b") if rng.random() < 0.5 else Command("delete", "t", b"b"))
            leader.settle()
    take_over()
    for stamp in sent:
        arrive(stamp)
    (seen,) = leader.read(b"a")
    happened = row["state"] == "COMPLETED"
    assert (image_body(seen.image) if seen.image else None) == (b'{"pk":{"S":"a"},"n":{"N":"1"}}' if happened else None)
