"""Bit rot without a cluster: which bytes are chosen, what the guard forbids, and what counts as found."""

from __future__ import annotations

import base64
import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chaos.engine.corruption import Ledger
from chaos.errors import InputError
from chaos.faults.bitrot import hurt
from chaos.faults.damage import READ_BYTES_MAX, Damage, Wanted, choose, damage_of, fingerprint
from chaos.guard import ALL, NOTHING, BeyondBudget, Disturbance, Hurt, assess, enforce
from chaos.playbook.model import Budget
from chaos.targets import GroupView, NodeRef
from cluster.store.btree import Pool, Replica
from cluster.store.memory import MemoryDisk
from reports.checkers import corruption
from reports.rundir import read_ledger

VOTERS = ("storage-a1", "storage-b1", "storage-c1")
GROUPS = [GroupView("g0", "load", VOTERS, "storage-a1"), GroupView("g1", "load", VOTERS, "storage-b1"),
          GroupView("system", "system", ("autoadmin-a", "autoadmin-b", "autoadmin-c"), None)]  # fmt: skip
NODES = {name: NodeRef(name, "storage", name[8], name[8:]) for name in VOTERS}
BIT_FLIP = Wanted("btree", "bit-flip", "load", "live", 1)


class Disk:
    """Files in memory."""

    def __init__(self) -> None:
        disk = MemoryDisk()
        pool = Pool(disk.pages)
        for group in ("g0", "g1"):
            replica = Replica.open(pool, group)
            replica.apply(1, [(b"key-%04d" % n, bytes([n % 251]) * 900) for n in range(60)])
            replica.checkpoint()
            for position in (2, 3):
                replica.apply(position, [(b"key-0001", bytes([position]) * 900)])
        self.files = {"pages/" + name: bytes(content.data) for name, content in disk.pages.contents.items()}

    def list(self) -> Mapping[str, int]:
        return {name: len(data) for name, data in self.files.items()}

    def read(self, name: str, offset: int = 0, length: int = READ_BYTES_MAX) -> bytes:
        return self.files[name][offset : offset + length]


DISK = Disk()


def chosen(wanted: Wanted, nodes: tuple[str, ...] = ("storage-a1",), seed: int = 1, **more: Any) -> list[Damage]:
    avoid = more.get("avoid", frozenset())
    return choose("f0", wanted, dict.fromkeys(nodes, DISK), GROUPS, avoid, random.Random(seed))


@pytest.mark.parametrize("mode", ["bit-flip", "chunk-copy", "old-chunk", "truncate"])
@pytest.mark.parametrize("seed", range(4))
def test_every_mode_changes_what_it_says_and_says_what_lives_there(mode: Any, seed: int) -> None:
    (one,) = chosen(replace(BIT_FLIP, mode=mode), seed=seed)
    before = DISK.read(one.file, one.offset, one.length)
    after = base64.b64decode(one.data)
    assert fingerprint(before) == one.old
    assert fingerprint(after) == one.new
    assert one.old != one.new
    assert one.live
    assert one.groups in (("g0",), ("g1",))
    assert one.what
    assert one.extent[0] <= one.offset < one.extent[0] + one.extent[1]
    assert (mode == "truncate") == (after == b"")
    if mode == "bit-flip":
        assert sum((a ^ b).bit_count() for a, b in zip(before, after, strict=True)) == 1
    assert damage_of(one.to_json()) == one, "the journal gives back what it was given"


def test_the_seed_chooses() -> None:
    assert chosen(BIT_FLIP, seed=3) == chosen(BIT_FLIP, seed=3)
    assert len({chosen(BIT_FLIP, seed=seed)[0].offset for seed in range(8)}) > 3


def test_free_space_is_chosen_where_it_is_asked_for_and_named_so() -> None:
    (one,) = chosen(replace(BIT_FLIP, space="free"))
    assert not one.live
    assert hurt([one], healable=False) == NOTHING


def test_two_targets_never_share_a_group_and_a_hurt_group_is_left_alone() -> None:
    first, second = chosen(BIT_FLIP, ("storage-a1", "storage-b1"))
    assert first.groups != second.groups
    (one,) = chosen(BIT_FLIP, avoid=frozenset({"g0"}))
    assert one.groups == ("g1",)
    with pytest.raises(InputError, match="no damaged replica already"):
        chosen(BIT_FLIP, VOTERS)
    with pytest.raises(InputError, match="storage-a1 has no live bytes"):
        chosen(BIT_FLIP, avoid=frozenset({"g0", "g1"}))


