"""The face of a group: restarts, snapshots, refusals. Whole exchanges are in ``tests/datadriven``."""

from __future__ import annotations

import random

import msgspec
import pytest

from cluster.core.ballot import NO_BALLOT, Ballot
from cluster.core.config import AddLearner, ChangeVoters, Configuration, Member, RemoveLearner, decode, encode, left
from cluster.core.config import successor as after
from cluster.core.failures import BrokenHistory, Busy, ChangeRefused, Misuse, NotLeader
from cluster.core.group import Group, GroupOptions, HardState, Role
from cluster.core.lease import LeaseOptions, Liveness
from cluster.core.messages import (
    CONFIG,
    DATA,
    KINDS,
    RECORDS,
    Accept,
    Accepted,
    AcceptReply,
    Ask,
    Committed,
    Entry,
    Gone,
    Heartbeat,
    Installed,
    Prepare,
    Promise,
    Promised,
    Refuse,
    Snapshot,
)

A, B, C, D = (Member(i, f"n{i}", zone, zone + "1") for i, zone in ((1, "a"), (2, "b"), (3, "c"), (4, "a")))
THREE = Configuration((A, B, C))
FIRST, SECOND, THIRD = Ballot(1, 1), Ballot(2, 2), Ballot(3, 3)
BASE = Installed(0, NO_BALLOT, THREE)


def entry(slot: int, ballot: Ballot = FIRST, payload: bytes = b"x") -> Entry:
    return Entry(slot, ballot, DATA, payload)


def make(replica: int = 2, hard: HardState | None = None, config: Configuration = THREE, **options: object) -> Group:
    leases = Liveness(f"n{replica}", 1, LeaseOptions(), 0.0, fresh=True)
    hard = hard or HardState.fresh(config)
    keep = {k: options.pop(k) for k in ("applied", "snapshot", "amnesiac") if k in options}
    return Group("g", replica, hard, leases, GroupOptions(**options), random.Random(1), 0.0, **keep)  # type: ignore[arg-type]


def alone(**options: object) -> Group:
    """A group of one, leading."""
    group = make(1, config=Configuration((A,)), **options)
    group.campaign(0.0)
    for _ in range(2):
        group.persisted(group.take().persist[-1][0], 0.0)
    group.take()
    assert group.ready_to_serve
    return group


def test_a_group_of_one_leads_by_itself() -> None:
    group = alone()
    slot = group.propose([b"x", b"y"], 0.0)
    effects = group.take()
    assert slot == 2
    assert group.commit == 1, "nothing is decided before it is durable"
    group.persisted(effects.persist[-1][0], 0.0)
    assert [e.payload for e in group.take().committed] == [b"x", b"y"]
    assert group.lease_until(0.0) > 1e9


def test_only_a_leader_proposes_and_says_who_leads() -> None:
    group = make()
    group.step(1, Accept(FIRST, "n1", 0, NO_BALLOT, (), 0, 0), 0.0)
    with pytest.raises(NotLeader) as caught:
        group.propose([b"x"], 0.0)
    assert caught.value.leader == A


def test_too_much_in_flight_is_refused() -> None:
    group = alone(uncommitted_bytes=200)
    group.propose([b"x" * 300], 0.0)
    with pytest.raises(Busy):
        group.propose([b"y"], 0.0)


def test_misuse_is_named() -> None:
    group = make()
    with pytest.raises(Misuse):
        group.persisted(99, 0.0)
    with pytest.raises(Misuse):
        group.step(2, Gone(), 0.0)
    with pytest.raises(Misuse):
        group.step(1, Heartbeat(1, 1, 0.0, 0, 0.0, 0.0), 0.0)  # type: ignore[arg-type]
    with pytest.raises(Misuse):
        alone().propose(["text"], 0.0)  # type: ignore[list-item]


def test_replay_restores_promises_entries_and_truncation() -> None:
    records = [BASE, Promised(FIRST), Accepted(entry(1)), Accepted(entry(2)), Promised(SECOND),
               Accepted(entry(2, SECOND, b"y")), Committed(1)]  # fmt: skip
    group = make(hard=HardState.replay(records))
    assert (group.ballot, group.last_slot, group.commit) == (SECOND, 2, 1)
    again = make(hard=HardState.replay(group.hard_state()))
    assert again.hard_state() == group.hard_state()
    assert [e.payload for e in again.take().committed] == [b"x"]


def test_the_record_of_an_entry_tells_what_was_decided_before_it_unless_it_is_an_old_one() -> None:
    assert HardState.replay([BASE, Accepted(entry(1)), Accepted(entry(2), 1)]).commit == 1
    assert HardState.replay([BASE, Accepted(entry(1), 1)]).commit == 1
    old = msgspec.msgpack.encode([entry(2)])
    assert msgspec.msgpack.decode(old, type=Accepted) == Accepted(entry(2), 0)


@pytest.mark.parametrize(
    "records",
    [
        [],
        [Promised(FIRST)],
        [BASE, Accepted(entry(2))],
        [BASE, Accepted(entry(1)), Committed(1), Accepted(entry(1, SECOND))],
        [BASE, Accepted(entry(1)), Accepted(entry(2), 1), Accepted(entry(1, SECOND))],
    ],
)
def test_records_that_form_no_log_are_refused(records: list[object]) -> None:
    with pytest.raises(BrokenHistory):
        HardState.replay(records)  # type: ignore[arg-type]


def test_a_state_machine_ahead_of_the_log_is_refused() -> None:
    with pytest.raises(BrokenHistory):
        make(hard=HardState.replay([BASE, Accepted(entry(1))]), applied=5)


