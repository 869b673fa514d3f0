"""The rules of transactions, one group's leader at a time, and the whole protocol with late and doubled messages."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.core.commands import Clause, Command
from cluster.core.items import Codec, image_body, image_stamp, item_size, pack_image, stamped
from cluster.core.transactions import (
    CANCELLING,
    COMMITTING,
    COMPLETED,
    CONFLICT,
    LATE,
    ONGOING,
    PREPARING,
    Entry,
    Pending,
    Prepare,
    Seen,
    bar,
    cancels,
    decide,
    decide_all,
    duty,
    fate,
    holds,
    pack_pending,
    result,
    see,
    unchanged,
    undecided,
    unpack_pending,
)

CODEC = Codec(json.loads, lambda value: json.dumps(value, separators=(",", ":")).encode())
KEY = b"key"


def image(value: str, stamp: int = 0) -> bytes:
    item = {"pk": {"S": "k"}, "v": {"S": value}}
    made = pack_image(item_size(item), CODEC.encode(item))
    return stamped(made, stamp) if stamp else made


def put(value: str = "new", **more: Any) -> Command:
    return Command("put", "t", KEY, image=image(value), **more)


CHECK = Command("check", "t", KEY, condition=Clause("attribute_exists(pk)", None, None), on_failure="ALL_OLD")


def vote(
    command: Command, current: bytes | None, *, stamp: int = 50, held: Pending | None = None, deleted: int = 0
) -> Any:
    return decide("T", stamp, command, current, held, deleted, CODEC)


def test_an_action_is_accepted_with_its_effect_resolved() -> None:
    given_vote, pending = vote(put(), image("old", 49))
    assert (given_vote.code, given_vote.size_before, given_vote.size_after) == ("", 7, 7)
    assert pending == Pending("T", 50, False, image("new"))
    _, check = vote(CHECK, image("old", 49))
    assert check == Pending("T", 50, True, None)
    assert result(check, image("old", 49)) == image("old", 49), (
        "a check leaves the item, and it is stamped all the same"
    )
    _, delete = vote(Command("delete", "t", KEY), image("old", 49))
    assert delete == Pending("T", 50, False, None)
    assert result(delete, image("old", 49)) is None


@pytest.mark.parametrize(("last", "code"), [(49, ""), (50, LATE), (51, LATE)])
def test_the_timestamp_must_exceed_the_items_last_write(last: int, code: str) -> None:
    refused, pending = vote(put(), image("old", last))
    assert refused.code == code
    assert (pending is None) == bool(code)
    assert not code or (refused.stamp, refused.message) == (last, ONGOING)


@pytest.mark.parametrize(("deleted", "code"), [(49, ""), (50, LATE)])
def test_of_a_missing_item_the_last_deletion_of_the_group_counts(deleted: int, code: str) -> None:
    assert vote(put(), None, deleted=deleted)[0].code == code


def test_another_transaction_in_progress_is_a_conflict() -> None:
    refused, pending = vote(put(), image("old", 1), held=Pending("other", 10, False, image("x")))
    assert (refused.code, refused.message, pending) == (CONFLICT, ONGOING, None)


def test_the_same_prepare_twice_gets_the_same_vote_and_an_earlier_attempt_gives_way() -> None:
    first, held = vote(put(), image("old", 1))
    assert vote(put(), image("old", 1), held=held) == (first, held)
    second, pending = vote(put(), image("old", 1), stamp=60, held=held)
    assert second.code == ""
    assert pending is not None
    assert pending.stamp == 60
    assert vote(put(), image("old", 1), held=pending)[0].code == CONFLICT, "the earlier attempt comes late"


def test_a_failed_condition_is_a_reason_with_the_item_where_it_was_asked_for() -> None:
    refused, pending = vote(put(condition=Clause("attribute_not_exists(pk)", None, None)), image("old", 1))
    assert (refused.code, refused.message, refused.item) == (
        "ConditionalCheckFailed", "The conditional request failed", None
    )  # fmt: skip
    assert pending is None
    absent, _ = vote(CHECK, None)
    assert (absent.code, absent.item) == ("ConditionalCheckFailed", None)
    shown, _ = vote(CHECK._replace(condition=Clause("attribute_not_exists(pk)", None, None)), image("old", 1))
    assert shown.item == image_body(image("old"))


def test_an_update_that_cannot_be_is_a_reason_too() -> None:
    update = Command(
        "update", "t", KEY, key_image=b'{"pk":{"S":"k"}}', update=Clause("SET n = s + :v", None, {":v": {"N": "1"}})
    )
    refused, _ = vote(update, image("old", 1))
    assert refused.code == "ValidationError"


def test_a_group_holds_all_of_its_part_or_nothing() -> None:
    request = Prepare("T", 50, (put(), put(condition=Clause("attribute_exists(nope)", None, None))))
    votes, pending = decide_all(request, [None, image("old", 1)], [None, None], 0, CODEC)
    assert [one.code for one in votes] == ["", "ConditionalCheckFailed"]
    assert pending is None


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("body", [None, b"", image("x")])
def test_a_row_of_a_transaction_in_flight_comes_back_as_it_went(check: bool, body: bytes | None) -> None:
    pending = Pending("täglich", 2**50, check, None if check else body)
    assert unpack_pending(pack_pending(pending)) == pending


def test_ends_are_for_the_attempt_they_name() -> None:
    held = Pending("T", 50, False, None)
    assert [holds(held, "T", stamp) for stamp in (49, 50, 51)] == [False, True, False]
    assert [cancels(held, "T", stamp) for stamp in (49, 50, 51)] == [False, True, True]
    assert not holds(None, "T", 50)
    assert not cancels(Pending("other", 1, False, None), "T", 50)


def test_a_read_sees_the_stamp_and_whether_somebody_is_writing() -> None:
    assert see(image("a", 7), None, 3) == Seen(image("a", 7), 7)
    assert see(None, None, 3) == Seen(None, 3)
    assert see(image("a", 7), Pending("T", 9, False, None), 3) == Seen(None, 0, ongoing=True)
    one = [Seen(image("a", 7), 7), Seen(None, 3), Seen(image("b", 8), 8), Seen(image("a", 7), 7)]
    two = [Seen(image("a", 7), 7), Seen(None, 4), Seen(image("b", 9), 9), Seen(None, 0, ongoing=True)]
    assert unchanged(one, two) == [True, False, False, False]


def test_what_is_left_to_do_follows_from_the_ledger_alone() -> None:
    entry = Entry("T", 50, PREPARING)
    assert duty(entry) == (CANCELLING, False)
    assert duty(entry._replace(state=COMMITTING)) == ("", True)
    assert duty(entry._replace(state=CANCELLING)) == ("", False)
    assert duty(entry._replace(state=COMPLETED)) is None
    alone = entry._replace(alone=True)
    assert undecided(alone)
    assert not undecided(entry)
    assert duty(alone, happened=True) == (COMMITTING, True)
    assert duty(alone, happened=False) == (CANCELLING, False)
    assert not undecided(alone._replace(state=COMMITTING))
    assert fate(None, 50) is False
    assert fate(entry, 50) is None
    assert fate(entry._replace(state=COMMITTING), 50) is True
    assert fate(entry._replace(state=COMMITTING), 49) is False, "the row is about a later attempt"
    assert fate(entry._replace(state=COMPLETED, committed=True), 50) is True


# --- the protocol, with messages late, doubled and out of order ---


def test_a_row_tells_of_one_group_that_it_has_carried_out_before_it_is_completed() -> None:
    entry = Entry("T", 50, COMMITTING)
    assert not entry.carried_out, "some of its groups may not have heard of it"
    assert entry._replace(alone=True).carried_out
    assert not entry._replace(alone=True, state=PREPARING).carried_out
    assert not entry._replace(alone=True, state=COMPLETED).carried_out
    assert entry._replace(state=COMPLETED, committed=True).carried_out


def test_one_item_that_nobody_holds_bars_a_transaction_unless_it_is_too_late_for_it_anyway() -> None:
    held = Pending("other", 10, False, None)
    early, late = image("x", 40), image("x", 50)
    assert bar([early, None], [None, None], 50) == 0
    assert bar([early, None], [held, None], 50) == 1
    assert bar([early, None], [held, held], 50) is None
    assert bar([early, late], [held, held], 50) == -1


class Group:
    """One item at its leader."""

    def __init__(self) -> None:
        self.image: bytes | None = None
        self.held: Pending | None = None
        self.clock = self.deleted = 0
        self.applied: list[int] = []

    def prepare(self, id_: str, stamp: int, command: Command) -> bool:
        votes, pending = decide_all(Prepare(id_, stamp, (command,)), [self.image], [self.held], self.deleted, CODEC)
        if pending is not None:
            self.held = pending[0]
        return not votes[0].code

    def commit(self, id_: str, stamp: int) -> None:
        if self.held is not None and holds(self.held, id_, stamp):
            after = result(self.held, self.image)
            self.image = stamped(after, stamp) if after is not None else None
            self.deleted = max(self.deleted, stamp) if after is None else self.deleted
            self.applied.append(stamp)
            self.held = None

    def cancel(self, id_: str, stamp: int) -> None:
        if cancels(self.held, id_, stamp):
            self.held = None

    def plain_put(self, stamp: int) -> None:
        if self.held is None:
            self.image = stamped(image(f"plain-{stamp}"), stamp)


@settings(max_examples=300)
@given(st.integers(0, 10**9))
def test_whatever_the_order_of_messages_a_transaction_happens_everywhere_or_nowhere_and_once(seed: int) -> None:
    rng = Random(seed)
    groups = [Group() for _ in range(3)]
    ledger: dict[str, str] = {}
    sent: list[tuple[Any, ...]] = []
    kinds = [put("a"), Command("delete", "t", KEY), Command("check", "t", KEY)]
    stamps = {f"T{number}": 10 * (number + 1) for number in range(4)}
    for id_, stamp in stamps.items():
        parts = rng.sample(range(3), 2)
        votes = []
        for part in parts:
            message: tuple[Any, ...] = ("prepare", part, id_, stamp, rng.choice(kinds))
            votes.append(groups[part].prepare(id_, stamp, message[4]))
            sent.append(message)
            if rng.random() < 0.3:
                _deliver(groups, ledger, rng.choice(sent))
        stalled = rng.random() < 0.3  # another decides, and does not know the votes
        ledger[id_] = COMMITTING if all(votes) and not stalled else CANCELLING
        end = "commit" if ledger[id_] == COMMITTING else "cancel"
        for part in parts:
            message = (end, part, id_, stamp)
            sent.append(message)
            for _ in range(rng.randint(1, 2)):
                _deliver(groups, ledger, message)
            groups[part].plain_put(stamp + rng.randint(1, 5))
        for _ in range(rng.randint(0, 4)):
            _deliver(groups, ledger, rng.choice(sent))
    for group in groups:  # what late messages left is let go of as its transaction went
        while group.held is not None:
            held = group.held
            committed = fate(Entry(held.id, held.stamp, ledger[held.id]), held.stamp)
            (group.commit if committed else group.cancel)(held.id, held.stamp)
        assert group.applied == sorted(set(group.applied)), "each once, in the order of their timestamps"
    for id_, stamp in stamps.items():
        where = [number for number, group in enumerate(groups) if stamp in group.applied]
        asked = sorted({message[1] for message in sent if message[2] == id_})
        assert where == (asked if ledger[id_] == COMMITTING else [])


def _deliver(groups: list[Group], ledger: dict[str, str], message: tuple[Any, ...]) -> None:
    """A message that comes once more, late."""
    kind, part, id_, stamp, *command = message
    if kind == "prepare":
        groups[part].prepare(id_, stamp, *command)
    elif ledger.get(id_) == (COMMITTING if kind == "commit" else CANCELLING):
        getattr(groups[part], kind)(id_, stamp)


def test_stamps_of_images_are_the_transactions() -> None:
    group = Group()
    assert group.prepare("T", 50, put())
    group.commit("T", 50)
    assert group.image is not None
    assert image_stamp(group.image) == 50
    assert not group.prepare("T", 50, put()), "a prepare that comes again after the commit is too late"