def test_a_helix_hurts_every_replica_and_no_two_in_the_same_place() -> None:
    found = chosen(replace(BIT_FLIP, mode="helix"), VOTERS)
    assert sorted(one.node for one in found) == sorted(VOTERS)
    assert len({one.groups for one in found}) == 1
    assert len({(one.file, one.extent) for one in found}) == 3
    with pytest.raises(InputError, match="a helix needs all replicas"):
        chosen(replace(BIT_FLIP, mode="helix"), VOTERS[:2])


def rot(*replicas: Hurt, healable: tuple[str, ...] = ()) -> Disturbance:
    return NOTHING._replace(hurt=frozenset(replicas), healable=frozenset(healable))


A, B, C = (Hurt(name, "g0", "btree") for name in VOTERS)


def test_two_damaged_replicas_of_a_group_are_refused_whatever_the_budget_says() -> None:
    impact = assess(rot(A, B), GROUPS, NODES)
    assert impact.hurt_twice == ("g0",)
    generous = Budget(az=3, quorum_loss="any", total_loss="any")
    with pytest.raises(BeyondBudget, match="two replicas of one group would be damaged at once"):
        enforce("rot", impact, generous, unsafe=False)
    assert enforce("rot", impact, generous, unsafe=True), "unsafe is the only override"
    assert assess(rot(A, Hurt(VOTERS[1], "g1", "btree")), GROUPS, NODES).hurt_twice == ()


def test_a_helix_that_can_be_mended_is_no_double_harm() -> None:
    impact = assess(rot(A, B, C, healable=("g0",)), GROUPS, NODES)
    assert (impact.hurt_twice, impact.all_copies_lost) == ((), ())
    assert assess(rot(A, B, C), GROUPS, NODES).all_copies_lost == ("g0",)


def test_a_damaged_log_has_no_vote_and_a_damaged_tree_is_no_copy() -> None:
    log = Hurt(VOTERS[0], ALL, "log")
    dark = Disturbance(frozenset({VOTERS[1]}), frozenset(), frozenset("b"), frozenset({log}))
    assert assess(dark, GROUPS[:2], NODES).quorum_lost == ("g0", "g1")
    assert assess(dark._replace(hurt=frozenset({A})), GROUPS[:2], NODES).quorum_lost == ()
    both = dark._replace(down=frozenset(VOTERS[1:]), hurt=frozenset({A}))
    assert assess(both, GROUPS[:2], NODES).all_copies_lost == ("g0",)


# The ledger: what the nodes' events say.

START = 500.0


class Book:
    """A ledger with one damage in it, and what it told."""

    def __init__(self, path: Path, one: Damage) -> None:
        self.told: list[tuple[str, str]] = []
        self.ledger = Ledger(path / "corruption.jsonl", START, self._emit)
        self.ledger.planned("rot", "bit-rot", [one], START + 10.0)
        self.ledger.injected("rot")

    def _emit(self, event: str, **fields: Any) -> None:
        self.told.append((event, str(fields["state"])))

    def say(self, event: str, t: float, node: str = "storage-a1", **fields: Any) -> None:
        self.ledger.take({"event": event, "boot": START + t, "node": node, **fields})

    def verdict(self) -> str:
        return corruption.check(read_ledger(self.ledger.path), planned=True).result


def damage(place: Any, file: str, mode: str = "bit-flip", **more: Any) -> Damage:
    base = Damage("f0.0", "storage-a1", file, mode, place, 8192, 512, "aa", "bb", "", True, "page 3: leaf of a table",
                  ("g0",), (8192, 4096))  # fmt: skip
    return replace(base, **more)