def test_a_snapshot_that_the_log_had_not_recorded_is_taken_up_again() -> None:
    hard = HardState.replay([BASE, Accepted(entry(1))])
    group = make(hard=hard, applied=5, snapshot=Snapshot(5, THREE, FIRST, SECOND))
    assert (group.commit, group.first_slot, group.ballot) == (5, 6, SECOND)
    kinds = [type(record) for _, record in group.take().persist]
    assert Promised in kinds
    assert Installed in kinds


def test_after_a_snapshot_a_leader_passed_over_long_ago_is_refused() -> None:
    group = make()
    group.step(1, Accept(FIRST, "n1", 0, NO_BALLOT, (), 0, 0), 0.0)
    group.snapshot_installed(5, THREE, FIRST, 0.0, THIRD)
    group.step(1, Accept(FIRST, "n1", 3, FIRST, (entry(4), entry(5), entry(6)), 3, 0), 0.0)
    assert group.last_slot == 5
    assert any(isinstance(send.message, Refuse) for send in group.take().sends)


def test_a_member_without_memory_answers_gone_and_nothing_else() -> None:
    group = make(amnesiac=True)
    group.step(1, Prepare(FIRST, "n1", 1, 0, NO_BALLOT), 0.0)
    group.step(1, Ask(FIRST, "n1", 7), 0.0)
    group.wake(100.0)
    group.campaign(100.0)
    effects = group.take()
    assert [send.message for send in effects.sends] == [Gone(), Gone(7)]
    assert effects.wake_at is None
    assert group.role is not Role.CANDIDATE


def test_a_reply_waits_for_its_records() -> None:
    group = make()
    group.take()
    group.step(1, Accept(FIRST, "n1", 0, NO_BALLOT, (entry(1), entry(2)), 0, 0), 0.0)
    effects = group.take()
    (send,) = effects.sends
    assert isinstance(send.message, AcceptReply)
    assert send.message.matched == 2
    assert send.after == max(seq for seq, record in effects.persist if isinstance(record, Accepted))


def test_committed_entries_come_out_only_once_durable_here() -> None:
    group = make()
    group.step(1, Accept(FIRST, "n1", 0, NO_BALLOT, (entry(1),), 1, 0), 0.0)
    effects = group.take()
    assert group.commit == 1
    assert effects.committed == []
    group.persisted(effects.persist[-1][0], 0.0)
    assert [e.slot for e in group.take().committed] == [1]


def test_a_leader_whose_disk_is_the_slowest_serves_once_it_was_handed_what_others_decided() -> None:
    """Explore, seed 1971: a quorum without the leader decided its first entry, and the entry of an earlier leader below
    it, before either was durable at the leader; what it decided meanwhile rested on the state before both."""
    group = make(3)
    group.campaign(0.0)
    group.persisted(group.take().persist[-1][0], 0.0)
    group.step(2, Promise(group.ballot, 0, 1, FIRST, 0, NO_BALLOT, (entry(1),)), 0.0)
    persist = group.take().persist
    for peer in (1, 2):
        group.step(peer, AcceptReply(group.ballot, 2, 0, 0, 0, 0), 0.0)
    assert group.commit == 2
    assert group.take().committed == []
    assert not group.ready_to_serve
    group.persisted(persist[-1][0], 0.0)
    assert [e.slot for e in group.take().committed] == [1, 2]
    assert group.ready_to_serve


def test_trimming_keeps_what_is_needed() -> None:
    group = alone()
    group.propose([b"x", b"y"], 0.0)
    group.persisted(group.take().persist[-1][0], 0.0)
    group.take()
    group.trim(99)
    assert (group.first_slot, group.last_slot) == (4, 3)
    assert group.snapshot_point(3)[0] == 3
    with pytest.raises(Misuse):
        group.snapshot_point(1)
    assert HardState.replay(group.hard_state()).log.last_slot == 3


def test_configurations_change_by_the_book() -> None:
    with_learner = after(THREE, AddLearner(D))
    joint = after(with_learner, ChangeVoters((4,), (1,)))
    assert joint.joint
    assert joint.incoming == (B, C, D)
    assert joint.voters == (A, B, C)
    final = left(joint)
    assert final.voters == (B, C, D)
    assert not final.joint
    assert final.number == 3
    assert decode(encode(joint)) == joint
    assert after(with_learner, RemoveLearner(4)).learners == ()


@pytest.mark.parametrize(
    "change",
    [
        AddLearner(A),
        RemoveLearner(1),
        ChangeVoters((9,), ()),
        ChangeVoters((), (9,)),
        ChangeVoters(),
        ChangeVoters((), (1, 2, 3)),
    ],
)
def test_changes_that_make_no_sense_are_refused(change: AddLearner | RemoveLearner | ChangeVoters) -> None:
    with pytest.raises(ChangeRefused):
        after(THREE, change)


def test_a_second_change_waits_for_the_first() -> None:
    group = alone()
    group.propose_config(AddLearner(B), 0.0)
    with pytest.raises(ChangeRefused):
        group.propose_config(AddLearner(C), 0.0)


@pytest.mark.parametrize("payload", [b"", b"{}", b"[1,2]", b"\xff", b"[[[1]],[],[],0]"])
def test_a_payload_that_is_no_configuration_is_refused(payload: bytes) -> None:
    with pytest.raises(ValueError, match="not a configuration"):
        decode(payload)


def test_tags_of_messages_and_records_are_stable() -> None:
    assert [kind.__name__ for kind in KINDS] == [
        "Prepare", "Promise", "Refuse", "Accept", "AcceptReply", "Ask", "AskReply", "Relinquish", "Gone", "Heartbeat",
        "Decided",
    ]  # fmt: skip
    assert [kind.__name__ for kind in RECORDS] == ["Promised", "Accepted", "Committed", "Installed"]
    assert CONFIG == 2