def test_a_bad_page_is_found_by_the_event_that_names_it_and_mended_by_another_image(tmp_path: Path) -> None:
    book = Book(tmp_path, damage("btree", "pages/g0.db"))
    assert book.verdict() == "failed", "found by nobody so far"
    book.say("tree-damage", 9.0, group="g0", by="read", file="g0.db", page=3, offset=8192)
    book.say("tree-damage", 12.0, "storage-b1", group="g0", by="read", file="g0.db", page=3, offset=8192)
    book.say("tree-damage", 12.0, group="g1", by="read", file="g1.db", page=3, offset=8192)
    book.say("snapshot-installed", 13.0, group="g0")
    assert book.verdict() == "failed", "before it was done, on another node, in another group: none of that is a find"
    assert book.ledger.standing().hurt == {Hurt("storage-a1", "g0", "btree")}
    book.say("tree-damage", 14.5, group="g0", by="scrub", file="g0.db", page=3, offset=8192)
    assert book.verdict() == "failed", "found, but not mended"
    book.say("snapshot-installed", 16.0, group="g0")
    (entry,) = book.ledger.entries
    assert (entry.found_by, entry.found_s, entry.repaired_s, entry.found_how) == ("scrub", 14.5, 16.0, "by name")
    assert book.verdict() == "ok"
    assert book.ledger.standing() == NOTHING
    assert book.told == [("corruption", "injected"), ("corruption", "found"), ("corruption", "repaired"),
                         ("fault", "healed")]  # fmt: skip


def test_another_page_of_the_same_image_condemns_the_damaged_one_with_it(tmp_path: Path) -> None:
    book = Book(tmp_path, damage("btree", "pages/g0.db"))
    book.say("tree-damage", 14.0, group="g0", by="read", file="g0.db", page=9, offset=32768)
    assert book.ledger.entries[0].found_how == "with the image it is in"


def test_lost_votes_must_be_called_so_and_are_made_good_when_the_group_is_whole(tmp_path: Path) -> None:
    book = Book(tmp_path, damage("log", "log/wal-01.log"))
    book.say("log-damage", 12.0, file="wal-01.log", what="torn tail", by="recovery")
    assert book.verdict() == "failed", "votes that were taken for a torn tail were forgotten in silence"
    book.say("log-damage", 13.0, file="wal-01.log", what="lost votes", by="recovery")
    book.ledger.whole(START + 13.2)
    assert book.verdict() == "failed", "the view may be from before the restart"
    book.ledger.whole(START + 15.0)
    assert book.verdict() == "ok"


def test_a_log_that_is_found_bad_while_its_writer_lives_is_renewed(tmp_path: Path) -> None:
    book = Book(tmp_path, damage("log", "log/wal-01.log"))
    book.say("log-damage", 13.0, file="wal-01.log", what="damaged at rest", by="scrub")
    book.ledger.whole(START + 20.0)
    assert book.verdict() == "failed"
    book.say("log-renewed", 21.0)
    assert book.verdict() == "ok"


def test_an_archived_object_is_found_and_mended_by_whoever_compares(tmp_path: Path) -> None:
    book = Book(tmp_path, damage("archive", "objects/blackstart/c/load/g0/1.log", node="archive"))
    book.say("archive-damage", 14.0, "storage-c1", object="c/load/g0/1.log", by="archive compare", group="g0")
    book.say("archive-repaired", 15.0, "storage-b1", object="c/load/g0/1.log", group="g0")
    assert book.verdict() == "ok"
    assert book.ledger.standing() == NOTHING


@pytest.mark.parametrize(("now", "result"), [(b"something else", "unknown"), (None, "unknown"), (b"rot", "failed")])
def test_what_was_rewritten_before_anybody_read_it_proves_nothing(
    tmp_path: Path, now: bytes | None, result: str
) -> None:
    book = Book(tmp_path, damage("btree", "pages/g0.db", new=fingerprint(b"rot")))
    book.ledger.settle(lambda entry: now, START + 60.0)
    assert book.verdict() == result


def test_free_space_need_not_be_found_but_is_counted(tmp_path: Path) -> None:
    book = Book(tmp_path, damage("btree", "pages/g0.db", live=False))
    result = corruption.check(read_ledger(book.ledger.path), planned=True)
    assert (result.result, result.looked_at) == ("ok", 1)
    assert "1 in free space" in result.why


def test_a_run_that_meant_to_damage_something_and_did_not_proves_nothing() -> None:
    assert corruption.check([], planned=True).result == "unknown"
    assert corruption.check([], planned=False).result == "ok"
